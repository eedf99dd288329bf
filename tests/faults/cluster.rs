//! Three brokers, of which one is lost.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use floodgate_testkit::{PostgresOptions, wait};

use crate::scenario::{Pace, kafka, scenario};
use crate::support::load::LoadOptions;
use crate::support::world::{READY, Servers};

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
            deadline: Duration::from_secs(180),
            ..LoadOptions::default()
        };
        let load = world.load(&plan, &[&serve], options);
        load.wait_for(round.between(0.005, 0.02))?;

        let likes = world.named("floodgate.like.v1");
        let bootstrap = round.kafka.bootstrap();
        let args = [
            "--bootstrap-server",
            &bootstrap,
            "--describe",
            "--entity-type",
            "topics",
            "--entity-name",
            &likes,
        ];
        let configured = round.kafka.run_tool("kafka.admin.ConfigCommand", &args)?;
        ensure!(configured.contains("min.insync.replicas=2"), "{configured}");

        let described = world.succeed(&["topics", "describe"])?;
        let of_likes = described.split(&likes).nth(1).context("the topic is not described")?;
        let leader =
            of_likes.lines().skip(1).find_map(|line| line.split("leader").nth(1)).context("no leader")?;
        let leader: usize = leader.split_whitespace().next().context("no leader")?.parse()?;
        load.is_running()?;
        // Kafka calls the first broker node 1
        let killed = Instant::now();
        round.kafka.kill(leader - 1)?;
        round.recovers_everywhere(&serve, killed, Duration::from_secs(30))?;

        // a second one: too few copies are left, and nothing is accepted until there are more
        load.is_running()?;
        let second = leader % 3;
        round.kafka.kill(second)?;
        let failed = load.failed();
        wait::until("answers to those on their way", READY, || (load.failed() >= failed + 32).then_some(()))?;
        let accepted = load.accepted();
        wait::until("more answers", READY, || (load.failed() >= failed + 64).then_some(()))?;
        ensure!(load.accepted() == accepted, "a 202 with one of three copies");
        round.kafka.launch(leader - 1)?;
        round.kafka.launch(second)?;
        round.kafka.wait_ready(leader - 1)?;
        round.kafka.wait_ready(second)?;
        load.is_running()?;
        load.stop();
        let recording = load.finish()?;
        round.judge(&world, &recording)?;
        ensure!(consume.readiness()?.0 == 200, "{:?}", consume.readiness()?);
        consume.stop()
    });
}
