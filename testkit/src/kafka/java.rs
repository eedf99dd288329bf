//! The Java that runs Kafka, and how it starts in a third of the time.
//!
//! Most of a broker's start goes into reading and checking some six thousand classes. Java can write them to an archive
//! at its exit and map that into memory later. So the first start ever in a target folder is preceded by a rehearsal: a
//! broker that is started and stopped only to leave that archive behind, next to the jars. Java checks that an archive
//! fits it and the jars, and does without if not.

use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};

use crate::process;

/// Keeps the archive that lies there when a rehearsal has ended.
pub(super) type Keep<'a> = &'a dyn Fn(&Path) -> Result<()>;

/// Java and Kafka's jars.
#[derive(Debug, Clone)]
pub(super) struct Java {
    program: PathBuf,
    libs: PathBuf,
    archive: Archive,
}

#[derive(Debug, Clone)]
enum Archive {
    None,
    /// Written at exit.
    Write(PathBuf),
    Read(PathBuf),
}

impl Java {
    /// Finds both, and the archive of classes if it is wanted: when there is none yet, `rehearse` makes it, which starts
    /// and stops a broker.
    pub(super) fn find(with_archive: bool, rehearse: fn(&Java, Keep<'_>) -> Result<()>) -> Result<Java> {
        let program = match std::env::var_os("JAVA_HOME").filter(|home| !home.is_empty()) {
            Some(home) => Path::new(&home).join("bin/java"),
            None => process::find_in_path("java")
                .context("neither is JAVA_HOME set nor is java in PATH: run ./scripts/setup")?
                .join("java"),
        };
        let (libs, libs_given) = libs_folder();
        ensure!(
            libs.join(".complete").is_file() || libs_given && libs.is_dir(),
            "Kafka's jars are not (all) in {}: run ./scripts/setup",
            libs.display()
        );
        let mut java = Java { program, libs, archive: Archive::None };
        if with_archive {
            let archive = java.libs.join(format!("classes-{:016x}.jsa", java.identity()?));
            // One at a time: other tests of this process find the archive when it is their turn.
            static REHEARSAL: Mutex<()> = Mutex::new(());
            let _turn = REHEARSAL.lock().unwrap_or_else(PoisonError::into_inner);
            if !archive.is_file()
                && let Err(error) = rehearse(&java, &|written| keep(written, &archive))
            {
                eprintln!("testkit: Kafka starts slowly without an archive of classes: {error:#}");
            } else {
                java.archive = Archive::Read(archive);
            }
        }
        Ok(java)
    }

    /// A command that lacks only the class to run and its arguments.
    pub(super) fn command(&self, heap_mb: u32, quick: bool) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(format!("-Xmx{heap_mb}m"));
        if quick {
            command.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]);
        } else {
            command.arg(format!("-Xms{heap_mb}m"));
            command.args(["-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20"]);
        }
        match &self.archive {
            Archive::None => &mut command,
            Archive::Write(path) => command.arg(option("-XX:ArchiveClassesAtExit=", path)),
            Archive::Read(path) => command.arg(option("-XX:SharedArchiveFile=", path)),
        };
        // What Java itself has to say, an archive that does not fit for one, is kept out of the output of tools.
        command.args(["-Xlog:disable", "-Xlog:all=warning:stderr"]);
        // Its statistics file in /tmp would stay behind when it is killed.
        command.args(["-XX:-UsePerfData", "-Djava.awt.headless=true"]);
        command.arg("-cp").arg(self.libs.join("*"));
        command
    }

    /// The same, writing an archive at exit.
    pub(super) fn writing(&self, archive: PathBuf) -> Java {
        Java { archive: Archive::Write(archive), ..self.clone() }
    }

    /// Another installation of Java needs another archive.
    fn identity(&self) -> Result<u64> {
        let program =
            self.program.canonicalize().with_context(|| format!("no {}", self.program.display()))?;
        let metadata = program.metadata()?;
        let mut hasher = DefaultHasher::new();
        (program, metadata.mtime(), metadata.len()).hash(&mut hasher);
        Ok(hasher.finish())
    }
}

/// Others may read the archive already, or rehearse at the same time: it has to appear at once.
fn keep(written: &Path, archive: &Path) -> Result<()> {
    let copy = archive.with_extension(std::process::id().to_string());
    std::fs::copy(written, &copy).context("no archive was written, or cannot be copied")?;
    std::fs::rename(&copy, archive).context("the archive cannot be put in its place")
}

fn option(name: &str, path: &Path) -> OsString {
    let mut option = OsString::from(name);
    option.push(path);
    option
}

/// `TESTKIT_KAFKA_LIBS` (then the second is true), else where `scripts/setup` puts the jars.
fn libs_folder() -> (PathBuf, bool) {
    if let Some(libs) = std::env::var_os("TESTKIT_KAFKA_LIBS") {
        return (libs.into(), true);
    }
    (process::target_folder().join("testkit/kafka-libs"), false)
}
