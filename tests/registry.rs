//! With a schema registry: the main job, and what becomes of events while the registry is away, slow, made anew or says something
//! that this build cannot read.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use floodgate_schemas::EventType;
use floodgate_schemas::codec::schema_of;
use floodgate_testkit::{RegistryIds, RegistryOptions, SchemaRegistry, wait};
use serde_json::{Value, json};
use support::answers::problem;
use support::client::Ask;
use support::load::LoadOptions;
use support::node::Node;
use support::plan::{Plan, PlanSize, seed};
use support::topic::Topics;
use support::world::{DRAINED, Servers, World, run};

const LIKES: &str = "floodgate.like.v1";

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
            ensure!(beginnings == BTreeSet::from([[0, a, b, c, d]]), "{of}: {beginnings:?}, not {id}");
        }
        ensure!(psql(&world, "SELECT count(*) FROM registry_schemas")? == "3");
        let report: Value = serde_json::from_str(&world.succeed(&["verify", "--values", "--json"])?)?;
        ensure!(report["unchecked"].as_u64().unwrap_or(0) == 0, "{report}");
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

/// Before it was there nothing is taken; from then on nobody needs it for what was known.
#[test]
fn a_registry_that_is_away_keeps_nothing_from_going_on() {
    let registry = SchemaRegistry::start(RegistryOptions::default()).unwrap();
    let world = world(&registry);
    run(|| {
        registry.process()?.kill()?;
        let serve = world.launch(&["serve"])?;
        serve.wait_unready("schema registry")?;
        let refused = serve.ask(&Ask::new("PUT", "/api/v6/characters/star-0/likes/ann"))?;
        problem(&refused, 503, "not-stored", None)?;
        ensure!(refused.text().contains("schema registry"), "{}", refused.text());
        let consume = world.start(&["consume"])?;
        // what was written before there was a registry is read without
        registry.start_again()?;
        serve.wait_ready()?;
        like(&serve, 0, 50)?;
        wait_likes(&world, 50)?;

        registry.process()?.kill()?;
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
        no_dead_letters(&world)
    });
}
