//! With a schema registry: the main job, and what becomes of events while the registry is away, slow, made anew or says something
//! that this build cannot read.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use floodgate_buffer::murmur2_partition;
use floodgate_schemas::codec::{encode, schema_of};
use floodgate_schemas::{EventType, LikeAction};
use floodgate_testkit::{Certificates, RegistryIds, RegistryOptions, SchemaRegistry, ScratchDir, wait};
use serde_json::{Value, json};
use support::answers::problem;
use support::client::Ask;
use support::load::LoadOptions;
use support::node::Node;
use support::plan::{Plan, PlanSize, seed};
use support::rule::refuse;
use support::topic::Topics;
use support::world::{DRAINED, Servers, World, is_redis, run};

const LIKES: &str = "floodgate.like.v1";

/// A field at the end of a schema.
fn with_field(schema: &str, field: &Value) -> String {
    let mut schema: Value = serde_json::from_str(schema).unwrap();
    schema["fields"].as_array_mut().unwrap().push(field.clone());
    schema.to_string()
}

/// What a newer build would write: likes that say on which device.
fn with_device() -> String {
    with_field(
        schema_of(EventType::Like),
        &json!({"name": "device", "type": ["null", "string"], "default": null}),
    )
}

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

/// A world with a registry, and topics and tables.
fn world(registry: &SchemaRegistry) -> World {
    let Servers { kafka, postgres } = Servers::shared();
    let world = World::ready(kafka, postgres).unwrap().hurried();
    world.set("schema_registry.url", registry.url());
    world.set("schema_registry.timeout_ms", "1000");
    world.set("schema_registry.check_ms", "300");
    world
}

fn psql(world: &World, statement: &str) -> Result<String> {
    let told = Servers::shared().postgres.psql(&world.setting("store.url"), statement)?;
    Ok(told.trim().to_owned())
}

fn subject(world: &World, of: EventType) -> String {
    format!("{}-value", world.named(of.topic()))
}

/// A schema as the registry's API takes it.
fn text(schema: &str) -> String {
    Value::from(schema).to_string()
}

fn id_of(registry: &SchemaRegistry, world: &World, of: EventType) -> Result<u32> {
    let (status, answer) =
        registry.ask("GET", &format!("/subjects/{}/versions/latest", subject(world, of)), None)?;
    ensure!(status == 200, "{answer}");
    let answer: Value = serde_json::from_str(&answer)?;
    Ok(u32::try_from(answer["id"].as_u64().context("no id")?)?)
}

/// Likes of `star-from` and so on.
fn like(node: &Node, from: usize, count: usize) -> Result<()> {
    let like = |n| json!({"type": "like", "targetOcid": format!("star-{n}"), "likerAccountId": "ann", "action": "LIKE"});
    let likes: Vec<Value> = (from..from + count).map(like).collect();
    let answer = node.ask(&Ask::new("POST", "/api/v6/events").json(Value::from(likes).to_string()))?;
    ensure!(answer.status == 200 && !answer.text().contains("retry"), "{} {}", answer.status, answer.text());
    Ok(())
}

fn wait_likes(world: &World, count: usize) -> Result<()> {
    let counted = || psql(world, "SELECT count(*) FROM likes").ok().filter(|told| *told == count.to_string());
    wait::until(&format!("{count} likes"), DRAINED, counted)
        .map(drop)
        .with_context(|| psql(world, "SELECT count(*) FROM likes").unwrap_or_default())
}

/// Nothing is a dead letter that anybody could read some day.
fn no_dead_letters(world: &World) -> Result<()> {
    let letters = Topics::of(world).read_all(&world.named("floodgate.dlq.v1"))?;
    ensure!(letters.is_empty(), "{letters:?}");
    Ok(())
}

fn main_job(ids: RegistryIds) {
    let registry = SchemaRegistry::start(RegistryOptions { ids, ..RegistryOptions::default() }).unwrap();
    let world = world(&registry);
    run(|| {
        let serve = world.start(&["serve"])?;
        let consumes = [world.start(&["consume"])?, world.start(&["consume"])?];
        let plan = Arc::new(Plan::mixed(seed(), PlanSize::about(2000)));
        world.create_coupons(&serve, &plan)?;
        let recording = world.load(&plan, &[&serve], LoadOptions::default()).finish()?;
        world.check(&Servers::shared().postgres, &recording)?;
        for of in EventType::ALL {
            let id = id_of(&registry, &world, of)?;
            let records = Topics::of(&world).read_all(&world.named(of.topic()))?;
            let beginnings: BTreeSet<_> = records
                .iter()
                .filter_map(|record| record.value.as_deref()?.first_chunk::<5>().copied())
                .collect();
            let [a, b, c, d] = id.to_be_bytes();
            // lists have no longer what is applied
            let is_ours =
                is_redis() && beginnings.is_empty() || beginnings == BTreeSet::from([[0, a, b, c, d]]);
            ensure!(is_ours, "{of}: {beginnings:?}, not {id}");
        }
        ensure!(psql(&world, "SELECT count(*) FROM registry_schemas")? == "3");
        let report = world.succeed(&["verify", "--values"])?;
        ensure!(is_redis() || !report.contains("unchecked"), "{report}");
        no_dead_letters(&world)?;
        consumes.iter().try_for_each(Node::stop)?;
        serve.stop()
    });
}

#[test]
fn the_main_job_with_ids_of_contents() {
    main_job(RegistryIds::Contents);
}

#[test]
fn the_main_job_with_ids_of_versions() {
    main_job(RegistryIds::Versions);
}

/// Events in memory name their schemas like any others.
#[test]
fn one_process_does_it_all_with_a_registry() {
    let registry = SchemaRegistry::start(RegistryOptions::default()).unwrap();
    let world = World::empty().unwrap();
    run(|| {
        world.set("schema_registry.url", registry.url());
        let mut node = world.start(&["run"])?;
        like(&node, 0, 5)?;
        node.probe("one", DRAINED)?;
        // and again, with what the database remembers
        node.stop()?;
        node.start_again(&world)?;
        node.probe("two", DRAINED)?;
        ensure!(node.metrics()?.sum("floodgate_registry_schemas", &[("state", "readable")]) == 1.0);
        node.stop()
    });
}

/// Before it was there nothing is taken; from then on nobody needs it for what was known.
#[test]
fn a_registry_that_is_away_keeps_nothing_from_going_on() {
    let registry = SchemaRegistry::start(RegistryOptions::default()).unwrap();
    let world = world(&registry);
    run(|| {
        registry.stop()?;
        let serve = world.launch(&["serve"])?;
        serve.wait_unready("schema registry")?;
        let refused = serve.ask(&Ask::new("PUT", "/api/v6/characters/star-0/likes/ann"))?;
        problem(&refused, 503, "not-stored", None)?;
        ensure!(refused.text().contains("schema registry"), "{}", refused.text());
        registry.start_again()?;
        serve.wait_ready()?;
        // what nobody has read yet waits for the registry: for one that hangs as for one that is away
        like(&serve, 0, 50)?;
        registry.process()?.freeze()?;
        let consume = world.launch(&["consume"])?;
        consume.wait_unready("schema registry that tells it")?;
        no_dead_letters(&world)?;
        registry.process()?.thaw()?;
        wait_likes(&world, 50)?;
        consume.wait_ready()?;

        registry.stop()?;
        like(&serve, 50, 50)?;
        wait_likes(&world, 100)?;
        // a consumer that begins now knows the schemas from the one before
        consume.stop()?;
        let consume = world.start(&["consume"])?;
        like(&serve, 100, 50)?;
        wait_likes(&world, 150)?;
        // an ingress that begins now has no ids
        let second = world.launch(&["serve"])?;
        second.wait_unready("schema registry")?;
        registry.start_again()?;
        second.wait_ready()?;
        // one that does not answer is one that is away
        registry.process()?.freeze()?;
        let third = world.launch(&["serve"])?;
        third.wait_unready("schema registry")?;
        like(&second, 150, 50)?;
        wait_likes(&world, 200)?;
        registry.process()?.thaw()?;
        third.wait_ready()?;
        no_dead_letters(&world)?;
        for node in [&serve, &second, &third, &consume] {
            node.stop()?;
        }
        Ok(())
    });
}

/// Ids that count from one again are ids of other schemas: whoever trusts them makes dead letters of good events, or other values.
#[test]
fn a_registry_that_was_made_anew_is_noticed() {
    let registry = SchemaRegistry::start(RegistryOptions::default()).unwrap();
    let world = world(&registry);
    run(|| {
        let serve = world.start(&["serve"])?;
        let consume = world.start(&["consume"])?;
        like(&serve, 0, 20)?;
        wait_likes(&world, 20)?;
        consume.stop()?;
        like(&serve, 20, 20)?;

        // so that it is not the first to ask the new one
        serve.process().freeze()?;
        registry.forget()?;
        registry.start_again()?;
        // another program is first, so that the numbers of ours become each other's
        for of in [EventType::Like, EventType::Expectation, EventType::Coupon] {
            registry.register(&format!("another-{of}"), &text(schema_of(of)))?;
        }
        let consume = world.launch(&["consume"])?;
        consume.wait_unready("unknown schema")?;
        consume.process().wait_for_log("another schema than when", DRAINED)?;
        // nor does an ingress write under a number that was another schema's
        let second = world.launch(&["serve"])?;
        second.wait_unready("another schema")?;
        serve.process().thaw()?;
        serve.process().wait_for_log("another schema than when", DRAINED)?;
        like(&serve, 40, 20)?;
        no_dead_letters(&world)?;
        ensure!(psql(&world, "SELECT count(*) FROM likes")? == "20");
        let conflicts = consume.metrics()?.sum("floodgate_registry_conflicts_total", &[]);
        ensure!(conflicts > 0.0);

        // the former comes back
        serve.process().freeze()?;
        registry.forget()?;
        registry.start_again()?;
        for of in EventType::ALL {
            registry.register(&subject(&world, of), &text(schema_of(of)))?;
        }
        serve.process().thaw()?;
        wait_likes(&world, 60)?;
        second.wait_ready()?;
        consume.wait_ready()?;

        // it is lost for good: what waits is read by what is remembered, and then a new one is taken
        consume.stop()?;
        like(&serve, 60, 20)?;
        serve.stop()?;
        second.stop()?;
        registry.forget()?;
        registry.start_again()?;
        for of in [EventType::Coupon, EventType::Like, EventType::Expectation] {
            registry.register(&format!("another-{of}"), &text(schema_of(of)))?;
        }
        let url = registry.url();
        world.set("schema_registry.url", "http://127.0.0.1:1");
        let consume = world.start(&["consume"])?;
        wait_likes(&world, 80)?;
        consume.stop()?;
        psql(&world, "DELETE FROM registry_schemas")?;
        world.set("schema_registry.url", url);
        let (serve, _consume) = (world.start(&["serve"])?, world.start(&["consume"])?);
        like(&serve, 80, 20)?;
        wait_likes(&world, 100)?;
        no_dead_letters(&world)
    });
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

/// By TLS, as whoever this machine trusts, and by names that only it has.
#[test]
fn the_registry_is_asked_by_tls() {
    let scratch = ScratchDir::new("certificates").unwrap();
    let certificates = Certificates::make(scratch.path()).unwrap();
    let authority = certificates.authority.display().to_string();
    let registry =
        SchemaRegistry::start(RegistryOptions { tls: Some(certificates), ..RegistryOptions::default() })
            .unwrap();
    let world = world(&registry);
    run(|| {
        world.set("schema_registry.url", format!("http://127.0.0.1:1, {}", registry.tls_url()));
        let serve = world.launch(&["serve"])?;
        serve.wait_unready("certificate")?;
        serve.stop()?;
        world.set_variable("SSL_CERT_FILE", authority);
        let serve = world.start(&["serve"])?;
        like(&serve, 0, 3)?;
        serve.stop()
    });
}
