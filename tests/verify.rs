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
use support::topic::Topics;
use support::world::{DRAINED, READY, Servers, World, partitions, run};
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
    let (verdict, code) = match (violations, report["cannotTell"].as_array().map_or(0, Vec::len)) {
        (0, 0) => ("balanced", 0),
        (0, _) => ("cannot-tell", 3),
        _ => ("violations", 1),
    };
    ensure!(
        report["balanced"] == (code == 0) && report["verdict"] == verdict && ended.code == code,
        "{told}"
    );
    for of in types(&report) {
        let classes = [
            "current",
            "superseded",
            "decided",
            "differing",
            "deadLettered",
            "inFlight",
            "missing",
            "cannotTell",
        ];
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
            "differences",
            "lost",
            "discrepancies",
            "discrepancyCount",
            "cannotTell",
            "notes",
            "violations",
            "eventsChecked",
            "valuesCompared",
            "verdict",
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
        let (code, report) = verify(&world, &["--values"])?;
        ensure!(code == 0 && report["valuesCompared"] == true, "{report}");
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
        let mend = found.iter().map(|found| found["mend"].as_str().unwrap_or_default());
        ensure!(mend.clone().all(|mend| mend.starts_with("mend: ")), "{report}");
        let told = world.command_with(&["verify"], &[("store.url", &copy)])?;
        let id = if *list == "missing" { &lost } else { "violation: " };
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
        let garbage = Topics::of(&world).put(&topic, b"star\x1fx", b"no event", ("trace", "1"))?;
        ensure!(garbage == (0, 10), "{garbage:?}");
        let (code, report) = verify(&world, &[])?;
        let like = of_type(&report, "like");
        ensure!(code == 0 && number(like, "inFlight") == 10 && number(like, "records") == 11, "{report}");
        ensure!(
            like["unreadable"] == json!({"deadLettered": 0, "inFlight": 1, "missing": 0, "cannotTell": 0}),
            "{report}"
        );

        let consume = world.start(&["consume"])?;
        world.wait_drained(DRAINED)?;
        let (code, report) = verify(&world, &[])?;
        let like = of_type(&report, "like");
        ensure!(code == 0 && number(like, "current") == 9 && number(like, "deadLettered") == 1, "{report}");
        ensure!(
            like["unreadable"] == json!({"deadLettered": 1, "inFlight": 0, "missing": 0, "cannotTell": 0}),
            "{report}"
        );
        ensure!(like["unchecked"] == json!([]) && report["notes"] == json!([]), "{report}");

        expire(&brokers, &topic, 0, 4)?;
        let (code, report) = verify(&world, &[])?;
        let like = of_type(&report, "like");
        let expired = json!([{"partition": 0, "fromOffset": 0, "untilOffset": 4}]);
        ensure!(code == 0 && like["unchecked"] == expired && number(like, "current") == 5, "{report}");
        ensure!(world.succeed(&["verify"])?.contains("unchecked: partition 0 offsets 0 to 3"));

        // without the dead letters nobody can tell what became of those records, and the report says why
        expire(&brokers, &letters, 0, 2)?;
        let (code, report) = verify(&world, &[])?;
        let doubt = |number: usize| &report["cannotTell"][number];
        ensure!(code == 3 && report["missing"] == json!([]) && report["violations"] == 0, "{report}");
        ensure!(doubt(0)["kind"] == "deadLetterExpired" && doubt(0)["eventId"] == json!(ids[7]), "{report}");
        ensure!(doubt(0)["fromOffset"] == 7 && doubt(0)["key"] == "star\u{1f}account-7", "{report}");
        ensure!(doubt(1)["fromOffset"] == 10 && doubt(1)["key"] == "star\u{1f}x", "{report}");
        let note = report["notes"][0].as_str().unwrap_or_default();
        ensure!(note.starts_with("dead letters before offset 2"), "{report}");
        let told = world.command(&["verify"])?;
        let wanted = format!("cannot tell: like {topic}/0/7: event {}, key star\\x1faccount-7,", ids[7]);
        ensure!(told.code == 3 && told.stdout.contains(&wanted), "{told:?}");
        ensure!(told.stderr.contains("cannot tell"), "{told:?}");
        // the database still refuses the event, and what is no event is none
        for (place, why) in [(7, "the database refuses it"), (10, "it is no event")] {
            let left = world.command(&["reapply", &format!("{topic}/0/{place}")])?;
            ensure!(left.code == 1 && left.stdout.contains(why), "{left:?}");
        }
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
        ensure!(code == 0 && report["types"] == json!([]) && report["eventsChecked"] == false, "{report}");
        // what was not looked at is not said to balance
        ensure!(world.succeed(&["verify"])?.contains("agrees with itself"));
        ensure!(world.command(&["reapply", "--missing"])?.code == 2);
        ensure!(report["notes"][0].as_str().is_some_and(|note| note.contains("unchecked")), "{report}");
        node.stop()
    });
}

/// Rows of a settled system with one partition that a test spoils and mends.
fn settled(servers: &'static Servers, prefix: &str) -> Result<(World, Node)> {
    let world = World::bare(&servers.kafka, &servers.postgres)?.hurried();
    world.set("topics.partitions", "1");
    world.set("topics.prefix", format!("{}{prefix}.", world.setting("topics.prefix")));
    world.succeed(&["topics", "create"])?;
    world.succeed(&["migrate"])?;
    let serve = world.start(&["serve"])?;
    Ok((world, serve))
}

/// What the command brought back, by outcome.
fn reapplied(world: &World, more: &[&str]) -> Result<Value> {
    let args: Vec<&str> = ["reapply", "--json"].into_iter().chain(more.iter().copied()).collect();
    let report: Value = serde_json::from_str(&world.succeed(&args)?)?;
    ensure!(report["leftCount"] == 0 && report["left"] == json!([]), "{report}");
    Ok(report["outcomes"].clone())
}

#[test]
fn values_that_somebody_changed_are_named_and_set() {
    let servers = Servers::shared();
    let (world, serve) = settled(servers, "values").unwrap();
    run(|| {
        let consume = world.start(&["consume"])?;
        let plan = Arc::new(Plan::mixed(seed(), PlanSize::about(600)));
        world.create_coupons(&serve, &plan)?;
        let recording = world.load(&plan, &[&serve], LoadOptions::default()).finish()?;
        world.check(&servers.postgres, &recording)?;
        let (code, report) = verify(&world, &["--values"])?;
        ensure!(code == 0, "{report}");
        let url = world.setting("store.url");
        let expectations = count(&servers.postgres, &world, "expectations")?;
        for sql in [
            "UPDATE expectations SET total_expected_cost = 999999",
            // one row, so that its counter is another
            "UPDATE likes SET liked = NOT liked WHERE target_ocid = 'ocid-1' AND liker_account_id = (SELECT min(liker_account_id) FROM likes WHERE target_ocid = 'ocid-1')",
            // later writes would be superseded by a version that nobody sent
            "UPDATE expectations SET version = version + 1000 WHERE character_id = (SELECT max(character_id) FROM expectations)",
            "UPDATE coupon_requests SET user_id = 'thief' WHERE request_id = (SELECT min(request_id::text)::uuid FROM coupon_requests WHERE outcome <> 'ISSUED')",
        ] {
            servers.postgres.psql(&url, sql)?;
        }
        let (code, report) = verify(&world, &[])?;
        ensure!(code == 1 && report["differences"] == json!([]), "only the counters disagree: {report}");
        let (code, report) = verify(&world, &["--values"])?;
        let of = |name| number(of_type(&report, name), "differing");
        ensure!(
            code == 1 && of("expectation") == expectations && of("coupon") == 1 && of("like") > 0,
            "{report}"
        );
        let first = &report["differences"][0];
        ensure!(
            first["columns"][0]["column"] == "total_expected_cost"
                || first["columns"][0]["column"] == "version",
            "{first}"
        );
        let told = world.command(&["verify", "--values"])?;
        ensure!(
            told.code == 1 && told.stdout.contains("total_expected_cost is 999999.00 and should be "),
            "{told:?}"
        );
        ensure!(told.stdout.contains("user_id is thief and should be "), "{told:?}");
        ensure!(told.stdout.contains("mend: `floodgate reapply --values "), "{told:?}");

        // one of them by its name, then all
        let origin = first["origin"].as_object().context("no origin")?;
        let origin = format!(
            "{}/{}/{}",
            origin["topic"].as_str().unwrap_or_default(),
            origin["partition"],
            origin["offset"]
        );
        let left = world.command(&["reapply", &origin])?;
        ensure!(left.code == 1 && left.stdout.contains("--values sets them"), "{left:?}");
        ensure!(reapplied(&world, &["--values", &origin])? == json!({"set": 1}));
        let all = expectations + of("coupon") + of("like");
        let would = reapplied(&world, &["--missing", "--values", "--dry-run"])?;
        ensure!(would == json!({"wouldSet": all - 1}), "{would} and not {all}");
        let set = reapplied(&world, &["--missing", "--values"])?;
        ensure!(set == json!({"set": all - 1}), "{set} and not {all}");
        let (code, report) = verify(&world, &["--values"])?;
        ensure!(code == 0, "{report}");
        world.check(&servers.postgres, &recording)?;
        let rows = world.rows(&servers.postgres)?;
        ensure!(reapplied(&world, &["--missing", "--values"])? == json!({}), "done twice");
        ensure!(world.rows(&servers.postgres)? == rows, "rows were written again");
        consume.stop()?;
        serve.stop()
    });
}

#[test]
fn rows_that_are_gone_come_back_from_the_log() {
    let servers = Servers::shared();
    let (world, serve) = settled(servers, "gone").unwrap();
    run(|| {
        let mut consume = world.start(&["consume"])?;
        let plan = Arc::new(Plan::mixed(seed(), PlanSize::about(600)));
        world.create_coupons(&serve, &plan)?;
        let recording = world.load(&plan, &[&serve], LoadOptions::default()).finish()?;
        world.check(&servers.postgres, &recording)?;
        let url = world.setting("store.url");
        let (expectations, likes) =
            (count(&servers.postgres, &world, "expectations")?, count(&servers.postgres, &world, "likes")?);
        servers.postgres.psql(&url, "DELETE FROM likes; DELETE FROM expectations")?;
        let (code, report) = verify(&world, &[])?;
        let missing = sum(&report, "missing");
        ensure!(
            code == 1 && missing >= expectations + likes && number(&report, "discrepancyCount") > 0,
            "{report}"
        );
        let first = report["missing"][0]["mend"].as_str().context("nothing mends it")?.to_owned();
        let origin = first.trim_start_matches("mend: `floodgate reapply ").trim_end_matches('`').to_owned();

        let would = reapplied(&world, &["--missing", "--dry-run"])?;
        ensure!(would == json!({"wouldApply": missing}), "{would} and not {missing}");
        ensure!(reapplied(&world, &[&origin])? == json!({"applied": 1}), "{origin}");
        // the counters, which nobody deleted, are right again, too
        let back = reapplied(&world, &["--missing"])?;
        ensure!(
            back["applied"].as_u64().is_some_and(|applied| applied + 1 >= expectations + likes),
            "{back}"
        );
        let (code, report) = verify(&world, &["--values"])?;
        ensure!(code == 0, "{report}");
        world.check(&servers.postgres, &recording)?;
        let rows = world.rows(&servers.postgres)?;
        ensure!(reapplied(&world, &["--missing"])? == json!({}), "done twice");
        ensure!(reapplied(&world, &[&origin])?.get("applied").is_none(), "{origin} was applied twice");
        ensure!(world.rows(&servers.postgres)? == rows, "rows were written again");

        // requests whose decisions are gone are decided by the stock there is now, which says so
        servers.postgres.psql(&url, "DELETE FROM coupon_requests WHERE outcome = 'SOLD_OUT'")?;
        let again: Value = serde_json::from_str(&world.succeed(&["reapply", "--missing", "--json"])?)?;
        ensure!(
            again["notes"][0].as_str().is_some_and(|note| note.contains("stock there is now")),
            "{again}"
        );
        ensure!(verify(&world, &["--values"])?.0 == 0);
        // usage
        for args in [&["reapply"][..], &["reapply", "nowhere/0/1"], &["reapply", "--missing", &origin]] {
            ensure!(world.command(args)?.code == 2, "{args:?}");
        }
        let coming = world.command(&["reapply", &format!("{}/0/99999", world.named("floodgate.like.v1"))])?;
        ensure!(coming.code == 1 && coming.stdout.contains("no such record yet"), "{coming:?}");

        // a group whose commits are gone: what is not in the database may be on its way, or lost
        consume.stop()?;
        let groups =
            ["floodgate.expectation", "floodgate.coupon", "floodgate.like"].map(|name| world.named(name));
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", servers.kafka.bootstrap()).create()?;
        let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
        for deleted in runtime().block_on(admin.delete_groups(&groups, &AdminOptions::new()))? {
            deleted.map_err(|(group, code)| anyhow::anyhow!("{group}: {code}"))?;
        }
        ensure!(verify(&world, &[])?.0 == 0, "everything is in the database");
        servers.postgres.psql(&url, "DELETE FROM expectations WHERE character_id >= 1000000")?;
        let (code, report) = verify(&world, &[])?;
        let doubt = &report["cannotTell"][0];
        ensure!(code == 3 && report["cannotTell"].as_array().map(Vec::len) == Some(1), "{report}");
        ensure!(
            doubt["kind"] == "groupNeverCommitted" && doubt["group"] == world.named("floodgate.expectation"),
            "{report}"
        );
        ensure!(doubt["count"] == of_type(&report, "expectation")["inFlight"], "{report}");
        let told = world.command(&["verify"])?;
        ensure!(told.code == 3 && told.stderr.contains("has never committed (or its commits"), "{told:?}");
        // what mends it
        consume.start_again(&world)?;
        world.wait_drained(DRAINED)?;
        ensure!(verify(&world, &["--values"])?.0 == 0, "consumers did not bring it back");
        consume.stop()?;
        serve.stop()
    });
}

#[test]
fn what_vanished_unread_is_a_violation() {
    let servers = Servers::shared();
    let (world, serve) = settled(servers, "vanished").unwrap();
    run(|| {
        let brokers = servers.kafka.bootstrap();
        let topic = world.named("floodgate.like.v1");
        send_likes(&serve, 0..5)?;
        let mut consume = world.start(&["consume"])?;
        world.wait_drained(DRAINED)?;
        consume.stop()?;
        send_likes(&serve, 5..10)?;
        expire(&brokers, &topic, 0, 7)?;
        let (code, report) = verify(&world, &[])?;
        let lost = &report["lost"][0];
        ensure!(code == 1 && report["violations"] == 2 && lost["kind"] == "expiredUnread", "{report}");
        ensure!(lost["partition"] == 0 && lost["fromOffset"] == 5 && lost["untilOffset"] == 7, "{report}");
        ensure!(report["cannotTell"] == json!([]), "{report}");
        let told = world.command(&["verify"])?;
        let group = world.named("floodgate.like");
        let wanted = format!(
            "violation: like {topic} partition 0 offsets 5 to 6: expired before the group {group} read them"
        );
        ensure!(told.code == 1 && told.stdout.contains(&wanted), "{told:?}");
        // once the group has gone on, the log says nothing of it any more; the consumers' own log does
        consume.start_again(&world)?;
        world.wait_drained(DRAINED)?;
        ensure!(consume.process().stderr().contains("offsets 5 up to 7 are missing"));
        let (code, report) = verify(&world, &[])?;
        ensure!(code == 0 && of_type(&report, "like")["unchecked"][0]["untilOffset"] == 7, "{report}");
        consume.stop()?;

        // a topic that gives up records of a key before their time: the last one of it is left
        let configure = |change: &[&str]| -> Result<()> {
            let mut args = vec!["--bootstrap-server", &brokers, "--alter", "--entity-type", "topics"];
            args.extend(["--entity-name", &topic]);
            args.extend(change);
            servers.kafka.run_tool("kafka.admin.ConfigCommand", &args).map(drop)
        };
        let compact =
            "cleanup.policy=compact,segment.ms=100,min.cleanable.dirty.ratio=0.01,delete.retention.ms=100";
        configure(&["--add-config", compact])?;
        let records = || Ok::<_, anyhow::Error>(Topics::of(&world).read_all(&topic)?.len());
        let before = records()?;
        // the active segment is never compacted: later records make new ones
        wait::until("a record to be removed", DRAINED, || {
            send_likes(&serve, 7..9).ok()?;
            let sent = sum(&verify(&world, &[]).ok()?.1, "records");
            let ends = world.lag().ok()?;
            let (_, like) = partitions(&ends).find(|(of, _)| *of == group)?;
            let held = like["endOffset"].as_i64()? - like["startOffset"].as_i64()?;
            (held > sent as i64 && before > 0).then_some(())
        })?;
        let (code, report) = verify(&world, &[])?;
        let is_compacted = |lost: &&Value| lost["kind"] == "compacted";
        ensure!(
            code == 1 && report["lost"].as_array().is_some_and(|lost| lost.iter().any(|l| is_compacted(&l))),
            "{report}"
        );
        serve.stop()
    });
}
