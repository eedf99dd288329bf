//! What can never be applied is kept with its reason, and nothing else is.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use floodgate_testkit::Postgres;
use support::client::Ask;
use support::node::Node;
use support::rule::refuse;
use support::topic::{Found, Topics};
use support::world::{DRAINED, Servers, World, run};
use uuid::Uuid;

fn like(target: &str, liker: &str) -> Ask {
    Ask::new("PUT", format!("/api/v6/characters/{target}/likes/{liker}"))
}

/// Sends likes and returns their ids.
fn send_likes(serve: &Node, target: &str, likers: &[String]) -> Result<Vec<Uuid>> {
    let send = |liker: &String| {
        let answer = serve.ask(&like(target, liker))?;
        ensure!(answer.status == 202, "{} {}", answer.status, answer.text());
        Ok(answer.json()["eventId"].as_str().context("no eventId")?.parse()?)
    };
    likers.iter().map(send).collect()
}

fn likers(from: usize, to: usize) -> Vec<String> {
    (from..to).map(|number| format!("account-{number}")).collect()
}

/// The likers of a target, and its counter.
fn liked_by(postgres: &Postgres, world: &World, target: &str) -> Result<(Vec<String>, i64)> {
    let url = world.setting("store.url");
    let rows =
        format!("SELECT liker_account_id FROM likes WHERE target_ocid = '{target}' AND liked ORDER BY 1");
    let rows = postgres.psql(&url, &rows)?.lines().map(str::to_owned).collect();
    let count =
        postgres.psql(&url, &format!("SELECT count FROM like_counts WHERE target_ocid = '{target}'"))?;
    Ok((rows, count.trim().parse().unwrap_or(0)))
}

/// A dead letter tells where it stood and why it is here, and is what it was.
fn check_letter(world: &World, letter: &Found, origin: (i32, i64), reason: &str) -> Result<()> {
    let told: BTreeMap<&str, String> = letter
        .headers
        .iter()
        .filter_map(|(name, _)| Some((name.strip_prefix("floodgate-dlq-")?, letter.header(name)?)))
        .collect();
    let wanted = [
        ("topic", world.named("floodgate.like.v1")),
        ("partition", origin.0.to_string()),
        ("offset", origin.1.to_string()),
        ("group", world.named("floodgate.like")),
        ("reason", reason.to_owned()),
        ("attempts", "1".to_owned()),
    ];
    for (name, value) in wanted {
        ensure!(told.get(name) == Some(&value), "{name} should be {value}: {told:?}");
    }
    ensure!(told.get("message").is_some_and(|message| !message.is_empty()), "no message: {told:?}");
    told.get("failed-at").context("no failed-at")?.parse::<jiff::Timestamp>()?;
    // the topic's id, which the cluster chose
    ensure!(told.len() == 9 && told["log"].len() >= 22, "other headers: {told:?}");
    Ok(())
}

#[test]
fn what_can_never_be_applied_is_dead_lettered_alone() {
    let Servers { kafka, postgres } = Servers::shared();
    let world = World::ready(kafka, postgres).unwrap().hurried();
    run(|| {
        // one batch takes in everything that waits: bad records have neighbours
        world.set("consumers.batch_max_wait_ms", "200");
        let serve = world.start(&["serve"])?;
        let (topic, letters) = (world.named("floodgate.like.v1"), world.named("floodgate.dlq.v1"));
        let topics = Topics::of(&world);
        let url = world.setting("store.url");
        postgres.psql(&url, &refuse("house_rule", "likes", "new.liker_account_id = 'forbidden'"))?;

        // poison in every shape, on the partition that the key leads to, with good events before and after
        send_likes(&serve, "star", &likers(0, 300))?;
        let mut poison = BTreeMap::new();
        let shapes: [(&[u8], &str); 3] = [
            (b"no avro at all", "not-avro"),
            (b"", "not-avro"),
            (&single_object_header(&topics, &topic)?, "undecodable"),
        ];
        for (value, reason) in shapes {
            let origin = topics.put(&topic, b"star\x1faccount-0", value, ("trace", "a\tb"))?;
            poison.insert(origin, (value.to_vec(), reason));
        }
        let forbidden = send_likes(&serve, "star", &["forbidden".to_owned()])?;
        send_likes(&serve, "star", &likers(300, 600))?;

        let consume = world.start(&["consume"])?;
        world.wait_drained(DRAINED)?;
        let (rows, count) = liked_by(postgres, &world, "star")?;
        let mut wanted = likers(0, 600);
        wanted.sort();
        ensure!(rows == wanted && count == 600, "{} rows, counter {count}", rows.len());

        let found = topics.dead_letters(&letters, &topic)?;
        ensure!(found.len() == poison.len() + 1, "{} dead letters: {found:?}", found.len());
        for (origin, (value, reason)) in &poison {
            let letter = found.get(origin).with_context(|| format!("no dead letter from {origin:?}"))?;
            check_letter(&world, letter, *origin, reason)?;
            ensure!(
                letter.key.as_deref() == Some(b"star\x1faccount-0") && letter.value.as_ref() == Some(value)
            );
            ensure!(letter.header("trace").as_deref() == Some("a\tb"), "the original header: {letter:?}");
        }
        let bad_row = found.iter().find(|(origin, _)| !poison.contains_key(origin));
        let (origin, letter) = bad_row.context("no dead letter of the forbidden row")?;
        check_letter(&world, letter, *origin, "bad-row")?;
        let message = letter.header("floodgate-dlq-message").unwrap_or_default();
        ensure!(
            message.contains("house_rule") && letter.key.as_deref() == Some(b"star\x1fforbidden"),
            "{message}"
        );
        let id = forbidden[0].to_string();
        let value = letter.value.as_deref().unwrap_or_default();
        let has_id = value.windows(id.len()).any(|window| window == id.as_bytes());
        ensure!(has_id, "the dead letter is not the event {id}");

        let metrics = consume.metrics()?;
        let group = world.named("floodgate.like");
        for (reason, wanted) in [("bad-row", 1.0), ("not-avro", 2.0), ("undecodable", 1.0)] {
            let counted =
                metrics.sum("floodgate_dead_letters_total", &[("group", &group), ("reason", reason)]);
            ensure!(counted == wanted, "{counted} dead letters are counted as {reason}");
        }
        // moved on and well: whatever comes next is applied, and nothing is dead-lettered again
        ensure!(consume.readiness()?.0 == 200, "{:?}", consume.readiness()?);
        send_likes(&serve, "star", &likers(600, 610))?;
        world.wait_drained(DRAINED)?;
        ensure!(liked_by(postgres, &world, "star")?.1 == 610, "{:?}", liked_by(postgres, &world, "star")?.1);
        let after = topics.dead_letters(&letters, &topic)?;
        ensure!(after.len() == found.len(), "{} dead letters later", after.len());
        consume.stop()?;
        serve.stop()
    });
}

/// The ten bytes before every event: of a schema that is known, with nothing behind.
fn single_object_header(topics: &Topics, topic: &str) -> Result<Vec<u8>> {
    let records = topics.read_all(topic)?;
    let value = records.first().and_then(|record| record.value.clone()).context("no event yet")?;
    Ok(value[..10].to_vec())
}
