//! Compressed bodies, as Python's gzip and zstandard make them, and bodies that become, or cost, far more than they are.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use floodgate_testkit::process;
use serde_json::Value;
use support::answers::{eventually, valid_expectation};
use support::node::Node;
use support::world::{DRAINED, World, run};

/// Runs the client to its end, and gives the lines that it printed.
fn client(node: &Node, args: &[&str]) -> Result<Vec<Value>> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compressed/client.py");
    let mut command = Command::new(process::target_folder().join("testkit/python/bin/python"));
    command.arg(program).arg(args[0]).arg(format!("http://{}", node.http)).args(&args[1..]);
    let ended = command.output().context("run ./scripts/setup")?;
    let told = String::from_utf8(ended.stdout)?;
    ensure!(ended.status.success(), "{}\n{told}\n{}", ended.status, String::from_utf8_lossy(&ended.stderr));
    Ok(told.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}

/// Forty clients at once send bodies of a kind, of which none is read for long: the answers have this status.
fn refused_early(node: &Node, kind: &str, status: &str) -> Result<()> {
    let told = client(node, &[kind, "40"])?;
    ensure!(told.len() == 40, "{told:?}");
    let mut refused = 0;
    for answer in &told {
        let line = answer["answer"].as_str().context("no answer")?;
        let is_refused = line.starts_with(&format!("HTTP/1.1 {status} "));
        refused += usize::from(is_refused);
        // there is memory for some of them at a time
        ensure!(is_refused || line.starts_with("HTTP/1.1 503 "), "{answer}");
        // with what waits in both sockets
        ensure!(answer["sent"].as_u64().is_some_and(|sent| sent < 4 << 20), "{answer}");
    }
    ensure!(refused > 0, "{told:?}");
    Ok(())
}

#[test]
fn what_python_compresses_is_applied() {
    let world = World::empty().unwrap();
    run(|| {
        let node = world.start(&[])?;
        let told = client(&node, &["send"])?;
        ensure!(told.len() == 12, "{told:?}");
        for answer in &told {
            ensure!(answer["status"] == 200 && answer["accepted"] == 10_000, "{answer}");
        }
        world.wait_applied(&node, DRAINED)?;
        for star in [0, 9999] {
            let path = format!("/api/v6/characters/star-{star}/likes");
            eventually(&node, &path, |body| body["count"] == 6)?;
        }
        node.stop()
    });
}

/// Ten gigabytes in ten megabytes, from forty clients at once: each is refused before much of it has come, whoever sends little is
/// served meanwhile, and memory stays within its limits.
#[test]
fn bombs_are_refused_early_and_take_little_memory() {
    const BODIES_BYTES: u64 = 64 << 20;
    let world = World::empty().unwrap();
    world.set("http.bodies_max_bytes", BODIES_BYTES.to_string());
    run(|| {
        let node = world.start(&[])?;
        ensure!(node.ask(&valid_expectation())?.status == 202);
        let before = node.process().peak_rss_bytes()?;
        refused_early(&node, "bomb", "413")?;
        let grown = node.process().peak_rss_bytes()? - before;
        // the allocator keeps what it was given back; far below what one of them would become
        ensure!(grown < 3 * BODIES_BYTES, "it has grown by {} MiB", grown >> 20);
        ensure!(node.ask(&valid_expectation())?.status == 202);
        node.stop()
    });
}

/// Millions of blocks, for each of which a decoder may build tables: they are worked off in the time that others have.
#[test]
fn blocks_with_nothing_in_them_take_no_longer_than_others() {
    let world = World::empty().unwrap();
    run(|| {
        let node = world.start(&[])?;
        for answer in client(&node, &["blocks", "4"])? {
            let line = answer["answer"].as_str().context("no answer")?;
            ensure!(line.starts_with("HTTP/1.1 400 "), "{answer}");
        }
        node.stop()
    });
}

/// Hundreds of thousands of members and frames in eight megabytes, each of which is work.
#[test]
fn bodies_of_very_many_parts_are_refused_early() {
    let world = World::empty().unwrap();
    run(|| {
        let node = world.start(&[])?;
        refused_early(&node, "parts", "400")?;
        ensure!(node.ask(&valid_expectation())?.status == 202);
        node.stop()
    });
}
