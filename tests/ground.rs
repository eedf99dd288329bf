//! The database is another one than before: noticed, told, and nothing applied to it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use floodgate_testkit::wait;
use support::client::Ask;
use support::node::Node;
use support::world::{READY, Servers, World, run};

fn like(node: &Node, liker: &str) -> Result<()> {
    let answer = node.ask(&Ask::new("PUT", format!("/api/v6/characters/star/likes/{liker}")))?;
    ensure!(answer.status == 202, "{} {}", answer.status, answer.text());
    Ok(())
}

fn wait_count(node: &Node, wanted: u64) -> Result<()> {
    let counted = wait::until(&format!("{wanted} likes"), READY, || {
        let answer = node.get("/api/v6/characters/star/likes").ok()?;
        (answer.status == 200 && answer.json()["count"] == wanted).then_some(())
    });
    Ok(counted?)
}

/// The database's file, and what lies beside it, under other names.
fn move_away(world: &World, from: &str, to: &str) -> Result<()> {
    for beside in ["", "-wal", "-shm"] {
        let path = |name: &str| -> PathBuf { world.folder().join(format!("{name}{beside}")) };
        if path(from).exists() {
            std::fs::rename(path(from), path(to))?;
        }
    }
    Ok(())
}

/// What a newcomer runs: the file is renamed under the process, another one is made, and the first one comes back.
#[test]
fn a_file_that_is_renamed_is_noticed_and_waited_for() {
    let world = World::empty().unwrap();
    run(|| {
        let node = world.start(&[])?;
        like(&node, "ann")?;
        wait_count(&node, 1)?;
        // nothing comes that would be applied: it is noticed all the same
        std::fs::rename(world.folder().join("floodgate.db"), world.folder().join("gone.db"))?;
        node.wait_unready("is gone")?;
        like(&node, "ben")?;
        std::fs::rename(world.folder().join("gone.db"), world.folder().join("floodgate.db"))?;
        node.wait_ready()?;
        wait_count(&node, 2)?;

        move_away(&world, "floodgate.db", "gone.db")?;
        world.succeed(&["migrate"])?;
        node.wait_unready("another database stands where the one was")?;
        like(&node, "cid")?;
        // reads come from what lies there, to which nothing was applied
        wait_count(&node, 0)?;
        ensure!(node.readiness()?.1.contains("floodgate verify"), "{}", node.readiness()?.1);
        move_away(&world, "floodgate.db", "new.db")?;
        move_away(&world, "gone.db", "floodgate.db")?;
        node.wait_ready()?;
        wait_count(&node, 3)?;
        ensure!(node.process().stderr().contains("consumers are held"), "not told");
        node.stop()
    });
}

/// A process that is started anew takes what it finds.
#[test]
fn a_restart_takes_the_new_ground() {
    let world = World::empty().unwrap();
    run(|| {
        let mut node = world.start(&[])?;
        like(&node, "ann")?;
        wait_count(&node, 1)?;
        move_away(&world, "floodgate.db", "gone.db")?;
        world.succeed(&["migrate"])?;
        node.wait_unready("another database stands where the one was")?;
        node.stop()?;
        node.start_again(&world)?;
        like(&node, "ben")?;
        wait_count(&node, 1)?;
        node.stop()
    });
}

/// The schema is dropped and made anew between two batches, under connections that go on.
#[test]
fn a_schema_that_is_made_anew_is_another_database() {
    let Servers { kafka, postgres } = Servers::shared();
    let world = World::ready(kafka, postgres).unwrap().hurried();
    run(|| {
        let serve = world.start(&["serve"])?;
        let consume = world.start(&["consume"])?;
        like(&serve, "ann")?;
        wait_count(&serve, 1)?;
        let url = world.setting("store.url");
        postgres.psql(&url, "ALTER SCHEMA public RENAME TO gone; CREATE SCHEMA public")?;
        consume.wait_unready("is gone")?;
        ensure!(serve.readiness()?.0 == 200, "the ingress needs no database");
        world.succeed(&["migrate"])?;
        consume.wait_unready("another database stands where the one was")?;
        like(&serve, "ben")?;
        like(&serve, "cid")?;
        consume.stop()?;
        ensure!(
            postgres.psql(&url, "SELECT count(*) FROM likes")?.trim() == "0",
            "applied to another database"
        );

        postgres.psql(&url, "DROP SCHEMA public CASCADE; ALTER SCHEMA gone RENAME TO public")?;
        let consume = world.start(&["consume"])?;
        wait_count(&serve, 3)?;
        consume.stop()?;
        serve.stop()
    });
}

/// What a database must be is asked before anything is applied to it, by every command that has to do with it.
#[test]
fn an_unfit_database_is_refused_in_words() {
    let Servers { kafka, postgres } = Servers::shared();
    let world = World::ready(kafka, postgres).unwrap().hurried();
    run(|| {
        let url = world.setting("store.url");
        let name = url.rsplit('/').next().unwrap_or_default().to_owned();
        let alter = |change: &str| postgres.psql("postgres", &format!("ALTER DATABASE {name} {change}"));
        let refused = |told: &str| -> Result<()> {
            for (command, code) in [(&["migrate"][..], 1), (&["config", "--check"], 2)] {
                let ended = world.command(command)?;
                ensure!(ended.code == code && ended.stderr.contains(told), "{command:?}: {ended:?}");
            }
            let consume = world.launch(&["consume"])?;
            consume.wait_unready(told)?;
            consume.stop()
        };
        alter("SET default_transaction_isolation = 'repeatable read'")?;
        refused("default_transaction_isolation is repeatable read")?;
        let consume = world.launch(&["consume"])?;
        consume.wait_unready("default_transaction_isolation")?;
        alter("RESET default_transaction_isolation")?;
        // it looks again by itself
        consume.wait_ready()?;
        consume.stop()?;
        alter("SET default_transaction_read_only = on")?;
        refused("takes no writes")?;
        alter("RESET default_transaction_read_only")?;
        // a right that only a configuration that needs it asks for
        let role = "CREATE ROLE adder LOGIN PASSWORD 'adder'; GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO adder";
        postgres.psql(&url, role)?;
        world.set("store.url", url.replace("testkit:testkit", "adder:adder"));
        world.succeed(&["config", "--check"])?;
        let ended =
            world.command_with(&["config", "--check"], &[("coupon.decisions_retention_days", "60")])?;
        ensure!(
            ended.code == 2 && ended.stderr.contains("GRANT DELETE ON coupon_requests TO adder"),
            "{ended:?}"
        );
        let create =
            "CREATE DATABASE latin_1 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0";
        postgres.psql("postgres", create)?;
        world.set("store.url", postgres.url("latin_1"));
        refused("encoding is LATIN1")?;
        let ended = world.command_with(&["run"], &[("buffer.strategy", "in-memory")])?;
        ensure!(ended.code == 1 && ended.stderr.contains("encoding is LATIN1"), "{ended:?}");
        Ok(())
    });
}

/// The same of a file that may only be read.
#[test]
fn a_file_that_takes_no_writes_is_refused_in_words() {
    let world = World::empty().unwrap();
    run(|| {
        world.succeed(&["migrate"])?;
        let any = [("http.listen", "127.0.0.1:0"), ("admin.listen", "127.0.0.1:0")];
        // SQLite gives the files beside it the same mode
        let allow = |mode: u32| -> Result<()> {
            for file in std::fs::read_dir(world.folder())? {
                std::fs::set_permissions(file?.path(), Permissions::from_mode(mode))?;
            }
            Ok(())
        };
        allow(0o444)?;
        for (command, code) in [(&["config", "--check"][..], 2), (&["migrate"], 1), (&["run"], 1)] {
            let ended = world.command_bound_by_modes(command, &any)?;
            let told = ended.stderr.contains("the file, or its folder, is not writable");
            ensure!(ended.code == code && told, "{command:?}: {ended:?}");
        }
        allow(0o644)?;
        let ended = world.command_bound_by_modes(&["config", "--check"], &any)?;
        ensure!(ended.code == 0, "{ended:?}");
        Ok(())
    });
}

/// `config --check` is about the configuration: a database that is not there, or not yet made, is told and no failure.
#[test]
fn a_configuration_is_right_without_its_database() {
    let Servers { postgres, .. } = Servers::shared();
    let world = World::empty().unwrap();
    run(|| {
        let ended = world.command(&["config", "--check"])?;
        ensure!(ended.code == 0 && ended.stdout.is_empty(), "{ended:?}");
        world.set("store.url", "postgres://ann:open-sesame@127.0.0.1:1/none");
        let ended = world.command(&["config", "--check"])?;
        let told = ended.stderr.contains("not to be used from here now")
            && ended.stderr.contains("ann:***@127.0.0.1:1");
        ensure!(ended.code == 0 && told && !ended.stderr.contains("open-sesame"), "{ended:?}");
        world.set("store.url", postgres.create_database()?);
        let ended = world.command(&["config", "--check"])?;
        ensure!(ended.code == 0 && ended.stderr.contains("floodgate migrate"), "{ended:?}");
        world.succeed(&["migrate"])?;
        let ended = world.command(&["config", "--check"])?;
        ensure!(ended.code == 0 && ended.stderr.is_empty(), "{ended:?}");
        Ok(())
    });
}
