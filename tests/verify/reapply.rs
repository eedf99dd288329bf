//! What the check finds spoilt or gone, brought back from the log.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use serde_json::{Value, json};

use crate::shared::{count, number, of_type, settled, sum, verify};
use crate::support::client::runtime;
use crate::support::load::LoadOptions;
use crate::support::plan::{Plan, PlanSize, seed};
use crate::support::world::{DRAINED, Servers, World, run};

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
