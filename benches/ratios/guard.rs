//! What it costs to ask who sends something and how much of it, what a refusal costs, and what a flood costs others.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use floodgate_producer::key_hash;
use floodgate_testkit::ScratchDir;

use crate::support::client::Ask;
use crate::support::node::Node;
use crate::support::world::{Servers, World};
use crate::table::{Cpu, Run, Table, rounds};
use crate::tools::wrk::{Report, Wrk};
use crate::worlds::world;

/// For how long the limit is looked at, and the clients with the limit of each.
const LIMIT_SECONDS: u32 = 10;
const LIMITED: [(u32, u32); 3] = [(1, 2000), (2, 2000), (200, 50)];
/// So much of a second's worth each may send at once: who comes a little late, on a busy machine, misses nothing.
const BURST_SHARE: u32 = 10;

const ROUNDS: usize = 5;
const SECONDS: u32 = 6;
const WARM_SECONDS: u32 = 4;
const CONNECTIONS: u32 = 1000;
const EXPECTATION: &str = r#"{"characterId":7,"presetNo":2,"totalExpectedCost":"1234567.89","blackCubeCost":"1000000.00",
    "redCubeCost":"200000.50","additionalCubeCost":"30000.25","starforceCost":"4567.14",
    "calculatedAt":"2026-01-01T00:00:00.123456Z"}"#;
/// Of a flood whose price is measured; one beside which others are served has ten times as many.
const FLOOD_CONNECTIONS: u32 = 100;
/// How often the other one sends something.
const PERIOD: Duration = Duration::from_millis(5);

pub fn measure(servers: &Servers, table: &mut Table) -> Result<()> {
    if !table.wants_any(&["F1", "F1r", "F2", "F3"]) {
        return Ok(());
    }
    let scratch = ScratchDir::new("guard")?;
    let open = world(servers)?;
    let open = (open.start(&["serve"])?, open);
    let guarded = |name: &str, limit: &str| -> Result<(Node, World)> {
        let world = world(servers)?;
        let file = scratch.path().join(name);
        std::fs::write(&file, config(limit))?;
        let node = world.start(&["--config", &file.display().to_string(), "serve"])?;
        Ok((node, world))
    };
    let wide = guarded("wide", "client_events_per_s = 10000000")?;
    let narrow = guarded("narrow", "client_events_per_s = 300")?;
    let strict = guarded("strict", "client_events_per_s = 1")?;
    let hasty = guarded("hasty", "client_events_per_s = 1000\nrefusal_delay_ms = 0")?;
    let kafka = ("Kafka", servers.kafka.pid(0)?);
    for (node, _) in [&open, &wide, &narrow, &strict, &hasty] {
        flood(node, CONNECTIONS, WARM_SECONDS)?;
    }
    if table.wants_any(&["F1r", "F2"]) {
        let runs: Vec<[Run; 3]> = rounds(ROUNDS, |side| {
            let node = &[&wide, &open, &hasty][side].0;
            let cpu = Cpu::watch(&[("floodgate", node.process().pid()), kafka]);
            let report = flood(node, CONNECTIONS, SECONDS)?;
            let note = format!("p50 {:.1?}, p99 {:.1?}", report.p50, report.p99);
            Ok(Run { value: report.rate, cpu: cpu.per_event(report.requests), note })
        })?;
        table.add("F2", runs.iter().map(|run| (&run[0], &run[1])));
        // what Kafka does besides is of no refusal
        let cost = |run: &Run, processes: usize| {
            let value = run.cpu.iter().take(processes).map(|(_, micros)| micros).sum();
            Run { value, ..run.clone() }
        };
        let costs: Vec<_> = runs.iter().map(|run| (cost(&run[2], 1), cost(&run[0], 2))).collect();
        table.add("F1r", costs.iter().map(|(refusal, accept)| (refusal, accept)));
    }
    if table.wants("F1") {
        let runs: Vec<[Run; 3]> = rounds(ROUNDS, |side| {
            let node = &[&strict, &wide, &strict][side].0;
            let cpu = Cpu::watch(&[("floodgate", node.process().pid()), kafka]);
            let note = match side {
                2 => {
                    std::thread::sleep(Duration::from_secs(SECONDS.into()));
                    String::new()
                }
                _ => format!("{:.0} accepted a second", flood(node, FLOOD_CONNECTIONS, SECONDS)?.rate),
            };
            let cpu = cpu.per_event(f64::from(SECONDS));
            Ok(Run { value: cpu.iter().map(|(_, micros)| micros / 1e6).sum(), cpu, note })
        })?;
        // what both do while nobody asks is no flood's
        let beyond = |run: &Run, idle: &Run| Run { value: run.value - idle.value, ..run.clone() };
        let costs: Vec<_> =
            runs.iter().map(|run| (beyond(&run[0], &run[2]), beyond(&run[1], &run[2]))).collect();
        table.add("F1", costs.iter().map(|(refused, accepted)| (refused, accepted)));
    }
    if table.wants("F3") {
        let runs: Vec<[Run; 2]> = rounds(ROUNDS, |side| match side {
            0 => std::thread::scope(|scope| {
                let flooding = scope.spawn(|| flood(&narrow.0, CONNECTIONS, SECONDS));
                let run = well_behaved(&narrow.0);
                flooding.join().expect("the flood")?;
                run
            }),
            _ => well_behaved(&narrow.0),
        })?;
        table.add("F3", runs.iter().map(|run| (&run[0], &run[1])));
    }
    for (node, _) in [open, wide, narrow, strict, hasty] {
        node.stop()?;
    }
    Ok(())
}

/// How far what is let in is from what the limit says.
pub fn limits(servers: &Servers, table: &mut Table) -> Result<()> {
    if !table.wants("F5") {
        return Ok(());
    }
    let mut worst = Run::default();
    for (clients, rate) in LIMITED {
        let world = world(servers)?;
        world.set("rate_limit.client_events_per_s", rate.to_string());
        let burst = rate / BURST_SHARE;
        world.set("rate_limit.client_burst_events", burst.to_string());
        world.set("rate_limit.refusal_delay_ms", "0");
        world.set("rate_limit.trusted_proxies", "127.0.0.1");
        let node = world.start(&["serve"])?;
        let (seconds, number) = (LIMIT_SECONDS, clients.to_string());
        let args = ["/api/v6/expectations", "", &number];
        let wrk = Wrk {
            script: "expectations.lua",
            args: &args,
            threads: 1,
            connections: FLOOD_CONNECTIONS,
            seconds,
        };
        wrk.run(node.http)?;
        let let_in = node.metrics()?.sum("floodgate_events_accepted_total", &[]);
        let wanted = f64::from(clients * (rate * seconds + burst));
        let off = (let_in / wanted - 1.0).abs();
        if off >= worst.value {
            let note = format!("{clients} clients of {rate}/s: {let_in:.0} of {wanted:.0} let in");
            worst = Run { value: off, note, ..Run::default() };
        }
        node.stop()?;
    }
    let allowed = Run { value: 0.02, ..Run::default() };
    table.add("F5", [(&worst, &allowed)]);
    Ok(())
}

/// Two keys, each with this limit.
fn config(limit: &str) -> String {
    let key = |id: &str| {
        let sha256 = key_hash(&format!("key-of-{id}"));
        format!("[[auth.keys]]\nid = \"{id}\"\nsha256 = \"{sha256}\"\nscopes = [\"expectation:write\"]\n")
    };
    let (one, other) = (key("flood"), key("other"));
    format!("[rate_limit]\n{limit}\n[auth]\nmode = \"keys\"\n{one}{other}")
}

/// Single writes, as many as go.
fn flood(node: &Node, connections: u32, seconds: u32) -> Result<Report> {
    let args = ["/api/v6/expectations", "key-of-flood"];
    let report =
        Wrk { script: "expectations.lua", args: &args, threads: 1, connections, seconds }.run(node.http)?;
    ensure!(report.requests > 0.0, "nothing was answered");
    Ok(report)
}

/// One after the other, as they are due. The p99 in seconds, from when each was due.
pub(crate) fn well_behaved(node: &Node) -> Result<Run> {
    let write = Ask::new("POST", "/api/v6/expectations")
        .header("authorization", "Bearer key-of-other")
        .json(EXPECTATION);
    let start = Instant::now();
    // the flood begins and ends around it
    let (begin, end) = (Duration::from_secs(1), Duration::from_secs(u64::from(SECONDS) - 1));
    let (mut due, mut waits) = (begin, Vec::new());
    while due < end {
        std::thread::sleep((start + due).saturating_duration_since(Instant::now()));
        let answer = node.ask(&write)?;
        ensure!(answer.status == 202, "{answer:?}");
        waits.push(start.elapsed().saturating_sub(due));
        due += PERIOD;
    }
    waits.sort_unstable();
    let quantile = |of: f64| waits[((waits.len() - 1) as f64 * of) as usize];
    let note = format!("p50 {:.2?}, p99 {:.2?}, {} writes", quantile(0.5), quantile(0.99), waits.len());
    Ok(Run { value: quantile(0.99).as_secs_f64(), note, ..Run::default() })
}
