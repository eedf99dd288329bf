//! Rehearsals with all that they take on this machine: two ingresses, two consumers, Kafka, Postgres and who sends the load.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use floodgate_testkit::process::{self, Process};
use serde_json::Value;

use crate::support::world::{Servers, World};
use crate::table::{Run, Table};
use crate::worlds::world;

/// From the last answer until everything is applied, at most.
const DRAIN_SECONDS: f64 = 5.0;

/// Of LT-001 beside k6: half a minute of 300 requests a second.
const K6_SPEED: &str = "70";
const K6_TIMES: &str = "10";
const K6_ROUNDS: usize = 3;
const K6: Duration = Duration::from_secs(180);

/// A shape, so many times its users, in so many times less time.
struct Rehearsal {
    name: &'static str,
    shape: &'static str,
    times: &'static str,
    speed: &'static str,
    /// What the answers may take, 95 of 100, in milliseconds.
    p95_ms: f64,
}

const REHEARSALS: [Rehearsal; 3] = [
    Rehearsal { name: "G1", shape: "pt-001", times: "1", speed: "1", p95_ms: 20.0 },
    Rehearsal { name: "G4", shape: "lt-001", times: "30", speed: "20", p95_ms: 300.0 },
    Rehearsal { name: "G5", shape: "st-001", times: "100", speed: "20", p95_ms: 300.0 },
];

pub fn measure(servers: &Servers, table: &mut Table) -> Result<()> {
    for rehearsal in REHEARSALS.iter().filter(|rehearsal| table.wants(rehearsal.name)).collect::<Vec<_>>() {
        let run = rehearsed(&world(servers)?, rehearsal).context(rehearsal.name)?;
        let allowed = Run { value: rehearsal.p95_ms, ..Run::default() };
        table.add(rehearsal.name, [(&run, &allowed)]);
    }
    Ok(())
}

fn rehearsed(world: &World, rehearsal: &Rehearsal) -> Result<Run> {
    let nodes = [["serve"], ["serve"], ["consume"], ["consume"]].map(|role| world.start(&role));
    let nodes = nodes.into_iter().collect::<Result<Vec<_>>>()?;
    let urls = format!("http://{},http://{}", nodes[0].http, nodes[1].http);
    let (operators, file) =
        (format!("http://{}", nodes[0].admin), world.folder().join("burst.json").display().to_string());
    let Rehearsal { shape, times, speed, .. } = *rehearsal;
    let shape = ["--shape", shape, "--times", times, "--speed", speed];
    let whom = ["--url", &urls, "--operators", &operators, "--json", &file];
    let ended = world.command(&[&["burst"], &shape[..], &whom].concat())?;
    ensure!(ended.code == 0, "{}{}", ended.stdout, ended.stderr);
    let report: Value = serde_json::from_str(&std::fs::read_to_string(&file)?)?;
    let number = |name: &str| report[name].as_f64().with_context(|| format!("no {name}"));
    let (sent, accepted, drain) = (number("sent")?, number("accepted")?, number("drainSeconds")?);
    ensure!(accepted.total_cmp(&sent).is_eq(), "{accepted} of {sent} were accepted");
    ensure!(drain <= DRAIN_SECONDS, "drained after {drain} s");
    let latency = &report["latencyMs"];
    let p95 = latency["p95"].as_f64().context("no p95")?;
    let note = format!(
        "{accepted} accepted, p50 {} ms, p95 {p95} ms, p99 {} ms, longest {} ms; lag {} at most; drained after {drain:.2} s; sent late, \
         99 of 100 within {} ms",
        latency["p50"], latency["p99"], latency["max"], report["maxLag"], report["slipMs"]
    );
    nodes.iter().try_for_each(|node| node.stop())?;
    Ok(Run { value: p95, note, ..Run::default() })
}

/// The same load by k6: where nothing waits both have to tell the same times.
pub fn beside_k6(servers: &Servers, table: &mut Table) -> Result<()> {
    if !table.wants("G3") {
        return Ok(());
    }
    let world = world(servers)?;
    let nodes = [world.start(&["serve"])?, world.start(&["consume"])?];
    let (url, operators) = (format!("http://{}", nodes[0].http), format!("http://{}", nodes[0].admin));
    let file = |name: &str| world.folder().join(name).display().to_string();
    let read = |name: &str| -> Result<Value> {
        Ok(serde_json::from_str(&std::fs::read_to_string(world.folder().join(name))?)?)
    };
    let round = || -> Result<Run> {
        let mut command = Command::new(process::target_folder().join("testkit/bin/k6"));
        command.args(["run", "--quiet", "--summary-export", &file("k6.json")]);
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/k6/shapes.js"));
        command.envs([
            ("SHAPE", "lt-001"),
            ("SPEED", K6_SPEED),
            ("TIMES", K6_TIMES),
            ("FLOODGATE_URL", &url),
        ]);
        let k6 = Process::spawn("k6", command, world.folder())?;
        let exit = k6.wait_exit(K6)?;
        ensure!(exit.success(), "{}{}", k6.stdout(), k6.stderr());
        let args = ["burst", "--shape", "lt-001", "--speed", K6_SPEED, "--times", K6_TIMES, "--url", &url];
        let more = ["--operators", &operators, "--json", &file("burst.json")];
        let ended = world.command(&[&args[..], &more].concat())?;
        ensure!(ended.code == 0, "{}{}", ended.stdout, ended.stderr);
        let (theirs, ours) =
            (&read("k6.json")?["metrics"]["http_req_duration"], &read("burst.json")?["latencyMs"]);
        let (mut worst, mut note) = (0.0_f64, String::new());
        for (name, k6_name) in [("p50", "med"), ("p95", "p(95)")] {
            let [ours, theirs] = [&ours[name], &theirs[k6_name]].map(Value::as_f64);
            let (ours, theirs) = (ours.context("no latency")?, theirs.context("no latency of k6")?);
            worst = worst.max((ours - theirs).abs() / (theirs / 10.0).max(1.0));
            note += &format!("{name} {ours:.2} ms, k6 {theirs:.2} ms; ");
        }
        Ok(Run { value: worst, note, ..Run::default() })
    };
    // one after the other, as whatever else the machine does meets both
    let rounds = std::iter::repeat_with(round).take(K6_ROUNDS).collect::<Result<Vec<_>>>()?;
    let allowed = Run { value: 1.0, ..Run::default() };
    table.add("G3", rounds.iter().map(|run| (run, &allowed)));
    nodes.iter().try_for_each(|node| node.stop())
}
