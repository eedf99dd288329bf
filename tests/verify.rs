//! `floodgate verify` on a system at work, on one that was tampered with, and interrupted.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "verify/interrupted.rs"]
mod interrupted;
#[path = "verify/log.rs"]
mod log;
#[path = "verify/reapply.rs"]
mod reapply;
#[path = "verify/shared.rs"]
mod shared;
mod support;

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use floodgate_testkit::Postgres;
use serde_json::{Value, json};
use shared::{count, loaded, number, of_type, sum, verify, verify_with};
use support::answers::{accepted, keys};
use support::client::Ask;
use support::load::Recording;
use support::node::Node;
use support::plan::Write;
use support::world::{DRAINED, Servers, World, run};

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
