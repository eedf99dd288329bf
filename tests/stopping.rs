//! Who may not keep the process from serving and from stopping: a reader of its log or of its results that stands still or is
//! gone, a terminal that is closed, a database that takes its time to be migrated.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Stdio;
use std::sync::mpsc::channel;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use floodgate_testkit::wait;
use serde_json::Value;
use sqlx::Connection;
use support::answers::{accepted, valid_expectation};
use support::node::{Node, STOPPED};
use support::world::{READY, World, run};

/// A pipe that takes not a byte more.
fn full_pipe() -> Result<(PipeReader, PipeWriter)> {
    let (reader, writer) = pipe()?;
    let (mut filler, (told, tell)) = (writer.try_clone()?, channel());
    // more than any pipe holds unless it is asked: the thread stands still until the reader reads, or is gone
    thread::spawn(move || {
        for _ in 0..1024 {
            if filler.write_all(&[b'.'; 4096]).is_err() || told.send(()).is_err() {
                return;
            }
        }
    });
    while tell.recv_timeout(Duration::from_millis(500)).is_ok() {}
    Ok((reader, writer))
}

/// A node that says more than its queue of log lines holds, whether anyone reads it or not.
fn talkative(stderr: PipeWriter) -> Result<(World, Node)> {
    let world = World::empty()?;
    world.set("log.level", "debug");
    world.set("log.queue_max_bytes", "4096");
    world.set("http.connections_max", "2");
    world.set("http.waiters_max", "1");
    let node = world.launch_with_stderr(&[], Some(Stdio::from(stderr)))?;
    node.wait_ready()?;
    Ok((world, node))
}

/// A connection of which it says a line, as it is one more than there are places; one of those goes then.
fn connect(node: &Node, instead_of: Option<TcpStream>) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(node.http)?;
    stream.set_read_timeout(Some(READY))?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")?;
    let mut status = [0; 12];
    stream.read_exact(&mut status).context("/healthz is not answered")?;
    drop(instead_of);
    ensure!(&status == b"HTTP/1.1 200", "{}", String::from_utf8_lossy(&status));
    Ok(stream)
}

fn make_it_talk(node: &Node) -> Result<()> {
    let (mut older, mut newer) = (connect(node, None)?, connect(node, None)?);
    for _ in 0..100 {
        (older, newer) = (newer, connect(node, Some(older))?);
    }
    Ok(())
}

fn left_out(node: &Node) -> Result<f64> {
    Ok(node.metrics()?.sum("floodgate_log_lines_left_out_total", &[]))
}

#[test]
fn a_reader_of_the_log_that_stands_still_stops_nothing() {
    run(|| {
        let (reader, writer) = full_pipe()?;
        let (_world, node) = talkative(writer)?;
        make_it_talk(&node)?;
        ensure!(left_out(&node)? > 0.0, "nothing was left out: the test made it say too little");
        ensure!(node.ask_admin("/healthz")?.status == 200);
        accepted(&node.ask(&valid_expectation())?)?;
        node.stop()?;
        drop(reader);
        Ok(())
    });
}

#[test]
fn what_was_left_out_is_told_once_lines_flow_again() {
    run(|| {
        let (mut reader, writer) = full_pipe()?;
        let (_world, node) = talkative(writer)?;
        make_it_talk(&node)?;
        let lost = left_out(&node)?;
        let (told, tell) = channel();
        thread::spawn(move || {
            let (mut all, mut piece) = (Vec::new(), [0; 8192]);
            while let Ok(count @ 1..) = reader.read(&mut piece) {
                all.extend_from_slice(&piece[..count]);
            }
            let _ = told.send(String::from_utf8_lossy(&all).into_owned());
        });
        wait::until("lines to flow again", READY, || {
            make_it_talk(&node).ok()?;
            let before = left_out(&node).ok()?;
            make_it_talk(&node).ok()?;
            (left_out(&node).ok()? == before).then_some(())
        })?;
        node.stop()?;
        let log = tell.recv_timeout(READY).context("the log did not end")?;
        // what filled the pipe stands before the first line
        let lines = log.trim_start_matches('.').lines();
        let lines = lines.filter(|line| line.contains("lines of the log were left out"));
        let told: Vec<Value> =
            lines.map(serde_json::from_str).collect::<Result<_, _>>().with_context(|| log.clone())?;
        let told: f64 = told.iter().filter_map(|line| line["left_out"].as_f64()).sum();
        ensure!(told >= lost, "{told} told, {lost} left out");
        ensure!(log.contains("nothing accepted was left behind"), "what was said at the end is missing");
        Ok(())
    });
}

#[test]
fn a_reader_of_the_log_that_is_gone_stops_nothing() {
    run(|| {
        let (reader, writer) = pipe()?;
        drop(reader);
        let (_world, node) = talkative(writer)?;
        make_it_talk(&node)?;
        accepted(&node.ask(&valid_expectation())?)?;
        ensure!(left_out(&node)? > 0.0, "lines went nowhere and are not counted");
        node.stop()
    });
}

/// Why a process ends is said with as little patience.
#[test]
fn a_server_that_cannot_start_ends_though_nobody_reads_why() {
    run(|| {
        let (_reader, writer) = full_pipe()?;
        for (key, value, code) in
            [("log.level", "a=b=c", 2), ("store.url", "sqlite:///no/such/folder/f.db", 1)]
        {
            let world = World::empty()?;
            world.set(key, value);
            let node = world.launch_with_stderr(&[], Some(Stdio::from(writer.try_clone()?)))?;
            let exit = node.process().wait_exit(STOPPED)?;
            ensure!(exit.code() == Some(code), "{key}: {exit}");
        }
        Ok(())
    });
}

const SIGHUP: i32 = libc::SIGHUP;

/// What is done with SIGHUP is inherited, so that only one test may change it at a time.
static INHERITED: Mutex<()> = Mutex::new(());

fn start_with_hang_up(world: &World, action: libc::sighandler_t) -> Result<Node> {
    let _only = INHERITED.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: the action is one of the two that need no handler.
    let before = unsafe { libc::signal(SIGHUP, action) };
    let node = world.launch(&[]);
    // SAFETY: as before; nobody else in this process has set a handler.
    unsafe { libc::signal(SIGHUP, before) };
    let node = node?;
    node.wait_ready()?;
    Ok(node)
}

/// A terminal that closes sends SIGHUP, its shell another; supervisors send SIGQUIT. Nothing accepted is lost.
#[test]
fn hang_up_and_quit_drain_like_terminate() {
    for (signal, name) in [(SIGHUP, "HangUp"), (libc::SIGQUIT, "Quit")] {
        let world = World::empty().unwrap();
        world.set("shutdown.grace_ms", "1500");
        run(|| {
            let mut node = start_with_hang_up(&world, libc::SIG_DFL)?;
            let id = accepted(&node.ask(&valid_expectation())?)?;
            node.process().signal(signal)?;
            node.wait_unready("shutting down")?;
            accepted(&node.ask(&valid_expectation())?).context("no grace")?;
            // no second signal: what closes a terminal sends several
            node.process().signal(SIGHUP)?;
            node.stopped().context(name)?;
            let log = node.process().stderr();
            ensure!(log.contains(&format!("\"signal\":\"{name}\"")), "{log}");
            node.start_again(&world)?;
            let read = node.get("/api/v6/characters/4711/expectations")?;
            ensure!(read.status == 200 && id.get_version_num() == 7, "{}", read.text());
            Ok(())
        });
    }
}

#[test]
fn a_second_signal_on_purpose_ends_it_at_once() {
    let world = World::empty().unwrap();
    world.set("shutdown.grace_ms", "20000");
    run(|| {
        let node = start_with_hang_up(&world, libc::SIG_DFL)?;
        node.process().signal(SIGHUP)?;
        node.wait_unready("shutting down")?;
        node.process().signal(libc::SIGQUIT)?;
        let exit = node.process().wait_exit(READY)?;
        ensure!(exit.code() == Some(1), "{exit}");
        ensure!(node.process().stderr().contains("a second signal"), "its last words were lost");
        Ok(())
    });
}

/// Whoever starts it with `nohup` means it.
#[test]
fn an_ignored_hang_up_stays_ignored() {
    let world = World::empty().unwrap();
    run(|| {
        let node = start_with_hang_up(&world, libc::SIG_IGN)?;
        node.process().signal(SIGHUP)?;
        node.stop()?;
        let log = node.process().stderr();
        ensure!(log.contains("\"signal\":\"Terminate\"") && !log.contains("HangUp"), "{log}");
        Ok(())
    });
}

/// Waits until it has a handler for SIGTERM: what is sent from then on is heeded, or the test fails.
fn wait_listening(pid: u32) -> Result<()> {
    wait::until("signals to be listened to", READY, || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
        let caught = u64::from_str_radix(caught.trim(), 16).ok()?;
        (caught & (1 << (libc::SIGTERM - 1)) != 0).then_some(())
    })?;
    Ok(())
}

/// As when a migration takes an hour: here it waits for another program that writes to the file.
#[test]
fn a_migration_that_takes_long_does_not_keep_it_from_stopping() {
    let world = World::empty().unwrap();
    for key in ["lock_timeout_ms", "statement_timeout_ms", "apply_timeout_ms"] {
        world.set(&format!("store.{key}"), "3600000");
    }
    run(|| {
        world.succeed(&["migrate"])?;
        let file = format!("sqlite://{}", world.folder().join("floodgate.db").display());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut writer = runtime.block_on(sqlx::SqliteConnection::connect(&file))?;
        runtime.block_on(sqlx::query("BEGIN IMMEDIATE").execute(&mut writer))?;
        for (command, code, told) in [("run", 0, "before anything was served"), ("migrate", 1, "interrupted")]
        {
            let node = world.launch(&[command])?;
            wait_listening(node.process().pid())?;
            node.process().terminate()?;
            let exit = node.process().wait_exit(STOPPED)?;
            let log = node.process().stderr();
            ensure!(exit.code() == Some(code) && log.contains(told), "{command}: {exit}\n{log}");
        }
        runtime.block_on(sqlx::query("ROLLBACK").execute(&mut writer))?;
        world.start(&[])?.stop()
    });
}

/// With a grace that is longer than anybody waits here.
#[test]
fn an_interrupt_skips_the_grace_and_says_so() {
    let world = World::empty().unwrap();
    world.set("shutdown.grace_ms", "3600000");
    world.set("shutdown.deadline_ms", "7200000");
    run(|| {
        let node = world.start(&[])?;
        accepted(&node.ask(&valid_expectation())?)?;
        node.process().signal(libc::SIGINT)?;
        node.stopped()?;
        let log = node.process().stderr();
        ensure!(log.contains("without the grace of shutdown.grace_ms"), "{log}");
        Ok(())
    });
}

/// The first process of a container gets only the signals that it listens to.
#[test]
fn a_command_that_is_the_first_process_of_a_container_heeds_signals() {
    run(|| {
        let world = World::empty()?;
        let wrapper = world.folder().join("container");
        let apart = if std::fs::metadata("/proc/self")?.uid() == 0 { "" } else { "--user --map-root-user" };
        let binary = env!("CARGO_BIN_EXE_floodgate");
        std::fs::write(&wrapper, format!("#!/bin/sh\nexec unshare {apart} --pid --fork {binary} \"$@\"\n"))?;
        std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755))?;
        world.set_build(wrapper);
        // nobody is there, which it tells again and again
        world.set("buffer.strategy", "redis");
        world.set("buffer.redis.url", "redis://127.0.0.1:1");
        let node = world.launch(&["lag", "--watch"])?;
        let outside = node.process().pid();
        let child = wait::until("a first process", READY, || {
            let children =
                std::fs::read_to_string(format!("/proc/{outside}/task/{outside}/children")).ok()?;
            children.trim().parse::<u32>().ok()
        })?;
        wait_listening(child)?;
        // SAFETY: a signal to a process that this test started.
        unsafe { libc::kill(child.cast_signed(), libc::SIGTERM) };
        let exit = node.process().wait_exit(STOPPED)?;
        ensure!(exit.code() == Some(128 + libc::SIGTERM), "{exit}");
        Ok(())
    });
}
