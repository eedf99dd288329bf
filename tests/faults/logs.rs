//! Logs that are not what a position says: made anew, moved past, or shut by transactions of others.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use floodgate_buffer::murmur2_partition;
use floodgate_testkit::wait;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::{Value, json};

use crate::scenario::{Pace, Round, scenario, servers};
use crate::support::client::{Ask, runtime};
use crate::support::node::Node;
use crate::support::topic::read_all;
use crate::support::world::{DRAINED, READY, World, partitions};

pub const TOPIC: &str = "floodgate.like.v1";
pub const GROUP: &str = "floodgate.like";
pub const PARTITIONS: usize = 4;
const DEADLINE: Duration = Duration::from_secs(30);

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

/// Deletes a topic and makes it anew at once, so that whoever reads it may not see that it was gone.
fn make_anew(bootstrap: &str, topic: &str) -> Result<()> {
    let admin: AdminClient<_> = ClientConfig::new().set("bootstrap.servers", bootstrap).create()?;
    let options = AdminOptions::new().operation_timeout(Some(DEADLINE));
    runtime().block_on(admin.delete_topics(&[topic], &options))?;
    let anew = NewTopic::new(topic, i32::try_from(PARTITIONS)?, TopicReplication::Fixed(1));
    wait::until("the topic to be made anew", DEADLINE, || {
        let made = runtime().block_on(admin.create_topics([&anew], &options)).ok()?;
        made.iter().all(Result::is_ok).then_some(())
    })?;
    Ok(())
}

/// What `floodgate lag` says of a partition of the likes.
pub fn lag_of(world: &World, partition: usize) -> Result<Value> {
    let lag = world.lag()?;
    let group = world.named(GROUP);
    let found = partitions(&lag).find(|(found, p)| *found == group && p["partition"] == partition);
    Ok(found.context("no such partition")?.1.clone())
}

fn incidents(node: &Node, kind: &str) -> Result<f64> {
    Ok(node.metrics()?.sum("floodgate_position_incidents_total", &[("kind", kind)]))
}

/// A topic is deleted and made anew, and gets more records than it had before: whether consumers run meanwhile or are killed,
/// every one of them is applied.
#[test]
fn topic_made_anew() {
    scenario("35", "topic_made_anew", Pace::Quick, servers, |round| {
        let world = round.world()?;
        let serve = world.start(&["serve"])?;
        let mut consume = world.start(&["consume"])?;
        let before = 100 + round.one_of(200);
        like(&serve, &named("before", before))?;
        world.wait_drained(DRAINED)?;
        let dies = round.one_of(2) == 1;
        let topic = world.named(TOPIC);
        let bootstrap = round.kafka.bootstrap();
        make_anew(&bootstrap, &topic)?;
        like(&serve, &named("after", before * 3))?;
        if dies {
            consume.kill()?;
            consume.start_again(&world)?;
        }
        wait_applied(round, &world, "after", before * 3)?;
        wait_applied(round, &world, "before", before)?;
        world.wait_drained(DRAINED)?;
        consume.wait_ready()?;
        if !dies {
            let log = consume.process().stderr();
            ensure!(log.contains("made anew") || log.contains("is missing"), "the log does not tell of it");
        }
        round.balances(&world).map(drop)
    });
}

/// Offsets that another program moves forward are told with what was passed over, and the ledger names it.
#[test]
fn offsets_moved_forward() {
    scenario("15", "offsets_moved_forward", Pace::Quick, servers, |round| {
        let world = round.world()?;
        let serve = world.start(&["serve"])?;
        let mut consume = world.start(&["consume"])?;
        like(&serve, &named("before", 40))?;
        world.wait_drained(DRAINED)?;
        wait::until("the ingress to see how far the group is", READY, || {
            let metrics = serve.metrics().ok()?;
            (metrics.sum("kafka_consumergroup_current_offset", &[("consumergroup", &world.named(GROUP))])
                >= 40.0)
                .then_some(())
        })?;
        consume.stop()?;
        let partition = round.one_of(PARTITIONS);
        let skipped = named_in("skipped", partition, 5 + round.one_of(20));
        like(&serve, &skipped)?;
        let end = lag_of(&world, partition)?["endOffset"].as_i64().context("no end")?;
        let (group, topic) = (world.named(GROUP), world.named(TOPIC));
        let moved = [(i32::try_from(partition)?, end)];
        crate::support::topic::commit(&round.kafka.bootstrap(), &group, &topic, &moved)?;
        wait::until("an alert", READY, || {
            (serve.metrics().ok()?.sum("floodgate_committed_offset_skips_total", &[]) > 0.0).then_some(())
        })?;
        ensure!(
            serve.process().stderr().contains("moved the committed offset forward"),
            "the log says nothing"
        );
        consume.start_again(&world)?;
        wait::until("the consumer to tell", READY, || {
            (incidents(&consume, "offset-set-by-others").ok()? > 0.0).then_some(())
        })?;
        let ledger = world.command(&["verify", "--json"])?;
        let report: Value = serde_json::from_str(&ledger.stdout)?;
        ensure!(
            ledger.code == 1 && report["violations"] == skipped.len(),
            "{} were passed over: {report}",
            skipped.len()
        );
        world.succeed(&["reapply", "--missing"])?;
        wait_applied(round, &world, "skipped", skipped.len())?;
        round.balances(&world).map(drop)
    });
}

/// A producer of another program.
fn foreign(round: &Round<'_>, id: &str) -> Result<BaseProducer> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", round.kafka.bootstrap())
        .set("transactional.id", format!("{id}-{}", round.seed))
        .create()?;
    producer.init_transactions(DEADLINE)?;
    Ok(producer)
}

/// Sends a repeat of an event in a transaction that is left open.
fn send_in_transaction(producer: &BaseProducer, topic: &str, partition: usize, value: &[u8]) -> Result<()> {
    producer.begin_transaction()?;
    let record = BaseRecord::<[u8], [u8]>::to(topic).partition(i32::try_from(partition)?).payload(value);
    producer.send(record).map_err(|(error, _)| error)?;
    Ok(producer.flush(DEADLINE)?)
}

/// Transactions of other programs, committed, aborted and left open: lag reaches 0, nothing is hidden, and what cannot be read
/// yet is told as that.
#[test]
fn transactions_of_others() {
    scenario("36", "transactions_of_others", Pace::Quick, servers, |round| {
        let world = round.world()?;
        let serve = world.start(&["serve"])?;
        let mut consume = world.start(&["consume"])?;
        like(&serve, &named("before", 40))?;
        world.wait_drained(DRAINED)?;
        let (bootstrap, topic) = (round.kafka.bootstrap(), world.named(TOPIC));
        let partition = round.one_of(PARTITIONS);
        let there = read_all(&bootstrap, &topic)?;
        let of_partition = |record: &&crate::support::topic::Found| record.partition as usize == partition;
        let value = there.iter().find(of_partition).and_then(|record| record.value.clone());
        let value = value.context("no record there")?;
        let producer = foreign(round, "transactions")?;

        for is_committed in [true, false] {
            send_in_transaction(&producer, &topic, partition, &value)?;
            match is_committed {
                true => producer.commit_transaction(DEADLINE)?,
                false => producer.abort_transaction(DEADLINE)?,
            }
            world.wait_drained(DRAINED)?;
        }
        // also where nobody consumes
        consume.stop()?;
        send_in_transaction(&producer, &topic, partition, &value)?;
        producer.abort_transaction(DEADLINE)?;
        world.wait_drained(DRAINED)?;
        consume.start_again(&world)?;
        consume.wait_ready()?;

        send_in_transaction(&producer, &topic, partition, &value)?;
        let shut = named_in("shut", partition, 7);
        like(&serve, &shut)?;
        like(&serve, &named_in("open", (partition + 1) % PARTITIONS, 7))?;
        wait_applied(round, &world, "open", 7)?;
        consume.wait_unready("a transaction of another program is open")?;
        let held = [("reason", "unreadable")];
        ensure!(consume.metrics()?.sum("floodgate_partition_held", &held) == 1.0, "no metric tells of it");
        let lag = lag_of(&world, partition)?;
        ensure!(lag["lag"] == 8 && lag["unreadable"] == 8, "the record and 7 behind it wait: {lag}");
        ensure!(applied(round, &world, "shut")? == 0, "read past an open transaction");
        let ledger = round.balances(&world)?;
        ensure!(ledger["notes"].to_string().contains("a transaction of another program is open"), "{ledger}");

        producer.abort_transaction(DEADLINE)?;
        wait_applied(round, &world, "shut", 7)?;
        world.wait_drained(DRAINED)?;
        consume.wait_ready()?;
        round.balances(&world).map(drop)
    });
}
