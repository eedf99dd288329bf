//! Three brokers, of which one is lost or silent.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use floodgate_testkit::{PostgresOptions, wait};
use serde_json::Value;

use crate::likes::{GROUP, PARTITIONS, TOPIC, like, named, named_in, wait_applied};
use crate::scenario::{Pace, kafka, scenario};
use crate::support::load::LoadOptions;
use crate::support::topic::Topics;
use crate::support::world::{DRAINED, READY, Servers, World, partitions};

/// With three copies of which two are in sync, writes go on within seconds of a leader's death.
#[test]
fn leader_of_three_killed() {
    let servers = || Servers::start(kafka(3), PostgresOptions::default());
    scenario("26", "leader_of_three_killed", Pace::Cluster, servers, |round| {
        let world = round.world_with(&[("topics.replication_factor", "3")])?;
        let serve = world.start(&["serve"])?;
        let consume = world.start(&["consume"])?;
        // more than will be needed: how long elections take nobody knows
        let plan = round.plan(100_000);
        world.create_coupons(&serve, &plan)?;
        let options = LoadOptions {
            workers: 32,
            rate: 500,
            deadline: Duration::from_secs(600),
            ..LoadOptions::default()
        };
        let load = world.load(&plan, &[&serve], options);
        load.wait_for(round.between(0.005, 0.02))?;

        let likes = world.named("floodgate.like.v1");
        let bootstrap = round.kafka().bootstrap();
        let args = [
            "--bootstrap-server",
            &bootstrap,
            "--describe",
            "--entity-type",
            "topics",
            "--entity-name",
            &likes,
        ];
        let configured = round.kafka().run_tool("kafka.admin.ConfigCommand", &args)?;
        ensure!(configured.contains("min.insync.replicas=2"), "{configured}");

        let described = world.succeed(&["topics", "describe"])?;
        let of_likes = described.split(&likes).nth(1).context("the topic is not described")?;
        let leader =
            of_likes.lines().skip(1).find_map(|line| line.split("leader").nth(1)).context("no leader")?;
        let leader: usize = leader.split_whitespace().next().context("no leader")?.parse()?;
        load.is_running()?;
        // Kafka calls the first broker node 1
        let killed = Instant::now();
        round.kafka().kill(leader - 1)?;
        round.recovers_everywhere(&serve, killed)?;

        // a second one: too few copies are left, and nothing is accepted until there are more
        load.is_running()?;
        let second = leader % 3;
        round.kafka().kill(second)?;
        let failed = load.failed();
        wait::until("answers to those on their way", READY, || (load.failed() >= failed + 32).then_some(()))?;
        let accepted = load.accepted();
        wait::until("more answers", READY, || (load.failed() >= failed + 64).then_some(()))?;
        ensure!(load.accepted() == accepted, "a 202 with one of three copies");
        round.kafka().launch(leader - 1)?;
        round.kafka().launch(second)?;
        round.kafka().wait_ready(leader - 1)?;
        round.kafka().wait_ready(second)?;
        load.is_running()?;
        load.stop();
        let recording = load.finish()?;
        round.judge(&world, &recording)?;
        ensure!(consume.readiness()?.0 == 200, "{:?}", consume.readiness()?);
        consume.stop()
    });
}

/// Who leads the partitions of a topic, as `topics describe` says it.
fn leaders(world: &World, described: &str, topic: &str) -> Result<Vec<usize>> {
    let of_topic = described.split(&world.named(topic)).nth(1).context("the topic is not described")?;
    let leader = |line: &str| line.split("leader").nth(1)?.split_whitespace().next()?.parse().ok();
    Ok(of_topic.lines().filter_map(leader).take(PARTITIONS).collect())
}

/// What can be read is told, and what cannot is named with its cause.
fn known_in_part(world: &World, silent: usize) -> Result<()> {
    // a partition may lose its leader, or still have the silent one
    let is_caused = |text: &str| {
        text.contains(&format!("broker {silent}, its leader, does not answer"))
            || text.contains("has no leader")
    };
    let listed = world.command(&["dlq", "list", "--json"])?;
    let letters = listed.stdout.lines().count();
    ensure!(listed.code == 3 && is_caused(&listed.stderr), "{listed:?}");
    ensure!((1..PARTITIONS).contains(&letters), "{letters} of {PARTITIONS} can be read: {listed:?}");
    let planned = world.command(&["dlq", "replay", "--all", "--undecodable", "--dry-run"])?;
    let told = format!("{letters} dead letters would be replayed");
    ensure!(planned.code == 3 && planned.stdout.starts_with(&told), "{told}: {planned:?}");
    let ledger = world.command(&["verify", "--json"])?;
    let report: Value = serde_json::from_str(&ledger.stdout)?;
    let doubts = report["cannotTell"].as_array().context("no doubts")?;
    let is_unknown = |doubt: &&Value| {
        doubt["kind"] == "partitionUnknown" && doubt["detail"].as_str().is_some_and(is_caused)
    };
    ensure!(ledger.code == 3 && doubts.iter().any(|doubt| is_unknown(&doubt)), "{ledger:?}");
    ensure!(report["violations"] == 0 && report["types"][2]["records"] != 0, "{report}");
    let notes = report["notes"].to_string();
    ensure!(notes.contains("dead letters of partition") && is_caused(&notes), "{notes}");
    let lag = world.command(&["lag"])?;
    ensure!(lag.code == 0 && is_caused(&lag.stdout), "{lag:?}");
    let described = world.command(&["topics", "describe"])?;
    ensure!(described.stdout.contains("leader"), "{described:?}");
    Ok(())
}

/// One silent broker of three: its partitions are told as unknown, and all that the others lead goes on and is known.
#[test]
fn one_of_three_is_silent() {
    let servers = || Servers::start(kafka(3), PostgresOptions::default());
    scenario("half an answer", "one_of_three_is_silent", Pace::Cluster, servers, |round| {
        let world = round.world()?;
        let serve = world.start(&["serve"])?;
        let mut consume = world.start(&["consume"])?;
        like(&serve, &named("before", 40))?;
        // a dead letter on every partition
        for partition in 0..PARTITIONS {
            let key = format!("{}\u{1f}liker", named_in("poison", partition, 1)[0]);
            let header = ("trace", "1");
            Topics::of(&world).put(&world.named(TOPIC), key.as_bytes(), b"no event", header)?;
        }
        world.wait_drained(DRAINED)?;
        let described = world.succeed(&["topics", "describe"])?;
        let leaders = leaders(&world, &described, TOPIC)?;
        let silent = *leaders.get(round.one_of(PARTITIONS)).context("no leader")?;
        let led = leaders.iter().position(|leader| *leader != silent).context("one broker leads all")?;
        round.kafka().freeze(silent - 1)?;
        let group = world.named(GROUP);
        let mut last = Value::Null;
        wait::until("what is known to be told, and what is not", READY * 2, || {
            last = world.lag().ok()?;
            let is_known = |number: usize| {
                let mut of_group = partitions(&last).filter(|(found, _)| *found == group);
                of_group
                    .find(|(_, p)| p["partition"] == number)
                    .map(|(_, p)| p["lag"].is_u64() && p["unknown"].is_null())
            };
            let is_as_led = |(number, leader): (usize, &usize)| is_known(number) == Some(*leader != silent);
            leaders.iter().enumerate().all(is_as_led).then_some(())
        })
        .with_context(|| last.to_string())?;
        known_in_part(&world, silent)?;
        // members that begin now read what can be read
        consume.kill()?;
        consume.start_again(&world)?;
        like(&serve, &named_in("led", led, 5))?;
        wait_applied(round, &world, "led", 5)?;
        consume.wait_unready("where it is read on is not known yet")?;
        round.kafka().thaw(silent - 1)?;
        round.kafka().wait_ready(silent - 1)?;
        like(&serve, &named("after", 40))?;
        wait_applied(round, &world, "after", 40)?;
        consume.wait_ready()?;
        world.wait_drained(DRAINED)?;
        let listed = world.succeed(&["dlq", "list", "--json"])?;
        ensure!(listed.lines().count() == PARTITIONS, "all letters are there: {listed}");
        round.balances(&world).map(drop)
    });
}
