//! One, two, four and five ingresses and as many consumers on one machine, which has no more cores for more of them: what they cost
//! is what an event costs them more, and every ingress answers the same.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::support::client::{Answer, Ask};
use crate::support::load::{LoadOptions, Verdict};
use crate::support::node::Node;
use crate::support::plan::{Plan, PlanSize, Write, coupon_id, liker_account_id, seed, target_ocid};
use crate::support::world::{Servers, World};
use crate::table::Cpu;
use crate::worlds;

const COUNTS: [usize; 4] = [1, 2, 4, 5];
/// PT-001 with five times its users, in a fifth of its time: 1,000 to 5,000 requests a second.
const TIMES: &str = "5";
/// Sent by clients that wait for their answers.
const WRITES: usize = 100_000;
const CLIENTS: usize = 256;
const DRAINED: Duration = Duration::from_secs(300);
/// Of each kind.
const READS: usize = 200;

pub fn print(servers: &Servers) -> Result<()> {
    println!(
        "\ningresses and consumers; PT-001 five times as large: accepted, p50 and p99 in ms, CPU µs an event (floodgate, Kafka, Postgres)"
    );
    println!(
        "256 clients, {WRITES} mixed writes: accepted/s, rows/s, CPU µs an event; reads that were the same at every ingress"
    );
    for count in COUNTS {
        let world = worlds::world(servers)?;
        let start = |role: &str| (0..count).map(|_| world.start(&[role])).collect::<Result<Vec<_>>>();
        let (serves, consumes) = (start("serve")?, start("consume")?);
        let nodes: Vec<&Node> = serves.iter().chain(&consumes).collect();
        let rehearsed = rehearse(servers, &world, &serves, &nodes)?;
        let plan = Arc::new(Plan::mixed(seed(), PlanSize::about(WRITES)));
        let loaded = load(servers, &world, &serves, &nodes, &plan)?;
        let reads = same_answers(&serves, &plan)?;
        println!("{count}: {rehearsed}; {loaded}; {reads} reads");
        nodes.iter().try_for_each(|node| node.stop())?;
    }
    Ok(())
}

fn rehearse(servers: &Servers, world: &World, serves: &[Node], nodes: &[&Node]) -> Result<String> {
    let urls: Vec<String> = serves.iter().map(|serve| format!("http://{}", serve.http)).collect();
    let (operators, file) =
        (format!("http://{}", serves[0].admin), world.folder().join("burst.json").display().to_string());
    let cpu = watch(servers, nodes)?;
    let ended = world.command(&[
        "burst",
        "--shape",
        "pt-001",
        "--times",
        TIMES,
        "--speed",
        TIMES,
        "--url",
        &urls.join(","),
        "--operators",
        &operators,
        "--json",
        &file,
    ])?;
    ensure!(ended.code == 0, "{}{}", ended.stdout, ended.stderr);
    let report: Value = serde_json::from_str(&std::fs::read_to_string(&file)?)?;
    let accepted = report["accepted"].as_f64().context("nothing is told of those accepted")?;
    let latency = &report["latencyMs"];
    Ok(format!("{accepted} accepted, {} and {} ms, {}", latency["p50"], latency["p99"], told(&cpu, accepted)))
}

/// From clients that wait for their answers until everything is a row.
fn load(
    servers: &Servers,
    world: &World,
    serves: &[Node],
    nodes: &[&Node],
    plan: &Arc<Plan>,
) -> Result<String> {
    world.create_coupons(&serves[0], plan)?;
    let (cpu, start) = (watch(servers, nodes)?, Instant::now());
    let options = LoadOptions { workers: CLIENTS, repeat_every: 0, ..LoadOptions::default() };
    let recording = world.load(plan, &serves.iter().collect::<Vec<_>>(), options).finish()?;
    world.wait_drained(DRAINED)?;
    let (accepted, drained) = (recording.count(Verdict::Accepted) as f64, start.elapsed().as_secs_f64());
    let (rate, rows) = (accepted / recording.seconds, accepted / drained);
    Ok(format!("{rate:.0} accepted/s, {rows:.0} rows/s, {}", told(&cpu, accepted)))
}

/// Asks every ingress the same, and returns how often.
fn same_answers(serves: &[Node], plan: &Plan) -> Result<usize> {
    let coupons =
        (0..plan.stocks.len() as u16).map(|coupon| format!("/api/v6/coupons/{}", coupon_id(coupon)));
    let of_writes = plan.writes.iter().enumerate().take(3 * READS).map(|(index, write)| match *write {
        Write::Expectation { character, .. } => format!("/api/v6/characters/{character}/expectations"),
        Write::Like { target, liker, .. } => {
            format!("/api/v6/characters/{}/likes/{}", target_ocid(target), liker_account_id(liker))
        }
        Write::Coupon { .. } => format!("/api/v6/coupon-requests/{}", plan.event_id(index)),
    });
    let paths: BTreeSet<String> = coupons.chain(of_writes).collect();
    for path in &paths {
        let answers =
            serves.iter().map(|serve| Ok(body(&serve.ask(&Ask::get(path))?))).collect::<Result<Vec<_>>>()?;
        ensure!(answers.iter().all(|answer| *answer == answers[0]), "{path}: {answers:?}");
    }
    Ok(paths.len())
}

/// But for whether it was in that process's cache.
fn body(answer: &Answer) -> (u16, String) {
    (answer.status, answer.text().replace(r#","fromCache":true"#, "").replace(r#","fromCache":false"#, ""))
}

fn watch(servers: &Servers, nodes: &[&Node]) -> Result<Cpu> {
    let ours = nodes.iter().map(|node| ("floodgate", node.process().pid()));
    let others = [("Kafka", servers.kafka.pid(0)?), ("Postgres", servers.postgres.pid()?)];
    Ok(Cpu::watch(&ours.chain(others).collect::<Vec<_>>()))
}

/// All our processes together.
fn told(cpu: &Cpu, events: f64) -> String {
    let spent = cpu.per_event(events);
    let of =
        |name: &str| -> f64 { spent.iter().filter(|(of, _)| *of == name).map(|(_, micros)| micros).sum() };
    ["floodgate", "Kafka", "Postgres"].map(|name| format!("{:.0}", of(name))).join(" + ")
}
