//! Many events in one request: each is answered for itself.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use support::answers::{accepted, eventually, expectation};
use support::client::{Answer, Ask};
use support::node::Node;
use support::world::{DRAINED, World, run};
use uuid::Uuid;

fn array(events: &[Value]) -> Ask {
    Ask::new("POST", "/api/v6/events").json(Value::from(events).to_string())
}

fn lines(text: &str) -> Ask {
    let media_type = "application/x-ndjson; charset=utf-8";
    Ask::new("POST", "/api/v6/events").header("content-type", media_type).body(text.to_owned())
}

fn results(answer: &Answer) -> Result<Vec<Value>> {
    ensure!(answer.status == 200, "{} {}", answer.status, answer.text());
    Ok(answer.json()["results"].as_array().context("no results")?.clone())
}

/// An expectation as an item of a batch.
fn item(character: u64) -> Value {
    let mut item = expectation();
    item["type"] = json!("expectation");
    item["characterId"] = json!(character);
    item
}

fn like(target: &str, liker: &str) -> Value {
    json!({"type": "like", "targetOcid": target, "likerAccountId": liker, "action": "LIKE"})
}

#[test]
fn one_bad_event_never_harms_its_siblings() {
    let world = World::empty().unwrap();
    run(|| {
        let node = world.start(&[])?;
        node.ask(&Ask::new("POST", "/api/v6/coupons").json(r#"{"couponId":"c","stock":5}"#))?;
        mixed(&node)?;
        by_line(&node)?;
        with_keys(&node)?;
        let empty = results(&node.ask(&array(&[]))?)?;
        ensure!(empty.is_empty() && results(&node.ask(&lines("\n"))?)?.is_empty());
        let metrics = node.metrics()?;
        let unknown = metrics.sum("floodgate_events_refused_total", &[("type", "unknown")]);
        ensure!(unknown == 3.0, "{unknown} refused that named no type");
        node.stop()
    });
}

fn mixed(node: &Node) -> Result<()> {
    let mut overdone = item(3);
    overdone["presetNo"] = json!(4);
    let events = [
        item(1),
        json!({"type": "coupon", "couponId": "c", "userId": "ann"}),
        overdone,
        json!("no object"),
        json!({"type": "gift", "userId": "ann"}),
        json!({"type": "coupon", "couponId": "c", "userId": "bob", "presetNo": 1}),
        like("star", "ann"),
        like("star", "star"),
    ];
    let results = results(&node.ask(&array(&events))?)?;
    let told: Vec<_> = results
        .iter()
        .map(|result| {
            let problem = &result["problem"];
            let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
            format!("{} {} {}", text(&result["status"]), text(&problem["type"]), text(&problem["field"]))
        })
        .collect();
    let wanted = [
        "accepted - -",
        "accepted - -",
        "rejected /problems/invalid-value presetNo",
        "rejected /problems/malformed-json -",
        "rejected /problems/invalid-value type",
        "rejected /problems/invalid-field presetNo",
        "accepted - -",
        "rejected /problems/invalid-value likerAccountId",
    ];
    ensure!(told == wanted, "{told:#?}");
    let index = |number: usize| results[number]["problem"]["index"].as_u64();
    ensure!([2, 3, 4, 5, 7].map(index) == [2, 3, 4, 5, 7].map(Some), "{results:#?}");
    let no_object = results[3]["problem"]["detail"].as_str().unwrap_or_default();
    ensure!(no_object == "the element at index 3 is not a JSON object", "{no_object}");
    let rejected = &results[2]["problem"];
    ensure!(rejected["status"] == 422 && rejected["retryable"] == false && rejected["detail"].is_string());
    ensure!(results[2].get("eventId").is_none(), "what is rejected has no id");
    let id = results[1]["eventId"].as_str().context("no id")?;
    eventually(node, &format!("/api/v6/coupon-requests/{id}"), |body| body["status"] == "ISSUED")?;
    eventually(node, "/api/v6/characters/1/expectations", |body| {
        body["presets"][0]["eventId"] == results[0]["eventId"]
    })?;
    eventually(node, "/api/v6/characters/star/likes", |body| body["count"] == 1)?;
    Ok(())
}

fn by_line(node: &Node) -> Result<()> {
    // an empty line counts as a line, and a line ends where it says
    let text = format!("{}\r\n\n{{\"type\":\n{}", item(11), like("moon", "ann"));
    let results = results(&node.ask(&lines(&text))?)?;
    let statuses: Vec<_> = results.iter().map(|result| result["status"].clone()).collect();
    ensure!(statuses == ["accepted", "rejected", "accepted"], "{results:?}");
    let problem = &results[1]["problem"];
    ensure!(problem["type"] == "/problems/malformed-json" && problem["line"] == 3, "{results:?}");
    let detail = problem["detail"].as_str().unwrap_or_default();
    ensure!(detail == "line 3 is not valid JSON: EOF while parsing a value at column 8", "{detail}");
    eventually(node, "/api/v6/characters/moon/likes", |body| body["count"] == 1)?;
    Ok(())
}

/// A key means the same event here and on the single routes.
fn with_keys(node: &Node) -> Result<()> {
    let single = Ask::new("POST", "/api/v6/expectations").json(expectation().to_string()).key("key-12345678");
    let id: Uuid = accepted(&node.ask(&single)?)?;
    let mut same = item(4711);
    same["idempotencyKey"] = json!("key-12345678");
    let mut short = item(4711);
    short["idempotencyKey"] = json!("short");
    let mut timeless = like("t", "l");
    timeless["idempotencyKey"] = json!("key-12345678");
    let results = results(&node.ask(&array(&[same.clone(), same, short, timeless]))?)?;
    ensure!(results[0]["eventId"] == json!(id) && results[1]["eventId"] == json!(id), "{results:?}");
    let fields = [&results[2], &results[3]].map(|result| result["problem"]["field"].clone());
    ensure!(fields == ["idempotencyKey", "occurredAt"], "{results:?}");
    Ok(())
}

#[test]
fn ten_thousand_events_in_one_request_are_all_applied() {
    let world = World::empty().unwrap();
    run(|| {
        let node = world.start(&[])?;
        let events: Vec<_> = (1..=10_000).map(item).collect();
        let results = results(&node.ask(&array(&events))?)?;
        let accepted = results.iter().filter(|result| result["status"] == "accepted").count();
        ensure!(accepted == 10_000, "{accepted} accepted");
        world.wait_applied(&node, DRAINED)?;
        let applied = node.metrics()?.sum("floodgate_events_applied_total", &[("outcome", "applied")]);
        ensure!(applied == 10_000.0, "{applied} applied");
        node.stop()
    });
}

/// What the buffer has no room for is refused by name; what it took is applied.
#[test]
fn what_does_not_fit_is_to_be_sent_again() {
    let world = World::empty().unwrap();
    world.set("buffer.in_memory.max_events", "100");
    // the consumers must not make room meanwhile
    world.set("consumers.batch_max_wait_ms", "2000");
    run(|| {
        let node = world.start(&[])?;
        let events: Vec<_> = (1..=150).map(item).collect();
        let results = results(&node.ask(&array(&events))?)?;
        let of = |status: &str| results.iter().filter(|result| result["status"] == status).count();
        ensure!((of("accepted"), of("retry")) == (100, 50), "{} and {}", of("accepted"), of("retry"));
        let refused = &results[149]["problem"];
        ensure!(refused["type"] == "/problems/queue-full" && refused["retryable"] == true, "{refused}");
        world.wait_applied(&node, DRAINED)?;
        node.stop()
    });
}
