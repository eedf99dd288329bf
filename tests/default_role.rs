//! `floodgate` without arguments, in an empty folder: the whole job in one process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::{Result, ensure};
use floodgate_testkit::wait;
use support::load::{LoadOptions, Recording, Verdict};
use support::model;
use support::node::Node;
use support::plan::{Plan, PlanSize, seed};
use support::state::State;
use support::world::{DRAINED, READY, World, run};

/// The same on every system this runs on.
const SIGINT: i32 = 2;

fn check_reads(node: &Node, recording: &Recording) -> Result<()> {
    model::check(recording, &State::from_http(node.http, &recording.plan)?, &HashSet::new())
}

#[test]
fn it_does_the_whole_job_alone() {
    let world = World::empty().unwrap();
    run(|| {
        let mut node = world.start(&[])?;
        let plan = Arc::new(Plan::mixed(seed(), PlanSize::about(4000)));
        world.create_coupons(&node, &plan)?;
        let recording = world.load(&plan, &[&node], LoadOptions::default()).finish()?;
        world.wait_applied(&node, DRAINED)?;
        check_reads(&node, &recording)?;

        let metrics = node.metrics()?;
        let answered = recording.taken as f64;
        for name in
            ["floodgate_events_accepted_total", "floodgate_events_applied_total", "processed_tasks_total"]
        {
            ensure!(
                metrics.sum(name, &[]) == answered,
                "{name} is {}, not {answered}",
                metrics.sum(name, &[])
            );
        }
        // what dashboards query is there by its name and labels, and has counted
        for of in ["expectation", "coupon", "like"] {
            for name in ["batch_events", "apply_seconds", "accept_to_apply_seconds"] {
                let name = format!("floodgate_{name}_count");
                ensure!(metrics.sum(&name, &[("type", of)]) > 0.0, "{name} of {of} counted nothing");
            }
            let group = format!("floodgate.{of}");
            for name in ["floodgate_lag_records", "floodgate_lag_seconds", "floodgate_missing_records"] {
                let topic = format!("{group}.v1");
                let labels = [("group", group.as_str()), ("topic", &topic), ("partition", "9")];
                ensure!(metrics.count(name, &labels) == 1, "{name} of {group}");
            }
            let labels = [("consumergroup", group.as_str()), ("partition", "0")];
            ensure!(metrics.count("kafka_consumergroup_lag", &labels) == 1, "lag of {group}");
        }
        ensure!(metrics.sum("floodgate_publish_seconds_count", &[]) > 0.0);
        ensure!(metrics.count("buffer_size", &[("buffer", "in-memory")]) == 1);
        ensure!(metrics.count("processed_tasks_failed_total", &[]) == 1);
        for outcome in ["applied", "superseded", "duplicate", "ISSUED", "DUPLICATE", "SOLD_OUT"] {
            let counted = metrics.sum("floodgate_events_applied_total", &[("outcome", outcome)]);
            ensure!(counted > 0.0, "no event is counted as {outcome}");
        }
        let issued =
            metrics.sum("floodgate_events_applied_total", &[("type", "coupon"), ("outcome", "ISSUED")]);
        ensure!(issued == f64::from(plan.stocks[0]), "{issued} coupons issued, by the metrics");

        node.stop()?;
        for entry in std::fs::read_dir(world.folder())? {
            let name = entry?.file_name();
            ensure!(name.to_string_lossy().starts_with("floodgate.db"), "{name:?} is left in the folder");
        }
        node.start_again(&world)?;
        check_reads(&node, &recording)
    });
}

/// Ctrl-C at a terminal: nobody waits for a load balancer.
#[test]
fn an_interrupt_stops_it_as_well() {
    let world = World::empty().unwrap();
    world.set("shutdown.grace_ms", "600000");
    world.set("shutdown.deadline_ms", "900000");
    run(|| {
        let node = world.start(&[])?;
        let plan = Arc::new(Plan::mixed(seed(), PlanSize::about(500)));
        world.create_coupons(&node, &plan)?;
        let recording = world.load(&plan, &[&node], LoadOptions::default()).finish()?;
        node.process().signal(SIGINT)?;
        let exit = node.process().wait_exit(READY)?;
        ensure!(exit.code() == Some(0), "{exit}");
        let again = world.start(&[])?;
        check_reads(&again, &recording)
    });
}

#[test]
fn sigterm_at_peak_load_loses_nothing_that_was_accepted() {
    let world = World::empty().unwrap();
    run(|| {
        let mut node = world.start(&[])?;
        let plan = Arc::new(Plan::mixed(seed(), PlanSize::about(40_000)));
        world.create_coupons(&node, &plan)?;
        let options = LoadOptions { retry: false, repeat_every: 0, ..LoadOptions::default() };
        let load = world.load(&plan, &[&node], options);
        load.wait_for(0.1)?;

        node.process().terminate()?;
        node.wait_unready("shutting down")?;
        let accepted = load.accepted();
        wait::until("a write that is accepted although unready", READY, || {
            (load.accepted() > accepted).then_some(())
        })?;
        node.stopped()?;
        let recording = load.finish()?;
        let refused: Vec<_> =
            recording.fates.iter().filter(|fate| fate.verdict != Verdict::Accepted).collect();
        ensure!(!refused.is_empty(), "the load was over before the process");

        node.start_again(&world)?;
        check_reads(&node, &recording)
    });
}
