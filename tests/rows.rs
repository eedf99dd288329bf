//! Rows on which an event stands that no later one exceeds: refused at the door, told where they come another way, and
//! set back by an operator, after which everything is accounted for as before.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use anyhow::{Context, Result, ensure};
use floodgate_schemas::LikeAction;
use floodgate_schemas::codec::encode;
use floodgate_schemas::examples::{expectation, like};
use floodgate_schemas::{Event, EventType, ExpectationWrite, Keying, Timestamp};
use floodgate_testkit::wait;
use serde_json::{Value, json};
use support::answers::{accepted, eventually};
use support::client::Ask;
use support::node::Node;
use support::topic::Topics;
use support::world::{DRAINED, READY, Servers, World, run};

/// Puts an event on its topic as another producer would, or an ingress from before the rule.
fn put<E: Event>(world: &World, event: &E) -> Result<String> {
    let (mut key, mut value) = (String::new(), Vec::new());
    event.write_partition_key(Keying::default(), &mut key);
    encode(event, &mut value);
    let places = Topics::of(world).put_all(&world.named(E::TYPE.topic()), key.as_bytes(), &[value])?;
    let (partition, offset) = places[0];
    Ok(format!("{}/{partition}/{offset}", world.named(E::TYPE.topic())))
}

fn write(node: &Node, character: i64, version: Option<i64>, cost: &str) -> Result<String> {
    let mut body = json!({
        "characterId": character, "presetNo": 1, "totalExpectedCost": cost, "blackCubeCost": 0, "redCubeCost": 0,
        "additionalCubeCost": 0, "starforceCost": 0, "calculatedAt": Timestamp::now().to_string(),
    });
    if let Some(version) = version {
        body["version"] = json!(version);
    }
    let answer = node.ask(&Ask::new("POST", "/api/v6/expectations").json(body.to_string()))?;
    Ok(accepted(&answer)?.to_string())
}

/// The event that stands on a character's preset 1.
fn stands(node: &Node, character: i64, event_id: &str) -> Result<Value> {
    let path = format!("/api/v6/characters/{character}/expectations");
    eventually(node, &path, |body| body["presets"][0]["eventId"] == event_id)
}

/// Waits until as many events of a type were superseded.
fn superseded(node: &Node, of: EventType, count: f64) -> Result<()> {
    wait::until("an event to be superseded", READY, || {
        let labels = [("type", of.name()), ("outcome", "superseded")];
        (node.metrics().ok()?.sum("floodgate_events_applied_total", &labels) >= count).then_some(())
    })?;
    Ok(())
}

/// The check balances, with so many dead letters among the events of a type.
fn balances(world: &World, of: EventType, dead_lettered: u64) -> Result<()> {
    world.wait_drained(DRAINED)?;
    let report: Value = serde_json::from_str(&world.succeed(&["verify", "--json"])?)?;
    let types = report["types"].as_array().context("no types")?;
    let found = types.iter().find(|found| found["type"] == of.name()).context("not the type")?;
    ensure!(report["balanced"] == true && found["missing"] == 0, "{report}");
    ensure!(found["deadLettered"] == dead_lettered && found["inFlight"] == 0, "{report}");
    Ok(())
}

#[test]
fn a_frozen_expectation_is_told_and_set_back() {
    let Servers { kafka, postgres } = Servers::shared();
    let world = World::ready(kafka, postgres).unwrap().hurried();
    world.set("http.cache_ms", "0");
    run(|| {
        let node = world.start(&[])?;
        let first = write(&node, 7, None, "1")?;
        stands(&node, 7, &first)?;
        let frozen = ExpectationWrite { version: i64::MAX, ..expectation(9, 7, 1, 5) };
        let origin = put(&world, &frozen)?;
        stands(&node, 7, &frozen.event_id.to_string())?;
        ensure!(node.metrics()?.sum("floodgate_events_ahead_total", &[("type", "expectation")]) == 1.0);
        node.process().wait_for_log("lie further ahead than clients may send", READY)?;
        let later = write(&node, 7, None, "2")?;
        superseded(&node, EventType::Expectation, 1.0)?;
        balances(&world, EventType::Expectation, 0)?;
        let shown = world.succeed(&["row", "show", "expectation", "7", "1"])?;
        ensure!(
            shown.contains(&i64::MAX.to_string()) && shown.contains("floodgate row reset expectation 7 1"),
            "{shown}"
        );

        let told = world.succeed(&["row", "reset", "expectation", "7", "1"])?;
        ensure!(
            told.contains(&origin) && told.contains(&later) && told.contains(&i64::MAX.to_string()),
            "{told}"
        );
        let row = stands(&node, 7, &later)?;
        ensure!(row["presets"][0]["totalExpectedCost"] == "2.00", "{row}");
        balances(&world, EventType::Expectation, 1)?;
        let again = world.succeed(&["row", "reset", "expectation", "7", "1"])?;
        ensure!(again.contains("nothing to do") && again.contains(&later), "{again}");
        let letters = world.succeed(&["dlq", "list", "--reason", "row-reset"])?;
        // for people without what the world is called
        let short = &origin[origin.find("floodgate").context("no topic")?..];
        ensure!(letters.contains("1 open (1 row-reset)") && letters.contains(short), "{letters}");
        let next = write(&node, 7, None, "3")?;
        stands(&node, 7, &next)?;

        // a replay leaves it alone, unless it is meant; and what it undid is done again
        let replayed = world.succeed(&["dlq", "replay", "--all"])?;
        ensure!(replayed.starts_with("no dead letter is meant by this"), "{replayed}");
        let replayed = world.succeed(&["dlq", "replay", "--reason", "row-reset"])?;
        ensure!(replayed.starts_with("1 dead letter replayed"), "{replayed}");
        stands(&node, 7, &frozen.event_id.to_string())?;
        world.wait_drained(DRAINED)?;
        world.succeed(&["row", "reset", "expectation", "7", "1"])?;
        stands(&node, 7, &next)?;
        // the replay went where the event had been, and events are counted once for each partition
        balances(&world, EventType::Expectation, 1)?;
        node.stop()
    });
}

#[test]
fn a_frozen_like_is_set_back_and_counters_with_it() {
    let Servers { kafka, postgres } = Servers::shared();
    let world = World::ready(kafka, postgres).unwrap().hurried();
    run(|| {
        let node = world.start(&[])?;
        let path = "/api/v6/characters/t/likes";
        let mut frozen = like(9, "t", "a", LikeAction::Like, 0);
        frozen.occurred_at = Timestamp::MAX;
        put(&world, &frozen)?;
        eventually(&node, path, |body| body["count"] == 1)?;
        accepted(&node.ask(&Ask::new("DELETE", format!("{path}/a")))?)?;
        accepted(&node.ask(&Ask::new("PUT", format!("{path}/b")))?)?;
        superseded(&node, EventType::Like, 1.0)?;
        eventually(&node, path, |body| body["count"] == 2)?;
        world.wait_drained(DRAINED)?;

        let told = world.succeed(&["row", "reset", "like", "t", "a"])?;
        ensure!(told.contains("9999-12-31T23:59:59.999999Z") && told.contains("row-reset"), "{told}");
        ensure!(node.get(&format!("{path}/a"))?.json()["liked"] == false, "the unlike does not stand");
        ensure!(node.get(path)?.json()["count"] == 1, "the counter did not follow");
        balances(&world, EventType::Like, 1)?;

        // where the log holds nothing else of the row, what it says stays until the next write
        frozen = like(10, "u", "a", LikeAction::Like, 0);
        frozen.occurred_at = Timestamp::MAX;
        put(&world, &frozen)?;
        eventually(&node, "/api/v6/characters/u/likes", |body| body["count"] == 1)?;
        world.wait_drained(DRAINED)?;
        let told = world.succeed(&["row", "reset", "like", "u", "a"])?;
        ensure!(told.contains("any write counts"), "{told}");
        let again = world.succeed(&["row", "reset", "like", "u", "a"])?;
        ensure!(again.contains("any write counts") && !again.contains("dead-lettered "), "{again}");
        balances(&world, EventType::Like, 2)?;
        accepted(&node.ask(&Ask::new("DELETE", "/api/v6/characters/u/likes/a"))?)?;
        eventually(&node, "/api/v6/characters/u/likes", |body| body["count"] == 0)?;
        balances(&world, EventType::Like, 2)?;
        node.stop()
    });
}

/// What the group is still to apply would freeze the row again: it comes first.
#[test]
fn what_is_not_applied_yet_is_waited_for() {
    let Servers { kafka, postgres } = Servers::shared();
    let world = World::ready(kafka, postgres).unwrap().hurried();
    run(|| {
        let mut node = world.start(&[])?;
        let far = |id, seconds: i64| {
            let mut like = like(id, "t", "a", LikeAction::Like, 0);
            like.occurred_at = Timestamp::MAX.saturating_add_micros(-seconds * 1_000_000);
            like
        };
        put(&world, &far(1, 60))?;
        eventually(&node, "/api/v6/characters/t/likes", |body| body["count"] == 1)?;
        world.wait_drained(DRAINED)?;
        node.stop()?;
        let origin = put(&world, &far(2, 30))?;
        let refused = world.command(&["row", "reset", "like", "t", "a"])?;
        ensure!(refused.code == 1 && refused.stderr.contains("has not applied yet"), "{refused:?}");
        let shown = world.succeed(&["row", "show", "like", "t", "a"])?;
        ensure!(shown.contains("9999-12-31T23:58:59.999999Z"), "the row was touched: {shown}");

        node.start_again(&world)?;
        world.wait_drained(DRAINED)?;
        let told = world.succeed(&["row", "reset", "like", "t", "a"])?;
        ensure!(told.contains(&origin) && told.contains("any write counts"), "{told}");
        balances(&world, EventType::Like, 2)?;
        node.stop()
    });
}

/// Counters of a client's own are far below any time; one slip among them freezes as well.
#[test]
fn a_bound_may_be_named() {
    let world = World::empty().unwrap();
    world.set("http.cache_ms", "0");
    run(|| {
        let node = world.start(&[])?;
        for version in 1..=3 {
            let id = write(&node, 7, Some(version), "1")?;
            stands(&node, 7, &id)?;
        }
        let slip = write(&node, 7, Some(1_000_000), "1")?;
        stands(&node, 7, &slip)?;
        write(&node, 7, Some(4), "1")?;
        superseded(&node, EventType::Expectation, 1.0)?;
        let nothing = world.succeed(&["row", "reset", "expectation", "7", "1"])?;
        ensure!(nothing.contains("nothing to do"), "{nothing}");
        let told = world.succeed(&["row", "reset", "expectation", "7", "1", "--above", "1000"])?;
        ensure!(told.contains("version 1000000") && told.contains("any write counts"), "{told}");
        let counts = write(&node, 7, Some(5), "1")?;
        stands(&node, 7, &counts)?;
        node.stop()
    });
}

#[test]
fn the_command_says_what_it_cannot_do() {
    let world = World::empty().unwrap();
    run(|| {
        let told = |args: &[&str]| -> Result<(i32, String)> {
            let ended = world.command(&[&["row"], args].concat())?;
            Ok((ended.code, ended.stdout + &ended.stderr))
        };
        for (args, code, what) in [
            (&["show", "expectation", "0", "1"][..], 2, "CHARACTER_ID must be at least 1"),
            (&["reset", "expectation", "1", "4"], 2, "PRESET_NO must be 1, 2 or 3"),
            (&["reset", "like", "", "a"], 2, "TARGET_OCID is empty"),
            (&["reset", "like", "t", "a", "--above", "now"], 2, "--above is not an RFC 3339 time"),
            (&["show", "coupon", "c"], 2, "unrecognized subcommand"),
            (&["reset", "expectation", "1", "1"], 1, "floodgate migrate"),
        ] {
            let (ended, said) = told(args)?;
            ensure!(ended == code && said.contains(what), "{args:?}: {ended} {said}");
        }
        world.succeed(&["migrate"])?;
        let nothing = world.succeed(&["row", "show", "like", "t", "a"])?;
        ensure!(nothing.contains("like \"t\" \"a\": nothing"), "{nothing}");
        let nothing = world.succeed(&["row", "reset", "expectation", "1", "1"])?;
        ensure!(nothing.contains("nothing to do"), "{nothing}");
        Ok(())
    });
}
