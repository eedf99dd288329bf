//! Brokers that die, stay away, fall silent, and whose disks are full.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use floodgate_testkit::wait;

use crate::scenario::{Pace, Round, scenario, servers};
use crate::support::load::{Load, LoadOptions, Recording, Verdict};
use crate::support::toggles::Toggles;
use crate::support::topic::Topics;
use crate::support::world::{READY, World};

/// Nobody is given up as long as a broker is away in these scenarios.
const PATIENCE: [(&str, &str); 2] =
    [("buffer.kafka.message_timeout_ms", "45000"), ("http.request_deadline_ms", "50000")];

/// A load that goes on while servers are away.
fn patient() -> LoadOptions {
    LoadOptions { workers: 32, deadline: Duration::from_secs(300), repeat_every: 0, ..LoadOptions::default() }
}

/// The log holds what was accepted at the first try exactly once, and nothing that was answered as not stored.
fn log_agrees(world: &World, recording: &Recording) -> Result<()> {
    let there = Topics::of(world).event_ids(world)?;
    for (index, fate) in recording.fates.iter().enumerate() {
        let id = recording.plan.event_id(index);
        let times = there.get(&id).copied().unwrap_or(0);
        let fits = match fate.verdict {
            Verdict::Accepted => times == 1 || times > 1 && fate.attempts > 1,
            Verdict::Unknown => times <= usize::from(fate.attempts),
            _ => times == 0,
        };
        ensure!(fits, "{id} stands {times} times in the log: {fate:?}");
    }
    let sent: HashSet<_> = (0..recording.fates.len()).map(|index| recording.plan.event_id(index)).collect();
    let strange = there.keys().filter(|id| !sent.contains(id)).count();
    ensure!(strange == 0, "{strange} events nobody sent");
    Ok(())
}

/// Every write was accepted at the first try, and log, rows and switches say so.
fn nobody_noticed(round: &Round<'_>, world: &World, load: Load, toggles: Toggles) -> Result<()> {
    let recording = load.finish()?;
    let stand = toggles.finish()?;
    ensure!(recording.attempts() == recording.fates.len(), "noticed: {}", recording.answers);
    log_agrees(world, &recording)?;
    round.judge(world, &recording)?;
    Toggles::check(round.postgres, &world.setting("store.url"), &stand)
}

/// A broker that dies and comes back within the message timeout costs time only: nobody sees an error, and the log
/// holds each event once.
#[test]
fn broker_killed_and_back() {
    scenario("3", "broker_killed_and_back", Pace::Slow, servers, |round| {
        let world = round.world_with(&PATIENCE)?;
        let (left, right) = (world.start(&["serve"])?, world.start(&["serve"])?);
        let _consume = world.start(&["consume"])?;
        let plan = round.plan(6000);
        world.create_coupons(&left, &plan)?;
        let toggles = Toggles::start(&[left.http, right.http], 10);
        let load = world.load(&plan, &[&left, &right], patient());
        load.wait_for(round.between(0.1, 0.6))?;
        load.is_running()?;
        round.kafka().kill(0)?;
        round.lasts(Duration::from_secs(10));
        let over = Instant::now();
        round.kafka().start_again(0)?;
        round.recovers(&left, over)?;
        nobody_noticed(round, &world, load, toggles)
    });
}

/// While no broker is there nothing is accepted: what was on its way is unknown, what comes later is not stored, and
/// both stay true when the broker is back.
#[test]
fn broker_away_longer_than_the_message_timeout() {
    scenario("4", "broker_away_longer_than_the_message_timeout", Pace::Slow, servers, |round| {
        // so long that no answer of a slow machine comes later: the client sends the rest of a batch again, under a new epoch, when
        // one record of it timed out, and the log would hold it twice
        let quick = [("buffer.kafka.message_timeout_ms", "5000"), ("http.request_deadline_ms", "12000")];
        let world = round.world_with(&quick)?;
        let serve = world.start(&["serve"])?;
        let _consume = world.start(&["consume"])?;
        let plan = round.plan(8000);
        world.create_coupons(&serve, &plan)?;
        let load = world.load(&plan, &[&serve], LoadOptions { retry: false, ..patient() });
        load.wait_for(round.between(0.1, 0.5))?;
        // it falls silent first, with records on the wire, and dies then
        round.kafka().freeze(0)?;
        wait::until("504s for what was on the wire", READY, || (load.unknown() > 0).then_some(()))?;
        round.kafka().kill(0)?;
        // once those on their way are answered, there is one answer to all that come later
        let killed = load.failed();
        wait::until("answers to those on their way", READY, || (load.failed() >= killed + 40).then_some(()))?;
        let (accepted, unknown) = (load.accepted(), load.unknown());
        wait::until("more refusals", READY, || (load.failed() >= killed + 120).then_some(()))?;
        ensure!(load.accepted() == accepted, "a 202 without a broker");
        ensure!(load.unknown() == unknown, "a 504 for what was never sent");
        load.is_running()?;
        let over = Instant::now();
        round.kafka().start_again(0)?;
        round.recovers(&serve, over)?;
        let recording = load.finish()?;
        ensure!(recording.count(Verdict::NotStored) > 0, "nobody was refused: {}", recording.answers);
        log_agrees(&world, &recording)?;
        round.judge(&world, &recording)
    });
}

/// Acknowledgements that get lost on the wire are asked for again: the log holds each event once.
#[test]
fn acknowledgement_lost_on_the_wire() {
    scenario("5", "acknowledgement_lost_on_the_wire", Pace::Quick, servers, |round| {
        let world = round.world_with(&PATIENCE)?;
        let _consume = world.start(&["consume"])?;
        world.set("buffer.kafka.brokers", round.kafka().linked_bootstrap());
        let serve = world.start(&["serve"])?;
        let plan = round.plan(4000);
        world.create_coupons(&serve, &plan)?;
        let toggles = Toggles::start(&[serve.http], 10);
        let load = world.load(&plan, &[&serve], patient());
        for part in [round.between(0.1, 0.3), round.between(0.4, 0.6)] {
            load.wait_for(part)?;
            round.kafka().link(0)?.swallow_answers()?;
            wait::until("events that nobody acknowledges", READY, || {
                (serve.metrics().ok()?.sum("buffer_size", &[]) >= 30.0).then_some(())
            })?;
            round.kafka().link(0)?.calm()?;
        }
        round.recovers(&serve, Instant::now())?;
        nobody_noticed(round, &world, load, toggles)
    });
}

/// A broker that cannot write its log any more ends, which nobody takes for an acknowledgement.
#[test]
fn broker_disk_full() {
    scenario("25", "broker_disk_full", Pace::Slow, servers, |round| {
        let world = round.world_with(&[("buffer.kafka.message_timeout_ms", "2000")])?;
        let serve = world.start(&["serve"])?;
        let _consume = world.start(&["consume"])?;
        let plan = round.plan(6000);
        world.create_coupons(&serve, &plan)?;
        let load = world.load(&plan, &[&serve], patient());
        load.wait_for(round.between(0.1, 0.6))?;
        // files that may not grow are what a full disk is to a process
        let broker = round.kafka().process(0)?;
        load.is_running()?;
        broker.limit_file_size(1)?;
        broker.wait_exit(READY)?;
        // whatever was answered 202 meanwhile has to be in the log that is read again
        wait::until("writes that are not accepted", READY, || (load.failed() > 0).then_some(()))?;
        let over = Instant::now();
        round.kafka().start_again(0)?;
        round.recovers(&serve, over)?;
        let recording = load.finish()?;
        log_agrees(&world, &recording)?;
        round.judge(&world, &recording)
    });
}
