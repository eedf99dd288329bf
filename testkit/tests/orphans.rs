//! Nothing is left when the process that started the servers ends without a chance to clean up.

use std::path::Path;
use std::process::{Command, exit};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use floodgate_testkit::{Postgres, PostgresOptions, Process, ScratchDir, wait};

/// Set in the process that is to end: how it does.
const ROLE: &str = "TESTKIT_ORPHANS_ROLE";

#[test]
fn a_killed_process_leaves_nothing_behind() -> Result<()> {
    nothing_is_left_of("victim")
}

#[test]
fn a_process_that_exits_without_dropping_leaves_nothing_behind() -> Result<()> {
    nothing_is_left_of("leaver")
}

/// No test of its own: what the two above run this program again for.
#[test]
fn role() -> Result<()> {
    match std::env::var(ROLE).as_deref() {
        Ok("victim") => victim(),
        Ok("leaver") => leaver(),
        _ => Ok(()),
    }
}

/// Starts what must not be left, names it, and waits to be killed.
fn victim() -> Result<()> {
    let scratch = ScratchDir::new("victim")?;
    let mut missing = Command::new("/nonexistent/program");
    missing.arg("x");
    ensure!(
        Process::spawn("missing", missing, scratch.path()).is_err(),
        "started a program that does not exist"
    );

    let mut sleep = Command::new("sleep");
    sleep.arg("1000");
    let sleeper = Process::spawn("sleeper", sleep, scratch.path())?;

    // With a descendant that has left the group; the name with a blank and a bracket is for whoever parses /proc.
    let mut parent = Command::new("sh");
    parent.args(["-c", "ln -s $(command -v sleep) 's) p'; setsid ./'s) p' 1000 & echo $!; wait"]);
    parent.current_dir(scratch.path());
    let parent = Process::spawn("parent", parent, scratch.path())?;
    parent.wait_for_log("\n", Duration::from_secs(10))?;

    let ended = Process::spawn("ended", Command::new("true"), scratch.path())?;
    ended.wait_exit(Duration::from_secs(10))?;

    let postgres = Postgres::start(PostgresOptions::default())?;
    postgres.freeze()?; // frozen, it would not notice by itself that anything has ended

    let folder = scratch.path().parent().context("no parent")?;
    let pids = [sleeper.pid(), parent.pid(), parent.stdout().trim().parse()?, postgres.pid()?];
    println!("LEFT {} {pids:?}", folder.display());
    std::thread::sleep(Duration::from_secs(1000));
    Ok(())
}

/// Leaves a process and a folder behind and exits.
fn leaver() -> Result<()> {
    let scratch = ScratchDir::new("leaver")?;
    let mut sleep = Command::new("sleep");
    sleep.arg("1000");
    let sleeper = Process::spawn("sleeper", sleep, scratch.path())?;
    let folder = scratch.path().parent().context("no parent")?;
    println!("LEFT {} {:?}", folder.display(), [sleeper.pid()]);
    exit(0)
}

fn nothing_is_left_of(role: &str) -> Result<()> {
    let scratch = ScratchDir::new(role)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--exact", "role", "--nocapture"]).env(ROLE, role);
    let process = Process::spawn(role, command, scratch.path())?;
    process.wait_for_log("]\n", Duration::from_secs(30))?;
    let text = process.stdout();
    let left =
        text.split_once("LEFT ").and_then(|(_, rest)| rest.split_once("]\n")).context("nothing was left")?.0;
    let (folder, pids) = left.split_once(" [").context("no process was left")?;
    let pids: Vec<i32> = pids.split(", ").map(str::parse).collect::<Result<_, _>>()?;
    if role == "victim" {
        ensure!(Path::new(folder).is_dir() && pids.iter().all(|&pid| lives(pid)), "not running: {text}");
        process.signal(libc::SIGKILL)?; // itself only, unlike Process::kill
    }
    process.wait_exit(Duration::from_secs(10))?;
    wait::until("its processes to die", Duration::from_secs(10), || {
        (!pids.iter().any(|&pid| lives(pid))).then_some(())
    })?;
    wait::until("its folder to go", Duration::from_secs(10), || (!Path::new(folder).exists()).then_some(()))?;
    Ok(())
}

fn lives(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}
