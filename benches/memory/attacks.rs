//! Clients that take memory: what the process has more of than before, and how others are served meanwhile.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::support::answers::valid_like;
use crate::support::flood::{self, Flood, Sent};
use crate::support::usage::peak_bytes;
use crate::support::world::World;

/// What a connection takes in any case, in the library's buffers, ours and its task's.
const CONNECTION_KIB: u64 = 32;
/// `http.bodies_max_bytes`, and what the allocator keeps of what was given back to it.
const MEMORY_MIB: u64 = 256 + 64;
const ASKED: u32 = 200;

/// Says so where memory is more than configured.
pub fn attacks() -> Result<()> {
    attack("6,000 half heads", flood::half_heads(6000))?;
    attack("200 slow readers of answers that say one thing", flood::wrong_batches(200))?;
    attack("100 slow readers of answers of many words", flood::wordy_batches(100))?;
    attack("3,000 idle connections that sent a large body once", flood::served_once(3000))
}

fn attack(what: &str, sent: Sent) -> Result<()> {
    let world = World::empty()?;
    let node = world.start(&[])?;
    ensure!(node.ask(&valid_like("first"))?.status == 202);
    let before = peak_bytes(node.process().pid())?;
    let cap_mib = MEMORY_MIB + sent.connections as u64 * CONNECTION_KIB / 1024;
    let mut flood = Flood::start(sent, node.http)?;
    let left = flood.until_quiet();
    let mut took = Vec::new();
    for number in 0..ASKED {
        let began = Instant::now();
        let answer = node.ask(&valid_like(&number.to_string()))?;
        ensure!(answer.status == 202, "{what}: {}", answer.text());
        took.push(began.elapsed());
    }
    took.sort_unstable();
    let p99: Duration = took[took.len() * 99 / 100];
    let grown = peak_bytes(node.process().pid())?.saturating_sub(before) >> 20;
    println!("{what}: {left} connections are left, others are answered within {p99:.1?} (p99 of {ASKED})");
    println!("{what:<58} {grown:>5} MiB of {cap_mib} MiB allowed");
    ensure!(grown <= cap_mib, "{what}: {grown} MiB, more than {cap_mib} MiB");
    drop(flood);
    node.stop()
}
