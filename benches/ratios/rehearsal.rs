//! The rehearsal of a coupon drop, with all that it takes on this machine: two ingresses, two consumers, Kafka, Postgres and who sends it.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::support::world::Servers;
use crate::table::{Run, Table};
use crate::worlds::world;

/// What the answers may take, 95 of 100, in milliseconds.
const P95_MS: f64 = 20.0;
/// From the last answer until everything is applied, at most.
const DRAIN_SECONDS: f64 = 5.0;

pub fn measure(servers: &Servers, table: &mut Table) -> Result<()> {
    if !table.wants("G1") {
        return Ok(());
    }
    let world = world(servers)?;
    let nodes = [["serve"], ["serve"], ["consume"], ["consume"]].map(|role| world.start(&role));
    let nodes = nodes.into_iter().collect::<Result<Vec<_>>>()?;
    let urls = format!("http://{},http://{}", nodes[0].http, nodes[1].http);
    let (operators, file) =
        (format!("http://{}", nodes[0].admin), world.folder().join("g1.json").display().to_string());
    let args = ["burst", "--shape", "pt-001", "--url", &urls, "--operators", &operators, "--json", &file];
    let ended = world.command(&args)?;
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
    let allowed = Run { value: P95_MS, ..Run::default() };
    table.add("G1", [(&Run { value: p95, note, ..Run::default() }, &allowed)]);
    nodes.iter().try_for_each(|node| node.stop())
}
