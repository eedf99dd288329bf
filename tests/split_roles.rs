//! Ingress and consumers in processes of their own, with real Kafka and Postgres between and behind them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use floodgate_testkit::{Postgres, PostgresOptions, wait};
use support::answers::{accepted, expectation, problem};
use support::client::Ask;
use support::load::{LoadOptions, Verdict};
use support::model;
use support::node::Node;
use support::plan::{Plan, PlanSize, seed};
use support::state::State;
use support::topic::Topics;
use support::world::{DRAINED, READY, Servers, World, run};

/// One process with every role, on Kafka: the same answers, and it stops as it should.
#[test]
fn run_does_the_whole_job_on_kafka() {
    let Servers { kafka, postgres } = Servers::shared();
    let world = World::bare(kafka, postgres).unwrap().hurried();
    run(|| {
        world.succeed(&["topics", "create"])?;
        let mut node = world.start(&["run"])?;
        let plan = Arc::new(Plan::mixed(seed(), PlanSize::about(3000)));
        world.create_coupons(&node, &plan)?;
        let recording = world.load(&plan, &[&node], LoadOptions::default()).finish()?;
        node.stop()?;
        node.start_again(&world)?;
        world.check(postgres, &recording)?;
        node.stop()
    });
}

/// Partitioned by user one coupon spreads over all partitions: several members decide on it at once.
#[test]
fn one_coupon_spreads_over_partitions_by_user() {
    let Servers { kafka, postgres } = Servers::shared();
    let world = World::ready(kafka, postgres).unwrap().hurried();
    world.set("coupon.partition_key", "user");
    run(|| {
        let serve = world.start(&["serve"])?;
        let consumes = [world.start(&["consume"])?, world.start(&["consume"])?];
        serve.ask(&Ask::new("POST", "/api/v6/coupons").json(r#"{"couponId":"c","stock":100}"#))?;
        let users: Vec<_> = (0..1000)
            .map(|user| serde_json::json!({"type": "coupon", "couponId": "c", "userId": format!("u{user}")}))
            .collect();
        let batch = Ask::new("POST", "/api/v6/events").json(serde_json::Value::from(users).to_string());
        ensure!(serve.ask(&batch)?.status == 200);
        world.wait_drained(DRAINED)?;
        let keys: HashSet<_> = Topics::of(&world)
            .read_all(&world.named("floodgate.coupon.v1"))?
            .into_iter()
            .filter_map(|record| String::from_utf8(record.key?).ok())
            .collect();
        ensure!(keys.len() == 1000 && keys.contains("u17"), "{} keys", keys.len());
        let url = world.setting("store.url");
        let ranks = "SELECT count(*), count(DISTINCT rank), min(rank), max(rank) FROM coupon_issues";
        ensure!(postgres.psql(&url, ranks)?.trim() == "100|100|1|100", "{}", postgres.psql(&url, ranks)?);
        let issued = postgres.psql(&url, "SELECT issued FROM coupons")?;
        ensure!(issued.trim() == "100", "{issued} issued");
        consumes.iter().try_for_each(Node::stop)
    });
}

/// A check that cannot fail is no check: plants differences in copies of a right database.
#[test]
fn the_model_notices_whatever_is_wrong() {
    const PLANTED: [(&str, &str); 14] = [
        ("DELETE FROM expectations WHERE character_id = 1000000", "is missing"),
        ("UPDATE expectations SET version = version + 1 WHERE character_id = 1", "should be"),
        (
            "UPDATE expectations SET red_cube_cost = red_cube_cost + 0.01 WHERE character_id = 1000000",
            "should be",
        ),
        ("UPDATE expectations SET event_id = gen_random_uuid() WHERE character_id = 1", "should be"),
        (
            "INSERT INTO expectations SELECT 9, 3, 0, 0, 0, 0, 0, 1, now(), gen_random_uuid(), now() \
          ON CONFLICT (character_id, preset_no) DO UPDATE SET version = 99999",
            "(9, 3)",
        ),
        ("UPDATE like_counts SET count = count + 1 WHERE target_ocid = 'ocid-1'", "the counter is"),
        ("DELETE FROM like_counts WHERE target_ocid = 'ocid-1'", "there is no counter"),
        (
            "UPDATE likes SET liked = NOT liked WHERE (target_ocid, liker_account_id) = \
             (SELECT target_ocid, liker_account_id FROM likes LIMIT 1)",
            "should be",
        ),
        (
            "INSERT INTO likes VALUES ('ocid-1', 'stranger', false, now(), gen_random_uuid())",
            "nobody wrote this",
        ),
        ("DELETE FROM coupon_requests WHERE rank = 3", "accepted and not decided"),
        ("UPDATE coupon_requests SET rank = 2 WHERE rank = 3", "ranks are not 1 to"),
        ("UPDATE coupons SET issued = issued - 1", "should have issued"),
        ("DELETE FROM coupon_issues WHERE rank = 3", "has no row in coupon_issues"),
        (
            "UPDATE coupon_issues SET rank = 1000 WHERE rank = 1; \
          UPDATE coupon_issues SET rank = 1 WHERE rank = (SELECT issued FROM coupons); \
          UPDATE coupon_issues SET rank = (SELECT issued FROM coupons) WHERE rank = 1000; \
          UPDATE coupon_requests AS request SET rank = issue.rank FROM coupon_issues AS issue \
          WHERE issue.request_id = request.request_id",
            "was served before",
        ),
    ];
    let Servers { kafka, postgres } = Servers::shared();
    let world = World::ready(kafka, postgres).unwrap().hurried();
    run(|| {
        let (serve, consume) = (world.start(&["serve"])?, world.start(&["consume"])?);
        let plan = Arc::new(Plan::mixed(seed(), PlanSize::about(2000)));
        world.create_coupons(&serve, &plan)?;
        let load = world.load(&plan, &[&serve], LoadOptions { workers: 16, ..LoadOptions::default() });
        let recording = load.finish()?;
        world.check(postgres, &recording)?;
        consume.stop()?;
        serve.stop()?;

        let url = world.setting("store.url");
        let right = url.rsplit('/').next().context("no database in the URL")?;
        let unsaid = |(number, (sql, words)): (usize, &(&str, &str))| -> Result<()> {
            let copy = format!("{right}_planted_{number}");
            postgres.psql("postgres", &format!("CREATE DATABASE {copy} TEMPLATE {right}"))?;
            postgres.psql(&copy, sql)?;
            let state = State::from_postgres(postgres, &copy)?;
            let told = model::check(&recording, &state, &HashSet::new()).err().map(|error| error.to_string());
            ensure!(
                told.as_ref().is_some_and(|told| told.contains(words)),
                "{sql}: not {words:?} but {told:?}"
            );
            Ok(())
        };
        PLANTED.iter().enumerate().try_for_each(unsaid)
    });
}

#[test]
fn members_without_a_partition_wait_in_peace() {
    let Servers { kafka, postgres } = Servers::shared();
    let world = World::bare(kafka, postgres).unwrap().hurried();
    world.set("topics.partitions", "2");
    world.set("consumers.instances", "2");
    run(|| {
        world.succeed(&["topics", "create"])?;
        world.succeed(&["migrate"])?;
        let serve = world.start(&["serve"])?;
        let consumes = [world.start(&["consume"])?, world.start(&["consume"])?];
        let plan = Arc::new(Plan::mixed(seed(), PlanSize::about(1000)));
        world.create_coupons(&serve, &plan)?;
        let recording = world.load(&plan, &[&serve], LoadOptions::default()).finish()?;
        wait::until("four members in every group", READY, || {
            let lag = world.lag().ok()?;
            lag["groups"].as_array()?.iter().all(|group| group["members"] == 4).then_some(())
        })?;
        world.check(postgres, &recording)?;
        for consume in &consumes {
            ensure!(consume.readiness()?.0 == 200, "{:?}", consume.readiness()?);
            ensure!(!consume.process().stderr().contains("subscribing anew"), "members leave and join");
            consume.stop()?;
        }
        Ok(())
    });
}

#[test]
fn writes_go_on_while_the_database_is_away() {
    let Servers { kafka, .. } = Servers::shared();
    let postgres = Postgres::start(PostgresOptions::default()).unwrap();
    let world = World::ready(kafka, &postgres).unwrap().hurried();
    run(|| {
        let (left, right) = (world.start(&["serve"])?, world.start(&["serve"])?);
        let consume = world.start(&["consume"])?;
        let plan = Arc::new(Plan::mixed(seed(), PlanSize::about(6000)));
        world.create_coupons(&left, &plan)?;
        let load = world.load(&plan, &[&left, &right], LoadOptions { workers: 16, ..LoadOptions::default() });
        load.wait_for(0.2)?;

        postgres.stop()?;
        let accepted = load.accepted();
        consume.wait_unready("database")?;
        load.wait_for(0.9)?;
        ensure!(load.accepted() > accepted, "the load was over before the database stopped");
        for serve in [&left, &right] {
            ensure!(
                serve.get("/readyz")?.status == 200 && serve.readiness()?.0 == 200,
                "the ingress is unready"
            );
            for path in [
                "characters/1/expectations",
                "characters/t/likes",
                "characters/t/likes/l",
                "coupons/coupon-0",
            ] {
                let answer = serve.get(&format!("/api/v6/{path}"))?;
                let body = answer.json();
                let told = format!("{path}: {} {body}", answer.status);
                ensure!(answer.status == 503 && body["type"] == "/problems/database-unavailable", "{told}");
                ensure!(body["retryable"] == true && answer.header("retry-after").is_some(), "{told}");
            }
        }
        let create = Ask::new("POST", "/api/v6/coupons").json(r#"{"couponId":"new","stock":1}"#);
        ensure!(left.ask(&create)?.status == 503, "a coupon is a row");
        ensure!(consume.process().exit_status().is_none(), "the consumer ended");
        let recording = load.finish()?;
        let others = recording.attempts() - recording.count(Verdict::Accepted);
        ensure!(others == 0, "{others} writes had another answer than 202: {}", recording.answers);

        postgres.start_again()?;
        consume.wait_ready()?;
        world.check(&postgres, &recording)?;
        ensure!(left.get("/api/v6/coupons/coupon-0")?.status == 200, "reads do not recover");
        let letters = Topics::of(&world).read_all(&world.named("floodgate.dlq.v1"))?;
        ensure!(letters.is_empty(), "an outage made dead letters: {letters:?}");
        consume.stop()
    });
}

#[test]
fn a_key_is_the_same_event_on_every_ingress() {
    let Servers { kafka, postgres } = Servers::shared();
    let world = World::ready(kafka, postgres).unwrap().hurried();
    run(|| {
        let (left, right) = (world.start(&["serve"])?, world.start(&["serve"])?);
        let plan = Plan::mixed(seed(), PlanSize::about(100));
        world.create_coupons(&left, &plan)?;
        let mut ids = HashSet::new();
        for index in 0..plan.writes.len() {
            let mut answers = HashSet::new();
            for serve in [&left, &right, &right] {
                let answer = serve.ask(&plan.ask(index))?;
                ensure!(answer.status == 202, "{} {}", answer.status, answer.text());
                answers.insert(answer.text());
            }
            let id = plan.event_id(index);
            ensure!(
                answers.len() == 1 && answers.iter().all(|answer| answer.contains(&id.to_string())),
                "{answers:?}"
            );
            ensure!(ids.insert(id), "{id} names two events");
        }
        // one row each, although three records
        let consume = world.start(&["consume"])?;
        world.wait_drained(DRAINED)?;
        let metrics = consume.metrics()?;
        let applied = metrics.sum("floodgate_events_applied_total", &[]);
        let duplicates = metrics.sum("floodgate_events_applied_total", &[("outcome", "duplicate")]);
        ensure!(applied == 3.0 * ids.len() as f64, "{applied} events applied");
        ensure!(duplicates > 0.0, "{duplicates} of them duplicates");
        let state = State::from_postgres(postgres, &world.setting("store.url"))?;
        let issued = state.issues.map_or(0, |issues| issues.len());
        ensure!(issued as i32 == plan.stocks[0], "{issued} coupons issued");
        Ok(())
    });
}

/// Other words under a key that this ingress remembers are refused; elsewhere the ordering rule decides.
#[test]
fn a_key_belongs_to_one_write() {
    let Servers { kafka, postgres } = Servers::shared();
    let world = World::ready(kafka, postgres).unwrap().hurried();
    run(|| {
        let (left, right) = (world.start(&["serve"])?, world.start(&["serve"])?);
        let like = |occurred_at: &str| {
            let body = format!(r#"{{"occurredAt":"{occurred_at}"}}"#);
            Ask::new("PUT", "/api/v6/characters/star/likes/fan").key("key-0001").json(body)
        };
        let write = |version: i64, cost: &str| {
            let mut body = expectation();
            body["version"] = version.into();
            body["totalExpectedCost"] = cost.into();
            Ask::new("POST", "/api/v6/expectations").key("key-0001").json(body.to_string())
        };
        let (early, late) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
        let liked = accepted(&left.ask(&like(early))?)?;
        let written = accepted(&left.ask(&write(5, "10.5"))?)?;
        // the same words in another form are a retry
        ensure!(accepted(&left.ask(&like("2026-01-01T00:00:00.000Z"))?)? == liked);
        ensure!(accepted(&left.ask(&write(5, "10.50"))?)? == written);
        for ask in [like(late), write(5, "10.51"), write(6, "10.5")] {
            problem(&left.ask(&ask)?, 422, "idempotency-key-reused", Some("Idempotency-Key"))?;
        }
        let batch = r#"[{"type":"like","targetOcid":"star","likerAccountId":"fan","action":"LIKE",
            "occurredAt":"2026-01-02T00:00:00Z","idempotencyKey":"key-0001"}]"#;
        let answer = left.ask(&Ask::new("POST", "/api/v6/events").json(batch))?.json();
        let result = &answer["results"][0];
        ensure!(result["status"] == "rejected", "{answer}");
        ensure!(result["problem"]["type"] == "/problems/idempotency-key-reused", "{answer}");
        ensure!(result["problem"]["field"] == "idempotencyKey", "{answer}");
        // the key says nothing about other events
        let other = Ask::new("DELETE", "/api/v6/characters/star/likes/fan").key("key-0001");
        accepted(&left.ask(&other.json(format!(r#"{{"occurredAt":"{early}"}}"#)))?)?;

        // an ingress that does not know takes it, as the same event; the greater version or time stands
        ensure!(accepted(&right.ask(&like(late))?)? == liked);
        ensure!(accepted(&right.ask(&write(4, "99"))?)? == written);
        let consume = world.start(&["consume"])?;
        world.wait_drained(DRAINED)?;
        let url = world.setting("store.url");
        let likes = "SELECT liked, occurred_at AT TIME ZONE 'UTC', event_id, \
                     (SELECT count FROM like_counts) FROM likes";
        let found = postgres.psql(&url, likes)?;
        ensure!(found.trim() == format!("t|2026-01-02 00:00:00|{liked}|1"), "{found}");
        let found = postgres.psql(&url, "SELECT version, total_expected_cost, event_id FROM expectations")?;
        ensure!(found.trim() == format!("5|10.50|{written}"), "{found}");
        consume.stop()
    });
}
