//! Processes that are killed, stopped and started again under load.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::sync::Arc;

use anyhow::{Context, ensure};
use floodgate_testkit::wait;
use support::load::LoadOptions;
use support::node::Metrics;
use support::plan::{Plan, PlanSize, seed};
use support::world::{READY, Servers, World, run};

#[test]
fn a_killed_consumer_loses_and_doubles_nothing() {
    let Servers { kafka, postgres } = Servers::shared();
    let world = World::ready(kafka, postgres).unwrap().hurried();
    run(|| {
        let (left, right) = (world.start(&["serve"])?, world.start(&["serve"])?);
        let (_stays, mut dies) = (world.start(&["consume"])?, world.start(&["consume"])?);
        let plan = Arc::new(Plan::mixed(seed(), PlanSize::about(20_000)));
        world.create_coupons(&left, &plan)?;

        let load = world.load(&plan, &[&left, &right], LoadOptions::default());
        load.wait_for(0.3)?;
        dies.kill()?;
        load.wait_for(0.6)?;
        dies.start_again(&world)?;
        let recording = load.finish()?;
        world.check(postgres, &recording)?;

        // every answer was counted once, by whoever gave it, and the ingress sees what the command sees
        let mut metrics = left.metrics()?;
        metrics.add(&right.metrics()?);
        let counted = metrics.sum("floodgate_events_accepted_total", &[]);
        ensure!(
            counted == recording.taken as f64,
            "{counted} accepted by the metrics, {}",
            recording.answers
        );
        // whatever was answered is there once; nothing was lost on the way to an answer
        let there = recording.taken..=recording.taken + recording.unknown;
        let mut seen = String::new();
        let exported = wait::until("the ingress to export a lag of 0 for all records", READY, || {
            let metrics = left.metrics().ok()?;
            let lag = ["floodgate_lag_records", "kafka_consumergroup_lag", "floodgate_lag_seconds"];
            let end = metrics.sum("kafka_topic_partition_current_offset", &[]);
            let committed = metrics.sum("kafka_consumergroup_current_offset", &[]);
            seen = format!("{committed} of {end} committed; there should be {there:?}");
            let well = lag.iter().all(|name| metrics.sum(name, &[]) == 0.0) && end == committed;
            (well && there.contains(&(end as usize))).then_some(())
        });
        exported.with_context(|| seen)
    });
}

/// The last records of a load are applied while the group waits for the killed member to be given up: no later record
/// makes anybody commit these offsets.
#[test]
fn offsets_are_committed_when_a_load_ends_amid_a_rebalance() {
    let Servers { kafka, postgres } = Servers::shared();
    let world = World::ready(kafka, postgres).unwrap().hurried();
    world.set("consumers.instances", "2");
    run(|| {
        let serve = world.start(&["serve"])?;
        let (_stays, mut dies) = (world.start(&["consume"])?, world.start(&["consume"])?);
        wait::until("four members in every group", READY, || {
            let lag = world.lag().ok()?;
            lag["groups"].as_array()?.iter().all(|group| group["members"] == 4).then_some(())
        })?;
        let plan = Arc::new(Plan::mixed(seed(), PlanSize::about(3000)));
        world.create_coupons(&serve, &plan)?;
        let load = world.load(&plan, &[&serve], LoadOptions::default());
        load.wait_for(0.1)?;
        dies.kill()?;
        dies.start_again(&world)?;
        let recording = load.finish()?;
        world.check(postgres, &recording)
    });
}

/// Clients behind a load balancer that looks at `/readyz` notice nothing of a rolling restart, and consumers give their
/// partitions over without having anything delivered again but the batch in work.
#[test]
fn a_rolling_restart_is_not_noticed_behind_a_load_balancer() {
    let Servers { kafka, postgres } = Servers::shared();
    let world = World::ready(kafka, postgres).unwrap().hurried();
    world.set("shutdown.grace_ms", "1500");
    // everybody leaves in order here: no machine is so slow that a member is given up, or its drain is
    world.set("buffer.kafka.session_timeout_ms", "45000");
    world.set("consumers.drain_ms", "20000");
    run(|| {
        let mut serves = [world.start(&["serve"])?, world.start(&["serve"])?];
        let mut consumes = [world.start(&["consume"])?, world.start(&["consume"])?];
        let plan = Arc::new(Plan::mixed(seed(), PlanSize::about(30_000)));
        world.create_coupons(&serves[0], &plan)?;
        let options =
            LoadOptions { workers: 16, heed_readiness: true, repeat_every: 0, ..LoadOptions::default() };
        let load = world.load(&plan, &[&serves[0], &serves[1]], options);
        let mut metrics = Metrics::default();
        for (number, part) in [0.1, 0.4].into_iter().enumerate() {
            load.wait_for(part)?;
            serves[number].stop()?;
            serves[number].start_again(&world)?;
            metrics.add(&consumes[number].metrics()?);
            consumes[number].stop()?;
            consumes[number].start_again(&world)?;
        }
        let recording = load.finish()?;
        ensure!(recording.attempts() == recording.fates.len(), "noticed: {}", recording.answers);
        world.check(postgres, &recording)?;

        // a batch in work may come again where a drain takes too long; here none does
        consumes.iter().try_for_each(|consume| consume.metrics().map(|found| metrics.add(&found)))?;
        let again = metrics.sum("floodgate_events_applied_total", &[("outcome", "duplicate")]);
        ensure!(again == 0.0, "{again} events were delivered again");
        Ok(())
    });
}
