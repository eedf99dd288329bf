//! The main job on one machine, with everything it needs on that machine: hundreds of thousands of mixed writes through
//! two ingresses, Kafka and two consumers into Postgres, one consumer killed on the way; then the ingress alone under wrk.
//!
//! `cargo bench --bench main_job`. Any difference between what was accepted and what the database holds ends it with 1.
//! `FLOODGATE_BENCH_WRITES` makes it smaller.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../tests/support/mod.rs"]
mod support;
#[path = "support/mod.rs"]
mod tools;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use floodgate_testkit::{KafkaOptions, PostgresOptions};
use support::load::LoadOptions;
use support::node::Node;
use support::plan::{Plan, PlanSize, seed};
use support::usage::{Sampler, cpu_seconds};
use support::world::{Servers, World};
use tools::machine::machine;
use tools::start::start;
use tools::wrk::Wrk;

const WRITES: usize = 300_000;
const USERS: u32 = 20_000;
const STOCK: i32 = 5_000;
const WORKERS: usize = 256;
const DEADLINE: Duration = Duration::from_secs(600);
const WRK_SECONDS: u32 = 10;
const WRK_CONNECTIONS: [u32; 3] = [50, 200, 1000];

fn main() -> ExitCode {
    start("main_job", "cargo bench --bench main_job", bench)
}

fn bench() -> Result<()> {
    let writes = match std::env::var("FLOODGATE_BENCH_WRITES") {
        Ok(text) => text.parse().context("FLOODGATE_BENCH_WRITES is no number")?,
        Err(_) => WRITES,
    };
    let kafka = KafkaOptions { heap_mb: 1024, quick_jit: false, ..KafkaOptions::default() };
    let servers = Servers::start(kafka, PostgresOptions::default())?;
    let world = World::ready(&servers.kafka, &servers.postgres)?;
    let [left, right] = [world.start(&["serve"])?, world.start(&["serve"])?];
    let [stays, dies] = [world.start(&["consume"])?, world.start(&["consume"])?];
    let mut nodes = Nodes { left, right, stays, dies };

    let mut table = Table::default();
    table.line("machine", machine());
    main_job(writes, &servers, &world, &mut nodes, &mut table)?;
    wrk(&world, &nodes, &mut table)?;
    println!("\n{}", table.0);
    Ok(())
}

struct Nodes {
    left: Node,
    right: Node,
    stays: Node,
    dies: Node,
}

#[derive(Default)]
struct Table(String);

impl Table {
    fn line(&mut self, name: &str, value: impl std::fmt::Display) {
        self.0 += &format!("{name:<34} {value}\n");
    }
}

/// One process tree's processor time over a stretch, and its peak of memory.
struct Watched {
    name: &'static str,
    pid: u32,
    cpu_before: f64,
    peak: Arc<AtomicU64>,
}

impl Watched {
    fn new(name: &'static str, pid: u32, sampler: &Sampler) -> Self {
        Self { name, pid, cpu_before: cpu_seconds(pid), peak: sampler.watch(pid) }
    }

    fn cpu_seconds(&self) -> f64 {
        cpu_seconds(self.pid) - self.cpu_before
    }
}

fn main_job(
    writes: usize,
    servers: &Servers,
    world: &World,
    nodes: &mut Nodes,
    table: &mut Table,
) -> Result<()> {
    let part = writes as f64 / WRITES as f64;
    let users = (f64::from(USERS) * part) as u32;
    let others = writes - users as usize * 11 / 10;
    let stock = (f64::from(STOCK) * part) as i32;
    let size = PlanSize { expectations: others / 2, likes: others - others / 2, users, stock };
    let plan = Arc::new(Plan::mixed(seed(), size));
    world.create_coupons(&nodes.left, &plan)?;

    let sampler = Sampler::start();
    let mut watched = vec![
        Watched::new("serve 1", nodes.left.process().pid(), &sampler),
        Watched::new("serve 2", nodes.right.process().pid(), &sampler),
        Watched::new("consume 1", nodes.stays.process().pid(), &sampler),
        Watched::new("Kafka", servers.kafka.pid(0)?, &sampler),
        Watched::new("Postgres, all its processes", servers.postgres.pid()?, &sampler),
    ];
    let killed = Watched::new("consume 2, until killed", nodes.dies.process().pid(), &sampler);

    let start = Instant::now();
    let options = LoadOptions { workers: WORKERS, deadline: DEADLINE, ..LoadOptions::default() };
    let load = world.load(&plan, &[&nodes.left, &nodes.right], options);
    load.wait_for(0.3)?;
    let (mut applied, killed_cpu) = (nodes.dies.metrics()?, killed.cpu_seconds());
    nodes.dies.kill()?;
    load.wait_for(0.5)?;
    nodes.dies.start_again(world)?;
    watched.push(Watched::new("consume 2, started again", nodes.dies.process().pid(), &sampler));
    let recording = load.finish()?;
    world.wait_drained(DEADLINE)?;
    let seconds = start.elapsed().as_secs_f64();
    let cpu: Vec<f64> = watched.iter().map(Watched::cpu_seconds).collect();
    world.check(&servers.postgres, &recording)?;
    applied.add(&nodes.stays.metrics()?);
    applied.add(&nodes.dies.metrics()?);

    let count = plan.writes.len();
    let stock = plan.stocks[0];
    table.line("writes, all accepted and checked", count);
    table.line("answers, late retries included", recording.answers.trim_start_matches("answers: "));
    table.line("coupons", format!("{stock} issued of {stock} to {users} users, ranks 1 to {stock}"));
    table.line("seconds to accept, to lag 0", format!("{:.1}, {seconds:.1}", recording.seconds));
    let rates = (count as f64 / recording.seconds, count as f64 / seconds);
    table.line("writes/s accepted, end to end", format!("{:.0}, {:.0}", rates.0, rates.1));
    let quantile = |share| applied.quantile("floodgate_accept_to_apply_seconds", share);
    table.line(
        "accept to row, p50, p99",
        format!("{:.3} s, {:.3} s (within histogram buckets)", quantile(0.5), quantile(0.99)),
    );
    table.0 += &format!("\n{:<34} {:>10} {:>10} {:>14}\n", "process", "peak MiB", "CPU s", "CPU µs/write");
    let rows = watched.iter().zip(cpu).chain([(&killed, killed_cpu)]);
    for (Watched { name, peak, .. }, cpu) in rows {
        let mib = peak.load(Ordering::Relaxed) >> 20;
        table.0 += &format!("{name:<34} {mib:>10} {cpu:>10.1} {:>14.1}\n", cpu * 1e6 / count as f64);
    }
    Ok(())
}

/// Loads one ingress with a tool that is not ours.
fn wrk(world: &World, nodes: &Nodes, table: &mut Table) -> Result<()> {
    if !Wrk::is_there() {
        table.line("\nwrk", "is not installed: the ingress was not loaded with it");
        return Ok(());
    }
    let accepted =
        || Ok::<_, anyhow::Error>(nodes.left.metrics()?.sum("floodgate_events_accepted_total", &[]));
    let applied = || {
        let mut metrics = nodes.stays.metrics()?;
        metrics.add(&nodes.dies.metrics()?);
        Ok::<_, anyhow::Error>(metrics.sum("floodgate_events_applied_total", &[]))
    };
    let (accepted_before, applied_before) = (accepted()?, applied()?);
    let heading = "wrk on serve 1, consumers at work";
    table.0 += &format!("\n{heading:<34} {:>10} {:>10} {:>10}  other\n", "202/s", "p50", "p99");
    for connections in WRK_CONNECTIONS {
        let load =
            Wrk { script: "expectations.lua", args: &[], threads: 2, connections, seconds: WRK_SECONDS };
        let report = load.run(nodes.left.http)?;
        let (p50, p99) = (format!("{:.1?}", report.p50), format!("{:.1?}", report.p99));
        let name = format!("{connections} connections");
        table.0 += &format!("{name:<34} {:>10.0} {p50:>10} {p99:>10}  {}\n", report.rate, report.failed);
    }
    let start = Instant::now();
    world.wait_drained(DEADLINE)?;
    let (accepted, applied) = (accepted()? - accepted_before, applied()? - applied_before);
    ensure!(applied >= accepted, "{accepted} writes of wrk were accepted, {applied} applied");
    let drained = start.elapsed().as_secs_f64();
    table.line(
        "drained to lag 0",
        format!("{drained:.1} s after the last; {accepted} accepted, as many applied"),
    );
    Ok(())
}
