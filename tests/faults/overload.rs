//! More than can be taken, and a database that is away for long.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::scenario::{Pace, Round, is_full, scenario, servers};
use crate::support::load::{LoadOptions, Recording, Verdict};
use crate::support::node::Node;

/// A load through a link to the broker that carries so much; what was recorded, and the ingress's memory in MiB.
fn through_a_narrow_link(
    round: &Round<'_>,
    kb_per_second: u32,
    writes: usize,
    options: LoadOptions,
) -> Result<(Recording, u64)> {
    // the proxy limits each connection for itself: with several producers chance would say how many of them are used
    let settings = [("buffer.kafka.queue_max_events", "1000"), ("buffer.kafka.producers", "1")];
    let world = round.world_with(&settings)?;
    let consume = world.start(&["consume"])?;
    world.set("buffer.kafka.brokers", round.kafka.linked_bootstrap());
    let serve = world.start(&["serve"])?;
    let plan = round.plan(writes);
    world.create_coupons(&serve, &plan)?;
    round.kafka.link(0)?.throttle(kb_per_second)?;
    let recording = world.load(&plan, &[&serve], options).finish()?;
    let memory = serve.process().peak_rss_bytes()? >> 20;
    round.kafka.link(0)?.calm()?;
    round.recovers(&serve, Instant::now())?;
    round.judge(&world, &recording)?;
    serve.stop()?;
    consume.stop()?;
    Ok((recording, memory))
}

/// At twice what the link to the broker carries, half is taken and half is refused at once; nothing breaks.
#[test]
fn twice_the_capacity() {
    scenario("overload", "twice_the_capacity", Pace::Slow, servers, |round| {
        // about so many events a second go through a link of so many kilobytes a second
        let (kb_per_second, rate, seconds) = if is_full() { (1250, 5000, 10) } else { (200, 800, 4) };
        let options = LoadOptions { workers: 500, retry: false, repeat_every: 0, ..LoadOptions::default() };
        // what it carries, from clients that wait for their answers
        let (first, _) = through_a_narrow_link(round, kb_per_second, rate * seconds, options)?;
        ensure!(first.count(Verdict::Accepted) == first.fates.len(), "{}", first.answers);
        let capacity = first.fates.len() as f64 / first.seconds;
        // twice that, from clients that do not wait
        let rate = 2.0 * capacity;
        let options = LoadOptions { workers: 3000, rate: rate as u32, ..options };
        let (second, memory) = through_a_narrow_link(round, kb_per_second, rate as usize * seconds, options)?;
        let goodput = second.count(Verdict::Accepted) as f64 / second.seconds;
        ensure!(second.refusals.len() > 100, "hardly anybody was refused: {}", second.answers);
        let at = |share: f64| second.refusals[(second.refusals.len() as f64 * share) as usize];
        println!(
            "overload: {capacity:.0} events a second go through, {rate:.0} were asked for, {goodput:.0} accepted; \
             refused within {:.1?} (p50), {:.1?} (p99); {memory} MiB at most",
            at(0.5),
            at(0.99)
        );
        // what the machine makes of it is told, and held against its own capacity by the bench (A7): here clients, broker and
        // other tests share it
        let offered = second.attempts() as f64 / second.seconds;
        println!("overload: {offered:.0} events a second were really asked for");
        ensure!(memory < 300, "{memory} MiB");
        Ok(())
    });
}

/// While the database is away events are taken, consumers keep their partitions and no memory piles up.
#[test]
fn database_away_for_long() {
    scenario("overload", "database_away_for_long", Pace::Slow, servers, |round| {
        let away = Duration::from_secs(if is_full() { 600 } else { 15 });
        let rate = 300;
        // shorter than the database is away: a member that did not poll would be given up
        let world = round.world_with(&[("buffer.kafka.max_poll_interval_ms", "9000")])?;
        world.set("consumers.batch_max_events", "200");
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
