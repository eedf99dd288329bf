//! Ingress and consumers in processes of their own, with real Kafka and Postgres between and behind them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::sync::Arc;

use support::load::LoadOptions;
use support::plan::{Plan, PlanSize, seed};
use support::world::{Servers, World, run};

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
        world.check(postgres, &recording)
    });
}
