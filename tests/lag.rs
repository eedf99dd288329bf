//! Lag at its edges, compared with Kafka's own `kafka-consumer-groups`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use floodgate_testkit::{Kafka, ScratchDir, wait};
use jiff::Timestamp;
use serde_json::{Value, json};
use support::client::Ask;
use support::node::Node;
use support::world::{DRAINED, READY, Servers, World, run};

/// The group of likes in a report.
fn likes<'r>(world: &World, report: &'r Value) -> Result<&'r Value> {
    let name = world.named("floodgate.like");
    let groups = report["groups"].as_array().context("no groups")?;
    groups.iter().find(|group| group["group"] == name).with_context(|| format!("no {name}: {report}"))
}

fn partitions(group: &Value) -> impl Iterator<Item = &Value> {
    group["topics"][0]["partitions"].as_array().into_iter().flatten()
}

fn sum(group: &Value, field: &str) -> i64 {
    partitions(group).map(|partition| partition[field].as_i64().unwrap()).sum()
}

/// Sends likes on as many rows; what certainly was not stored is sent again, as after a topic was made anew.
fn send(serve: &Node, from: usize, to: usize) -> Result<()> {
    let like = |number: usize| json!({"type": "like", "targetOcid": "t", "likerAccountId": format!("l{number}"), "action": "LIKE"});
    let mut waiting: Vec<Value> = (from..to).map(like).collect();
    let mut last = String::new();
    let sent = wait::until("all likes to be accepted", READY, || {
        let body = Value::from(waiting.clone()).to_string();
        let answer = serve.ask(&Ask::new("POST", "/api/v6/events").json(body)).ok()?;
        last = answer.text();
        let results = answer.json()["results"].as_array()?.clone();
        let retried = waiting.iter().zip(&results).filter(|(_, result)| result["status"] == "retry");
        let again: Vec<Value> = retried.map(|(event, _)| event.clone()).collect();
        waiting = again;
        if results.iter().any(|result| result["status"] != "accepted" && result["status"] != "retry") {
            return Some(Err(anyhow::anyhow!("{}", answer.text())));
        }
        waiting.is_empty().then_some(Ok(()))
    });
    sent.with_context(|| last).flatten()
}

/// By partition: committed offset, end offset and lag, as Kafka's own tool tells them.
fn told_by_kafka(kafka: &Kafka, group: &str) -> Result<BTreeMap<i64, [i64; 3]>> {
    let class = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
    let bootstrap = kafka.bootstrap();
    let args = ["--bootstrap-server", &bootstrap, "--describe", "--group", group];
    let table = kafka.run_tool(class, &args)?;
    let rows = table.lines().filter_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let [found, _, partition, committed, end, lag, ..] = columns[..] else { return None };
        let numbers = [committed.parse().ok()?, end.parse().ok()?, lag.parse().ok()?];
        (found == group).then_some((partition.parse().ok()?, numbers))
    });
    Ok(rows.collect())
}

/// Every partition that Kafka's tool knows has the same offsets and lag in ours.
fn agrees(world: &World, kafka: &Kafka) -> Result<()> {
    let told = told_by_kafka(kafka, &world.named("floodgate.like"))?;
    let report = world.lag()?;
    let ours: BTreeMap<i64, [i64; 3]> = partitions(likes(world, &report)?)
        .filter_map(|partition| {
            let number = |field: &str| partition[field].as_i64();
            let numbers = [number("committedOffset")?, number("endOffset")?, number("lag")?];
            Some((number("partition")?, numbers))
        })
        .collect();
    ensure!(!told.is_empty() && told == ours, "Kafka tells {told:?}, we tell {ours:?}");
    Ok(())
}

#[test]
fn lag_is_right_at_every_edge() {
    let Servers { kafka, postgres } = Servers::shared();
    let world = World::ready(kafka, postgres).unwrap().hurried();
    run(|| {
        let serve = world.start(&["serve"])?;

        // never committed, and nobody there: from the log's start
        let empty = world.lag()?;
        let group = likes(&world, &empty)?;
        ensure!(group["status"] == "EMPTY" && group["members"] == 0 && sum(group, "lag") == 0, "{group}");
        send(&serve, 0, 300)?;
        let report = world.lag()?;
        let group = likes(&world, &report)?;
        ensure!(group["status"] == "EMPTY" && sum(group, "lag") == 300, "{group}");
        ensure!(partitions(group).all(|partition| partition["committedOffset"].is_null()), "{group}");
        let waiting = || partitions(group).filter(|partition| partition["lag"] != 0);
        ensure!(waiting().all(|partition| partition["lagSeconds"].as_f64() > Some(0.0)), "{group}");

        wait::until("the gauges", READY, || {
            let metrics = serve.metrics().ok()?;
            let labels = [("group", group["group"].as_str()?)];
            let lag = metrics.sum("floodgate_lag_records", &labels);
            (lag == 300.0 && metrics.sum("floodgate_lag_seconds", &labels) > 0.0).then_some(())
        })?;

        // caught up, then left with records: reported all the same
        let consume = world.start(&["consume"])?;
        world.wait_drained(DRAINED)?;
        agrees(&world, kafka)?;
        let report = world.lag()?;
        let group = likes(&world, &report)?;
        ensure!(group["status"] == "OK" && group["members"].as_i64() > Some(0), "{group}");
        ensure!(partitions(group).all(|partition| partition["lagSeconds"] == 0.0), "{group}");
        consume.stop()?;
        send(&serve, 300, 500)?;
        agrees(&world, kafka)?;
        let report = world.lag()?;
        let group = likes(&world, &report)?;
        ensure!(group["status"] == "EMPTY" && sum(group, "lag") == 200, "{group}");

        expired(&world, kafka, group)?;
        added_partitions(&world, kafka, &serve)?;
        made_anew(&world, kafka, &serve)
    });
}

/// Records that are deleted before they were read are missing, and no lag.
fn expired(world: &World, kafka: &Kafka, before: &Value) -> Result<()> {
    let partition =
        partitions(before).find(|partition| partition["lag"].as_i64() > Some(1)).context("no lag")?;
    let (number, lag) = (partition["partition"].as_i64().unwrap(), partition["lag"].as_i64().unwrap());
    let committed = partition["committedOffset"].as_i64().context("never committed")?;
    let folder = ScratchDir::new("offsets")?;
    let file = folder.path().join("offsets.json");
    let topic = world.named("floodgate.like.v1");
    let up_to = json!({"version": 1, "partitions": [{"topic": topic, "partition": number, "offset": committed + lag - 1}]});
    std::fs::write(&file, up_to.to_string())?;
    let args = ["--bootstrap-server", &kafka.bootstrap(), "--offset-json-file", &file.display().to_string()];
    kafka.run_tool("org.apache.kafka.tools.DeleteRecordsCommand", &args)?;

    let report = world.lag()?;
    let now = partitions(likes(world, &report)?).find(|partition| partition["partition"] == number);
    let now = now.context("the partition is gone")?;
    ensure!(now["lag"] == 1 && now["missing"] == lag - 1, "{now}, before: {partition}");
    ensure!(now["startOffset"] == committed + lag - 1, "{now}");
    Ok(())
}

/// They are listed before anybody reads them, and read soon.
fn added_partitions(world: &World, kafka: &Kafka, serve: &Node) -> Result<()> {
    let topic = world.named("floodgate.like.v1");
    let args = ["--bootstrap-server", &kafka.bootstrap(), "--alter", "--topic", &topic, "--partitions", "12"];
    kafka.run_tool("org.apache.kafka.tools.TopicCommand", &args)?;
    wait::until("twelve partitions in the report", READY, || {
        let report = world.lag().ok()?;
        (partitions(likes(world, &report).ok()?).count() == 12).then_some(())
    })?;
    let refused = world.command(&["topics", "create"])?;
    ensure!(refused.code == 1 && refused.stderr.contains("12 partitions"), "{refused:?}");
    wait::until("twelve partitions at the ingress", READY, || {
        let report = serve.ask_admin("/lag").ok()?.json();
        (partitions(likes(world, &report).ok()?).count() == 12).then_some(())
    })?;
    Ok(())
}

/// A topic that is deleted takes nobody else's lag along; made anew it is read from its start.
fn made_anew(world: &World, kafka: &Kafka, serve: &Node) -> Result<()> {
    let topic = world.named("floodgate.like.v1");
    let args = ["--bootstrap-server", &kafka.bootstrap(), "--delete", "--topic", &topic];
    kafka.run_tool("org.apache.kafka.tools.TopicCommand", &args)?;
    wait::until("the command to name the missing topic", READY, || {
        let ended = world.command(&["lag"]).ok()?;
        (ended.code == 1 && ended.stderr.contains("floodgate topics create")).then_some(())
    })?;
    let deleted_at = Timestamp::now();
    wait::until("the other groups to be read on, and this one to keep its last values", READY, || {
        let report = serve.ask_admin("/lag").ok()?.json();
        let as_of = |group: &Value| group["asOf"].as_str()?.parse::<Timestamp>().ok();
        let groups = report["groups"].as_array()?;
        let fresh = groups.iter().filter(|group| as_of(group).is_some_and(|at| at > deleted_at)).count();
        let kept = likes(world, &report).ok()?;
        let oldest = report["asOf"].as_str()?.parse::<Timestamp>().ok();
        (fresh == 2 && partitions(kept).count() == 12 && as_of(kept) == oldest).then_some(())
    })?;
    world.succeed(&["topics", "create"])?;
    serve.wait_ready()?;
    send(serve, 500, 600)?;
    let report = world.lag()?;
    let group = likes(world, &report)?;
    ensure!(partitions(group).count() == 10 && sum(group, "lag") == 100, "{group}");
    let consume = world.start(&["consume"])?;
    world.wait_drained(DRAINED)?;
    consume.stop()?;
    let metrics = serve.metrics()?;
    let labels = [("topic", topic.as_str())];
    wait::until("gauges of the partitions there are", READY, || {
        (serve.metrics().ok()?.count("floodgate_lag_records", &labels) == 10).then_some(())
    })
    .with_context(|| format!("{:?}", metrics.count("floodgate_lag_records", &labels)))?;
    Ok(())
}

#[test]
fn a_broker_that_is_away_leaves_the_last_values() {
    let Servers { kafka, postgres } = Servers::own();
    let world = World::ready(&kafka, &postgres).unwrap().hurried();
    run(|| {
        let serve = world.start(&["serve"])?;
        send(&serve, 0, 10)?;
        let lag = || serve.ask_admin("/lag").ok().map(|answer| answer.json());
        let seen = |report: &Value| likes(&world, report).is_ok_and(|group| sum(group, "lag") == 10);
        wait::until("the lag", READY, || lag().filter(seen).map(drop))?;
        kafka.stop(0)?;
        serve.wait_unready("does not answer")?;
        // a reading that had begun before may still have ended: then nothing changes any more
        let mut first = lag().context("no lag")?;
        for _ in 0..2 {
            first = lag().context("no lag")?;
            let ended = world.command(&["lag", "--json"])?;
            ensure!(ended.code == 1 && ended.stdout.is_empty() && !ended.stderr.is_empty(), "{ended:?}");
        }
        let second = lag().context("no lag")?;
        ensure!(seen(&first) && first == second, "{first}, then {second}");
        kafka.start_again(0)?;
        wait::until("a new reading", READY, || {
            lag().filter(|report| report["asOf"] != first["asOf"]).map(drop)
        })?;
        Ok(())
    });
}
