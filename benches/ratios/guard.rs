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

const ROUNDS: usize = 5;
const SECONDS: u32 = 6;
const WARM_SECONDS: u32 = 4;
const CONNECTIONS: u32 = 1000;
const EXPECTATION: &str = r#"{"characterId":7,"presetNo":2,"totalExpectedCost":"1234567.89","blackCubeCost":"1000000.00",
    "redCubeCost":"200000.50","additionalCubeCost":"30000.25","starforceCost":"4567.14",
    "calculatedAt":"2026-01-01T00:00:00.123456Z"}"#;
/// Of whoever floods.
const FLOOD_CONNECTIONS: u32 = 100;
/// How often the other one sends something.
const PERIOD: Duration = Duration::from_millis(5);

pub fn measure(servers: &Servers, table: &mut Table) -> Result<()> {
    if !table.wants_any(&["F1", "F2", "F3"]) {
        return Ok(());
    }
    let scratch = ScratchDir::new("guard")?;
    let open = world(servers)?;
    let open = (open.start(&["serve"])?, open);
    let guarded = |events_per_s: u32| -> Result<(Node, World)> {
        let world = world(servers)?;
        let file = scratch.path().join(format!("{events_per_s}.toml"));
        std::fs::write(&file, config(events_per_s))?;
        let node = world.start(&["--config", &file.display().to_string(), "serve"])?;
        Ok((node, world))
    };
    let (wide, narrow) = (guarded(10_000_000)?, guarded(1000)?);
    let kafka = ("Kafka", servers.kafka.pid(0)?);
    for (node, _) in [&open, &wide, &narrow] {
        flood(node, CONNECTIONS, WARM_SECONDS)?;
    }
    if table.wants_any(&["F1", "F2"]) {
        let runs: Vec<[Run; 3]> = rounds(ROUNDS, |side| {
            let node = &[&wide, &open, &narrow][side].0;
            let cpu = Cpu::watch(&[("floodgate", node.process().pid()), kafka]);
            let report = flood(node, CONNECTIONS, SECONDS)?;
            let note = format!("p50 {:.1?}, p99 {:.1?}", report.p50, report.p99);
            Ok(Run { value: report.rate, cpu: cpu.per_event(report.requests), note })
        })?;
        table.add("F2", runs.iter().map(|run| (&run[0], &run[1])));
        let costs = |run: &Run| Run { value: run.cpu.iter().map(|(_, micros)| micros).sum(), ..run.clone() };
        let costs: Vec<_> = runs.iter().map(|run| (costs(&run[2]), costs(&run[0]))).collect();
        table.add("F1", costs.iter().map(|(refusal, accept)| (refusal, accept)));
    }
    if table.wants("F3") {
        let runs: Vec<[Run; 2]> = rounds(ROUNDS, |side| match side {
            0 => std::thread::scope(|scope| {
                let flooding = scope.spawn(|| flood(&narrow.0, FLOOD_CONNECTIONS, SECONDS));
                let run = well_behaved(&narrow.0);
                flooding.join().expect("the flood")?;
                run
            }),
            _ => well_behaved(&narrow.0),
        })?;
        table.add("F3", runs.iter().map(|run| (&run[0], &run[1])));
    }
    for (node, _) in [open, wide, narrow] {
        node.stop()?;
    }
    Ok(())
}

/// Two keys, each with this limit.
fn config(events_per_s: u32) -> String {
    let key = |id: &str| {
        let sha256 = key_hash(&format!("key-of-{id}"));
        format!("[[auth.keys]]\nid = \"{id}\"\nsha256 = \"{sha256}\"\nscopes = [\"expectation:write\"]\n")
    };
    let (one, other) = (key("flood"), key("other"));
    format!("[rate_limit]\nclient_events_per_s = {events_per_s}\n[auth]\nmode = \"keys\"\n{one}{other}")
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
