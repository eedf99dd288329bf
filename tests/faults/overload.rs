//! More than can be taken, and a database that is away for long.

use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::scenario::{Pace, is_full, scenario_of_any, servers};
use crate::support::load::{LoadOptions, Verdict};
use crate::support::node::Node;

/// More than the link to the broker carries, from clients that do not wait for each other: what fits is taken, the rest is
/// refused at once, nothing breaks, and memory keeps its bound. How much is taken and how fast refusals are the bench tells
/// (A7): here clients, broker and other tests share the machine.
#[test]
fn more_clients_than_the_queue_takes() {
    scenario_of_any("overload", "more_clients_than_the_queue_takes", Pace::Slow, servers, |round| {
        // about so many events go through a link of so many kilobytes a second, and so few may wait that those who write
        // are more on any machine
        let (kb_per_second, writes, queue) =
            if is_full() { (1250, 50_000, "1000") } else { (100, 4000, "100") };
        // the proxy limits each connection for itself: with several producers chance would say how many of them are used
        let settings = [
            ("buffer.kafka.queue_max_events", queue),
            ("buffer.kafka.producers", "1"),
            ("buffer.redis.max_events", queue),
        ];
        let world = round.world_with(&settings)?;
        let consume = world.start(&["consume"])?;
        let link = round.link(&world)?;
        let serve = world.start(&["serve"])?;
        let plan = round.plan(writes);
        world.create_coupons(&serve, &plan)?;
        link.throttle(kb_per_second)?;
        let options = LoadOptions { workers: 3000, retry: false, repeat_every: 0, ..LoadOptions::default() };
        let recording = world.load(&plan, &[&serve], options).finish()?;
        let memory = serve.process().peak_rss_bytes()? >> 20;
        link.calm()?;
        round.recovers(&serve, Instant::now())?;
        round.judge(&world, &recording)?;
        serve.stop()?;
        consume.stop()?;
        ensure!(recording.refusals.len() > 100, "hardly anybody was refused: {}", recording.answers);
        let at = |share: f64| recording.refusals[(recording.refusals.len() as f64 * share) as usize];
        println!(
            "overload: {:.0} events a second accepted; refused within {:.1?} (p50), {:.1?} (p99); {memory} MiB at most",
            recording.count(Verdict::Accepted) as f64 / recording.seconds,
            at(0.5),
            at(0.99)
        );
        ensure!(memory < 300, "{memory} MiB");
        Ok(())
    });
}

/// While the database is away events are taken, consumers keep their partitions and no memory piles up.
#[test]
fn database_away_for_long() {
    scenario_of_any("overload", "database_away_for_long", Pace::Slow, servers, |round| {
        let away = Duration::from_secs(if is_full() { 600 } else { 15 });
        let rate = 300;
        // shorter than the database is away: a member that did not poll would be given up
        let world = round.world_with(&[("buffer.kafka.max_poll_interval_ms", "9000")])?;
        world.set("consumers.batch_max_events", "200");
        // a disk that others use lets Redis, which syncs each write here, stand for seconds: that is not what this is about
        world.set("buffer.redis.answer_timeout_ms", "6000");
        world.set("http.request_deadline_ms", "20000");
        let (serve, consume) = (world.start(&["serve"])?, world.start(&["consume"])?);
        let plan = round.plan(rate as usize * (away.as_secs() as usize * 11 / 10 + 40));
        world.create_coupons(&serve, &plan)?;
        let options =
            LoadOptions { rate, deadline: away * 2 + Duration::from_secs(60), ..LoadOptions::default() };
        let load = world.load(&plan, &[&serve], options);
        load.wait_for(0.01)?;
        round.postgres.stop()?;
        consume.wait_unready("database")?;
        let memory = |node: &Node| node.process().rss_bytes().map(|bytes| bytes >> 20);
        round.lasts(away / 3);
        let early = [memory(&serve)?, memory(&consume)?];
        round.lasts(away * 2 / 3);
        let late = [memory(&serve)?, memory(&consume)?];
        println!("database away for {away:?}: serve and consume hold {early:?} MiB, later {late:?} MiB");
        let grew = early.iter().zip(&late).any(|(early, late)| *late > early + 64);
        ensure!(!grew, "memory grew from {early:?} to {late:?} MiB");
        ensure!(!consume.process().stderr().contains("\"lost\":true"), "the member lost its partitions");
        load.is_running()?;
        let over = Instant::now();
        round.postgres.start_again()?;
        round.recovers(&serve, over)?;
        load.stop();
        let recording = load.finish()?;
        ensure!(
            recording.attempts() == recording.count(Verdict::Accepted),
            "writes were refused: {}",
            recording.answers
        );
        round.judge(&world, &recording)
    });
}
