//! Postgres behind PgBouncer in transaction mode: the whole job goes through it, and a process that was not told of it says so.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::sync::Arc;

use anyhow::ensure;
use floodgate_testkit::PgBouncer;
use support::answers::problem;
use support::load::LoadOptions;
use support::plan::{Plan, PlanSize, seed};
use support::world::{Servers, World, run};

/// Drops what a session is opened with, as those do that were set up for other programs.
const DROPS: (&str, &str) = ("ignore_startup_parameters", "extra_float_digits,options");

#[test]
fn the_whole_job_goes_through_a_pooler() {
    let Servers { kafka, postgres } = Servers::shared();
    let pooler = PgBouncer::start(postgres, &[("default_pool_size", "6")]).unwrap();
    let world = World::bare(kafka, postgres).unwrap().hurried();
    world.set("store.url", pooler.url(&world.setting("store.url")));
    world.set("store.pooler", "transaction");
    run(|| {
        world.succeed(&["topics", "create"])?;
        world.succeed(&["migrate"])?;
        world.succeed(&["config", "--check"])?;
        let serves = [world.start(&["serve"])?, world.start(&["serve"])?];
        let consumes = [world.start(&["consume"])?, world.start(&["consume"])?];
        let plan = Arc::new(Plan::mixed(seed(), PlanSize::about(5000)));
        world.create_coupons(&serves[0], &plan)?;
        let load = world.load(&plan, &[&serves[0], &serves[1]], LoadOptions::default());
        // reads meet the batches in the pooler's few sessions, and are none of them lost
        for number in 0..500 {
            let read = serves[number % 2].get(&format!("/api/v6/characters/star-{number}/likes"))?;
            ensure!(read.status == 200, "read {number}: {} {}", read.status, read.text());
        }
        let recording = load.finish()?;
        world.check(postgres, &recording)?;
        world.succeed(&["verify"])?;
        consumes.iter().chain(&serves).try_for_each(|node| node.stop())
    });
}

#[test]
fn a_pooler_that_nobody_told_of_is_refused() {
    let Servers { kafka, postgres } = Servers::shared();
    let pooler = PgBouncer::start(postgres, &[DROPS]).unwrap();
    let world = World::ready(kafka, postgres).unwrap().hurried();
    world.set("store.url", pooler.url(&world.setting("store.url")));
    let help = "[store] pooler = \"transaction\"";
    run(|| {
        for (command, code) in [(&["config", "--check"][..], 2), (&["migrate"], 1), (&["run"], 1)] {
            let ended = world.command(command)?;
            ensure!(ended.code == code && ended.stderr.contains(help), "{command:?}: {ended:?}");
        }
        let consume = world.launch(&["consume"])?;
        consume.wait_unready(help)?;
        let serve = world.start(&["serve"])?;
        serve.process().wait_for_log("pooler such as PgBouncer", support::world::READY)?;
        let read = serve.get("/api/v6/characters/star/likes")?;
        let told = problem(&read, 503, "database-unavailable", None)?;
        ensure!(!told.to_string().contains("PgBouncer"), "{told}");
        consume.stop()?;
        serve.stop()
    });
}
