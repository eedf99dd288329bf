//! `floodgate` without arguments, in an empty folder: the whole job in one process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::{Result, ensure};
use floodgate_testkit::wait;
use support::load::{LoadOptions, Recording, Verdict};
use support::model;
use support::plan::{Plan, PlanSize, seed};
use support::state::State;
use support::world::{DRAINED, Node, READY, World, run};

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
