//! One child process: started, watched, signalled, and surely gone at the end.

use std::fmt;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::guard::{Guard, guard};
use crate::tree::{self, Stat};
use crate::wait;

const LOG_TAIL_LINES: usize = 30;

/// What waits for its disk is stopped when that has answered.
const STANDS_STILL: Duration = Duration::from_secs(60);

/// A running or ended child process, the leader of its own process group. Dropping it kills it with all its descendants.
pub struct Process {
    name: String,
    pid: u32,
    serial: u64,
    guard: &'static Guard,
    stdout: PathBuf,
    stderr: PathBuf,
    state: Mutex<State>,
}

struct State {
    child: Child,
    /// Once set, the process id may belong to someone else.
    exit: Option<ExitStatus>,
}

impl Process {
    /// Starts `command`. `name` is what error messages and the two log files in the folder `logs` call it; environment,
    /// arguments and folder are set on the command.
    pub fn spawn(name: &str, command: Command, logs: &Path) -> Result<Process> {
        Self::spawn_with_stderr(name, command, logs, None)
    }

    /// The same with another standard error than a file, which is then missing from what is said about it.
    pub fn spawn_with_stderr(
        name: &str,
        mut command: Command,
        logs: &Path,
        own_stderr: Option<Stdio>,
    ) -> Result<Process> {
        let guard = guard()?;
        let serial = guard.serial();
        let stdout = logs.join(format!("{name}-{serial}.out"));
        let stderr = logs.join(format!("{name}-{serial}.err"));
        let create =
            |path: &Path| File::create(path).with_context(|| format!("cannot create {}", path.display()));
        command.stdin(Stdio::null()).stdout(create(&stdout)?).process_group(0);
        match own_stderr {
            Some(own) => command.stderr(own),
            None => command.stderr(create(&stderr)?),
        };
        guard.register(serial, &mut command);
        match command.spawn() {
            Ok(child) => {
                let pid = child.id();
                let state = Mutex::new(State { child, exit: None });
                Ok(Process { name: name.into(), pid, serial, guard, stdout, stderr, state })
            }
            Err(error) => {
                guard.strike_off(serial);
                let program = command.get_program().display();
                Err(error).with_context(|| format!("cannot start {name}: {program}"))
            }
        }
    }

    /// What it was called when it was started.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id, which is also the id of the process group.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// How it ended, or `None` while it runs.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.reap(&mut self.state())
    }

    /// Waits until it has ended by itself.
    pub fn wait_exit(&self, deadline: Duration) -> Result<ExitStatus> {
        let what = format!("{} to exit", self.name);
        wait::until(&what, deadline, || self.exit_status()).with_context(|| self.log_tail())
    }

    /// Sends a signal to its process group. Fails when it has ended.
    pub fn signal(&self, signal: i32) -> Result<()> {
        let mut state = self.state();
        self.running(&mut state)?;
        tree::signal_group(self.pid, signal)
    }

    /// Asks it to end: SIGTERM. Does not wait.
    pub fn terminate(&self) -> Result<()> {
        self.signal(libc::SIGTERM)
    }

    /// Kills it and all its descendants (SIGKILL) and waits until they are gone. Fine when it has ended already.
    pub fn kill(&self) -> Result<()> {
        let mut state = self.state();
        if self.reap(&mut state).is_some() {
            return Ok(());
        }
        let descendants = self.stop_all()?;
        tree::signal_group(self.pid, libc::SIGKILL)?;
        for &pid in &descendants {
            tree::signal(pid, libc::SIGKILL)?;
        }
        let deadline = Duration::from_secs(30);
        wait::until(&format!("{} to die", self.name), deadline, || self.reap(&mut state))?;
        wait::until(&format!("the descendants of {} to die", self.name), deadline, || {
            descendants.iter().all(|&pid| !tree::lives(pid)).then_some(())
        })?;
        Ok(())
    }

    /// Stops it and all its descendants where they are (SIGSTOP): its sockets stay open and nobody answers.
    pub fn freeze(&self) -> Result<()> {
        let mut state = self.state();
        self.running(&mut state)?;
        let descendants = self.stop_all()?;
        let what = format!("{} to stand still", self.name);
        wait::until(&what, STANDS_STILL, || {
            descendants.iter().chain([&self.pid]).all(|pid| tree::is_stopped(*pid)).then_some(())
        })?;
        Ok(())
    }

    /// Lets a frozen process and all its descendants go on (SIGCONT).
    pub fn thaw(&self) -> Result<()> {
        let mut state = self.state();
        self.running(&mut state)?;
        for pid in tree::descendants(self.pid) {
            tree::signal(pid, libc::SIGCONT)?;
        }
        tree::signal_group(self.pid, libc::SIGCONT)
    }

    /// Lets it write no file beyond this size from here on: its writes fail, as on a disk that is full.
    pub fn limit_file_size(&self, bytes: u64) -> Result<()> {
        let mut state = self.state();
        self.running(&mut state)?;
        let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
        // SAFETY: the limit is valid for the call, and the old one is not asked for.
        let outcome = unsafe {
            libc::prlimit(self.pid as libc::pid_t, libc::RLIMIT_FSIZE, &limit, std::ptr::null_mut())
        };
        ensure!(outcome == 0, "{}: {}", self.name, std::io::Error::last_os_error());
        Ok(())
    }

    /// Waits until `needle` is in what it wrote to its standard output or error. Fails early when it exits before.
    pub fn wait_for_log(&self, needle: &str, deadline: Duration) -> Result<()> {
        let what = format!("{} to log {needle:?}", self.name);
        let outcome = wait::until(&what, deadline, || {
            // In this order: what it wrote last is then not missed.
            let exit = self.exit_status();
            if self.stdout().contains(needle) || self.stderr().contains(needle) {
                return Some(Ok(()));
            }
            exit.map(Err)
        });
        match outcome.with_context(|| self.log_tail())? {
            Ok(()) => Ok(()),
            Err(exit) => {
                bail!("{} ended ({exit}) before it logged {needle:?}\n{}", self.name, self.log_tail())
            }
        }
    }

    /// All it has written to its standard output.
    pub fn stdout(&self) -> String {
        read(&self.stdout)
    }

    /// All it has written to its standard error.
    pub fn stderr(&self) -> String {
        read(&self.stderr)
    }

    /// The last lines of both, for error messages.
    pub fn log_tail(&self) -> String {
        let (stdout, stderr) = (self.stdout(), self.stderr());
        format!("--- {0}, stdout:\n{1}\n--- {0}, stderr:\n{2}", self.name, tail(&stdout), tail(&stderr))
    }

    /// The time that all its threads together have spent on a processor. Without its children.
    pub fn cpu_time(&self) -> Result<Duration> {
        let mut state = self.state();
        self.running(&mut state)?;
        let stat =
            Stat::read(self.pid).with_context(|| format!("cannot read the statistics of {}", self.name))?;
        Ok(stat.cpu_time)
    }

    /// The memory it holds at the moment (resident set). Without its children.
    pub fn rss_bytes(&self) -> Result<u64> {
        self.memory_bytes("VmRSS:")
    }

    /// The most memory it has ever held at once. Without its children.
    pub fn peak_rss_bytes(&self) -> Result<u64> {
        self.memory_bytes("VmHWM:")
    }

    fn memory_bytes(&self, field: &str) -> Result<u64> {
        let mut state = self.state();
        self.running(&mut state)?;
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let kib =
            text.lines().find_map(|line| line.strip_prefix(field)?.trim().strip_suffix(" kB")?.parse().ok());
        kib.map(|kib: u64| kib * 1024).with_context(|| format!("no {field} for {}", self.name))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self, state: &mut State) -> Result<()> {
        match self.reap(state) {
            None => Ok(()),
            Some(exit) => bail!("{} has ended ({exit})\n{}", self.name, self.log_tail()),
        }
    }

    /// Freezes the group and all descendants, and names these. Repeats the search, as they fork until they are stopped.
    fn stop_all(&self) -> Result<Vec<u32>> {
        tree::signal_group(self.pid, libc::SIGSTOP)?;
        let mut stopped: Vec<u32> = Vec::new();
        loop {
            let mut found = tree::descendants(self.pid);
            found.retain(|pid| !stopped.contains(pid));
            if found.is_empty() {
                return Ok(stopped);
            }
            for &pid in &found {
                tree::signal(pid, libc::SIGSTOP)?;
            }
            stopped.append(&mut found);
        }
    }

    /// The exit status, if there is one. Before the process id is given back to the kernel, what is left of the group is
    /// killed and the watchdog is told.
    fn reap(&self, state: &mut State) -> Option<ExitStatus> {
        if state.exit.is_none() && is_zombie(self.pid) {
            let _ = tree::signal_group(self.pid, libc::SIGKILL);
            self.guard.strike_off(self.serial);
            state.exit = state.child.wait().ok();
        }
        state.exit
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("testkit: {error:#}");
        }
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("name", &self.name).field("pid", &self.pid).finish_non_exhaustive()
    }
}

/// Runs a command to its end and returns its standard output. Fails with its logs when it fails or takes too long.
pub fn run(name: &str, command: Command, logs: &Path, deadline: Duration) -> Result<String> {
    let process = Process::spawn(name, command, logs)?;
    let exit = process.wait_exit(deadline)?;
    ensure!(exit.success(), "{name} failed ({exit})\n{}", process.log_tail());
    let output = process.stdout();
    let _ = std::fs::remove_file(&process.stdout);
    let _ = std::fs::remove_file(&process.stderr);
    Ok(output)
}

/// The first folder of `PATH` that has this program.
pub(crate) fn find_in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).find(|folder| folder.join(program).is_file())
}

/// Where Cargo builds, and where `scripts/setup` puts what tests need.
pub fn target_folder() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(""));
    workspace.join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// Whether our child `pid` has ended and was not reaped. It is left a zombie.
fn is_zombie(pid: u32) -> bool {
    // SAFETY: all zeroes is a valid siginfo_t, which waitid fills in; si_pid is valid after waitid and 0 if it found none.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let found = libc::waitid(libc::P_PID, pid, &mut info, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT);
        found == 0 && info.si_pid() != 0
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
}
