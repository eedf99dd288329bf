//! Pages in a real Chromium, above all the operators', driven by `tests/page/check.mjs`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use floodgate_testkit::{Process, ScratchDir, process};
use serde_json::Value;

use super::node::Node;
use super::world::READY;

/// For what is over in seconds.
const BROWSER: Duration = Duration::from_secs(180);

/// The browser's scripts, beside what `scripts/setup` got for them. Several may be asked at once.
pub struct Browser {
    script: PathBuf,
    pub logs: ScratchDir,
}

impl Browser {
    pub fn new() -> Result<Browser> {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("testkit").join("page");
        ensure!(folder.join("node_modules").is_dir(), "run ./scripts/setup, which gets what drives Chromium");
        let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/page");
        for name in ["check.mjs", "a11y.mjs"] {
            std::fs::copy(ours.join(name), folder.join(name))?;
        }
        Ok(Browser { script: folder.join("check.mjs"), logs: ScratchDir::new("page")? })
    }

    fn command(&self, url: &str, args: &[&str]) -> Command {
        let mut command = Command::new("node");
        command.arg(&self.script).arg(url).args(args);
        command
    }

    /// What a command of the script prints.
    pub fn asks(&self, node: &Node, args: &[&str]) -> Result<Value> {
        self.asks_at(&page_of(node), args)
    }

    /// The same, of another page.
    pub fn asks_at(&self, url: &str, args: &[&str]) -> Result<Value> {
        let printed = process::run("browser", self.command(url, args), self.logs.path(), BROWSER)?;
        serde_json::from_str(&printed).with_context(|| printed)
    }

    /// A command that waits for something, and is there to see it.
    pub fn watches(&self, node: &Node, args: &[&str]) -> Result<Watching> {
        let process = Process::spawn("browser", self.command(&page_of(node), args), self.logs.path())?;
        process.wait_for_log("watching", READY)?;
        Ok(Watching(process))
    }
}

fn page_of(node: &Node) -> String {
    format!("http://{}", node.admin)
}

/// A browser that waits for something.
pub struct Watching(Process);

impl Watching {
    pub fn has_seen(&self) -> Result<Value> {
        let exit = self.0.wait_exit(BROWSER)?;
        ensure!(exit.success(), "the browser has not seen it: {}", self.0.log_tail());
        Ok(serde_json::from_str(&self.0.stdout())?)
    }

    /// The same, if it is over.
    pub fn has_seen_by_now(&self) -> Result<Option<Value>> {
        self.0.exit_status().map(|_| self.has_seen()).transpose()
    }
}
