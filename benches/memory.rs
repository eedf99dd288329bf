//! Whether memory stays under what the configuration says, where it would grow without limits: thirty consumers with
//! a backlog of three million events and a database that stalls, an ingress whose broker is frozen, a check of ten
//! million events, and attacks on the clients' listener.
//!
//! `cargo bench --bench memory`, or of the attacks alone `cargo bench --bench memory -- attacks`. Ends with 1 when a cap does not
//! hold.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "memory/attacks.rs"]
mod attacks;
#[path = "../tests/support/mod.rs"]
mod support;
#[path = "support/mod.rs"]
mod tools;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use floodgate_schemas::{LikeAction, examples};
use floodgate_testkit::{KafkaOptions, PostgresOptions, wait};
use support::node::Node;
use support::usage::memory_bytes;
use support::world::{Servers, World};
use tools::filler::Filler;
use tools::start::start;
use tools::wrk::Wrk;

const MIB: u64 = 1024 * 1024;
const BACKLOG_PER_TOPIC: u64 = 1_000_000;
/// Of each of the three groups, in one process: one per partition.
const MEMBERS: u64 = 10;
const DEADLINE: Duration = Duration::from_secs(600);
/// What a process takes before it holds anything, with allocators' slack: measured with empty topics, and doubled.
const BASE_MIB: u64 = 150;

fn main() -> ExitCode {
    start("memory", "cargo bench --bench memory", || {
        attacks::attacks()?;
        if std::env::args().any(|arg| arg == "attacks") {
            return Ok(());
        }
        let kafka = KafkaOptions { heap_mb: 1024, quick_jit: false, ..KafkaOptions::default() };
        let servers = Servers::start(kafka, PostgresOptions::default())?;
        consumers(&servers)?;
        ingress(&servers)?;
        ledger(&servers)
    })
}

fn megabytes(node: &Node) -> u64 {
    memory_bytes(node.process().pid()) / MIB
}

/// Samples until it has not grown for a while, and returns the most that was seen.
fn plateau(node: &Node) -> u64 {
    let (mut most, mut since) = (0, 0);
    while since < 20 {
        std::thread::sleep(Duration::from_millis(500));
        let now = megabytes(node);
        since = if now > most { 0 } else { since + 1 };
        most = most.max(now);
    }
    most
}

fn report(what: &str, most_mib: u64, cap_mib: u64) -> Result<()> {
    println!("{what:<58} {most_mib:>5} MiB of {cap_mib} MiB allowed");
    ensure!(most_mib <= cap_mib, "{what}: {most_mib} MiB, more than {cap_mib} MiB");
    Ok(())
}

fn consumers(servers: &Servers) -> Result<()> {
    let world = World::ready(&servers.kafka, &servers.postgres)?;
    world.set("consumers.instances", MEMBERS.to_string());
    // what the configuration allows: a prefetch and two batches for each member, and about 200 bytes that librdkafka and
    // we keep beside each of their 30,000 records
    let (prefetch_mib, batch_mib, beside_mib) = (8, 8, 6);
    let cap = BASE_MIB + 3 * MEMBERS * (prefetch_mib + 2 * batch_mib + beside_mib);
    backlog(servers, &world)?;
    println!("{} events wait", 3 * BACKLOG_PER_TOPIC);

    let consume = world.launch(&["consume"])?;
    let applied = || consume.metrics().ok().map(|metrics| metrics.sum("processed_tasks_total", &[]));
    wait::until("the first rows", DEADLINE, || applied().filter(|applied| *applied > 0.0))?;
    servers.postgres.freeze()?;
    report("30 consumers, the database stalled", plateau(&consume), cap)?;
    servers.postgres.thaw()?;
    let mut most = 0;
    wait::until("all to be applied", DEADLINE, || {
        most = most.max(megabytes(&consume));
        applied().filter(|applied| *applied >= (3 * BACKLOG_PER_TOPIC) as f64)
    })?;
    report("30 consumers, catching up", most, cap)?;
    consume.stop()?;
    verify(&world, "a check of 3,000,000 events, all applied")
}

/// Nobody applies these: every one of them is kept until its partition is counted.
fn ledger(servers: &Servers) -> Result<()> {
    let world = World::ready(&servers.kafka, &servers.postgres)?;
    let (mut filler, topic) = (Filler::new(&servers.kafka.bootstrap())?, world.named("floodgate.like.v1"));
    for number in 0..10 * BACKLOG_PER_TOPIC {
        let account = format!("account-{number}");
        filler.put(&topic, &examples::like(number, "target", &account, LikeAction::Like, 1))?;
    }
    filler.flush()?;
    verify(&world, "a check of 10,000,000 events, none applied")
}

/// `floodgate verify`, to its end.
fn verify(world: &World, what: &str) -> Result<()> {
    // a few chunks of records, one run of entries, and the log's prefetch
    let cap = BASE_MIB + 120;
    let began = std::time::Instant::now();
    let check = world.launch(&["verify", "--json"])?;
    let mut most = 0;
    let exit = wait::until("the check to end", DEADLINE, || {
        most = most.max(megabytes(&check));
        check.process().exit_status()
    })?;
    ensure!(exit.success(), "{}", check.process().log_tail());
    println!("{what}: {:.1?}", began.elapsed());
    report(what, most, cap)
}

/// As many events of every type as a topic shall hold, past the ingress.
fn backlog(servers: &Servers, world: &World) -> Result<()> {
    let mut filler = Filler::new(&servers.kafka.bootstrap())?;
    let topic = |event: &str| world.named(&format!("floodgate.{event}.v1"));
    let topics = ["expectation", "coupon", "like"].map(topic);
    for number in 0..BACKLOG_PER_TOPIC {
        let (text, character) = (format!("account-{number}"), number as i64 + 1);
        filler.put(&topics[0], &examples::expectation(number, character, 1, 1))?;
        let coupon = format!("coupon-{}", number % 100);
        filler.put(&topics[1], &examples::coupon_issue(number, &coupon, &text))?;
        filler.put(&topics[2], &examples::like(number, "target", &text, LikeAction::Like, 1))?;
    }
    filler.flush()
}

/// Requests pile up at an ingress whose broker does not answer, until its queue is full.
fn ingress(servers: &Servers) -> Result<()> {
    let world = World::ready(&servers.kafka, &servers.postgres)?;
    // the queue, its copy inside the client library with what it adds to a record, and bodies being read
    let (queue_mib, per_record_mib, bodies_mib) = (64, 100, 256);
    let cap = BASE_MIB + 2 * queue_mib + per_record_mib + bodies_mib;
    // nothing is given up while it is measured
    world.set("buffer.kafka.message_timeout_ms", "120000");
    world.set("http.request_deadline_ms", "130000");
    let serve = world.start(&["serve"])?;
    servers.kafka.freeze(0)?;
    let load = Wrk { script: "batches.lua", args: &[], threads: 1, connections: 200, seconds: 20 };
    load.run(serve.http)?;
    let waiting = serve.metrics()?.sum("buffer_size", &[]);
    ensure!(waiting >= 100_000.0, "only {waiting} events wait");
    report("an ingress with a full queue, the broker frozen", plateau(&serve), cap)?;
    servers.kafka.thaw(0)?;
    wait::until("the queue to empty", DEADLINE, || {
        (serve.metrics().ok()?.sum("buffer_size", &[]) == 0.0).then_some(())
    })?;
    serve.stop()
}
