//! Ingress and consumers in processes of their own, with real Kafka and Postgres between and behind them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use floodgate_testkit::{Postgres, PostgresOptions, wait};
use support::client::Ask;
use support::load::{LoadOptions, Verdict};
use support::model;
use support::plan::{Plan, PlanSize, seed};
use support::state::State;
use support::topic::{Found, dead_letters, put, read_all};
use support::world::{DRAINED, Metrics, Node, READY, Servers, World, run};
use uuid::Uuid;

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

/// Whatever an ingress answered before it was killed holds; what it did not answer may or may not.
#[test]
fn a_killed_ingress_loses_nothing_it_answered() {
    let Servers { kafka, postgres } = Servers::shared();
    let world = World::ready(kafka, postgres).unwrap().hurried();
    run(|| {
        let (stays, mut dies) = (world.start(&["serve"])?, world.start(&["serve"])?);
        let consume = world.start(&["consume"])?;
        let plan = Arc::new(Plan::mixed(seed(), PlanSize::about(8000)));
        world.create_coupons(&stays, &plan)?;
        let load = world.load(&plan, &[&stays, &dies], LoadOptions::default());
        load.wait_for(0.3)?;
        dies.kill()?;
        load.wait_for(0.6)?;
        dies.start_again(&world)?;
        let recording = load.finish()?;
        ensure!(recording.attempts() > recording.fates.len(), "no write met the kill");
        world.check(postgres, &recording)?;
        consume.stop()
    });
}

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
        let keys: HashSet<_> = read_all(&kafka.bootstrap(), &world.named("floodgate.coupon.v1"))?
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
fn a_rolling_restart_under_load_loses_nothing() {
    let Servers { kafka, postgres } = Servers::shared();
    let world = World::ready(kafka, postgres).unwrap().hurried();
    run(|| {
        let mut serves = [world.start(&["serve"])?, world.start(&["serve"])?];
        let mut consumes = [world.start(&["consume"])?, world.start(&["consume"])?];
        let plan = Arc::new(Plan::mixed(seed(), PlanSize::about(20_000)));
        world.create_coupons(&serves[0], &plan)?;

        let load = world.load(&plan, &[&serves[0], &serves[1]], LoadOptions::default());
        for (number, part) in [0.1, 0.5].into_iter().enumerate() {
            load.wait_for(part)?;
            serves[number].stop()?;
            consumes[number].stop()?;
            load.wait_for(part + 0.1)?;
            serves[number].start_again(&world)?;
            consumes[number].start_again(&world)?;
        }
        let recording = load.finish()?;
        world.check(postgres, &recording)?;
        ensure!(recording.attempts() > recording.fates.len(), "no write met a node that was stopping");
        let doubled = dead_letters(
            &kafka.bootstrap(),
            &world.named("floodgate.dlq.v1"),
            &world.named("floodgate.like.v1"),
        )?;
        ensure!(doubled.is_empty(), "dead letters of a restart: {doubled:?}");
        Ok(())
    });
}

/// Clients behind a load balancer that looks at `/readyz` notice nothing of a rolling restart, and consumers give their
/// partitions over without having anything delivered again but the batch in work.
#[test]
fn a_rolling_restart_is_not_noticed_behind_a_load_balancer() {
    let Servers { kafka, postgres } = Servers::shared();
    let world = World::ready(kafka, postgres).unwrap().hurried();
    world.set("shutdown.grace_ms", "1500");
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

fn like(target: &str, liker: &str) -> Ask {
    Ask::new("PUT", format!("/api/v6/characters/{target}/likes/{liker}"))
}

/// Sends likes and returns their ids.
fn send_likes(serve: &Node, target: &str, likers: &[String]) -> Result<Vec<Uuid>> {
    let send = |liker: &String| {
        let answer = serve.ask(&like(target, liker))?;
        ensure!(answer.status == 202, "{} {}", answer.status, answer.text());
        Ok(answer.json()["eventId"].as_str().context("no eventId")?.parse()?)
    };
    likers.iter().map(send).collect()
}

fn likers(from: usize, to: usize) -> Vec<String> {
    (from..to).map(|number| format!("account-{number}")).collect()
}

/// The likers of a target, and its counter.
fn liked_by(postgres: &Postgres, world: &World, target: &str) -> Result<(Vec<String>, i64)> {
    let url = world.setting("store.url");
    let rows =
        format!("SELECT liker_account_id FROM likes WHERE target_ocid = '{target}' AND liked ORDER BY 1");
    let rows = postgres.psql(&url, &rows)?.lines().map(str::to_owned).collect();
    let count =
        postgres.psql(&url, &format!("SELECT count FROM like_counts WHERE target_ocid = '{target}'"))?;
    Ok((rows, count.trim().parse().unwrap_or(0)))
}

/// A dead letter tells where it stood and why it is here, and is what it was.
fn check_letter(world: &World, letter: &Found, origin: (i32, i64), reason: &str) -> Result<()> {
    let told: BTreeMap<&str, String> = letter
        .headers
        .iter()
        .filter_map(|(name, _)| Some((name.strip_prefix("floodgate-dlq-")?, letter.header(name)?)))
        .collect();
    let wanted = [
        ("topic", world.named("floodgate.like.v1")),
        ("partition", origin.0.to_string()),
        ("offset", origin.1.to_string()),
        ("group", world.named("floodgate.like")),
        ("reason", reason.to_owned()),
        ("attempts", "1".to_owned()),
    ];
    for (name, value) in wanted {
        ensure!(told.get(name) == Some(&value), "{name} should be {value}: {told:?}");
    }
    ensure!(told.get("message").is_some_and(|message| !message.is_empty()), "no message: {told:?}");
    told.get("failed-at").context("no failed-at")?.parse::<jiff::Timestamp>()?;
    ensure!(told.len() == 8, "other headers: {told:?}");
    Ok(())
}

#[test]
fn what_can_never_be_applied_is_dead_lettered_alone() {
    let Servers { kafka, postgres } = Servers::shared();
    let world = World::ready(kafka, postgres).unwrap().hurried();
    run(|| {
        // one batch takes in everything that waits: bad records have neighbours
        world.set("consumers.batch_max_wait_ms", "200");
        let serve = world.start(&["serve"])?;
        let (brokers, topic, letters) =
            (kafka.bootstrap(), world.named("floodgate.like.v1"), world.named("floodgate.dlq.v1"));
        let url = world.setting("store.url");
        postgres.psql(
            &url,
            "ALTER TABLE likes ADD CONSTRAINT house_rule CHECK (liker_account_id <> 'forbidden')",
        )?;

        // poison in every shape, on the partition that the key leads to, with good events before and after
        send_likes(&serve, "star", &likers(0, 300))?;
        let mut poison = BTreeMap::new();
        let shapes: [(&[u8], &str); 4] = [
            (b"no avro at all", "not-avro"),
            (b"", "not-avro"),
            (b"\xc3\x01\x00\x01\x02\x03\x04\x05\x06\x07rest", "unknown-schema"),
            (&single_object_header(&brokers, &topic)?, "undecodable"),
        ];
        for (value, reason) in shapes {
            let origin = put(&brokers, &topic, b"star\x1faccount-0", value, ("trace", "a\tb"))?;
            poison.insert(origin, (value.to_vec(), reason));
        }
        let forbidden = send_likes(&serve, "star", &["forbidden".to_owned()])?;
        send_likes(&serve, "star", &likers(300, 600))?;

        let consume = world.start(&["consume"])?;
        world.wait_drained(DRAINED)?;
        let (rows, count) = liked_by(postgres, &world, "star")?;
        let mut wanted = likers(0, 600);
        wanted.sort();
        ensure!(rows == wanted && count == 600, "{} rows, counter {count}", rows.len());

        let found = dead_letters(&brokers, &letters, &topic)?;
        ensure!(found.len() == poison.len() + 1, "{} dead letters: {found:?}", found.len());
        for (origin, (value, reason)) in &poison {
            let letter = found.get(origin).with_context(|| format!("no dead letter from {origin:?}"))?;
            check_letter(&world, letter, *origin, reason)?;
            ensure!(
                letter.key.as_deref() == Some(b"star\x1faccount-0") && letter.value.as_ref() == Some(value)
            );
            ensure!(letter.header("trace").as_deref() == Some("a\tb"), "the original header: {letter:?}");
        }
        let bad_row = found.iter().find(|(origin, _)| !poison.contains_key(origin));
        let (origin, letter) = bad_row.context("no dead letter of the forbidden row")?;
        check_letter(&world, letter, *origin, "bad-row")?;
        let message = letter.header("floodgate-dlq-message").unwrap_or_default();
        ensure!(
            message.contains("house_rule") && letter.key.as_deref() == Some(b"star\x1fforbidden"),
            "{message}"
        );
        let id = forbidden[0].to_string();
        let value = letter.value.as_deref().unwrap_or_default();
        let has_id = value.windows(id.len()).any(|window| window == id.as_bytes());
        ensure!(has_id, "the dead letter is not the event {id}");

        let metrics = consume.metrics()?;
        let group = world.named("floodgate.like");
        for (reason, wanted) in
            [("bad-row", 1.0), ("not-avro", 2.0), ("unknown-schema", 1.0), ("undecodable", 1.0)]
        {
            let counted =
                metrics.sum("floodgate_dead_letters_total", &[("group", &group), ("reason", reason)]);
            ensure!(counted == wanted, "{counted} dead letters are counted as {reason}");
        }
        // moved on and well: whatever comes next is applied, and nothing is dead-lettered again
        ensure!(consume.readiness()?.0 == 200, "{:?}", consume.readiness()?);
        send_likes(&serve, "star", &likers(600, 610))?;
        world.wait_drained(DRAINED)?;
        ensure!(liked_by(postgres, &world, "star")?.1 == 610, "{:?}", liked_by(postgres, &world, "star")?.1);
        let after = dead_letters(&brokers, &letters, &topic)?;
        ensure!(after.len() == found.len(), "{} dead letters later", after.len());
        consume.stop()?;
        serve.stop()
    });
}

/// The ten bytes before every event: of a schema that is known, with nothing behind.
fn single_object_header(brokers: &str, topic: &str) -> Result<Vec<u8>> {
    let records = read_all(brokers, topic)?;
    let value = records.first().and_then(|record| record.value.clone()).context("no event yet")?;
    Ok(value[..10].to_vec())
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
        let letters = read_all(&kafka.bootstrap(), &world.named("floodgate.dlq.v1"))?;
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
