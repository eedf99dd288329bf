//! Events as CloudEvents, by the official Python SDK: in every mode they are the rows that they are natively.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use floodgate_testkit::{Postgres, PostgresOptions, process};
use serde_json::{Value, json};
use support::answers::{expectation, problem};
use support::client::Ask;
use support::node::Node;
use support::world::{DRAINED, World, run};

/// As many as `client.py` sends.
const EVENTS: usize = 180;

/// Sends all events so, and gives the ids that were answered.
fn client(mode: &str, node: &Node) -> Result<Vec<String>> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cloudevents/client.py");
    let mut command = Command::new(process::target_folder().join("testkit/python/bin/python"));
    let ended = command
        .arg(program)
        .arg(mode)
        .arg(format!("http://{}", node.http))
        .output()
        .context("run ./scripts/setup")?;
    let told = String::from_utf8(ended.stdout)?;
    let log = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.success(), "{mode}: {}\n{told}\n{log}", ended.status);
    Ok(told.lines().map(str::to_owned).collect())
}

/// All rows, without the times of what the consumers did.
fn rows(postgres: &Postgres, url: &str) -> Result<String> {
    let tables = ["expectations", "coupons", "coupon_issues", "coupon_requests", "likes", "like_counts"];
    let rows = tables.map(|table| {
        format!("SELECT '{table} ' || (to_jsonb(t) - 'updated_at' - 'issued_at' - 'decided_at')::text AS row FROM {table} AS t")
    });
    postgres.psql(url, &format!("SELECT row FROM ({}) AS rows ORDER BY row", rows.join(" UNION ALL ")))
}

/// What a mode leaves behind in a database of its own.
fn sent(mode: &str, postgres: &Postgres) -> Result<(Vec<String>, String)> {
    let world = World::empty()?;
    let url = postgres.create_database()?;
    world.set("store.url", &*url);
    let node = world.start(&[])?;
    let coupon = Ask::new("POST", "/api/v6/coupons").json(r#"{"couponId":"summer","stock":40}"#);
    ensure!(node.ask(&coupon)?.status == 201);
    let ids = client(mode, &node)?;
    ensure!(ids.len() == EVENTS, "{mode}: {} ids", ids.len());
    // once more: they are the same
    ensure!(client(mode, &node)? == ids, "{mode}: other ids the second time");
    world.wait_applied(&node, DRAINED)?;
    let accepted = node.metrics()?.sum("floodgate_events_accepted_total", &[]);
    ensure!(accepted == 2.0 * EVENTS as f64, "{mode}: {accepted} accepted");
    node.stop()?;
    Ok((ids, rows(postgres, &url)?))
}

#[test]
fn the_rows_are_those_of_the_native_form() {
    let postgres = Postgres::start(PostgresOptions::default()).unwrap();
    run(|| {
        let (ids, wanted) = sent("native", &postgres)?;
        for (table, count) in
            [("expectations", 60), ("coupon_issues", 40), ("coupon_requests", 60), ("likes", 60)]
        {
            let found = wanted.lines().filter(|row| row.starts_with(&format!("{table} "))).count();
            ensure!(found == count, "{found} rows of {table}:\n{wanted}");
        }
        for mode in ["binary", "structured", "base64", "batch"] {
            let (told, found) = sent(mode, &postgres)?;
            ensure!(told == ids, "{mode}: other ids");
            let differing = found.lines().zip(wanted.lines()).find(|(found, wanted)| found != wanted);
            ensure!(found == wanted, "{mode}: {differing:?}");
        }
        Ok(())
    });
}

/// What other services send that is none of ours is refused by its name, and siblings in a batch are not harmed.
#[test]
fn what_is_no_event_of_ours_is_refused() {
    let world = World::empty().unwrap();
    run(|| {
        let node = world.start(&[])?;
        let mut data = expectation();
        let envelope = |data: &Value| json!({"specversion": "1.0", "type": "floodgate.expectation.v1", "source": "s", "id": "1", "data": data});
        let post = |media_type: &str, body: &Value| {
            let ask = Ask::new("POST", "/api/v6/cloudevents").header("content-type", media_type);
            node.ask(&ask.body(body.to_string()))
        };
        let structured = "application/cloudevents+json";
        let good = envelope(&data);
        ensure!(post(structured, &good)?.status == 202);
        data["presetNo"] = json!(4);
        let bad = envelope(&data);
        problem(&post(structured, &bad)?, 422, "invalid-value", Some("data.presetNo"))?;
        let mut foreign = good.clone();
        foreign["type"] = json!("com.example.order.created");
        let told = problem(&post(structured, &foreign)?, 422, "invalid-value", Some("type"))?;
        let names = "floodgate.expectation.v1, floodgate.coupon.v1, floodgate.like.v1";
        ensure!(told["detail"].as_str().is_some_and(|detail| detail.contains(names)), "{told}");
        problem(&post("application/json", &data)?, 400, "invalid-field", Some("ce-type"))?;
        problem(&post("application/cloudevents+avro", &good)?, 415, "unsupported-media-type", None)?;
        let batch = post("application/cloudevents-batch+json", &json!([bad, good, foreign]))?;
        let results = batch.json()["results"].clone();
        let statuses = [0, 1, 2].map(|index: usize| results[index]["status"].clone());
        ensure!(statuses == ["rejected", "accepted", "rejected"], "{results}");
        let told = node.metrics()?;
        for (of, count) in [("expectation", 2.0), ("unknown", 3.0)] {
            let refused = told.sum("floodgate_events_refused_total", &[("type", of)]);
            ensure!(refused == count, "{refused} of {of} refused");
        }
        node.stop()
    });
}
