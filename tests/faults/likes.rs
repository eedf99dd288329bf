//! Likes by name: each has a row of its own, so that what became of it can be counted.

use std::time::Duration;

use anyhow::{Context, Result};
use floodgate_buffer::murmur2_partition;
use floodgate_testkit::wait;
use serde_json::{Value, json};

use crate::scenario::Round;
use crate::support::client::Ask;
use crate::support::node::Node;
use crate::support::world::{DRAINED, READY, World, partitions};

pub const TOPIC: &str = "floodgate.like.v1";
pub const GROUP: &str = "floodgate.like";
pub const PARTITIONS: usize = 4;
pub const DEADLINE: Duration = Duration::from_secs(120);

/// Sends likes of as many characters until each is accepted: they have a row of their own each.
pub fn like(serve: &Node, targets: &[String]) -> Result<()> {
    let mut left: Vec<&String> = targets.iter().collect();
    wait::until("all likes to be accepted", READY * 2, || {
        let event = |target: &&String| json!({"type": "like", "targetOcid": target, "likerAccountId": "liker", "action": "LIKE"});
        let body = Value::from(left.iter().map(event).collect::<Vec<_>>());
        let answer = serve.ask(&Ask::new("POST", "/api/v6/events").json(body.to_string())).ok()?;
        if answer.status != 200 {
            return None;
        }
        let results = answer.json()["results"].as_array()?.clone();
        let mut results = results.into_iter();
        left.retain(|_| results.next().is_none_or(|result| result["status"] != "accepted"));
        left.is_empty().then_some(())
    })?;
    Ok(())
}

pub fn named(what: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{what}-{number}")).collect()
}

/// Names of characters whose likes lie in a partition.
pub fn named_in(what: &str, partition: usize, count: usize) -> Vec<String> {
    let is_there =
        |name: &String| murmur2_partition(format!("{name}\u{1f}liker").as_bytes(), PARTITIONS) == partition;
    (0..).map(|number| format!("{what}-{number}")).filter(is_there).take(count).collect()
}

/// The same, as many in each partition.
pub fn named_everywhere(what: &str, count_each: usize) -> Vec<String> {
    (0..PARTITIONS).flat_map(|partition| named_in(what, partition, count_each)).collect()
}

/// How many characters of that name have a like that was applied.
pub fn applied(round: &Round<'_>, world: &World, what: &str) -> Result<usize> {
    let sql = format!("SELECT count(*) FROM likes WHERE liked AND target_ocid LIKE '{what}-%'");
    Ok(round.postgres.psql(&world.setting("store.url"), &sql)?.trim().parse()?)
}

pub fn wait_applied(round: &Round<'_>, world: &World, what: &str, count: usize) -> Result<()> {
    let mut last = 0;
    wait::until(&format!("{count} of {what} to be applied"), DRAINED, || {
        last = applied(round, world, what).ok()?;
        (last == count).then_some(())
    })
    .with_context(|| format!("{last} are"))
}

/// What `floodgate lag` says of a partition of the likes.
pub fn lag_of(world: &World, partition: usize) -> Result<Value> {
    let lag = world.lag()?;
    let group = world.named(GROUP);
    let found = partitions(&lag).find(|(found, p)| *found == group && p["partition"] == partition);
    Ok(found.context("no such partition")?.1.clone())
}

pub fn incidents(node: &Node, kind: &str) -> Result<f64> {
    Ok(node.metrics()?.sum("floodgate_position_incidents_total", &[("kind", kind)]))
}
