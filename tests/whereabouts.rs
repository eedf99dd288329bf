//! `floodgate where` and `/where`: every event that was accepted is found, with what has become of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use anyhow::{Context, Result, ensure};
use floodgate_schemas::LikeAction;
use floodgate_schemas::codec::encode;
use floodgate_schemas::examples::like;
use serde_json::{Value, json};
use support::answers::{accepted, eventually};
use support::client::Ask;
use support::node::Node;
use support::topic::Topics;
use support::world::{DRAINED, Servers, World, run};

fn write(node: &Node, version: i64) -> Result<String> {
    let body = json!({
        "characterId": 7, "presetNo": 1, "totalExpectedCost": 1, "blackCubeCost": 0, "redCubeCost": 0,
        "additionalCubeCost": 0, "starforceCost": 0, "calculatedAt": "2026-01-01T00:00:00Z", "version": version,
    });
    Ok(accepted(&node.ask(&Ask::new("POST", "/api/v6/expectations").json(body.to_string()))?)?.to_string())
}

fn found(world: &World, args: &[&str]) -> Result<Vec<Value>> {
    let told: Value = serde_json::from_str(&world.succeed(&[&["where", "--json"], args].concat())?)?;
    ensure!(told["notes"] == json!([]), "{told}");
    Ok(told["found"].as_array().context("nothing found")?.clone())
}

/// The state of the one record of an event.
fn state_of(world: &World, id: &str) -> Result<String> {
    let found = found(world, &[id])?;
    ensure!(found.len() == 1 && found[0]["eventId"] == id, "{found:?}");
    Ok(found[0]["state"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn an_event_is_found_whatever_became_of_it() {
    let Servers { kafka, postgres } = Servers::shared();
    let world = World::ready(kafka, postgres).unwrap().hurried();
    run(|| {
        let serve = world.start(&["serve"])?;
        let consume = world.start(&["consume"])?;
        let coupon = Ask::new("POST", "/api/v6/coupons").json(r#"{"couponId":"summer","stock":1}"#);
        ensure!(serve.ask(&coupon)?.status == 201);
        let (greater, lesser) = (write(&serve, 9)?, write(&serve, 5)?);
        let issue = Ask::new("POST", "/api/v6/coupons/summer/issues").json(r#"{"userId":"ann"}"#);
        let request = serve.ask(&issue)?.json()["requestId"].as_str().context("no id")?.to_owned();
        let topic = world.named("floodgate.like.v1");
        let mut bad = Vec::new();
        encode(&like(9, "t", "t", LikeAction::Like, 0), &mut bad);
        let cut = &bad[..bad.len() - 1];
        let (partition, offset) = Topics::of(&world).put(&topic, b"t\x1ft", cut, ("trace", "1"))?;
        world.wait_drained(DRAINED)?;
        consume.stop()?;
        let path = "/api/v6/characters/star/likes/ann";
        let waits = accepted(&serve.ask(&Ask::new("PUT", path))?)?.to_string();

        for (id, state) in
            [(&greater, "current"), (&lesser, "superseded"), (&request, "decided"), (&waits, "in-flight")]
        {
            ensure!(state_of(&world, id)? == state, "{id}: {} and not {state}", state_of(&world, id)?);
        }
        let told = world.succeed(&["where", &request])?;
        ensure!(told.contains("ISSUED, rank 1, coupon summer for ann"), "{told}");
        // by their keys, as commands show them
        let of_key = found(&world, &["--key", "7", "--type", "expectation"])?;
        let states: Vec<_> = of_key.iter().map(|found| (&found["eventId"], &found["state"])).collect();
        ensure!(
            states == [(&json!(greater), &json!("current")), (&json!(lesser), &json!("superseded"))],
            "{states:?}"
        );
        let of_key = found(&world, &["--key", "star\\x1fann", "--type", "like"])?;
        ensure!(of_key.len() == 1 && of_key[0]["eventId"] == json!(waits), "{of_key:?}");
        // what is no event has no id
        let dead = found(&world, &["--key", "t\\x1ft", "--type", "like"])?;
        let origin = format!("{topic}/{partition}/{offset}");
        ensure!(dead[0]["state"] == "dead-lettered" && dead[0]["origin"] == json!(origin), "{dead:?}");
        ensure!(dead[0]["eventId"].is_null(), "{dead:?}");

        let nowhere = "01930000-0000-7000-8000-00000000ffff";
        let ended = world.command(&["where", nowhere])?;
        ensure!(ended.code == 1 && ended.stderr.contains("not found among 5 records"), "{ended:?}");
        for args in [
            &["where"][..],
            &["where", "no-uuid"],
            &["where", "--key", "a"],
            &["where", "--key", "a", "--type", "x"],
        ] {
            ensure!(world.command(args)?.code == 2, "{args:?}");
        }
        // a process tells the same
        let told = serve.ask_admin(&format!("/where/{waits}"))?;
        ensure!(told.status == 200 && told.json()["found"][0]["state"] == "in-flight", "{}", told.text());
        let told = serve.ask_admin("/where?type=like&key=star%1fann")?;
        ensure!(told.json()["found"][0]["eventId"] == json!(waits), "{}", told.text());
        ensure!(
            serve.ask_admin("/where/no-uuid")?.status == 400
                && serve.ask_admin("/where?type=like")?.status == 400
        );
        serve.stop()
    });
}

/// What is applied is dropped in memory: the decisions on coupon requests are kept, and the answer says so of the others.
#[test]
fn in_memory_what_is_applied_is_gone() {
    let world = World::empty().unwrap();
    run(|| {
        let node = world.start(&[])?;
        let coupon = Ask::new("POST", "/api/v6/coupons").json(r#"{"couponId":"summer","stock":1}"#);
        ensure!(node.ask(&coupon)?.status == 201);
        let issue = Ask::new("POST", "/api/v6/coupons/summer/issues").json(r#"{"userId":"ann"}"#);
        let request = node.ask(&issue)?.json()["requestId"].as_str().context("no id")?.to_owned();
        eventually(&node, &format!("/api/v6/coupon-requests/{request}"), |body| body["status"] == "ISSUED")?;
        let told = node.ask_admin(&format!("/where/{request}"))?.json();
        ensure!(told["decision"]["status"] == "ISSUED" && told["found"] == json!([]), "{told}");
        ensure!(
            told["notes"][0].as_str().is_some_and(|note| note.contains("drops what is applied")),
            "{told}"
        );
        let ended = world.command(&["where", &request])?;
        ensure!(ended.code == 2 && ended.stderr.contains("/where"), "{ended:?}");
        node.stop()
    });
}
