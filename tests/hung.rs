//! Servers that are there and do not answer, and a disk that is full: deadlines hold, answers say what is known, and
//! nobody has to restart floodgate afterwards.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use floodgate_testkit::{Postgres, PostgresOptions};
use support::answers::{problem, valid_expectation};
use support::load::{LoadOptions, Verdict};
use support::plan::{Plan, PlanSize, seed};
use support::world::{READY, Servers, World, run};

/// A load that goes on while servers hang.
fn patient() -> LoadOptions {
    LoadOptions { workers: 32, deadline: Duration::from_secs(120), ..LoadOptions::default() }
}

#[test]
fn a_frozen_broker_is_answered_for_and_recovered_from() {
    let Servers { kafka, postgres } = Servers::own();
    let world = World::ready(&kafka, &postgres).unwrap().hurried();
    // 503 or 504 within two seconds and a half
    world.set("buffer.kafka.message_timeout_ms", "1000");
    world.set("http.request_deadline_ms", "2500");
    run(|| {
        let (left, right) = (world.start(&["serve"])?, world.start(&["serve"])?);
        let consume = world.start(&["consume"])?;
        let plan = Arc::new(Plan::mixed(seed(), PlanSize::about(8000)));
        world.create_coupons(&left, &plan)?;
        let load = world.load(&plan, &[&left, &right], patient());
        load.wait_for(0.3)?;

        kafka.freeze(0)?;
        // what is sent now was certainly stored or may be: nothing else is said, and it is said in time
        let asked = Instant::now();
        let answer = left.ask(&valid_expectation())?;
        ensure!(asked.elapsed() < READY, "an answer took {:?}", asked.elapsed());
        match answer.status {
            503 => problem(&answer, 503, "not-stored", None)?,
            _ => problem(&answer, 504, "outcome-unknown", None)?,
        };
        for serve in [&left, &right] {
            serve.wait_unready("does not answer")?;
            // it lives, and what needs no broker is served
            ensure!(serve.get("/healthz")?.status == 200);
            ensure!(serve.get("/api/v6/coupons/coupon-0")?.status == 200);
        }
        kafka.thaw(0)?;

        let recording = load.finish()?;
        ensure!(recording.unknown > 0 || recording.attempts() > recording.fates.len(), "nobody noticed");
        // the one expectation above may be there as well
        left.wait_ready()?;
        world.check_but(&postgres, &recording, &[4711])?;
        for node in [&left, &right, &consume] {
            node.wait_ready()?;
            node.stop()?;
        }
        Ok(())
    });
}

#[test]
fn a_frozen_database_is_waited_out() {
    let Servers { kafka, .. } = Servers::shared();
    let postgres = Postgres::start(PostgresOptions::default()).unwrap();
    let world = World::ready(kafka, &postgres).unwrap().hurried();
    for (key, value) in [("connect", "1000"), ("lock", "1000"), ("statement", "1500"), ("apply", "2000")] {
        world.set(&format!("store.{key}_timeout_ms"), value);
    }
    world.set("http.cache_ms", "0");
    run(|| {
        let serve = world.start(&["serve"])?;
        let consume = world.start(&["consume"])?;
        let plan = Arc::new(Plan::mixed(seed(), PlanSize::about(6000)));
        world.create_coupons(&serve, &plan)?;
        let load = world.load(&plan, &[&serve], patient());
        load.wait_for(0.2)?;

        postgres.freeze()?;
        consume.wait_unready("database")?;
        // writes go on; reads end
        load.wait_for(0.9)?;
        for path in ["/api/v6/characters/1/expectations", "/api/v6/coupons/coupon-0"] {
            problem(&serve.get(path)?, 503, "database-unavailable", None)?;
        }
        ensure!(serve.readiness()?.0 == 200, "the ingress needs no database");
        postgres.thaw()?;

        let recording = load.finish()?;
        let others = recording.fates.iter().filter(|fate| fate.verdict != Verdict::Accepted).count();
        ensure!(others == 0 && recording.attempts() == recording.fates.len(), "{}", recording.answers);
        world.check(&postgres, &recording)?;
        consume.wait_ready()?;
        consume.stop()?;
        serve.stop()
    });
}

#[test]
fn a_full_disk_of_the_log_is_survived() {
    let Servers { kafka, postgres } = Servers::own();
    let world = World::ready(&kafka, &postgres).unwrap().hurried();
    world.set("buffer.kafka.message_timeout_ms", "2000");
    run(|| {
        let serve = world.start(&["serve"])?;
        let consume = world.start(&["consume"])?;
        let plan = Arc::new(Plan::mixed(seed(), PlanSize::about(8000)));
        world.create_coupons(&serve, &plan)?;
        let load = world.load(&plan, &[&serve], patient());
        load.wait_for(0.3)?;

        // a broker that cannot write its only log ends
        let broker = kafka.process(0)?;
        broker.limit_file_size(1)?;
        broker.wait_exit(READY)?;
        serve.wait_unready("does not answer")?;
        let answer = serve.ask(&valid_expectation())?;
        ensure!([503, 504].contains(&answer.status), "{} {}", answer.status, answer.text());
        kafka.start_again(0)?;

        let recording = load.finish()?;
        world.check_but(&postgres, &recording, &[4711])?;
        consume.wait_ready()?;
        consume.stop()?;
        serve.stop()
    });
}
