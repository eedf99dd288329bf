//! Ingress processes that are killed and stopped, clients that try again, queues that are full.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use floodgate_testkit::wait;

use crate::scenario::{Pace, scenario, servers};
use crate::support::answers::problem;
use crate::support::client::{Client, runtime};
use crate::support::load::{LoadOptions, Verdict};
use crate::support::topic::event_ids;
use crate::support::world::READY;

/// Whatever an ingress answered before it was killed holds; what it did not answer may or may not.
#[test]
fn ingress_killed_under_load() {
    scenario("1", "ingress_killed_under_load", Pace::Quick, servers, |round| {
        let world = round.world()?;
        let (stays, mut dies) = (world.start(&["serve"])?, world.start(&["serve"])?);
        let consume = world.start(&["consume"])?;
        let plan = round.plan(6000);
        world.create_coupons(&stays, &plan)?;
        let load = world.load(&plan, &[&stays, &dies], LoadOptions::default());
        load.wait_for(round.between(0.05, 0.5))?;
        dies.kill()?;
        load.wait_for(0.6)?;
        dies.start_again(&world)?;
        round.recovers(&dies)?;
        let recording = load.finish()?;
        ensure!(recording.attempts() > recording.fates.len(), "no write met the kill");
        round.judge(&world, &recording)?;
        consume.stop()
    });
}

/// Stopped at its peak an ingress answers what it took, flushes, and leaves nothing behind.
#[test]
fn ingress_stopped_at_its_peak() {
    scenario("2", "ingress_stopped_at_its_peak", Pace::Quick, servers, |round| {
        let world = round.world_with(&[("shutdown.grace_ms", "0")])?;
        let mut serve = world.start(&["serve"])?;
        let _consume = world.start(&["consume"])?;
        let plan = round.plan(8000);
        world.create_coupons(&serve, &plan)?;
        // nobody tries again: what is answered is all that is known
        let options = LoadOptions { workers: 128, retry: false, ..LoadOptions::default() };
        let load = world.load(&plan, &[&serve], options);
        load.wait_for(round.between(0.1, 0.6))?;
        // exit code 0: nothing accepted was left behind
        serve.stop()?;
        load.stop();
        let recording = load.finish()?;
        let answered = recording.count(Verdict::Accepted);
        ensure!(answered < recording.fates.len(), "the load was over before the stop");
        // an accepted event is on the topics, and nothing else but what broke off unanswered
        let there: HashSet<_> = event_ids(&round.kafka.bootstrap(), &world)?.into_keys().collect();
        let (accepted, unknown) = (recording.ids(Verdict::Accepted), recording.ids(Verdict::Unknown));
        ensure!(accepted.is_subset(&there), "{:?} are lost", accepted.difference(&there));
        let strange: Vec<_> = there.difference(&accepted).filter(|id| !unknown.contains(id)).collect();
        ensure!(strange.is_empty(), "{strange:?} were answered as not stored, or never sent");
        serve.start_again(&world)?;
        round.recovers(&serve)?;
        round.judge(&world, &recording)
    });
}

/// An ingress that hears nothing of its broker answers 504; its clients go to another one with the same keys.
#[test]
fn clients_retry_a_504_on_another_ingress() {
    scenario("6", "clients_retry_a_504_on_another_ingress", Pace::Quick, servers, |round| {
        let quick = [("buffer.kafka.message_timeout_ms", "1000"), ("http.request_deadline_ms", "2500")];
        let world = round.world_with(&quick)?;
        let well = world.start(&["serve"])?;
        let _consume = world.start(&["consume"])?;
        world.set("buffer.kafka.brokers", round.kafka.linked_bootstrap());
        let deaf = world.start(&["serve"])?;
        world.set("buffer.kafka.brokers", round.kafka.bootstrap());
        let plan = round.plan(3000);
        world.create_coupons(&well, &plan)?;

        // what is offered from here on arrives, and nobody hears of it
        let load = world.load(&plan, &[&deaf, &well], LoadOptions::default());
        load.wait_for(round.between(0.1, 0.4))?;
        round.kafka.link(0)?.swallow_answers()?;
        let before = load.failed();
        wait::until("clients that are answered 504", READY, || (load.failed() > before + 10).then_some(()))?;
        round.kafka.link(0)?.calm()?;
        round.recovers(&deaf)?;
        let recording = load.finish()?;
        ensure!(recording.unknown > 0, "nobody was answered 504: {}", recording.answers);
        let twice = event_ids(&round.kafka.bootstrap(), &world)?.into_values().filter(|count| *count > 1);
        ensure!(twice.count() > 0, "no event arrived twice: {}", recording.answers);
        round.judge(&world, &recording)
    });
}

/// A full queue refuses at once, holds no memory, and takes events again when it empties.
#[test]
fn producer_queue_full() {
    scenario("7", "producer_queue_full", Pace::Quick, servers, |round| {
        let world = round.world_with(&[("buffer.kafka.queue_max_events", "50")])?;
        let _consume = world.start(&["consume"])?;
        world.set("buffer.kafka.brokers", round.kafka.linked_bootstrap());
        let serve = world.start(&["serve"])?;
        let plan = round.plan(3000);
        world.create_coupons(&serve, &plan)?;
        let options = LoadOptions { workers: 200, ..LoadOptions::default() };
        let load = world.load(&plan, &[&serve], options);
        load.wait_for(round.between(0.1, 0.4))?;
        let link = round.kafka.link(0)?;
        link.swallow_answers()?;
        wait::until("a full queue", READY, || {
            (serve.metrics().ok()?.sum("buffer_size", &[]) >= 50.0).then_some(())
        })?;
        let refused = refused(&Arc::new(Client::new(serve.http)))?;
        println!("a full queue refuses within {refused:.1?}");
        link.calm()?;
        round.recovers(&serve)?;
        let recording = load.finish()?;
        let memory = serve.process().peak_rss_bytes()?;
        ensure!(memory < 200 << 20, "an ingress with a queue of 50 events took {} MiB", memory >> 20);
        round.judge(&world, &recording)
    });
}

/// The slowest of a hundred refusals for a full queue, all asked for at once.
fn refused(client: &Arc<Client>) -> Result<Duration> {
    let ask = || {
        let client = Arc::clone(client);
        runtime().spawn(async move {
            let began = std::time::Instant::now();
            let answer = client.send(&crate::support::answers::valid_like("never")).await;
            (answer, began.elapsed())
        })
    };
    let mut slowest = Duration::ZERO;
    for asked in (0..100).map(|_| ask()).collect::<Vec<_>>() {
        let (answer, took) = runtime().block_on(asked)?;
        let answer = answer.map_err(|failure| anyhow::anyhow!("{failure:?}"))?;
        problem(&answer, 503, "queue-full", None)?;
        slowest = slowest.max(took);
    }
    // 50 ms on a machine of its own; a busy one decides nothing here
    ensure!(slowest < Duration::from_secs(2), "a refusal took {slowest:?}");
    Ok(slowest)
}
