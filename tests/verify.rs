//! `floodgate verify` on a system at work, on one that was tampered with, and interrupted.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use floodgate_testkit::{Postgres, wait};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::{Value, json};
use support::answers::{accepted, keys};
use support::client::{Ask, runtime};
use support::load::{LoadOptions, Recording};
use support::node::Node;
use support::plan::{Plan, PlanSize, Write, seed};
use support::rule::refuse;
use support::topic::put;
use support::world::{DRAINED, READY, Servers, World, run};
use uuid::Uuid;

/// Runs the check to its end and returns its code and its report.
fn verify(world: &World, more: &[&str]) -> Result<(i32, Value)> {
    verify_with(world, more, &[])
}

fn verify_with(world: &World, more: &[&str], settings: &[(&str, &str)]) -> Result<(i32, Value)> {
    let args: Vec<&str> = ["verify", "--json"].into_iter().chain(more.iter().copied()).collect();
    let ended = world.command_with(&args, settings)?;
    let told = format!("{} {} {}", ended.code, ended.stdout, ended.stderr);
    let report: Value = serde_json::from_str(&ended.stdout).with_context(|| told.clone())?;
    let violations = report["violations"].as_u64().with_context(|| told.clone())?;
    ensure!(report["balanced"] == (violations == 0) && ended.code == i32::from(violations > 0), "{told}");
    for of in types(&report) {
        let classes = ["current", "superseded", "decided", "deadLettered", "inFlight", "missing"];
        let sum: u64 = classes.iter().map(|class| number(of, class)).sum();
        ensure!(number(of, "events") == sum && sum <= number(of, "records"), "{told}");
    }
    Ok((ended.code, report))
}

fn types(report: &Value) -> impl Iterator<Item = &Value> {
    report["types"].as_array().into_iter().flatten()
}

fn of_type<'r>(report: &'r Value, name: &str) -> &'r Value {
    types(report).find(|of| of["type"] == name).unwrap_or(&Value::Null)
}

fn number(object: &Value, name: &str) -> u64 {
    object[name].as_u64().unwrap_or_else(|| panic!("no {name}: {object}"))
}

/// Of all types together.
fn sum(report: &Value, name: &str) -> u64 {
    types(report).map(|of| number(of, name)).sum()
}

fn count(postgres: &Postgres, world: &World, from: &str) -> Result<u64> {
    Ok(postgres.psql(&world.setting("store.url"), &format!("SELECT count(*) FROM {from}"))?.trim().parse()?)
}

fn checks_all(report: &Value, recording: &Recording) -> Result<()> {
    let told = format!("{report}\n{}", recording.answers);
    let records = recording.taken as u64..=(recording.taken + recording.unknown) as u64;
    ensure!(records.contains(&sum(report, "records")), "{told}");
    for (name, is) in [
        ("expectation", (|write| matches!(write, Write::Expectation { .. })) as fn(&Write) -> bool),
        ("coupon", |write| matches!(write, Write::Coupon { .. })),
        ("like", |write| matches!(write, Write::Like { .. })),
    ] {
        let planned = recording.plan.writes.iter().filter(|write| is(write)).count() as u64;
        ensure!(number(of_type(report, name), "events") == planned, "{planned} of {name}: {told}");
    }
    Ok(())
}

/// A load, checked while it is on its way and when it is done.
fn loaded(world: &World, nodes: [&Node; 2], writes: usize) -> Result<Recording> {
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

#[test]
fn a_system_at_work_balances_and_every_hole_is_named() {
    let Servers { kafka, postgres } = Servers::shared();
    let world = World::ready(kafka, postgres).unwrap().hurried();
    run(|| {
        let (left, right) = (world.start(&["serve"])?, world.start(&["serve"])?);
        let consume = world.start(&["consume"])?;
        let recording = loaded(&world, [&left, &right], 8000)?;
        world.check(postgres, &recording)?;
        let (code, report) = verify(&world, &[])?;
        ensure!(code == 0, "{report}");
        checks_all(&report, &recording)?;
        let shape = [
            "asOf",
            "types",
            "missing",
            "discrepancies",
            "discrepancyCount",
            "notes",
            "violations",
            "balanced",
        ];
        ensure!(keys(&report) == BTreeSet::from(shape), "{report}");
        ensure!(
            (report["missing"].clone(), report["discrepancies"].clone()) == (json!([]), json!([])),
            "{report}"
        );
        for (name, table) in [("expectation", "expectations"), ("like", "likes")] {
            let rows = count(postgres, &world, table)?;
            ensure!(number(of_type(&report, name), "current") == rows, "{rows} {table}: {report}");
        }
        ensure!(number(of_type(&report, "coupon"), "decided") == count(postgres, &world, "coupon_requests")?);
        let table = world.succeed(&["verify"])?;
        ensure!(table.contains("balanced as of") && table.lines().count() == 5, "{table}");
        [&left, &right, &consume].into_iter().try_for_each(Node::stop)?;
        every_hole_is_named(&world, postgres, &recording)
    });
}

/// Plants differences in copies of a sound database: each is named, and nothing else.
fn every_hole_is_named(world: &World, postgres: &Postgres, recording: &Recording) -> Result<()> {
    let fresh =
        recording.plan.writes.iter().position(
            |write| matches!(write, Write::Expectation { character, .. } if *character >= 1_000_000),
        );
    let fresh = fresh.context("no expectation with a row of its own")?;
    let Write::Expectation { character, .. } = recording.plan.writes[fresh] else { unreachable!() };
    let lost = recording.plan.event_id(fresh).to_string();
    let planted = [
        (
            format!("DELETE FROM expectations WHERE character_id = {character}"),
            "missing",
            json!({"type": "expectation", "eventId": lost, "key": character.to_string()}),
        ),
        (
            "UPDATE like_counts SET count = count + 1 WHERE target_ocid = 'ocid-1'".to_owned(),
            "discrepancies",
            json!({"kind": "likeCount", "targetOcid": "ocid-1"}),
        ),
        (
            "ALTER TABLE coupon_issues DROP CONSTRAINT coupon_issues_coupon_id_rank_key; \
             UPDATE coupon_issues SET rank = 2 WHERE rank = 1"
                .to_owned(),
            "discrepancies",
            json!({"kind": "rankDoubled", "couponId": "coupon-0", "rank": 2, "holders": 2}),
        ),
        (
            "UPDATE coupon_requests SET rank = 2 WHERE rank = 3".to_owned(),
            "discrepancies",
            json!({"kind": "decisionWithoutIssue", "couponId": "coupon-0", "rank": 2}),
        ),
    ];
    let url = world.setting("store.url");
    let (server, right) = url.rsplit_once('/').context("no database in the URL")?;
    for (number, (sql, list, wanted)) in planted.iter().enumerate() {
        let copy = format!("{right}_holed_{number}");
        postgres.psql("postgres", &format!("CREATE DATABASE {copy} TEMPLATE {right}"))?;
        postgres.psql(&copy, sql)?;
        let copy = format!("{server}/{copy}");
        let (code, report) = verify_with(world, &[], &[("store.url", &copy)])?;
        let found = report[list].as_array().context("no list")?;
        let is_wanted = |found: &&Value| keys(wanted).iter().all(|key| found[key] == wanted[key]);
        ensure!(code == 1 && found.iter().filter(is_wanted).count() == 1, "{sql}: {report}");
        let others =
            ["missing", "discrepancies"].iter().map(|list| report[list].as_array().map_or(0, Vec::len));
        let all: u64 = others.sum::<usize>() as u64;
        ensure!(report["violations"] == all && all <= 4, "{sql}: {report}");
        ensure!(*list == "discrepancies" || all == 1, "{sql}: {report}");
        let told = world.command_with(&["verify"], &[("store.url", &copy)])?;
        let id = if *list == "missing" { &lost } else { "contradiction: " };
        ensure!(told.code == 1 && told.stdout.contains(id), "{}\n{}", told.stdout, told.stderr);
        ensure!(told.stderr.contains("violations"), "{}", told.stderr);
    }
    Ok(())
}

fn send_likes(serve: &Node, likers: std::ops::Range<usize>) -> Result<Vec<Uuid>> {
    let send = |number: usize| {
        accepted(&serve.ask(&Ask::new("PUT", format!("/api/v6/characters/star/likes/account-{number}")))?)
    };
    likers.map(send).collect()
}

/// Makes the records of a partition before an offset expire.
fn expire(brokers: &str, topic: &str, partition: i32, before: i64) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers).create()?;
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(topic, partition, Offset::Offset(before))?;
    let results = runtime().block_on(admin.delete_records(&offsets, &AdminOptions::new()))?;
    results.elements().iter().try_for_each(|element| Ok(element.error()?))
}

#[test]
fn what_waits_is_in_flight_and_what_never_can_be_applied_is_dead_lettered() {
    let Servers { kafka, postgres } = Servers::shared();
    let world = World::ready(kafka, postgres).unwrap().hurried();
    world.set("topics.partitions", "1");
    run(|| {
        // one partition, so that offsets are known
        world.set("topics.prefix", format!("{}one.", world.setting("topics.prefix")));
        world.succeed(&["topics", "create"])?;
        let (brokers, topic, letters) =
            (kafka.bootstrap(), world.named("floodgate.like.v1"), world.named("floodgate.dlq.v1"));
        let rule = refuse("house_rule", "likes", "new.liker_account_id = 'account-7'");
        postgres.psql(&world.setting("store.url"), &rule)?;
        let serve = world.start(&["serve"])?;
        let ids = send_likes(&serve, 0..10)?;
        let garbage = put(&brokers, &topic, b"star\x1fx", b"no event", ("trace", "1"))?;
        ensure!(garbage == (0, 10), "{garbage:?}");
        let (code, report) = verify(&world, &[])?;
        let like = of_type(&report, "like");
        ensure!(code == 0 && number(like, "inFlight") == 10 && number(like, "records") == 11, "{report}");
        ensure!(like["unreadable"] == json!({"deadLettered": 0, "inFlight": 1, "missing": 0}), "{report}");

        let consume = world.start(&["consume"])?;
        world.wait_drained(DRAINED)?;
        let (code, report) = verify(&world, &[])?;
        let like = of_type(&report, "like");
        ensure!(code == 0 && number(like, "current") == 9 && number(like, "deadLettered") == 1, "{report}");
        ensure!(like["unreadable"] == json!({"deadLettered": 1, "inFlight": 0, "missing": 0}), "{report}");
        ensure!(like["unchecked"] == json!([]) && report["notes"] == json!([]), "{report}");

        expire(&brokers, &topic, 0, 4)?;
        let (code, report) = verify(&world, &[])?;
        let like = of_type(&report, "like");
        let expired = json!([{"partition": 0, "fromOffset": 0, "untilOffset": 4}]);
        ensure!(code == 0 && like["unchecked"] == expired && number(like, "current") == 5, "{report}");
        ensure!(world.succeed(&["verify"])?.contains("unchecked: partition 0 offsets 0 to 3"));

        // without the dead letters nobody knows what became of those records, and the report says why
        expire(&brokers, &letters, 0, 2)?;
        let (code, report) = verify(&world, &[])?;
        let named = [
            json!({"type": "like", "partition": 0, "offset": 7, "eventId": ids[7], "key": "star\u{1f}account-7"}),
            json!({"type": "like", "partition": 0, "offset": 10, "eventId": null, "key": "star\u{1f}x"}),
        ];
        ensure!(code == 1 && report["missing"] == json!(named) && report["violations"] == 2, "{report}");
        let note = report["notes"][0].as_str().unwrap_or_default();
        ensure!(note.starts_with("dead letters before offset 2"), "{report}");
        consume.stop()?;
        serve.stop()
    });
}

/// Somebody else's transaction that keeps everybody from a table, until it is ended.
fn hold_likes(postgres: &'static Postgres, url: &str) -> Result<()> {
    let (url, hold) = (url.to_owned(), "LOCK TABLE likes IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(50)");
    let holder = url.clone();
    // it is ended from outside, which psql calls an error
    std::thread::spawn(move || drop(postgres.psql(&holder, hold)));
    wait_for_backends(postgres, &url, 1, "wait_event = 'PgSleep'")
}

/// Waits until so many backends in this database are in that state.
fn wait_for_backends(postgres: &Postgres, url: &str, number: usize, that: &str) -> Result<()> {
    let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND {that}");
    let is_reached =
        || (postgres.psql(url, &sql).ok()?.trim().parse::<usize>().ok()? >= number).then_some(());
    Ok(wait::until(that, READY, is_reached)?)
}

#[test]
fn a_killed_check_goes_on_where_it_was() {
    let Servers { kafka, postgres } = Servers::shared();
    let world = World::ready(kafka, postgres).unwrap().hurried();
    for timeout in ["lock", "statement", "apply"] {
        world.set(&format!("store.{timeout}_timeout_ms"), "60000");
    }
    run(|| {
        let (left, right) = (world.start(&["serve"])?, world.start(&["serve"])?);
        let consume = world.start(&["consume"])?;
        let recording = loaded(&world, [&left, &right], 3000)?;
        world.check(postgres, &recording)?;
        [&left, &right, &consume].into_iter().try_for_each(Node::stop)?;
        let (_, mut whole) = verify(&world, &[])?;

        // likes come last: when the check waits for them, everything else has been counted
        let url = world.setting("store.url");
        hold_likes(postgres, &url)?;
        let folder = world.folder().join("state").display().to_string();
        let interrupted = world.launch(&["verify", "--state", &folder])?;
        wait_for_backends(postgres, &url, 1, "wait_event_type = 'Lock'")?;
        let taken = world.command(&["verify", "--state", &folder])?;
        ensure!(taken.code == 2 && taken.stderr.contains("another process"), "{taken:?}");
        interrupted.process().terminate()?;
        let exit = interrupted.process().wait_exit(READY)?;
        let told = interrupted.process().stderr();
        ensure!(
            exit.code() == Some(1) && told.contains("interrupted; the same command goes on"),
            "{exit} {told}"
        );
        // the server does not notice that nobody waits for the first answer any more
        let killed = world.launch(&["verify", "--state", &folder])?;
        wait_for_backends(postgres, &url, 2, "wait_event_type = 'Lock'")?;
        killed.kill()?;
        let everybody = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                         WHERE datname = current_database() AND pid <> pg_backend_pid()";
        postgres.psql(&url, everybody)?;

        let other = world.command_with(&["verify", "--state", &folder], &[("topics.prefix", "other.")])?;
        ensure!(other.code == 2 && other.stderr.contains("give another folder"), "{other:?}");
        // what was counted before the kill is not looked up again: otherwise this would be noticed
        postgres.psql(&url, "UPDATE expectations SET version = version - 1000000000")?;
        let (code, mut resumed) = verify(&world, &["--state", &folder])?;
        let as_of = [&mut whole, &mut resumed].map(|report| report["asOf"].take());
        ensure!(code == 0 && resumed == whole && as_of[0] != as_of[1], "{resumed} {whole}");
        // the next check in that folder begins anew
        let (code, anew) = verify(&world, &["--state", &folder])?;
        ensure!(code == 1 && number(of_type(&anew, "expectation"), "missing") > 0, "{anew}");
        ensure!(
            anew["missing"].as_array().map(Vec::len) == Some(1000.min(number(&anew, "violations") as usize))
        );
        ensure!(std::fs::read_dir(&folder)?.count() == 0, "something was left in the state's folder");
        Ok(())
    });
}

/// A database that stops answering ends the check; the state goes on when it is back.
#[test]
fn a_check_without_an_answer_fails_and_says_how_to_go_on() {
    let Servers { kafka, postgres } = Servers::shared();
    let world = World::bare(kafka, postgres).unwrap().hurried();
    run(|| {
        let ended = world.command(&["verify"])?;
        ensure!(ended.code == 1 && ended.stderr.contains("run `floodgate topics create`"), "{ended:?}");
        world.succeed(&["topics", "create"])?;
        let ended = world.command(&["verify"])?;
        ensure!(ended.code == 1 && ended.stderr.contains("run `floodgate migrate`"), "{ended:?}");
        ensure!(ended.stderr.contains("with --state DIR"), "{ended:?}");
        world.succeed(&["migrate"])?;
        let state = world.folder().join("state").display().to_string();
        let away = world
            .command_with(&["verify", "--state", &state], &[("store.url", "postgres://127.0.0.1:1/x")])?;
        ensure!(away.code == 1 && away.stderr.contains("goes on where this was"), "{away:?}");
        let (code, report) = verify(&world, &[])?;
        ensure!(code == 0 && sum(&report, "records") == 0, "{report}");
        // a file is no folder
        std::fs::write(world.folder().join("file"), "")?;
        ensure!(world.command(&["verify", "--state", "file"])?.code == 2);
        ensure!(world.command(&["verify", "--stat"])?.code == 2);
        Ok(())
    });
}

/// What waits inside another process cannot be checked from here; what the database holds can.
#[test]
fn in_memory_only_the_database_is_checked() {
    let world = World::empty().unwrap();
    run(|| {
        let missing = world.command(&["verify"])?;
        ensure!(missing.code == 1 && missing.stderr.contains("floodgate migrate"), "{missing:?}");
        let node = world.start(&[])?;
        accepted(&node.ask(&Ask::new("PUT", "/api/v6/characters/star/likes/ann"))?)?;
        world.wait_applied(&node, DRAINED)?;
        let (code, report) = verify(&world, &[])?;
        ensure!(code == 0 && report["types"] == json!([]), "{report}");
        ensure!(report["notes"][0].as_str().is_some_and(|note| note.contains("unchecked")), "{report}");
        node.stop()
    });
}
