//! What answers must look like, down to their fields.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use floodgate_testkit::wait;
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::client::{Answer, Ask};
use super::node::Node;
use super::world::READY;

/// A valid expectation.
pub fn expectation() -> Value {
    json!({
        "characterId": 4711, "presetNo": 2, "totalExpectedCost": "10.5", "blackCubeCost": 1, "redCubeCost": "2.25",
        "additionalCubeCost": "0", "starforceCost": "7.25", "calculatedAt": "2026-01-02T03:04:05.000006Z",
    })
}

pub fn valid_expectation() -> Ask {
    Ask::new("POST", "/api/v6/expectations").json(expectation().to_string())
}

pub fn valid_like(target: &str) -> Ask {
    Ask::new("PUT", format!("/api/v6/characters/{target}/likes/somebody"))
}

pub fn in_an_hour() -> String {
    from_now(3600)
}

pub fn from_now(seconds: u64) -> String {
    (Timestamp::now() + Duration::from_secs(seconds)).to_string()
}

/// A version that stands for a time.
pub fn in_microseconds(seconds: i64) -> i64 {
    Timestamp::now().as_microsecond() + seconds * 1_000_000
}

/// Checks a problem in all its parts and returns it.
pub fn problem(answer: &Answer, status: u16, name: &str, field: Option<&str>) -> Result<Value> {
    let told = format!("{} {}", answer.status, answer.text());
    ensure!(answer.status == status, "not {status} but {told}");
    ensure!(
        answer.header("content-type") == Some("application/problem+json"),
        "{:?}: {told}",
        answer.headers
    );
    let body = answer.json();
    ensure!(body["type"] == format!("/problems/{name}"), "not {name} but {told}");
    ensure!(body["status"] == status && body["retryable"] == (status >= 500 || status == 408), "{told}");
    ensure!(body["field"].as_str() == field, "not field {field:?} but {told}");
    for text in ["title", "detail"] {
        ensure!(body[text].as_str().is_some_and(|text| !text.is_empty()), "no {text}: {told}");
    }
    ensure!(answer.header("retry-after").is_some() == (status == 503), "{:?}: {told}", answer.headers);
    Ok(body)
}

/// Checks a 202 of a write and returns its id.
pub fn accepted(answer: &Answer) -> Result<Uuid> {
    let told = format!("{} {}", answer.status, answer.text());
    ensure!(answer.status == 202 && answer.header("content-type") == Some("application/json"), "{told}");
    let body = answer.json();
    ensure!(keys(&body) == BTreeSet::from(["eventId", "status"]) && body["status"] == "ACCEPTED", "{told}");
    Ok(body["eventId"].as_str().context("no eventId")?.parse()?)
}

/// Checks a 202 of a coupon request and returns its id.
pub fn pending(answer: &Answer) -> Result<Uuid> {
    let told = format!("{} {}", answer.status, answer.text());
    ensure!(answer.status == 202, "{told}");
    let body = answer.json();
    ensure!(keys(&body) == BTreeSet::from(["requestId", "status"]) && body["status"] == "PENDING", "{told}");
    let id = body["requestId"].as_str().context("no requestId")?;
    ensure!(
        answer.header("location") == Some(&format!("/api/v6/coupon-requests/{id}")),
        "{:?}",
        answer.headers
    );
    Ok(id.parse()?)
}

pub fn is_time(value: &Value) -> bool {
    // UTC, with microseconds
    value
        .as_str()
        .is_some_and(|text| text.len() == "2026-01-02T03:04:05.000006Z".len() && text.ends_with('Z'))
}

/// Reads until the answer is what it should be.
pub fn eventually(node: &Node, path: &str, what: impl Fn(&Value) -> bool) -> Result<Value> {
    let mut last = String::new();
    wait::until(path, READY, || {
        let answer = node.get(path).ok()?;
        last = answer.text();
        (answer.status == 200 && what(&answer.json())).then(|| answer.json())
    })
    .with_context(|| last)
}

/// The names in an object.
pub fn keys(object: &Value) -> BTreeSet<&str> {
    object.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect()
}
