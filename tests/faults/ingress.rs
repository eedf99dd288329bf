//! Ingress processes that are killed and stopped, clients that try again, queues that are full.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use floodgate_testkit::wait;

use crate::scenario::{Pace, scenario_of_any, servers};
use crate::support::answers::{problem, valid_like};
use crate::support::client::Client;
use crate::support::load::{LoadOptions, Verdict};
use crate::support::node::PROBED;
use crate::support::toggles::Toggles;
use crate::support::topic::Topics;
use crate::support::world::{DRAINED, READY, is_redis};

/// Whatever an ingress answered before it was killed holds; what it did not answer may or may not.
#[test]
fn ingress_killed_under_load() {
    scenario_of_any("1", "ingress_killed_under_load", Pace::Quick, servers, |round| {
        let world = round.world()?;
        let (stays, mut dies) = (world.start(&["serve"])?, world.start(&["serve"])?);
        let consume = world.start(&["consume"])?;
        let plan = round.plan(6000);
        world.create_coupons(&stays, &plan)?;
        let load = world.load(&plan, &[&stays, &dies], LoadOptions::default());
        load.wait_for(round.between(0.05, 0.5))?;
        dies.kill()?;
        let killed = Instant::now();
        load.wait_for(0.6)?;
        dies.start_again(&world)?;
        round.recovers(&dies, killed)?;
        let recording = load.finish()?;
        ensure!(recording.attempts() > recording.fates.len(), "no write met the kill");
        round.judge(&world, &recording)?;
        consume.stop()
    });
}

/// Stopped at its peak an ingress answers what it took, flushes, and leaves nothing behind.
#[test]
fn ingress_stopped_at_its_peak() {
    scenario_of_any("2", "ingress_stopped_at_its_peak", Pace::Quick, servers, |round| {
        let world = round.world_with(&[("shutdown.grace_ms", "0")])?;
        // what is applied is on a list no more: there all must be counted first
        let consume = (!is_redis()).then(|| world.start(&["consume"])).transpose()?;
        let link = round.link(&world)?;
        let mut serve = world.start(&["serve"])?;
        let plan = round.plan(8000);
        world.create_coupons(&serve, &plan)?;
        // a link so narrow that there is always something on its way; and nobody tries again: what is answered is all
        // that is known
        link.throttle(200)?;
        let options = LoadOptions { workers: 256, retry: false, repeat_every: 0, ..LoadOptions::default() };
        let load = world.load(&plan, &[&serve], options);
        load.wait_for(round.between(0.1, 0.4))?;
        wait::until("a hundred events on their way", READY, || {
            (serve.metrics().ok()?.sum("buffer_size", &[]) >= 100.0).then_some(())
        })?;
        load.is_running()?;
        // exit code 0, within the deadline: nothing accepted was left behind
        let asked = Instant::now();
        serve.stop()?;
        let took = asked.elapsed();
        ensure!(took < Duration::from_secs(26), "stopping took {took:?}, the deadline is 25 s");
        link.calm()?;
        load.stop();
        let recording = load.finish()?;
        let answered = recording.count(Verdict::Accepted);
        ensure!(answered < recording.fates.len(), "the load was over before the stop");
        // what was accepted is on the topics, and all that is there was answered so
        let there: HashSet<_> = Topics::of(&world).event_ids(&world)?.into_keys().collect();
        let accepted = recording.ids(Verdict::Accepted);
        ensure!(accepted.is_subset(&there), "{:?} are lost", accepted.difference(&there));
        ensure!(there.is_subset(&accepted), "{:?} were not answered 202", there.difference(&accepted));
        let _consume = consume.map_or_else(|| world.start(&["consume"]), Ok)?;
        serve.start_again(&world)?;
        round.recovers(&serve, asked)?;
        round.judge(&world, &recording)
    });
}

/// An ingress that hears nothing of its broker answers 504; its clients go to another one with the same keys.
#[test]
fn clients_retry_a_504_on_another_ingress() {
    scenario_of_any("6", "clients_retry_a_504_on_another_ingress", Pace::Quick, servers, |round| {
        let quick = match is_redis() {
            true => [("buffer.redis.answer_timeout_ms", "500"), ("http.request_deadline_ms", "4500")],
            false => [("buffer.kafka.message_timeout_ms", "1000"), ("http.request_deadline_ms", "2500")],
        };
        let world = round.world_with(&quick)?;
        let well = world.start(&["serve"])?;
        // what is applied is on a list no more: there all must be counted first
        let consume = (!is_redis()).then(|| world.start(&["consume"])).transpose()?;
        let link = round.link(&world)?;
        // more that nobody hears of
        world.set("buffer.kafka.requests_in_flight_max", "5");
        let deaf = world.start(&["serve"])?;
        round.unlink(&world);
        // more than will be needed
        let plan = round.plan(50_000);
        world.create_coupons(&well, &plan)?;

        // what is offered from here on arrives, and nobody hears of it
        let toggles = Toggles::start(&[deaf.http, well.http], 10);
        let load = world.load(&plan, &[&deaf, &well], LoadOptions { rate: 1000, ..LoadOptions::default() });
        load.wait_for(round.between(0.01, 0.03))?;
        let mut tries = 0;
        loop {
            tries += 1;
            ensure!(tries <= 4, "nobody is answered 504");
            let (unknown, refused) = (load.unknown(), load.not_stored());
            link.swallow_answers()?;
            // what waits its turn is refused at about the same time: a 504 may come a little later
            let answer =
                wait::until("clients that are answered 504", READY, || match load.unknown() > unknown {
                    true => Some(504),
                    false => (load.not_stored() > refused + 300).then_some(503),
                })?;
            link.calm()?;
            if answer == 504 {
                break;
            }
            // what was on its way was no event but a question, and nothing goes before it is answered
            wait::until("the deaf one to hear again", READY, || {
                let answer = deaf.ask(&valid_like(&format!("{PROBED}deaf-{refused}"))).ok()?;
                (answer.status == 202).then_some(())
            })?;
        }
        let over = Instant::now();
        load.is_running()?;
        load.stop();
        let recording = load.finish()?;
        let stand = toggles.finish()?;
        ensure!(recording.unknown > 0, "nobody was answered 504: {}", recording.answers);
        let twice = Topics::of(&world).event_ids(&world)?.into_values().filter(|count| *count > 1);
        ensure!(twice.count() > 0, "no event arrived twice: {}", recording.answers);
        let _consume = consume.map_or_else(|| world.start(&["consume"]), Ok)?;
        round.recovers(&deaf, over)?;
        round.judge(&world, &recording)?;
        Toggles::check(round.postgres, &world.setting("store.url"), &stand)
    });
}

/// A full queue refuses at once, holds no memory, and takes events again when it empties.
#[test]
fn producer_queue_full() {
    scenario_of_any("7", "producer_queue_full", Pace::Quick, servers, |round| {
        let queue = [("buffer.kafka.queue_max_events", "50"), ("buffer.redis.max_events", "50")];
        let world = round.world_with(&queue)?;
        let _consume = world.start(&["consume"])?;
        let link = round.link(&world)?;
        let serve = world.start(&["serve"])?;
        let plan = round.plan(3000);
        world.create_coupons(&serve, &plan)?;
        // so slowly that it goes on when the link is disturbed, on any machine
        let options = LoadOptions { workers: 200, rate: 1000, ..LoadOptions::default() };
        let load = world.load(&plan, &[&serve], options);
        load.wait_for(round.between(0.1, 0.4))?;
        load.is_running()?;
        let refused =
            || Some(serve.metrics().ok()?.sum("floodgate_events_refused_total", &[("reason", "queue-full")]));
        let before = refused().unwrap_or_default();
        link.swallow_answers()?;
        // in Redis what waits in the lists counts, too, so that fewer than 50 wait here
        wait::until("a full queue", READY, || (refused()? >= before + 100.0).then_some(()))?;
        let refused = refusals(&Client::new(serve.http))?;
        let (median, slowest) = (refused[refused.len() / 2], refused[refused.len() - 1]);
        println!(
            "a full queue refuses within {median:.1?} (median), {slowest:.1?} (slowest of {})",
            refused.len()
        );
        // how fast it is the bench tells; here it must not wait for what the queue waits for
        ensure!(median < silence() / 2, "a refusal takes {median:?}, as if it waited for a report");
        link.calm()?;
        round.recovers(&serve, Instant::now())?;
        let recording = load.finish()?;
        let memory = serve.process().peak_rss_bytes()?;
        ensure!(memory < 200 << 20, "an ingress with a queue of 50 events took {} MiB", memory >> 20);
        round.judge(&world, &recording)
    });
}

/// Nothing is reported earlier while the buffer is silent: the default of `buffer.kafka.message_timeout_ms`, or of
/// `buffer.redis.answer_timeout_ms`.
fn silence() -> Duration {
    Duration::from_millis(if is_redis() { 1500 } else { 4000 })
}

/// How long refusals for a full queue take, one after the other, in ascending order.
///
/// What waits longer than [`silence`] expires and leaves its place to another: a write that got
/// one is no refusal, and does not count.
fn refusals(client: &Client) -> Result<Vec<Duration>> {
    let mut took = Vec::new();
    let since = Instant::now();
    while took.len() < 100 {
        let asked = Instant::now();
        let answer = client.ask(&valid_like("never")).map_err(|failure| anyhow::anyhow!("{failure:?}"))?;
        match problem(&answer, 503, "queue-full", None) {
            Ok(_) => took.push(asked.elapsed()),
            Err(other) => ensure!(since.elapsed() < DRAINED, "only {} refusals, and now {other}", took.len()),
        }
    }
    took.sort_unstable();
    Ok(took)
}
