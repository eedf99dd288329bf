//! Kafka goes away and there is a fallback: Redis takes what Kafka certainly did not, and it follows when Kafka is back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use floodgate_testkit::{Redis, RedisOptions, wait};

use crate::scenario::{Pace, Round, is_full, scenario, servers};
use crate::support::load::{Load, LoadOptions, Recording, Verdict};
use crate::support::node::Node;
use crate::support::toggles::Toggles;
use crate::support::world::{DRAINED, READY, World};

/// A world whose fallback is this Redis.
fn world(round: &Round<'_>, redis: &Redis, settings: &[(&str, &str)]) -> Result<Arc<World>> {
    let url = redis.url();
    let fallback = [
        ("buffer.fallback", "redis"),
        ("buffer.redis.url", url.as_str()),
        ("buffer.redis.lease_ms", "1500"),
        ("buffer.kafka.message_timeout_ms", "2000"),
    ];
    round.world_with(&[&fallback[..], settings].concat())
}

/// A load that goes on for a while, whatever happens to its writes.
fn steady(rate: u32) -> LoadOptions {
    LoadOptions {
        rate,
        workers: 256,
        deadline: Duration::from_secs(400),
        repeat_every: 0,
        ..LoadOptions::default()
    }
}

/// What a node says of its fallback: state, and how much waits.
fn spill(node: &Node) -> Result<(String, i64)> {
    let lag = node.ask_admin("/lag")?.json();
    let spill = &lag["spill"];
    let state = spill["state"].as_str().with_context(|| format!("no fallback: {lag}"))?;
    Ok((state.to_owned(), spill["waiting"].as_i64().context("not known")?))
}

fn wait_spill(node: &Node, what: &str, mut is_so: impl FnMut(&str, i64) -> bool) -> Result<()> {
    let mut last = None;
    let told = wait::until(what, DRAINED, || {
        last = spill(node).ok();
        last.as_ref().is_some_and(|(state, waiting)| is_so(state, *waiting)).then_some(())
    });
    told.with_context(|| format!("{last:?}"))
}

/// Everything was accepted sooner or later, and nobody was ever refused.
fn nobody_was_refused(load: Load) -> Result<Recording> {
    let recording = load.finish()?;
    ensure!(
        recording.refusals.is_empty(),
        "{} were refused: {}",
        recording.refusals.len(),
        recording.answers
    );
    Ok(recording)
}

fn spilled(nodes: &[&Node]) -> Result<f64> {
    nodes.iter().map(|node| Ok(node.metrics()?.sum("floodgate_events_spilled_total", &[]))).sum()
}

/// Kafka is away for a minute under load: nobody is refused, what it did not take waits and follows in order, and then the
/// fallback is idle.
#[test]
fn kafka_away_with_a_fallback() {
    scenario("29", "kafka_away_with_a_fallback", Pace::Slow, servers, |round| {
        // a Redis that syncs each write stands for seconds where others use its disk, and nobody may be refused here
        let settings = vec![("appendfsync".to_owned(), "no".to_owned())];
        let redis = Redis::start(RedisOptions { settings, ..RedisOptions::default() })?;
        let world = world(round, &redis, &[])?;
        let nodes = [world.start(&["serve"])?, world.start(&["serve"])?];
        let _consume = world.start(&["consume"])?;
        let (away, rate) = if is_full() { (60, 200) } else { (10, 400) };
        let plan = round.plan((away as usize + 20) * rate as usize);
        world.create_coupons(&nodes[0], &plan)?;
        let toggles = Toggles::start(&[nodes[0].http, nodes[1].http], 10);
        let load = world.load(&plan, &[&nodes[0], &nodes[1]], steady(rate));
        load.wait_for(round.between(0.02, 0.15))?;
        ensure!(spill(&nodes[0])? == ("idle".to_owned(), 0), "{:?}", spill(&nodes[0])?);
        match round.one_of(2) {
            0 => round.kafka().kill(0)?,
            _ => {
                round.kafka().freeze(0)?;
                wait_spill(&nodes[0], "a fallback that fills", |state, _| state == "filling")?;
                round.kafka().kill(0)?;
            }
        }
        round.lasts(Duration::from_secs(away));
        for node in &nodes {
            wait_spill(node, "a fallback that fills", |state, waiting| state == "filling" && waiting > 0)?;
            ensure!(node.readiness()?.0 == 200, "{:?}", node.readiness()?);
        }
        load.is_running()?;
        let over = Instant::now();
        round.kafka().start_again(0)?;
        round.recovers(&nodes[0], over)?;
        // also while new events come
        wait_spill(&nodes[0], "an idle fallback", |state, waiting| state == "idle" && waiting == 0)?;
        let recording = nobody_was_refused(load)?;
        let stand = toggles.finish()?;
        ensure!(spilled(&[&nodes[0], &nodes[1]])? > 100.0, "hardly anything was spilled");
        round.judge(&world, &recording)?;
        Toggles::check(round.postgres, &world.setting("store.url"), &stand)?;
        nodes.iter().try_for_each(Node::stop)
    });
}

/// Both are away: nothing is accepted, what is on its way is unknown or refused, and both stay true.
#[test]
fn kafka_and_its_fallback_away() {
    scenario("30", "kafka_and_its_fallback_away", Pace::Slow, servers, |round| {
        let redis = Redis::start(RedisOptions::default())?;
        let world = world(round, &redis, &[("buffer.redis.answer_timeout_ms", "500")])?;
        let serve = world.start(&["serve"])?;
        let _consume = world.start(&["consume"])?;
        let plan = round.plan(40_000);
        world.create_coupons(&serve, &plan)?;
        let load = world.load(&plan, &[&serve], LoadOptions { retry: false, workers: 32, ..steady(500) });
        load.wait_for(round.between(0.02, 0.1))?;
        let first_redis = round.one_of(2) == 0;
        if first_redis {
            redis.process()?.kill()?;
        }
        round.kafka().kill(0)?;
        if !first_redis {
            wait_spill(&serve, "a fallback that fills", |_, waiting| waiting > 50)?;
            redis.process()?.kill()?;
        }
        serve.wait_unready("buffer.fallback")?;
        // once those on their way are answered nobody is accepted
        let killed = load.failed();
        wait::until("answers to those on their way", READY, || {
            (load.failed() >= killed + 100).then_some(())
        })?;
        let accepted = load.accepted();
        let failed = load.failed();
        wait::until("more refusals", READY, || (load.failed() >= failed + 200).then_some(()))?;
        ensure!(load.accepted() == accepted, "a 202 without Kafka and Redis");
        load.is_running()?;
        let over = Instant::now();
        match round.one_of(2) {
            0 => {
                redis.start_again()?;
                round.kafka().start_again(0)?;
            }
            _ => {
                round.kafka().start_again(0)?;
                redis.start_again()?;
            }
        }
        round.recovers(&serve, over)?;
        load.stop();
        let recording = load.finish()?;
        ensure!(recording.count(Verdict::NotStored) > 0, "nobody was refused: {}", recording.answers);
        round.judge(&world, &recording)
    });
}

/// What the fallback has no room for is refused, with memory that stays within its bounds.
#[test]
fn a_full_fallback() {
    scenario("31", "a_full_fallback", Pace::Slow, servers, |round| {
        let redis = Redis::start(RedisOptions::default())?;
        let world = world(round, &redis, &[("buffer.redis.max_events", "500")])?;
        let nodes = [world.start(&["serve"])?, world.start(&["serve"])?];
        let _consume = world.start(&["consume"])?;
        let plan = round.plan(30_000);
        world.create_coupons(&nodes[0], &plan)?;
        let load = world.load(&plan, &[&nodes[0], &nodes[1]], steady(500));
        load.wait_for(round.between(0.02, 0.1))?;
        let before = nodes[0].metrics()?.sum("process_resident_memory_bytes", &[]);
        round.kafka().kill(0)?;
        nodes[0].wait_unready("the lists are full")?;
        let refused = load.not_stored();
        wait::until("refusals", READY, || (load.not_stored() > refused + 500).then_some(()))?;
        // each of two ingresses sees what the other pushes a tenth of a second later, and what is told is looked at now and then
        let mut waiting = 0;
        wait_spill(&nodes[0], "a fallback that is full", |_, told| {
            waiting = told;
            told >= 500
        })?;
        ensure!(waiting < 1500, "{waiting} wait");
        let grown = nodes[0].metrics()?.sum("process_resident_memory_bytes", &[]) - before;
        ensure!(grown < f64::from(128 << 20), "{grown} bytes more");
        load.is_running()?;
        let over = Instant::now();
        round.kafka().start_again(0)?;
        round.recovers(&nodes[0], over)?;
        wait_spill(&nodes[0], "an idle fallback", |state, _| state == "idle")?;
        load.stop();
        let recording = load.finish()?;
        round.judge(&world, &recording)
    });
}

/// The only ingress dies while Kafka is away, and comes back before Kafka does: what it answered is in Redis, which nobody moves
/// meanwhile, and it moves it itself.
#[test]
fn only_ingress_killed_while_it_spills() {
    scenario("32", "only_ingress_killed_while_it_spills", Pace::Slow, servers, |round| {
        let redis = Redis::start(RedisOptions::default())?;
        let world = world(round, &redis, &[])?;
        let mut serve = world.start(&["serve"])?;
        let consume = world.start(&["consume"])?;
        let plan = round.plan(30_000);
        world.create_coupons(&serve, &plan)?;
        let load = world.load(&plan, &[&serve], steady(0));
        load.wait_for(round.between(0.1, 0.3))?;
        round.kafka().kill(0)?;
        let accepted = load.accepted() + 5000;
        wait::until("events that are spilled", READY, || (load.accepted() >= accepted).then_some(()))?;
        load.is_running()?;
        serve.kill()?;
        serve.start_again(&world)?;
        let over = Instant::now();
        round.kafka().start_again(0)?;
        round.recovers(&serve, over)?;
        let recording = load.finish()?;
        wait_spill(&serve, "an idle fallback", |state, _| state == "idle")?;
        round.judge(&world, &recording)?;
        [&serve, &consume].into_iter().try_for_each(Node::stop)
    });
}

/// An ingress dies in the midst of spilling: what it answered is in Redis, and another one moves it.
#[test]
fn ingress_killed_while_it_spills() {
    scenario("32", "ingress_killed_while_it_spills", Pace::Slow, servers, |round| {
        let redis = Redis::start(RedisOptions::default())?;
        let world = world(round, &redis, &[])?;
        let (stays, mut dies) = (world.start(&["serve"])?, world.start(&["serve"])?);
        let _consume = world.start(&["consume"])?;
        let plan = round.plan(8000);
        world.create_coupons(&stays, &plan)?;
        let load = world.load(&plan, &[&stays, &dies], steady(400));
        load.wait_for(round.between(0.05, 0.2))?;
        round.kafka().kill(0)?;
        wait_spill(&stays, "a fallback that fills", |_, waiting| waiting > 100)?;
        let accepted = load.accepted() + 50 + round.one_of(200);
        wait::until("events that are spilled", READY, || (load.accepted() >= accepted).then_some(()))?;
        dies.kill()?;
        load.is_running()?;
        if round.one_of(2) == 0 {
            dies.start_again(&world)?;
        }
        let over = Instant::now();
        round.kafka().start_again(0)?;
        round.recovers(&stays, over)?;
        if dies.process().exit_status().is_some() {
            dies.start_again(&world)?;
        }
        let recording = load.finish()?;
        wait_spill(&stays, "an idle fallback", |state, _| state == "idle")?;
        round.judge(&world, &recording)
    });
}

/// Whoever moves events from Redis to Kafka is killed again and again in the midst of it: some are in the log twice, and none is
/// applied twice.
#[test]
fn mover_killed() {
    scenario("33", "mover_killed", Pace::Slow, servers, |round| {
        let redis = Redis::start(RedisOptions::default())?;
        let world = world(round, &redis, &[])?;
        let mut nodes = [world.start(&["serve"])?, world.start(&["serve"])?];
        let _consume = world.start(&["consume"])?;
        let plan = round.plan(12_000);
        world.create_coupons(&nodes[0], &plan)?;
        let toggles = Toggles::start(&[nodes[0].http, nodes[1].http], 10);
        let options = LoadOptions { rate: 0, workers: 64, ..steady(0) };
        let load = world.load(&plan, &[&nodes[0], &nodes[1]], options);
        load.wait_for(round.between(0.02, 0.1))?;
        round.kafka().kill(0)?;
        load.wait_for(0.9)?;
        let over = Instant::now();
        round.kafka().start_again(0)?;
        for turn in 0..4 {
            let there = || redis_waiting(&redis, &world);
            let before = there()?;
            // from the first that is gone on; the second one of two that look shows whether it goes on
            let moves = wait::until("events that are moved", DRAINED, || {
                there().ok().filter(|now| *now < before || *now == 0)
            })?;
            if moves == 0 {
                break;
            }
            nodes[turn % 2].kill()?;
            nodes[turn % 2].start_again(&world)?;
        }
        round.recovers(&nodes[0], over)?;
        let recording = load.finish()?;
        let stand = toggles.finish()?;
        wait_spill(&nodes[0], "an idle fallback", |state, _| state == "idle")?;
        round.judge(&world, &recording)?;
        Toggles::check(round.postgres, &world.setting("store.url"), &stand)
    });
}

/// How many records are in all lists, asked of Redis itself.
fn redis_waiting(redis: &Redis, world: &World) -> Result<i64> {
    let mut waiting = 0;
    for topic in ["floodgate.expectation.v1", "floodgate.coupon.v1", "floodgate.like.v1"] {
        for partition in 0..4 {
            let list = format!("{}{{{topic}:{partition}}}", world.setting("topics.prefix"));
            waiting += redis.cli(&["LLEN", &list])?.trim().parse::<i64>()?;
        }
    }
    Ok(waiting)
}
