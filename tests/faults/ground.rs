//! Databases that are others than before, and databases whose tables others have changed.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use floodgate_testkit::wait;

use crate::scenario::{Pace, Round, scenario, servers};
use crate::support::load::{LoadOptions, Verdict};
use crate::support::topic::Topics;
use crate::support::world::{READY, World};

/// Changes databases while nobody is connected to the one of this name.
fn exclusively(round: &Round<'_>, name: &str, changes: &[String]) -> Result<()> {
    let before = [
        format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false"),
        format!("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'"),
    ];
    before.iter().chain(changes).try_for_each(|sql| round.postgres.psql("postgres", sql).map(drop))
}

/// Waits until all groups lag and commit nothing any more, and returns what is committed.
fn stand(world: &World) -> Result<BTreeMap<(String, i64), i64>> {
    let mut held = world.committed()?;
    let stands = wait::until("all offsets to stand still", READY, || {
        let lag = world.lag().ok()?;
        let now = world.committed().ok()?;
        let still = now == held && lag["groups"].as_array()?.iter().all(|group| group["status"] == "LAGGING");
        held = now;
        still.then(|| held.clone())
    })?;
    Ok(stands)
}

/// A database that is another one than before, or an older copy, or whose schema was made anew, has nothing applied to it
/// and no offset committed for it; when the former one is back, consumers go on by themselves.
#[test]
fn another_database_in_its_place() {
    scenario("ground", "another_database_in_its_place", Pace::Quick, servers, |round| {
        let world = round.world()?;
        let serve = world.start(&["serve"])?;
        let url = world.setting("store.url");
        let name = url.rsplit('/').next().context("no database in the URL")?.to_owned();
        let (gone, other) = (format!("{name}_gone"), format!("{name}_other"));
        let consume = world.start(&["consume"])?;
        // more than will be needed: how long all of it takes nobody knows
        let plan = round.plan(60_000);
        world.create_coupons(&serve, &plan)?;
        let load = world.load(&plan, &[&serve], LoadOptions { rate: 700, ..LoadOptions::default() });
        load.wait_for(round.between(0.008, 0.02))?;
        let admit = format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true");
        let kind = round.one_of(3);
        match kind {
            // a backup, from before what comes next
            0 => {
                let copy = format!("CREATE DATABASE {other} TEMPLATE {name}");
                exclusively(round, &name, &[copy, admit.clone()])?;
                serve.probe(&format!("after-the-backup-{}", round.seed), READY)?;
            }
            1 => {
                round.postgres.psql("postgres", &format!("CREATE DATABASE {other}"))?;
                world.command_with(&["migrate"], &[("store.url", &round.postgres.url(&other))])?;
            }
            _ => {}
        }
        load.wait_for_more(1000)?;
        load.is_running()?;
        let rename = |from: &str, to: &str| format!("ALTER DATABASE {from} RENAME TO {to}");
        if kind == 2 {
            round.postgres.psql(&url, "ALTER SCHEMA public RENAME TO gone; CREATE SCHEMA public")?;
            world.succeed(&["migrate"])?;
        } else {
            exclusively(round, &name, &[rename(&name, &gone), rename(&other, &name), admit.clone()])?;
        }
        consume.wait_unready("nothing is applied to it")?;
        let rows = "SELECT (SELECT count(*) FROM likes), (SELECT count(*) FROM coupon_requests), \
                    (SELECT count(*) FROM expectations)";
        let (held, found) = (stand(&world)?, round.postgres.psql(&url, rows)?);
        load.wait_for_more(1500)?;
        ensure!(stand(&world)? == held, "offsets went on: {held:?}");
        ensure!(round.postgres.psql(&url, rows)? == found, "rows were written to another database");

        if kind == 2 {
            round.postgres.psql(&url, "DROP SCHEMA public CASCADE; ALTER SCHEMA gone RENAME TO public")?;
        } else {
            exclusively(round, &name, &[rename(&name, &other), rename(&gone, &name), admit])?;
        }
        let over = Instant::now();
        round.recovers(&serve, over)?;
        load.stop();
        let recording = load.finish()?;
        ensure!(
            recording.attempts() == recording.count(Verdict::Accepted),
            "writes were refused: {}",
            recording.answers
        );
        round.judge(&world, &recording)?;
        ensure!(Topics::of(&world).read_all(&world.named("floodgate.dlq.v1"))?.is_empty(), "dead letters");
        consume.wait_ready()
    });
}

/// What others made of the tables is trouble of the database: events wait until it is mended, and none is taken for dead.
#[test]
fn tables_changed_by_others() {
    scenario("17", "tables_changed_by_others", Pace::Quick, servers, |round| {
        let world = round.world()?;
        let serve = world.start(&["serve"])?;
        let consume = world.start(&["consume"])?;
        let url = world.setting("store.url");
        let plan = round.plan(3000);
        world.create_coupons(&serve, &plan)?;
        let load = world.load(&plan, &[&serve], LoadOptions { rate: 700, ..LoadOptions::default() });
        load.wait_for(round.between(0.1, 0.4))?;
        // partitions that take some rows and not others, as when the next month's was forgotten
        let (change, told, mend) = match round.one_of(3) {
            0 => (
                "ALTER TABLE expectations RENAME TO standing; \
                 CREATE TABLE expectations (LIKE standing INCLUDING ALL) PARTITION BY RANGE (character_id); \
                 CREATE TABLE expectations_low PARTITION OF expectations FOR VALUES FROM (0) TO (2); \
                 INSERT INTO expectations SELECT * FROM standing WHERE character_id < 2",
                "no partition of relation",
                "CREATE TABLE expectations_high PARTITION OF expectations FOR VALUES FROM (2) TO (MAXVALUE); \
                 INSERT INTO expectations SELECT * FROM standing WHERE character_id >= 2",
            ),
            1 => (
                "ALTER TABLE likes ADD CONSTRAINT house CHECK (length(liker_account_id) % 2 = 0) NOT VALID",
                "house",
                "ALTER TABLE likes DROP CONSTRAINT house",
            ),
            _ => (
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
                 'BEGIN RAISE EXCEPTION ''not on a Sunday''; END'; CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON likes \
                 FOR EACH ROW EXECUTE FUNCTION refuse()",
                "not on a Sunday",
                "DROP TRIGGER refuse ON likes",
            ),
        };
        round.postgres.psql(&url, change)?;
        consume.wait_unready(told)?;
        load.is_running()?;
        let letters = || Topics::of(&world).read_all(&world.named("floodgate.dlq.v1"));
        ensure!(letters()?.is_empty(), "dead letters: {:?}", letters()?.len());
        round.postgres.psql(&url, mend)?;
        let over = Instant::now();
        round.recovers(&serve, over)?;
        let recording = load.finish()?;
        round.judge(&world, &recording)?;
        ensure!(letters()?.is_empty(), "dead letters: {:?}", letters()?.len());
        consume.wait_ready()
    });
}
