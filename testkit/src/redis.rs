//! Redis: one server with a data folder of its own, `appendonly` on and synced always unless a test says otherwise.

use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::{Process, ScratchDir, ports, process, wait};

/// Loading what was appended included.
const START_DEADLINE: Duration = Duration::from_secs(60);
const COMMAND_DEADLINE: Duration = Duration::from_secs(60);

/// Where it appends what it is told.
const DATA: &str = "appendonlydir";

/// How to start a server.
#[derive(Debug, Clone, Default)]
pub struct RedisOptions {
    /// Redis 8.2 as `scripts/setup` brings it, and not the system's.
    pub newest: bool,
    /// Settings as `redis.conf` has them; they win over those of this crate.
    pub settings: Vec<(String, String)>,
}

/// A server. Dropping it stops it and removes its data.
#[derive(Debug)]
pub struct Redis {
    process: Mutex<Option<Arc<Process>>>,
    port: u16,
    newest: bool,
    settings: Vec<(String, String)>,
    scratch: ScratchDir,
}

impl Redis {
    /// Starts a server and waits until it accepts connections.
    pub fn start(options: RedisOptions) -> Result<Redis> {
        let scratch = ScratchDir::new("redis")?;
        let redis = Redis {
            process: Mutex::new(None),
            port: ports::free_port()?,
            newest: options.newest,
            settings: options.settings,
            scratch,
        };
        redis.start_again()?;
        Ok(redis)
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Runs a command of `redis-cli` and returns what it prints.
    pub fn cli(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("redis-cli");
        command.args(["-e", "-p", &self.port.to_string()]).args(arguments);
        process::run("redis-cli", command, self.scratch.path(), COMMAND_DEADLINE)
    }

    /// The process that was started last.
    pub fn process(&self) -> Result<Arc<Process>> {
        self.slot().clone().context("the server was never started")
    }

    /// Starts it again on its port and data, and waits until it answers.
    pub fn start_again(&self) -> Result<()> {
        let process = {
            let mut slot = self.slot();
            if let Some(process) = slot.as_ref() {
                ensure!(process.exit_status().is_some(), "the server runs already");
            }
            let program = match self.newest {
                true => process::target_folder().join("testkit/redis/redis-server"),
                false => "redis-server".into(),
            };
            let mut command = Command::new(program);
            let port = self.port.to_string();
            command.args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"]);
            command.args(["--appendfsync", "always", "--dir"]).arg(self.scratch.path());
            for (name, value) in &self.settings {
                command.arg(format!("--{name}")).args(value.split(' '));
            }
            slot.insert(Arc::new(Process::spawn("redis", command, self.scratch.path())?)).clone()
        };
        let answers = || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok()?;
            self.cli(&["PING"]).ok().filter(|answer| answer.trim() == "PONG")
        };
        wait::until("Redis to answer", START_DEADLINE, answers).with_context(|| process.log_tail())?;
        Ok(())
    }

    /// What it has on its disk now, as a copy to go back to.
    pub fn copy_data(&self) -> Result<ScratchDir> {
        let copy = ScratchDir::new("redis-copy")?;
        copy_folder(&self.scratch.path().join(DATA), &copy.path().join(DATA))?;
        Ok(copy)
    }

    /// Puts a copy in the place of what it has on its disk; it must not be running.
    pub fn restore_data(&self, copy: &ScratchDir) -> Result<()> {
        let data = self.scratch.path().join(DATA);
        std::fs::remove_dir_all(&data)?;
        copy_folder(&copy.path().join(DATA), &data)
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Arc<Process>>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Files of a folder that has no others in it.
fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        std::fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}
