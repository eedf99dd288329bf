//! Databases that stall, refuse, break off, deadlock, crash, and whose disks are full.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use floodgate_testkit::{PostgresOptions, Proxy, wait};

use crate::scenario::{Pace, kafka, scenario, scenario_of_any, servers};
use crate::support::load::{LoadOptions, Verdict};
use crate::support::world::{READY, Servers, World};

/// Times after which a database that does not answer is given up.
const SHORT: [(&str, &str); 4] = [
    ("store.connect_timeout_ms", "1000"),
    ("store.lock_timeout_ms", "1000"),
    ("store.statement_timeout_ms", "1500"),
    ("store.apply_timeout_ms", "2000"),
];

/// No event was taken for a bad one because the database was in trouble.
fn no_dead_letters(world: &World) -> Result<()> {
    let letters = world.succeed(&["dlq", "list", "--json"])?;
    ensure!(letters.trim().is_empty(), "dead letters: {letters}");
    Ok(())
}

/// A database that stalls for longer than a consumer may go without polling costs it neither its partitions nor a row.
#[test]
fn database_stalls_longer_than_the_poll_interval() {
    scenario_of_any("12", "database_stalls_longer_than_the_poll_interval", Pace::Slow, servers, |round| {
        let world = round.world_with(&SHORT)?;
        // batches that are full at once: it is then that a member has nothing to poll for
        world.set("consumers.batch_max_events", "20");
        world.set("buffer.kafka.max_poll_interval_ms", "4000");
        world.set("consumers.drain_ms", "1000");
        let serve = world.start(&["serve"])?;
        let consume = world.start(&["consume"])?;
        let plan = round.plan(9000);
        world.create_coupons(&serve, &plan)?;
        let load = world.load(&plan, &[&serve], LoadOptions { rate: 500, ..LoadOptions::default() });
        load.wait_for(round.between(0.1, 0.3))?;
        round.postgres.freeze()?;
        consume.wait_unready("database")?;
        round.lasts(Duration::from_secs(9));
        load.is_running()?;
        let over = Instant::now();
        round.postgres.thaw()?;
        round.recovers(&serve, over)?;
        let recording = load.finish()?;
        let log = consume.process().stderr();
        ensure!(!log.contains("\"lost\":true"), "the member lost its partitions");
        no_dead_letters(&world)?;
        round.judge(&world, &recording)?;
        consume.stop()
    });
}

/// A database that takes no writes, or denies them, holds everything back and loses nothing.
#[test]
fn database_refuses() {
    scenario_of_any("17", "database_refuses", Pace::Quick, servers, |round| {
        let world = round.world()?;
        let serve = world.start(&["serve"])?;
        let url = world.setting("store.url");
        let database = url.rsplit('/').next().context("no database in the URL")?.to_owned();
        let role = format!("guest_{database}");
        let tables = "expectations, coupons, coupon_issues, coupon_requests, likes, like_counts";
        round.postgres.psql(
            &url,
            &format!(
                "CREATE ROLE {role} LOGIN PASSWORD 'guest'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}; \
                 GRANT INSERT, UPDATE ON {tables} TO {role}"
            ),
        )?;
        world.set("store.url", url.replace("testkit:testkit", &format!("{role}:guest")));
        let consume = world.start(&["consume"])?;
        world.set("store.url", url.clone());
        // more than will be needed: how long all of it takes nobody knows
        let plan = round.plan(60_000);
        world.create_coupons(&serve, &plan)?;
        let load = world.load(&plan, &[&serve], LoadOptions { rate: 700, ..LoadOptions::default() });
        load.wait_for(round.between(0.005, 0.02))?;

        let (refuse, grant) = match round.one_of(2) {
            0 => (
                format!("REVOKE INSERT, UPDATE ON {tables} FROM {role}"),
                format!("GRANT INSERT, UPDATE ON {tables} TO {role}"),
            ),
            _ => (
                format!("ALTER ROLE {role} SET default_transaction_read_only = on"),
                format!("ALTER ROLE {role} RESET default_transaction_read_only"),
            ),
        };
        round.postgres.psql(&url, &refuse)?;
        // sessions that are open already keep the settings of their beginning
        let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'");
        round.postgres.psql(&url, &end)?;
        consume.wait_unready(if refuse.starts_with("REVOKE") { "grant" } else { "takes no writes" })?;
        load.is_running()?;
        // all groups have to come to a stand first: the last one may still have had a batch in work
        let mut held = world.committed()?;
        wait::until("all offsets to stand still", READY, || {
            let now = world.committed().ok()?;
            let still = now == held
                && world.lag().ok()?["groups"].as_array()?.iter().all(|g| g["status"] == "LAGGING");
            held = now;
            still.then_some(())
        })?;
        load.wait_for_more(1000)?;
        ensure!(world.committed()? == held, "offsets went on: {held:?} {:?}", world.committed()?);
        let over = Instant::now();
        round.postgres.psql(&url, &grant)?;
        round.recovers(&serve, over)?;
        load.stop();
        let not_taken = load.not_stored() + load.unknown();
        let recording = load.finish()?;
        ensure!(not_taken == 0, "writes were refused: {}", recording.answers);
        no_dead_letters(&world)?;
        round.judge(&world, &recording)
    });
}

/// A connection that breaks after the COMMIT was sent and before it is answered: the client cannot know whether it
/// happened. It did, and is not done a second time.
#[test]
fn connection_cut_at_commit() {
    scenario_of_any("20", "connection_cut_at_commit", Pace::Slow, servers, |round| {
        // long enough for the test to do its part while the commit waits for the lock
        let world = round.world_with(&[
            ("store.connect_timeout_ms", "1000"),
            ("store.lock_timeout_ms", "4000"),
            ("store.statement_timeout_ms", "4500"),
            ("store.apply_timeout_ms", "5000"),
        ])?;
        let serve = world.start(&["serve"])?;
        let proxy = Proxy::start()?;
        let link = proxy.link(round.postgres.port())?;
        let url = world.setting("store.url");
        let linked = url.replace(&format!(":{}/", round.postgres.port()), &format!(":{}/", link.port()));
        world.set("store.url", linked);
        let consume = world.start(&["consume"])?;
        world.set("store.url", url.clone());

        // whoever commits changes to this table waits for a lock that the test holds
        let table = ["likes", "expectations", "coupon_requests"][round.one_of(3)];
        round.postgres.psql(
            &url,
            &format!(
                "CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS \
                 'BEGIN PERFORM pg_advisory_xact_lock_shared(20); RETURN NULL; END'; \
                 CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT OR UPDATE ON {table} \
                 DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION at_commit()"
            ),
        )?;
        let plan = round.plan(9000);
        world.create_coupons(&serve, &plan)?;
        let load = world.load(&plan, &[&serve], LoadOptions { rate: 600, ..LoadOptions::default() });
        for _ in 0..2 {
            load.is_running()?;
            let held = round.postgres.hold(&url, "SELECT pg_advisory_xact_lock(20)")?;
            let committing = "SELECT count(*) FROM pg_stat_activity WHERE query = 'COMMIT' AND wait_event_type = 'Lock' \
                              AND datname = current_database()";
            wait::until("a commit on its way", READY, || {
                (round.postgres.psql(&url, committing).ok()?.trim() != "0").then_some(())
            })?;
            let count = || -> Result<u64> {
                Ok(round.postgres.psql(&url, &format!("SELECT count(*) FROM {table}"))?.trim().parse()?)
            };
            let before = count()?;
            link.swallow_answers()?;
            drop(held);
            // the commit happens, and nobody hears of it
            if table == "coupon_requests" {
                wait::until("the commit to happen", READY, || (count().ok()? > before).then_some(()))?;
            }
            consume.wait_unready("database")?;
            link.calm()?;
        }
        round.recovers(&serve, Instant::now())?;
        let recording = load.finish()?;
        let duplicates =
            consume.metrics()?.sum("floodgate_events_applied_total", &[("outcome", "duplicate")]);
        ensure!(duplicates > 0.0, "nothing that was committed was tried again");
        no_dead_letters(&world)?;
        round.judge(&world, &recording)
    });
}

/// Somebody else locks the same rows in another order: consumers that are chosen as victims try again.
#[test]
fn deadlocks_on_hot_keys() {
    scenario_of_any("21", "deadlocks_on_hot_keys", Pace::Quick, servers, |round| {
        let world = round.world_with(&[("consumers.batch_max_wait_ms", "200")])?;
        let serve = world.start(&["serve"])?;
        let consumes = [world.start(&["consume"])?, world.start(&["consume"])?];
        // more than will be needed: how soon two meet in a circle nobody knows
        let plan = round.plan(100_000);
        world.create_coupons(&serve, &plan)?;
        let load = world.load(&plan, &[&serve], LoadOptions { rate: 700, ..LoadOptions::default() });
        load.wait_for(0.01)?;
        let url = world.setting("store.url");
        // consumers lock counters in ascending order; this does not, and is patient enough never to be the victim: when
        // a consumer that waits looks for a circle, it is closed
        let reversed = "DO $$ BEGIN SET LOCAL deadlock_timeout = '1h'; \
                        UPDATE like_counts SET count = count WHERE target_ocid >= 'ocid-10001'; PERFORM pg_sleep(0.4); \
                        UPDATE like_counts SET count = count WHERE target_ocid < 'ocid-10001'; END $$";
        let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
        let happened = || -> Result<u64> { Ok(round.postgres.psql(&url, deadlocks)?.trim().parse()?) };
        let before = happened()?;
        wait::until("a deadlock", READY, || {
            round.postgres.psql(&url, reversed).ok()?;
            (happened().ok()? > before).then_some(())
        })?;
        // and a database that gives up transactions because they cannot be put in an order
        let failing = "CREATE SEQUENCE failures; CREATE FUNCTION unordered() RETURNS trigger LANGUAGE plpgsql AS \
                       'BEGIN IF nextval(''failures'') <= 20 THEN RAISE EXCEPTION ''could not serialize access'' \
                       USING ERRCODE = ''40001''; END IF; RETURN NULL; END'; CREATE TRIGGER unordered AFTER INSERT OR \
                       UPDATE ON likes FOR EACH STATEMENT EXECUTE FUNCTION unordered()";
        round.postgres.psql(&url, failing)?;
        round.recovers(&serve, Instant::now())?;
        load.is_running()?;
        load.stop();
        let recording = load.finish()?;
        let retries: f64 = consumes
            .iter()
            .map(|consume| Ok(consume.metrics()?.sum("floodgate_apply_retries_total", &[])))
            .sum::<Result<f64>>()?;
        ensure!(retries > 0.0, "no consumer was a deadlock's victim");
        no_dead_letters(&world)?;
        round.judge(&world, &recording)
    });
}

/// A database that crashes has, when it is back, every row that a committed offset stands for.
#[test]
fn database_crash() {
    scenario_of_any("22", "database_crash", Pace::Quick, servers, |round| {
        let world = round.world()?;
        let serve = world.start(&["serve"])?;
        let _consumes = [world.start(&["consume"])?, world.start(&["consume"])?];
        let plan = round.plan(5000);
        world.create_coupons(&serve, &plan)?;
        let load = world.load(&plan, &[&serve], LoadOptions { rate: 1200, ..LoadOptions::default() });
        load.wait_for(round.between(0.1, 0.5))?;
        load.is_running()?;
        round.postgres.crash()?;
        let over = Instant::now();
        round.postgres.start_again()?;
        round.balances(&world)?;
        round.recovers(&serve, over)?;
        let recording = load.finish()?;
        let others = recording.fates.iter().filter(|fate| fate.verdict != Verdict::Accepted).count();
        ensure!(others == 0 && recording.attempts() == recording.fates.len(), "{}", recording.answers);
        no_dead_letters(&world)?;
        round.judge(&world, &recording)
    });
}

/// A database whose files cannot grow holds its consumers until there is room again.
#[test]
fn database_disk_full() {
    let servers = || {
        // files of the log that are smaller than the tables become: otherwise it would be the log that stops first
        let settings = vec![("autovacuum".into(), "off".into())];
        let postgres = PostgresOptions { settings, wal_segment_mb: Some(1) };
        Servers::start(kafka(1), postgres)
    };
    scenario("25", "database_disk_full", Pace::Slow, servers, |round| {
        let world = round.world()?;
        let serve = world.start(&["serve"])?;
        let consume = world.start(&["consume"])?;
        // more than will be needed: some must be left to grow the table when it can grow no more
        let plan = round.plan(50_000);
        world.create_coupons(&serve, &plan)?;
        let load = world.load(&plan, &[&serve], LoadOptions { rate: 600, ..LoadOptions::default() });
        load.wait_for(round.between(0.005, 0.03))?;
        // a table whose file is as large as files may become; deleted rows keep their place until a vacuum
        let ballast = "INSERT INTO likes SELECT 'ballast', n::text, true, now(), gen_random_uuid() \
                       FROM generate_series(1, 20000) AS n; DELETE FROM likes WHERE target_ocid = 'ballast'";
        round.postgres.psql(&world.setting("store.url"), ballast)?;
        // what a full disk is to a process: files that cannot grow; backends inherit it
        round.postgres.limit_file_size((1 << 20) + 4096)?;
        // sessions that are open already have no limit
        let end =
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'floodgate'";
        round.postgres.psql("postgres", end)?;
        consume.wait_unready("could not extend file")?;
        load.is_running()?;
        round.balances(&world)?;
        // room again: the server is started anew, without the limit
        round.postgres.crash()?;
        let over = Instant::now();
        round.postgres.start_again()?;
        round.recovers(&serve, over)?;
        load.stop();
        let not_taken = load.not_stored() + load.unknown();
        let recording = load.finish()?;
        ensure!(not_taken == 0, "writes were refused: {}", recording.answers);
        no_dead_letters(&world)?;
        round.judge(&world, &recording)?;
        ensure!(consume.readiness()?.0 == 200, "{:?}", consume.readiness()?);
        Ok(())
    });
}
