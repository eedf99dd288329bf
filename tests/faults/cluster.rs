//! Three brokers, of which one is lost.

use std::time::Duration;

use anyhow::{Context, ensure};
use floodgate_testkit::PostgresOptions;

use crate::scenario::{Pace, kafka, scenario};
use crate::support::load::LoadOptions;
use crate::support::world::Servers;

/// With three copies of which two are in sync, writes go on within seconds of a leader's death.
#[test]
fn leader_of_three_killed() {
    let servers = || Servers::start(kafka(3), PostgresOptions::default());
    scenario("26", "leader_of_three_killed", Pace::Cluster, servers, |round| {
        let world = round.world_with(&[("topics.replication_factor", "3")])?;
        let serve = world.start(&["serve"])?;
        let consume = world.start(&["consume"])?;
        let plan = round.plan(8000);
        world.create_coupons(&serve, &plan)?;
        let options =
            LoadOptions { workers: 16, deadline: Duration::from_secs(120), ..LoadOptions::default() };
        let load = world.load(&plan, &[&serve], options);
        load.wait_for(round.between(0.1, 0.4))?;

        let described = world.succeed(&["topics", "describe"])?;
        let leader =
            described.lines().skip(1).find_map(|line| line.split("leader").nth(1)).context("no leader")?;
        let leader: usize = leader.split_whitespace().next().context("no leader")?.parse()?;
        ensure!(described.contains("replicas [") && leader >= 1, "{described}");
        // Kafka calls the first broker node 1
        round.kafka.kill(leader - 1)?;
        round.recovers(&serve)?;
        load.wait_for(0.8)?;
        round.kafka.start_again(leader - 1)?;
        let recording = load.finish()?;
        round.judge(&world, &recording)?;
        ensure!(consume.readiness()?.0 == 200, "{:?}", consume.readiness()?);
        consume.stop()
    });
}
