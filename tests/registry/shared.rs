//! A world with a registry: schemas that others might write with, and likes that show what becomes of events.

use anyhow::{Context, Result, ensure};
use floodgate_schemas::EventType;
use floodgate_schemas::codec::schema_of;
use floodgate_testkit::{SchemaRegistry, wait};
use serde_json::{Value, json};

use crate::support::client::Ask;
use crate::support::node::Node;
use crate::support::topic::Topics;
use crate::support::world::{DRAINED, Servers, World};

/// A world with a registry, and topics and tables.
pub fn world(registry: &SchemaRegistry) -> World {
    let Servers { kafka, postgres } = Servers::shared();
    let world = World::ready(kafka, postgres).unwrap().hurried();
    world.set("schema_registry.url", registry.url());
    world.set("schema_registry.timeout_ms", "1000");
    world.set("schema_registry.check_ms", "300");
    world
}

pub fn psql(world: &World, statement: &str) -> Result<String> {
    let told = Servers::shared().postgres.psql(&world.setting("store.url"), statement)?;
    Ok(told.trim().to_owned())
}

pub fn subject(world: &World, of: EventType) -> String {
    format!("{}-value", world.named(of.topic()))
}

/// A schema as the registry's API takes it.
pub fn text(schema: &str) -> String {
    Value::from(schema).to_string()
}

pub fn id_of(registry: &SchemaRegistry, world: &World, of: EventType) -> Result<u32> {
    let (status, answer) =
        registry.ask("GET", &format!("/subjects/{}/versions/latest", subject(world, of)), None)?;
    ensure!(status == 200, "{answer}");
    let answer: Value = serde_json::from_str(&answer)?;
    Ok(u32::try_from(answer["id"].as_u64().context("no id")?)?)
}

/// Likes of `star-from` and so on.
pub fn like(node: &Node, from: usize, count: usize) -> Result<()> {
    let like = |n| json!({"type": "like", "targetOcid": format!("star-{n}"), "likerAccountId": "ann", "action": "LIKE"});
    let likes: Vec<Value> = (from..from + count).map(like).collect();
    let answer = node.ask(&Ask::new("POST", "/api/v6/events").json(Value::from(likes).to_string()))?;
    ensure!(answer.status == 200 && !answer.text().contains("retry"), "{} {}", answer.status, answer.text());
    Ok(())
}

pub fn wait_likes(world: &World, count: usize) -> Result<()> {
    let counted = || psql(world, "SELECT count(*) FROM likes").ok().filter(|told| *told == count.to_string());
    wait::until(&format!("{count} likes"), DRAINED, counted)
        .map(drop)
        .with_context(|| psql(world, "SELECT count(*) FROM likes").unwrap_or_default())
}

/// Nothing is a dead letter that anybody could read some day.
pub fn no_dead_letters(world: &World) -> Result<()> {
    let letters = Topics::of(world).read_all(&world.named("floodgate.dlq.v1"))?;
    ensure!(letters.is_empty(), "{letters:?}");
    Ok(())
}

/// A field at the end of a schema.
pub fn with_field(schema: &str, field: &Value) -> String {
    let mut schema: Value = serde_json::from_str(schema).unwrap();
    schema["fields"].as_array_mut().unwrap().push(field.clone());
    schema.to_string()
}

/// What a newer build would write: likes that say on which device.
pub fn with_device() -> String {
    with_field(
        schema_of(EventType::Like),
        &json!({"name": "device", "type": ["null", "string"], "default": null}),
    )
}
