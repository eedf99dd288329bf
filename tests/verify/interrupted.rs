//! A check that is stopped, killed or gets no answer, and goes on later.

use anyhow::{Result, ensure};
use floodgate_testkit::{Postgres, wait};

use crate::shared::{loaded, number, of_type, sum, verify};
use crate::support::node::Node;
use crate::support::world::{READY, Servers, World, run};

/// Somebody else's transaction that keeps everybody from a table, until it is ended.
fn hold_likes(postgres: &'static Postgres, url: &str) -> Result<()> {
    let (url, hold) = (url.to_owned(), "LOCK TABLE likes IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(50)");
    let holder = url.clone();
    // it is ended from outside, which psql calls an error
    std::thread::spawn(move || drop(postgres.psql(&holder, hold)));
    wait_for_backends(postgres, &url, 1, "wait_event = 'PgSleep'")
}

/// Waits until so many backends in this database are in that state.
fn wait_for_backends(postgres: &Postgres, url: &str, number: usize, that: &str) -> Result<()> {
    let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND {that}");
    let is_reached =
        || (postgres.psql(url, &sql).ok()?.trim().parse::<usize>().ok()? >= number).then_some(());
    Ok(wait::until(that, READY, is_reached)?)
}

#[test]
fn a_killed_check_goes_on_where_it_was() {
    let Servers { kafka, postgres } = Servers::shared();
    let world = World::ready(kafka, postgres).unwrap().hurried();
    for timeout in ["lock", "statement", "apply"] {
        world.set(&format!("store.{timeout}_timeout_ms"), "60000");
    }
    run(|| {
        let (left, right) = (world.start(&["serve"])?, world.start(&["serve"])?);
        let consume = world.start(&["consume"])?;
        let recording = loaded(&world, [&left, &right], 3000)?;
        world.check(postgres, &recording)?;
        [&left, &right, &consume].into_iter().try_for_each(Node::stop)?;
        let (_, mut whole) = verify(&world, &[])?;

        // likes come last: when the check waits for them, everything else has been counted
        let url = world.setting("store.url");
        hold_likes(postgres, &url)?;
        let folder = world.folder().join("state").display().to_string();
        let interrupted = world.launch(&["verify", "--state", &folder])?;
        wait_for_backends(postgres, &url, 1, "wait_event_type = 'Lock'")?;
        let taken = world.command(&["verify", "--state", &folder])?;
        ensure!(taken.code == 2 && taken.stderr.contains("another process"), "{taken:?}");
        interrupted.process().terminate()?;
        let exit = interrupted.process().wait_exit(READY)?;
        let told = interrupted.process().stderr();
        ensure!(
            exit.code() == Some(1) && told.contains("interrupted; the same command goes on"),
            "{exit} {told}"
        );
        // the server does not notice that nobody waits for the first answer any more
        let killed = world.launch(&["verify", "--state", &folder])?;
        wait_for_backends(postgres, &url, 2, "wait_event_type = 'Lock'")?;
        killed.kill()?;
        let everybody = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                         WHERE datname = current_database() AND pid <> pg_backend_pid()";
        postgres.psql(&url, everybody)?;

        let other = world.command_with(&["verify", "--state", &folder], &[("topics.prefix", "other.")])?;
        ensure!(other.code == 2 && other.stderr.contains("give another folder"), "{other:?}");
        // what was counted before the kill is not looked up again: otherwise this would be noticed
        postgres.psql(&url, "UPDATE expectations SET version = version - 1000000000")?;
        let (code, mut resumed) = verify(&world, &["--state", &folder])?;
        let as_of = [&mut whole, &mut resumed].map(|report| report["asOf"].take());
        ensure!(code == 0 && resumed == whole && as_of[0] != as_of[1], "{resumed} {whole}");
        // the next check in that folder begins anew
        let (code, anew) = verify(&world, &["--state", &folder])?;
        ensure!(code == 1 && number(of_type(&anew, "expectation"), "missing") > 0, "{anew}");
        ensure!(
            anew["missing"].as_array().map(Vec::len) == Some(1000.min(number(&anew, "violations") as usize))
        );
        ensure!(std::fs::read_dir(&folder)?.count() == 0, "something was left in the state's folder");
        Ok(())
    });
}

/// A database that stops answering ends the check; the state goes on when it is back.
#[test]
fn a_check_without_an_answer_fails_and_says_how_to_go_on() {
    let Servers { kafka, postgres } = Servers::shared();
    let world = World::bare(kafka, postgres).unwrap().hurried();
    run(|| {
        let ended = world.command(&["verify"])?;
        ensure!(ended.code == 1 && ended.stderr.contains("run `floodgate topics create`"), "{ended:?}");
        world.succeed(&["topics", "create"])?;
        let ended = world.command(&["verify"])?;
        ensure!(ended.code == 1 && ended.stderr.contains("run `floodgate migrate`"), "{ended:?}");
        ensure!(ended.stderr.contains("with --state DIR"), "{ended:?}");
        world.succeed(&["migrate"])?;
        let state = world.folder().join("state").display().to_string();
        let away = world
            .command_with(&["verify", "--state", &state], &[("store.url", "postgres://127.0.0.1:1/x")])?;
        ensure!(away.code == 1 && away.stderr.contains("goes on where this was"), "{away:?}");
        let (code, report) = verify(&world, &[])?;
        ensure!(code == 0 && sum(&report, "records") == 0, "{report}");
        // a file is no folder
        std::fs::write(world.folder().join("file"), "")?;
        ensure!(world.command(&["verify", "--state", "file"])?.code == 2);
        ensure!(world.command(&["verify", "--stat"])?.code == 2);
        Ok(())
    });
}
