//! Servers that are there and do not answer: deadlines hold, answers say what is known, and nobody has to restart
//! floodgate afterwards.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use floodgate_testkit::{Postgres, PostgresOptions, wait};
use support::answers::{problem, valid_expectation};
use support::client::{Ask, Client, runtime};
use support::load::{LoadOptions, Verdict};
use support::plan::{Plan, PlanSize, seed};
use support::world::{READY, Servers, World, run};

/// A load that goes on while servers hang.
fn patient() -> LoadOptions {
    LoadOptions { workers: 32, deadline: Duration::from_secs(300), ..LoadOptions::default() }
}

#[test]
fn a_frozen_broker_is_answered_for_and_recovered_from() {
    let Servers { kafka, postgres } = Servers::own();
    let world = World::ready(&kafka, &postgres).unwrap().hurried();
    // 503 or 504 within two seconds and a half
    world.set("buffer.kafka.message_timeout_ms", "1000");
    world.set("http.request_deadline_ms", "2500");
    world.set("coupon.refuse_unknown", "false");
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
        ensure!(asked.elapsed() < Duration::from_secs(10), "an answer took {:?}", asked.elapsed());
        match answer.status {
            503 => problem(&answer, 503, "not-stored", None)?,
            _ => problem(&answer, 504, "outcome-unknown", None)?,
        };
        let batch = r#"[{"type":"coupon","couponId":"x","userId":"y"},{"type":"coupon"}]"#;
        let answer = left.ask(&Ask::new("POST", "/api/v6/events").json(batch))?.json();
        let statuses = [0, 1].map(|index| answer["results"][index]["status"].clone());
        ensure!(statuses[0] == "unknown" || statuses[0] == "retry", "{answer}");
        ensure!(statuses[1] == "rejected", "{answer}");
        for serve in [&left, &right] {
            serve.wait_unready("does not answer")?;
            // it lives, and what needs no broker is served
            ensure!(serve.get("/healthz")?.status == 200);
            ensure!(serve.get("/api/v6/coupons/coupon-0")?.status == 200);
        }
        kafka.thaw(0)?;

        let recording = load.finish()?;
        ensure!(recording.unknown > 0 || recording.attempts() > recording.fates.len(), "nobody noticed");
        // the events above may be there as well
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
        let accepted = load.accepted();
        // a coupon is a row: not asked for it is not there, and asked for without an answer nobody knows
        let create = Ask::new("POST", "/api/v6/coupons").json(r#"{"couponId":"perhaps","stock":1}"#);
        let answer = serve.ask(&create)?;
        match answer.status {
            503 => problem(&answer, 503, "database-unavailable", None)?,
            _ => problem(&answer, 504, "outcome-unknown", None)?,
        };
        consume.wait_unready("database")?;
        // writes go on; reads end
        load.wait_for(0.9)?;
        ensure!(load.accepted() > accepted, "the load was over before the database froze");
        for path in ["/api/v6/characters/1/expectations", "/api/v6/coupons/coupon-0"] {
            problem(&serve.get(path)?, 503, "database-unavailable", None)?;
        }
        ensure!(serve.readiness()?.0 == 200, "the ingress needs no database");
        postgres.thaw()?;
        wait::until("the coupon to be created, or found", READY, || {
            let again = serve.ask(&create).ok()?;
            [200, 201].contains(&again.status).then_some(())
        })?;

        let recording = load.finish()?;
        let others = recording.fates.iter().filter(|fate| fate.verdict != Verdict::Accepted).count();
        ensure!(others == 0 && recording.attempts() == recording.fates.len(), "{}", recording.answers);
        world.check(&postgres, &recording)?;
        consume.wait_ready()?;
        consume.stop()?;
        serve.stop()
    });
}

/// What was accepted and is not acknowledged by the deadline is left behind, and the exit says so.
#[test]
fn a_stop_that_leaves_something_behind_is_no_success() {
    let Servers { kafka, .. } = Servers::own();
    let postgres = Postgres::start(PostgresOptions::default()).unwrap();
    run(|| {
        // in memory: what waits for a database that does not answer goes with the process
        let alone = World::empty()?.hurried();
        alone.set("store.url", postgres.create_database()?);
        alone.set("shutdown.deadline_ms", "3000");
        let node = alone.start(&[])?;
        postgres.freeze()?;
        let answer = node.ask(&valid_expectation())?;
        ensure!(answer.status == 202, "{} {}", answer.status, answer.text());
        node.process().terminate()?;
        let exit = node.process().wait_exit(READY)?;
        ensure!(exit.code() == Some(1), "{exit}: {}", node.process().stderr());
        postgres.thaw()?;

        // Kafka: what the client library still holds
        let world = World::ready(&kafka, &postgres)?.hurried();
        world.set("shutdown.deadline_ms", "2000");
        let serve = world.start(&["serve"])?;
        kafka.freeze(0)?;
        let client = std::sync::Arc::new(Client::new(serve.http));
        let asked = runtime().spawn(async move { client.send(&valid_expectation()).await });
        wait::until("the event to be on its way", READY, || {
            (serve.metrics().ok()?.sum("buffer_size", &[]) > 0.0).then_some(())
        })?;
        serve.process().terminate()?;
        let exit = serve.process().wait_exit(READY)?;
        ensure!(exit.code() == Some(1), "{exit}: {}", serve.process().stderr());
        drop(asked);
        Ok(())
    });
}
