//! Schemas that are not this build's: what others write by them, and whether they may be registered.

use anyhow::{Context, Result, ensure};
use floodgate_buffer::murmur2_partition;
use floodgate_schemas::codec::{encode, schema_of};
use floodgate_schemas::{EventType, LikeAction};
use floodgate_testkit::{RegistryOptions, SchemaRegistry, wait};
use serde_json::{Value, json};

use crate::shared::{like, psql, subject, text, wait_likes, with_device, with_field, world};
use crate::support::rule::refuse;
use crate::support::topic::Topics;
use crate::support::world::{DRAINED, World, is_redis, run};

const LIKES: &str = "floodgate.like.v1";

/// A like by a schema of this number that ends as `tail` says.
fn numbered(id: u32, number: u64, tail: &[u8]) -> Vec<u8> {
    let mut value = Vec::new();
    encode(
        &floodgate_schemas::examples::like(number, "star", &format!("fan-{number}"), LikeAction::Like, 5),
        &mut value,
    );
    [&[0][..], &id.to_be_bytes(), &value[10..], tail].concat()
}

/// Registers a schema of likes and gives its number.
fn register_like(registry: &SchemaRegistry, world: &World, schema: &str) -> Result<u32> {
    let answer: Value =
        serde_json::from_str(&registry.register(&subject(world, EventType::Like), &text(schema))?)?;
    Ok(u32::try_from(answer["id"].as_u64().context("no id")?)?)
}

/// Others write with other schemas: what can be read is, what cannot waits, and nothing of it becomes a dead letter.
#[test]
fn what_others_write_is_read_or_waits() {
    let registry = SchemaRegistry::start(RegistryOptions::default()).unwrap();
    let world = world(&registry);
    run(|| {
        let serve = world.start(&["serve"])?;
        let topics = Topics::of(&world);
        let topic = world.named(LIKES);
        // what waits and what goes on are on partitions of their own
        let on = |partition| {
            ('a'..='z').map(String::from).find(|key| murmur2_partition(key.as_bytes(), 10) == partition)
        };
        let keys: Vec<String> = (0..10).filter_map(on).take(3).collect();
        let [a, b, c] = [&keys[0], &keys[1], &keys[2]];
        let put = |key: &str, value: &[u8]| topics.put(&topic, key.as_bytes(), value, ("by", "another"));
        let consume = world.start(&["consume", "--group", "like"])?;

        // a field more
        let newer = register_like(&registry, &world, &with_device())?;
        put(a, &numbered(newer, 1, &[0]))?;
        put(a, &numbered(newer, 2, b"\x02\x06app"))?;
        wait_likes(&world, 2)?;
        // and this build's single-object encoding, which needs no registry
        let mut plain = Vec::new();
        encode(&floodgate_schemas::examples::like(3, "star", "fan-3", LikeAction::Like, 5), &mut plain);
        put(a, &plain)?;
        wait_likes(&world, 3)?;

        let report: Value = serde_json::from_str(&world.succeed(&["verify", "--json"])?)?;
        ensure!(is_redis() || report["notes"] == json!([]), "{report}");

        // a number that the registry learns of later
        let later = newer + 1;
        put(b, &numbered(later, 4, &[0]))?;
        consume.wait_held("unknown-schema", 1.0)?;
        let later_schema = with_field(&with_device(), &json!({"name": "more", "type": "int", "default": 0}));
        ensure!(register_like(&registry, &world, &later_schema)? == later, "the ids do not count up");
        // it wrote no such field, so that its bytes are not of this schema: it is a dead letter now and not before
        wait::until("a dead letter", DRAINED, || {
            let letters = topics.read_all(&world.named("floodgate.dlq.v1")).ok()?;
            (letters.len() == 1).then_some(())
        })?;
        let shown = world.succeed(&["dlq", "list"])?;
        ensure!(shown.contains("undecodable"), "{shown}");
        // a letter is shown as the event it is, by whatever schema it was written
        psql(&world, &refuse("house_rule", "likes", "new.liker_account_id = 'fan-7'"))?;
        let (partition, offset) = put(a, &numbered(newer, 7, b"\x02\x06app"))?;
        let origin = format!("{topic}/{partition}/{offset}");
        wait::until("the letter to be shown", DRAINED, || {
            let shown = world.command(&["dlq", "show", &origin]).ok().filter(|ended| ended.code == 0)?.stdout;
            shown.contains("fan-7").then_some(())
        })?;

        // one that was forced in, which this build cannot read
        let renamed = schema_of(EventType::Like).replace("\"occurredAt\"", "\"at\"");
        let renamed = register_like(&registry, &world, &renamed)?;
        let (partition, _) = put(c, &numbered(renamed, 5, &[]))?;
        consume.wait_held("unknown-schema", 1.0)?;
        consume.wait_unready(&format!("partition {partition}"))?;
        consume.process().wait_for_log("occurredAt", DRAINED)?;
        let states = |state| {
            consume.metrics().map(|metrics| metrics.sum("floodgate_registry_schemas", &[("state", state)]))
        };
        ensure!((states("readable")?, states("unreadable")?) == (2.0, 1.0));
        // what is behind it waits, others go on
        put(c, &plain)?;
        like(&serve, 0, 50)?;
        let listed = world.succeed(&["schema", "list"])?;
        for told in ["written", "read\n", "unreadable", "occurredAt"] {
            ensure!(listed.contains(told), "{told}: {listed}");
        }
        let report: Value = serde_json::from_str(&world.command(&["verify", "--json"])?.stdout)?;
        ensure!(report["violations"] == 0, "{report}");
        if !is_redis() {
            // a list has it no longer
            let found = world.succeed(&["where", &floodgate_schemas::examples::event_id(2).to_string()])?;
            ensure!(found.contains("applied"), "{found}");
        }
        ensure!(psql(&world, "SELECT count(*) FROM likes WHERE target_ocid = 'star'")? == "3");

        // a schema that is deleted is read by whoever knows it, and by whoever comes after
        let (status, told) = registry.ask(
            "DELETE",
            &format!("/subjects/{}/versions/2", subject(&world, EventType::Like)),
            None,
        )?;
        ensure!(status == 200, "{told}");
        consume.stop()?;
        let _consume = world.launch(&["consume", "--group", "like"])?;
        put(a, &numbered(newer, 6, &[0]))?;
        wait::until("the like to be applied", DRAINED, || {
            (psql(&world, "SELECT count(*) FROM likes WHERE liker_account_id = 'fan-6'").ok()? == "1")
                .then_some(())
        })?;
        serve.stop()
    });
}

#[test]
fn schemas_are_listed_checked_and_registered() {
    let registry = SchemaRegistry::start(RegistryOptions::default()).unwrap();
    let world = world(&registry);
    run(|| {
        world.set("schema_registry.register", "false");
        let serve = world.launch(&["serve"])?;
        serve.wait_unready("floodgate schema register")?;
        let told = world.succeed(&["schema", "register"])?;
        ensure!(told.lines().count() == 3 && told.contains(&subject(&world, EventType::Like)), "{told}");
        // and again
        ensure!(world.succeed(&["schema", "register"])? == told);
        serve.wait_ready()?;
        like(&serve, 0, 3)?;

        let file = |name: &str, text: &str| std::fs::write(world.folder().join(name), text);
        file("device.avsc", &with_device())?;
        world.succeed(&["schema", "check", "device.avsc"])?;
        let told = world.succeed(&["schema", "register", "device.avsc"])?;
        ensure!(told.contains("has id"), "{told}");
        let listed: Value = serde_json::from_str(&world.succeed(&["schema", "list", "--json"])?)?;
        let states: Vec<_> = listed
            .as_array()
            .context("no list")?
            .iter()
            .filter(|row| row["type"] == "like" && row["version"].is_u64())
            .map(|row| (row["version"].as_u64(), row["state"].as_str().unwrap_or_default()))
            .collect();
        let wanted = [(Some(1), "written"), (Some(2), "read")];
        ensure!(states == wanted, "{listed}");

        // what could not read what is registered is no fit, though this build alone would say it is
        let other = with_field(
            schema_of(EventType::Like),
            &json!({"name": "device", "type": ["null", "long"], "default": null}),
        );
        file("other.avsc", &other)?;
        for command in ["check", "register"] {
            let ended = world.command(&["schema", command, "other.avsc"])?;
            ensure!(
                ended.code == 1 && ended.stderr.contains("version 2") && ended.stderr.contains("device"),
                "{ended:?}"
            );
        }
        // the registry's own rule counts, too
        let (status, told) = registry.ask(
            "PUT",
            &format!("/config/{}", subject(&world, EventType::Like)),
            Some(r#"{"compatibility": "FULL"}"#),
        )?;
        ensure!(status == 200, "{told}");
        let ended = world.command(&["schema", "check", "other.avsc"])?;
        ensure!(ended.code == 1 && ended.stderr.contains("the registry would not take it"), "{ended:?}");
        serve.stop()
    });
}
