//! The check as these tests run it, and systems that it is run on.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use floodgate_testkit::Postgres;
use serde_json::Value;

use crate::support::load::{LoadOptions, Recording};
use crate::support::node::Node;
use crate::support::plan::{Plan, PlanSize, seed};
use crate::support::world::{Servers, World};

/// Runs the check to its end and returns its code and its report.
pub fn verify(world: &World, more: &[&str]) -> Result<(i32, Value)> {
    verify_with(world, more, &[])
}

pub fn verify_with(world: &World, more: &[&str], settings: &[(&str, &str)]) -> Result<(i32, Value)> {
    let args: Vec<&str> = ["verify", "--json"].into_iter().chain(more.iter().copied()).collect();
    let ended = world.command_with(&args, settings)?;
    let told = format!("{} {} {}", ended.code, ended.stdout, ended.stderr);
    let report: Value = serde_json::from_str(&ended.stdout).with_context(|| told.clone())?;
    let violations = report["violations"].as_u64().with_context(|| told.clone())?;
    let (verdict, code) = match (violations, report["cannotTell"].as_array().map_or(0, Vec::len)) {
        (0, 0) => ("balanced", 0),
        (0, _) => ("cannot-tell", 3),
        _ => ("violations", 1),
    };
    ensure!(
        report["balanced"] == (code == 0) && report["verdict"] == verdict && ended.code == code,
        "{told}"
    );
    for of in types(&report) {
        let classes = [
            "current",
            "superseded",
            "decided",
            "differing",
            "deadLettered",
            "inFlight",
            "missing",
            "cannotTell",
        ];
        let sum: u64 = classes.iter().map(|class| number(of, class)).sum();
        ensure!(number(of, "events") == sum && sum <= number(of, "records"), "{told}");
    }
    Ok((ended.code, report))
}

fn types(report: &Value) -> impl Iterator<Item = &Value> {
    report["types"].as_array().into_iter().flatten()
}

pub fn of_type<'r>(report: &'r Value, name: &str) -> &'r Value {
    types(report).find(|of| of["type"] == name).unwrap_or(&Value::Null)
}

pub fn number(object: &Value, name: &str) -> u64 {
    object[name].as_u64().unwrap_or_else(|| panic!("no {name}: {object}"))
}

/// Of all types together.
pub fn sum(report: &Value, name: &str) -> u64 {
    types(report).map(|of| number(of, name)).sum()
}

pub fn count(postgres: &Postgres, world: &World, from: &str) -> Result<u64> {
    Ok(postgres.psql(&world.setting("store.url"), &format!("SELECT count(*) FROM {from}"))?.trim().parse()?)
}

/// A load, checked while it is on its way and when it is done.
pub fn loaded(world: &World, nodes: [&Node; 2], writes: usize) -> Result<Recording> {
    let plan = Arc::new(Plan::mixed(seed(), PlanSize::about(writes)));
    world.create_coupons(nodes[0], &plan)?;
    let load = world.load(&plan, &nodes, LoadOptions { workers: 16, ..LoadOptions::default() });
    for part in [0.05, 0.3, 0.6, 0.8] {
        load.wait_for(part)?;
        let (code, report) = verify(world, &[])?;
        ensure!(code == 0, "a violation on a system at work: {report}");
    }
    load.finish()
}

/// Rows of a settled system with one partition that a test spoils and mends.
pub fn settled(servers: &'static Servers, prefix: &str) -> Result<(World, Node)> {
    let world = World::bare(&servers.kafka, &servers.postgres)?.hurried();
    world.set("topics.partitions", "1");
    world.set("topics.prefix", format!("{}{prefix}.", world.setting("topics.prefix")));
    world.succeed(&["topics", "create"])?;
    world.succeed(&["migrate"])?;
    let serve = world.start(&["serve"])?;
    Ok((world, serve))
}
