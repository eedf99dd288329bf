//! Consumers that are killed, frozen and restarted; batches that come twice.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use floodgate_testkit::wait;

use crate::scenario::{Pace, Round, is_full, scenario, scenario_of_any, servers};
use crate::support::load::{LoadOptions, Recording};
use crate::support::model;
use crate::support::node::Node;
use crate::support::state::State;
use crate::support::toggles::Toggles;
use crate::support::world::{DRAINED, READY, World};

/// Waits until everything accepted is in the database, whatever is committed.
fn wait_durable(round: &Round<'_>, world: &World, recording: &Recording) -> Result<()> {
    let mut last = None;
    let durable = wait::until("all that was accepted to be in the database", DRAINED, || {
        let state = State::from_postgres(round.postgres, &world.setting("store.url")).ok()?;
        last = model::check(recording, &state, &Default::default()).err();
        last.is_none().then_some(())
    });
    durable.with_context(|| format!("{last:?}"))
}

/// Waits until a consumer waits for a lock in the middle of a transaction.
fn wait_blocked(round: &Round<'_>, world: &World) -> Result<()> {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
               AND application_name = 'floodgate' AND datname = current_database()";
    wait::until("a transaction in the middle", READY, || {
        let waiting = round.postgres.psql(&world.setting("store.url"), sql).ok()?;
        (waiting.trim() != "0").then_some(())
    })?;
    Ok(())
}

#[test]
fn consumer_killed_before_the_database_commits() {
    scenario_of_any("9", "consumer_killed_before_the_database_commits", Pace::Quick, servers, |round| {
        let world = round.world()?;
        let serve = world.start(&["serve"])?;
        let mut consume = world.start(&["consume"])?;
        let plan = round.plan(2500);
        world.create_coupons(&serve, &plan)?;
        let load = world.load(&plan, &[&serve], LoadOptions { rate: 500, ..LoadOptions::default() });
        load.wait_for(round.between(0.1, 0.5))?;
        // likes are written by then, their counters wait; of coupons not even that
        let table = ["like_counts", "coupon_requests", "expectations"][round.one_of(3)];
        let lock = format!("LOCK TABLE {table} IN EXCLUSIVE MODE");
        let held = round.postgres.hold(&world.setting("store.url"), &lock)?;
        wait_blocked(round, &world)?;
        // several times as long as it takes to send a commit
        round.lasts(Duration::from_millis(300));
        consume.kill()?;
        let killed = Instant::now();
        drop(held);
        // what the dead member had asked for ends with its connection, or is done: what is committed, is durable
        round.balances(&world)?;
        consume.start_again(&world)?;
        round.recovers(&serve, killed)?;
        let recording = load.finish()?;
        round.judge(&world, &recording)
    });
}

#[test]
fn consumer_killed_before_the_offset_commits() {
    scenario("10", "consumer_killed_before_the_offset_commits", Pace::Quick, servers, |round| {
        let world = round.world()?;
        let serve = world.start(&["serve"])?;
        world.set("buffer.kafka.commit_interval_ms", "600000");
        let dies = world.start(&["consume"])?;
        let plan = round.plan(2500);
        world.create_coupons(&serve, &plan)?;
        let recording = world.load(&plan, &[&serve], LoadOptions::default()).finish()?;
        wait_durable(round, &world, &recording)?;
        ensure!(world.committed()?.is_empty(), "committed: {:?}", world.committed()?);
        let rows = world.rows(round.postgres)?;
        dies.kill()?;

        world.set("buffer.kafka.commit_interval_ms", "50");
        let consume = world.start(&["consume"])?;
        world.wait_drained(DRAINED)?;
        let applied = consume.metrics()?.sum("floodgate_events_applied_total", &[]);
        ensure!(
            applied == recording.taken as f64,
            "{applied} events came again, {} were taken",
            recording.taken
        );
        ensure!(world.rows(round.postgres)? == rows, "a replay changed rows");
        round.judge(&world, &recording)
    });
}

/// What is committed is durable, at whatever moment one looks.
#[test]
fn committed_is_durable_at_every_moment() {
    scenario_of_any("11", "committed_is_durable_at_every_moment", Pace::Slow, servers, |round| {
        let world = round.world_with(&[("consumers.batch_max_events", "100")])?;
        let serve = world.start(&["serve"])?;
        let mut consumes = [world.start(&["consume"])?, world.start(&["consume"])?];
        let plan = round.plan(8000);
        world.create_coupons(&serve, &plan)?;
        let load = world.load(&plan, &[&serve], LoadOptions { rate: 1000, ..LoadOptions::default() });
        for (turn, part) in [0.2, 0.4, 0.6, 0.8, 1.0].into_iter().enumerate() {
            let consume = &mut consumes[turn % 2];
            // in turn under load, in the middle of a takeover, and in the middle of a handover
            match round.one_of(3) {
                0 => {}
                1 => consume.kill()?,
                _ => consume.stop()?,
            }
            round.balances(&world)?;
            if consume.process().exit_status().is_some() {
                consume.start_again(&world)?;
            }
            round.balances(&world)?;
            load.wait_for(part)?;
        }
        let recording = load.finish()?;
        round.judge(&world, &recording)
    });
}

/// A member that was frozen in the middle of a transaction, given up by its group and thawed again commits nothing over
/// its successor's offsets.
#[test]
fn zombie_commits_nothing() {
    scenario_of_any("13", "zombie_commits_nothing", Pace::Slow, servers, |round| {
        // its transaction, and with it its locks, must not end before it is frozen, and not keep the successor for long
        let world = round.world_with(&[
            ("consumers.instances", "1"),
            ("store.lock_timeout_ms", "3000"),
            ("store.statement_timeout_ms", "3500"),
            ("store.apply_timeout_ms", "4000"),
        ])?;
        let serve = world.start(&["serve"])?;
        let consumes = [world.start(&["consume"])?, world.start(&["consume"])?];
        let plan = round.plan(12_000);
        world.create_coupons(&serve, &plan)?;
        let load = world.load(&plan, &[&serve], LoadOptions { rate: 500, ..LoadOptions::default() });
        load.wait_for(round.between(0.1, 0.3))?;
        let recording = offsets_never_go_back(&world, || {
            // it has a batch in work, whatever it is frozen at
            let held = round
                .postgres
                .hold(&world.setting("store.url"), "LOCK TABLE like_counts IN EXCLUSIVE MODE")?;
            wait_blocked(round, &world)?;
            let zombie = &consumes[round.one_of(2)];
            zombie.process().freeze()?;
            drop(held);
            wait_members(&world, 1)?;
            // the successor reads on, past what the zombie holds
            let before = world.committed()?;
            wait::until("the successor to commit", READY, || {
                let now = world.committed().ok()?;
                // lists that never had anything stand at 0
                let moved = |(partition, offset): (&(String, i64), &i64)| {
                    *offset == 0 || now.get(partition) > Some(offset)
                };
                before.iter().all(moved).then_some(())
            })?;
            load.is_running()?;
            let thawed = Instant::now();
            zombie.process().thaw()?;
            round.balances(&world)?;
            wait_members(&world, 2)?;
            round.balances(&world)?;
            round.recovers(&serve, thawed)?;
            load.finish()
        })?;
        round.judge(&world, &recording)?;
        consumes.iter().try_for_each(Node::stop)
    });
}

/// Waits until every group has so many members.
fn wait_members(world: &World, count: usize) -> Result<()> {
    let mut last = String::new();
    wait::until(&format!("{count} members in every group"), READY, || {
        let lag = world.lag().ok()?;
        last = lag["groups"].to_string();
        lag["groups"].as_array()?.iter().all(|group| group["members"] == count).then_some(())
    })
    .with_context(|| last)
}

/// Looks at committed offsets for as long as `body` takes: none may move back.
fn offsets_never_go_back<T>(world: &World, body: impl FnOnce() -> Result<T>) -> Result<T> {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| -> Result<usize> {
            let (mut before, mut looks) = (world.committed()?, 0);
            while !over.load(Ordering::Relaxed) {
                let now = world.committed()?;
                for (partition, offset) in &before {
                    let found = now.get(partition);
                    ensure!(found >= Some(offset), "{partition:?} went from {offset} to {found:?}");
                }
                (before, looks) = (now, looks + 1);
            }
            Ok(looks)
        });
        // raised also when the body panics: the watch would go on for ever
        let raised = RaisedAtEnd(&over);
        let outcome = body();
        drop(raised);
        let looks = watch.join().unwrap()?;
        ensure!(looks > 3 || outcome.is_err(), "looked {looks} times only");
        outcome
    })
}

struct RaisedAtEnd<'f>(&'f AtomicBool);

impl Drop for RaisedAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Members that come and go in the middle of batches hand partitions to each other without losing a record.
#[test]
fn rebalances_mid_batch() {
    scenario_of_any("14", "rebalances_mid_batch", Pace::Slow, servers, |round| {
        let turns = if is_full() { 50 } else { 6 };
        let world =
            round.world_with(&[("consumers.batch_max_events", "50"), ("consumers.instances", "1")])?;
        let serve = world.start(&["serve"])?;
        let _stays = world.start(&["consume"])?;
        let mut comes = world.start(&["consume"])?;
        // more than there is time for: it goes on until it is stopped
        let plan = round.plan(turns * 5000);
        world.create_coupons(&serve, &plan)?;
        let options = LoadOptions { rate: 500, deadline: Duration::from_secs(600), ..LoadOptions::default() };
        let toggles = Toggles::start(&[serve.http], 10);
        let load = world.load(&plan, &[&serve], options);
        let began = Instant::now();
        for turn in 0..turns {
            // most leave in order; some do not, and their group notices after the session timeout
            match turn % 5 {
                4 => comes.kill()?,
                _ => comes.stop()?,
            }
            comes.start_again(&world)?;
        }
        println!("{turns} members came and went in {:.1?}", began.elapsed());
        load.is_running()?;
        load.stop();
        let recording = load.finish()?;
        let stand = toggles.finish()?;
        round.judge(&world, &recording)?;
        Toggles::check(round.postgres, &world.setting("store.url"), &stand)
    });
}

/// Restarted one after the other, consumers have at most the batch in work of each moved partition delivered again.
#[test]
fn rolling_restart_of_consumers() {
    scenario_of_any("16", "rolling_restart_of_consumers", Pace::Slow, servers, |round| {
        const BATCH: usize = 200;
        let settings = [("consumers.batch_max_events", "200"), ("consumers.instances", "1")];
        let world = round.world_with(&settings)?;
        let serve = world.start(&["serve"])?;
        let mut consumes =
            [world.start(&["consume"])?, world.start(&["consume"])?, world.start(&["consume"])?];
        let plan = round.plan(10_000);
        world.create_coupons(&serve, &plan)?;
        let options = LoadOptions { rate: 1200, repeat_every: 0, ..LoadOptions::default() };
        let load = world.load(&plan, &[&serve], options);
        load.wait_for(round.between(0.05, 0.2))?;
        for consume in &mut consumes {
            consume.stop()?;
            consume.start_again(&world)?;
            load.is_running()?;
        }
        let recording = load.finish()?;
        ensure!(
            recording.attempts() == recording.fates.len(),
            "an ingress was at fault: {}",
            recording.answers
        );
        round.judge(&world, &recording)?;
        consumes.iter().try_for_each(Node::stop)?;
        // all that was applied, by whomever, less all there is: what was delivered again
        let again = world.applied_by_ended()? - recording.taken as u64;
        let most = world.undrained_partitions() * BATCH;
        println!("a rolling restart had {again} events delivered again, {most} are allowed");
        ensure!(again <= most as u64, "{again} events were delivered again, more than {most}");
        Ok(())
    });
}

/// The same id twice in one batch, and the same row many times: one row, in its right final state.
#[test]
fn repeats_within_one_batch() {
    scenario_of_any("28", "repeats_within_one_batch", Pace::Quick, servers, |round| {
        let world = round.world_with(&[("consumers.batch_max_events", "10000")])?;
        let serve = world.start(&["serve"])?;
        let plan = round.plan(2000);
        world.create_coupons(&serve, &plan)?;
        // every write is sent twice, and nothing is read before all are there: few batches take in everything
        let options = LoadOptions { repeat_every: 1, ..LoadOptions::default() };
        let recording = world.load(&plan, &[&serve], options).finish()?;
        ensure!(recording.taken >= 2 * recording.fates.len(), "{}", recording.answers);
        world.set("consumers.batch_max_wait_ms", "300");
        let consume = world.start(&["consume"])?;
        round.judge(&world, &recording)?;
        let metrics = consume.metrics()?;
        let duplicates = metrics.sum("floodgate_events_applied_total", &[("outcome", "duplicate")]);
        ensure!(duplicates > 0.0, "no event met itself");
        let batches = metrics.sum("floodgate_batch_events_count", &[]);
        ensure!(batches < recording.taken as f64 / 50.0, "{batches} batches");
        Ok(())
    });
}
