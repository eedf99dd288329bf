//! Redis lists: a server that dies, members that die or lose what they own between applying and trimming.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use floodgate_testkit::{Proxy, wait};

use crate::scenario::{Pace, scenario_of_redis};
use crate::support::load::LoadOptions;
use crate::support::toggles::Toggles;
use crate::support::world::{READY, World};

const TOPICS: [&str; 3] = ["floodgate.expectation.v1", "floodgate.coupon.v1", "floodgate.like.v1"];

/// The lists of a world of four partitions.
fn lists(world: &World) -> Vec<String> {
    let list = |topic: &str, partition| format!("{}{{{topic}:{partition}}}", world.setting("topics.prefix"));
    TOPICS.iter().flat_map(|topic| (0..4).map(move |partition| list(topic, partition))).collect()
}

/// Redis dies under load and comes back with what it had appended, and a consumer with it. With `appendfsync always` nothing that
/// was answered is lost; with `everysec` at most what came in its last two seconds.
#[test]
fn redis_killed_and_back() {
    scenario_of_redis("27", "redis_killed_and_back", Pace::Slow, |round| {
        let redis = round.redis();
        let world = round.world()?;
        let fsync = ["always", "everysec"][round.one_of(2)];
        redis.cli(&["CONFIG", "SET", "appendfsync", fsync])?;
        let serves = [world.start(&["serve"])?, world.start(&["serve"])?];
        let mut consumes = [world.start(&["consume"])?, world.start(&["consume"])?];
        let plan = round.plan(8000);
        world.create_coupons(&serves[0], &plan)?;
        let toggles = Toggles::start(&[serves[0].http, serves[1].http], 10);
        let options = LoadOptions { rate: 400, ..LoadOptions::default() };
        let load = world.load(&plan, &[&serves[0], &serves[1]], options);
        load.wait_for(round.between(0.1, 0.5))?;
        load.is_running()?;
        let killed = load.now();
        redis.process()?.kill()?;
        let over = Instant::now();
        match round.one_of(2) {
            0 => consumes[0].kill()?,
            _ => serves[1].wait_unready("Redis at 127.0.0.1")?,
        }
        redis.start_again()?;
        if consumes[0].process().exit_status().is_some() {
            consumes[0].start_again(&world)?;
        }
        round.recovers(&serves[0], over)?;
        let mut recording = load.finish()?;
        let stand = toggles.finish()?;
        if fsync == "everysec" {
            let last = killed.saturating_sub(Duration::from_secs(2));
            recording.excuse_accepted(last, killed);
        }
        round.judge(&world, &recording)?;
        Toggles::check(round.postgres, &world.setting("store.url"), &stand)
    });
}

/// A member loses its partitions while its batch is in the database, and dies: the batch is applied and was never taken off its
/// list. Who reads it again changes not a row.
#[test]
fn applied_and_not_trimmed() {
    scenario_of_redis("27", "applied_and_not_trimmed", Pace::Quick, |round| {
        let redis = round.redis();
        // a member that looks seldom does not notice before it trims
        let world =
            round.world_with(&[("consumers.batch_max_events", "300"), ("buffer.redis.lease_ms", "15000")])?;
        let serve = world.start(&["serve"])?;
        let plan = round.plan(2500);
        world.create_coupons(&serve, &plan)?;
        let recording = world.load(&plan, &[&serve], LoadOptions::default()).finish()?;
        let url = world.setting("store.url");
        // likes are written before their counters, so a batch of each type waits in the middle
        let held = ["like_counts", "coupon_requests", "expectations"]
            .map(|table| round.postgres.hold(&url, &format!("LOCK TABLE {table} IN EXCLUSIVE MODE")));
        let consume = world.start(&["consume"])?;
        let blocked = "SELECT count(DISTINCT query) FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
                       AND application_name = 'floodgate' AND datname = current_database()";
        wait::until("batches of three groups in the middle", READY, || {
            (round.postgres.psql(&url, blocked).ok()?.trim() == "3").then_some(())
        })?;
        // as if it had been away for longer than its lease, and another one had them
        let belongs_to_another = |until: &str| {
            lists(&world).into_iter().try_for_each(|list| {
                let meta = format!("{list}:meta");
                redis.cli(&["HSET", &meta, "owner", "another", "epoch", "1000000", "lease", until]).map(drop)
            })
        };
        belongs_to_another("9000000000000")?;
        let there = || -> Result<i64> {
            let length = |list: String| Ok(redis.cli(&["LLEN", &list])?.trim().parse::<i64>()?);
            lists(&world).into_iter().map(length).sum()
        };
        let before = there()?;
        drop(held);
        let count = |outcome| -> Result<f64> {
            Ok(consume.metrics()?.sum("floodgate_events_applied_total", &[("outcome", outcome)]))
        };
        let applied = || count("applied").ok().filter(|applied| *applied > 0.0);
        wait::until("a batch to be applied", READY, applied)?;
        round.lasts(Duration::from_millis(500));
        ensure!(there()? == before, "{before} were there, and one that does not own them took some away");
        belongs_to_another("0")?;
        let since = Instant::now();
        let dies = round.one_of(2) == 0;
        let _next = if dies {
            consume.kill()?;
            Some(world.start(&["consume"])?)
        } else {
            None
        };
        round.recovers(&serve, since)?;
        round.judge(&world, &recording)?;
        // likes and expectations that are their own row's: only those meet themselves
        ensure!(dies || count("duplicate")? > 0.0, "nothing that was applied came again");
        Ok(())
    });
}

/// Answers of Redis that get lost on the wire leave an event unknown, and nothing is sent a second time by itself: there are never
/// more records than writes that were sent, and everything accepted is among them.
#[test]
fn answers_of_redis_lost() {
    scenario_of_redis("5", "answers_of_redis_lost", Pace::Quick, |round| {
        let redis = round.redis();
        let world = round.world_with(&[("buffer.redis.answer_timeout_ms", "700")])?;
        let proxy = Proxy::start()?;
        let link = proxy.link(redis.port())?;
        world.set("buffer.redis.url", format!("redis://127.0.0.1:{}", link.port()));
        let serve = world.start(&["serve"])?;
        world.set("buffer.redis.url", redis.url());
        // more than is sent: writes go on until they are told to stop
        let plan = round.plan(60_000);
        world.create_coupons(&serve, &plan)?;
        let options = LoadOptions { retry: false, repeat_every: 0, rate: 500, ..LoadOptions::default() };
        let load = world.load(&plan, &[&serve], options);
        for _ in 0..3 {
            let unknown = load.unknown();
            // where the answer that is lost is one to a look at the lists, events wait behind it and are never sent
            while load.unknown() == unknown {
                load.wait_for_more(100 + round.one_of(200))?;
                load.is_running()?;
                let failed = load.failed();
                link.swallow_answers()?;
                wait::until("events that fail", READY, || (load.failed() > failed).then_some(()))?;
                link.calm()?;
            }
        }
        load.stop();
        let recording = load.finish()?;
        // nobody sent a write twice, so two records that are the same were pushed twice
        let twice = "local seen, twice = {}, 0 \
                     for _, record in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do \
                     if seen[record] then twice = twice + 1 end seen[record] = true end return twice";
        for list in lists(&world) {
            let found = redis.cli(&["EVAL", twice, "1", &list])?;
            ensure!(found.trim() == "0", "{list} has {} records twice", found.trim());
        }
        ensure!(recording.unknown > 0, "nobody was answered 504: {}", recording.answers);
        let since = Instant::now();
        let _consume = world.start(&["consume"])?;
        round.recovers(&serve, since)?;
        round.judge(&world, &recording)
    });
}

/// Whose the partitions are, who is there, or all that is known of the lists besides their records is deleted under load: members
/// find their way again, no record is passed over, and what comes again changes nothing.
#[test]
fn ownership_forgotten() {
    scenario_of_redis("23", "ownership_forgotten", Pace::Quick, |round| {
        let redis = round.redis();
        let world = round.world_with(&[("consumers.batch_max_events", "100")])?;
        let serve = world.start(&["serve"])?;
        let consumes = [world.start(&["consume"])?, world.start(&["consume"])?];
        let plan = round.plan(8000);
        world.create_coupons(&serve, &plan)?;
        let toggles = Toggles::start(&[serve.http], 10);
        let load = world.load(&plan, &[&serve], LoadOptions { rate: 500, ..LoadOptions::default() });
        for part in [round.between(0.1, 0.3), round.between(0.4, 0.6), round.between(0.7, 0.9)] {
            load.wait_for(part)?;
            load.is_running()?;
            let what = round.one_of(3);
            for list in lists(&world) {
                let (meta, topic) =
                    (format!("{list}:meta"), list.split_once(':').map_or("", |(topic, _)| topic));
                match what {
                    0 => redis.cli(&["HDEL", &meta, "owner", "epoch", "lease"])?,
                    1 => redis.cli(&["DEL", &format!("{topic}}}:members")])?,
                    _ => redis.cli(&["DEL", &meta])?,
                };
            }
        }
        let over = Instant::now();
        round.recovers(&serve, over)?;
        let recording = load.finish()?;
        let stand = toggles.finish()?;
        ensure!(recording.attempts() == recording.fates.len(), "noticed: {}", recording.answers);
        round.judge(&world, &recording)?;
        for consume in &consumes {
            ensure!(consume.readiness()?.0 == 200, "{:?}", consume.readiness()?);
        }
        Toggles::check(round.postgres, &world.setting("store.url"), &stand)
    });
}
