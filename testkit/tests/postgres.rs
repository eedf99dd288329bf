//! The server keeps committed rows over a crash, checks passwords, and is mute when frozen.

use std::time::{Duration, Instant};

use anyhow::Result;
use floodgate_testkit::{Postgres, PostgresOptions};

#[test]
fn rows_survive_a_crash() -> Result<()> {
    let start = Instant::now();
    let settings = vec![("testkit.note".into(), "it's".into())];
    let postgres = Postgres::start(PostgresOptions { settings, ..PostgresOptions::default() })?;
    println!("started in {:.1?}", start.elapsed());

    let url = postgres.create_database()?;
    assert_ne!(url, postgres.create_database()?);
    postgres.psql(&url, "CREATE TABLE kept (id int); INSERT INTO kept VALUES (7)")?;
    assert_eq!(postgres.psql("postgres", "SHOW testkit.note")?, "it's\n");
    assert_eq!(postgres.psql("postgres", "SELECT reset_val FROM pg_settings WHERE name = 'fsync'")?, "on\n");

    postgres.crash()?;
    let start = Instant::now();
    postgres.start_again()?;
    println!("started again after a crash in {:.1?}", start.elapsed());
    assert_eq!(postgres.psql(&url, "SELECT id FROM kept")?, "7\n");

    let start = Instant::now();
    postgres.stop()?;
    println!("stopped in {:.1?}", start.elapsed());
    postgres.start_again()?;
    assert_eq!(postgres.psql(&url, "SELECT id FROM kept")?, "7\n");

    let error =
        postgres.psql(&url.replace(":testkit@", ":wrong@"), "SELECT 1").map_err(|error| error.to_string());
    assert!(error.as_ref().is_err_and(|text| text.contains("password authentication failed")), "{error:?}");
    Ok(())
}

#[test]
fn a_frozen_server_is_mute_down_to_its_backends() -> Result<()> {
    let postgres = Postgres::start(PostgresOptions::default())?;
    let (done, is_done) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            let answer = postgres.psql("postgres", "SELECT pg_sleep(0.5)");
            done.send(()).map(|()| answer)
        });
        let query = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'";
        floodgate_testkit::wait::until("the query to run", Duration::from_secs(10), || {
            (postgres.psql("postgres", query).ok()? == "1\n").then_some(())
        })?;
        postgres.freeze()?;
        assert!(is_done.recv_timeout(Duration::from_secs(1)).is_err(), "answered though frozen");
        postgres.thaw()?;
        is_done.recv_timeout(Duration::from_secs(10))?;
        client.join().map_err(|_| anyhow::anyhow!("the client panicked"))??.map(drop)
    })
}
