//! What is accepted: single writes and bodies of many, each answered after the broker's acknowledgement.

use std::time::Duration;

use anyhow::{Result, ensure};
use floodgate_testkit::ScratchDir;

use crate::peers::Benthos;
use crate::side::Side;
use crate::support::node::Node;
use crate::support::world::{Servers, World};
use crate::table::{Cpu, Run, Table, rounds};
use crate::tools::wrk::Wrk;
use crate::{raw, references, worlds};

const ROUNDS: usize = 3;
/// Of a single connection, whose wake-ups vary most.
const LATENCY_ROUNDS: usize = 5;
pub const SECONDS: u32 = 6;
const WARM_SECONDS: u32 = 5;
const RAW_LIKES: u64 = 1_500_000;

pub fn measure(servers: &Servers, table: &mut Table) -> Result<()> {
    let world = worlds::world(servers)?;
    let node = world.start(&["serve"])?;
    let bench = Bench { servers, world: &world, node: &node };
    if table.wants_any(&["A1", "A1n", "A1m", "A1b", "P1"]) {
        bench.single(table)?;
    }
    if table.wants("A1c") {
        bench.one_connection(table)?;
    }
    for (name, size) in [("A2", "100"), ("A3", "1000")] {
        if table.wants(name) {
            bench.bodies(table, name, size)?;
        }
    }
    node.stop()
}

struct Bench<'a> {
    servers: &'a Servers,
    world: &'a World,
    node: &'a Node,
}

impl Bench<'_> {
    fn single(&self, table: &mut Table) -> Result<()> {
        let scratch = ScratchDir::new("references")?;
        let topic = self.world.named("floodgate.expectation.v1");
        let brokers = self.servers.kafka.bootstrap();
        let bare = references::start(&scratch, "bare", &[])?;
        let naive = references::start(&scratch, "naive", &[&brokers, &topic])?;
        let benthos = Benthos::ingress(&scratch, &brokers, &topic)?;
        let ours = Side {
            name: "floodgate",
            address: self.node.http,
            pid: self.node.process().pid(),
            path: "/api/v6/expectations",
        };
        let mut sides = vec![&ours, &bare.1, &naive.1];
        sides.extend(benthos.as_ref().map(|(_, side)| side));
        // connections to brokers, Kafka's just-in-time compiler
        for side in &sides {
            self.load(side, 200, WARM_SECONDS)?;
        }
        let mut best: Option<Vec<[Run; 2]>> = None;
        for (connections, names) in [(1000, &["A1", "A1n"][..]), (200, &["A1m"]), (50, &["A1b"])] {
            let is_peer = benthos.is_some() && table.wants("P1") && connections > 50;
            if !table.wants_any(names) && !is_peer {
                continue;
            }
            let runs: Vec<[Run; 4]> = rounds(ROUNDS, |side| match sides.get(side) {
                Some(side) => self.load(side, connections, SECONDS),
                None => Ok(Run::default()),
            })?;
            for (name, side) in names.iter().zip([1, 2]) {
                table.add(name, runs.iter().map(|run| (&run[0], &run[side])));
            }
            if is_peer {
                let runs: Vec<[Run; 2]> = runs.iter().map(|run| [run[0].clone(), run[3].clone()]).collect();
                best = Some(best.map_or(runs.clone(), |before| each_at_its_best(before, runs)));
            }
        }
        table.add("P1", best.iter().flatten().map(|run| (&run[0], &run[1])));
        Ok(())
    }

    fn load(&self, side: &Side, connections: u32, seconds: u32) -> Result<Run> {
        single_writes(side, ("Kafka", self.servers.kafka.pid(0)?), connections, seconds)
    }

    fn one_connection(&self, table: &mut Table) -> Result<()> {
        let (brokers, topic) = (self.servers.kafka.bootstrap(), self.world.named("floodgate.expectation.v1"));
        let wrk = Wrk { script: "expectations.lua", args: &[], threads: 1, connections: 1, seconds: 3 };
        // the first one warms up
        wrk.run(self.node.http)?;
        let runs: Vec<[Run; 2]> = rounds(LATENCY_ROUNDS, |side| {
            if side == 1 {
                return raw::round_trip(&brokers, &topic, Duration::from_secs(3));
            }
            let report = wrk.run(self.node.http)?;
            ensure!(report.failed.is_empty(), "{}", report.failed);
            Ok(Run { value: report.p50.as_secs_f64(), ..Run::default() })
        })?;
        table.add("A1c", runs.iter().map(|run| (&run[0], &run[1])));
        Ok(())
    }

    fn bodies(&self, table: &mut Table, name: &str, size: &'static str) -> Result<()> {
        let (brokers, topic) = (self.servers.kafka.bootstrap(), self.world.named("floodgate.like.v1"));
        let runs: Vec<[Run; 2]> = rounds(ROUNDS, |side| {
            let kafka = ("Kafka", self.servers.kafka.pid(0)?);
            match side {
                0 => bodies_of(size, self.node, kafka),
                _ => raw::rate(&brokers, &topic, RAW_LIKES, &[kafka, ("producer", std::process::id())]),
            }
        })?;
        table.add(name, runs.iter().map(|run| (&run[0], &run[1])));
        Ok(())
    }
}

/// Requests for single writes, each answered once it is stored; `queue` is the process that stores them.
pub fn single_writes(side: &Side, queue: (&'static str, u32), connections: u32, seconds: u32) -> Result<Run> {
    let cpu = Cpu::watch(&[(side.name, side.pid), queue]);
    let wrk = Wrk { script: "expectations.lua", args: &[side.path], threads: 1, connections, seconds };
    let report = wrk.run(side.address)?;
    // a connection broken at the end of a run is told, an answer that is none is no comparison
    ensure!(!report.failed.contains("answers"), "{}: {}", side.name, report.failed);
    let told = [format!("p50 {:.1?}, p99 {:.1?}", report.p50, report.p99), report.failed];
    let note = told.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ");
    Ok(Run { value: report.rate, cpu: cpu.per_event(report.requests), note })
}

/// Events a second in bodies of so many.
pub fn bodies_of(size: &'static str, node: &Node, queue: (&'static str, u32)) -> Result<Run> {
    let events: f64 = size.parse()?;
    let cpu = Cpu::watch(&[("floodgate", node.process().pid()), queue]);
    let wrk = Wrk { script: "batches.lua", args: &[size], threads: 1, connections: 16, seconds: SECONDS };
    let report = wrk.run(node.http)?;
    ensure!(report.failed.is_empty(), "{}", report.failed);
    let cpu = cpu.per_event(report.requests * events);
    let note = format!("p50 {:.1?}, p99 {:.1?} a body", report.p50, report.p99);
    Ok(Run { value: report.rate * events, cpu, note })
}

/// Of each round and each side the faster run.
fn each_at_its_best(left: Vec<[Run; 2]>, right: Vec<[Run; 2]>) -> Vec<[Run; 2]> {
    let faster = |left: Run, right: Run| if left.value >= right.value { left } else { right };
    let rounds = left.into_iter().zip(right);
    rounds.map(|([a, b], [c, d])| [faster(a, c), faster(b, d)]).collect()
}
