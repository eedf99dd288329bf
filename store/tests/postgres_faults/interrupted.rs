//! Batches that are held up or cut off end in time, and leave nothing half done.

use super::*;

/// Somebody else's session that holds a lock until it is dropped or closed.
async fn hold(url: &str, lock: &str) -> PgConnection {
    let mut holder = PgConnection::connect(url).await.unwrap();
    raw_sql(AssertSqlSafe(format!("BEGIN; {lock}"))).execute(&mut holder).await.unwrap();
    holder
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_lock_ends_the_batch_in_time_and_reads_go_on() {
    let (url, store) = migrated(server()).await;
    let holder = hold(&url, "LOCK TABLE likes IN EXCLUSIVE MODE").await;
    let start = Instant::now();
    let (waiting, read) = tokio::join!(apply(&store), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        (count(&store).await, start.elapsed())
    });
    assert_retry(&waiting, "lock_timeout_ms");
    assert!(start.elapsed() < Duration::from_millis(1_500), "{:?}", start.elapsed());
    assert_eq!(read.0, Ok(0));
    assert!(read.1 < Duration::from_millis(450), "the read waited for the batch: {:?}", read.1);
    holder.close().await.unwrap();
    assert_eq!(apply(&store).await.unwrap(), APPLIED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_takes_too_long_ends_in_time() {
    let (url, store) = migrated(server()).await;
    let slow = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN PERFORM pg_sleep(30); RETURN new; END';
        CREATE TRIGGER slow BEFORE INSERT ON like_counts FOR EACH ROW EXECUTE FUNCTION slow()";
    server().psql(&url, slow).unwrap();
    let start = Instant::now();
    assert_too_slow(&apply(&store).await, "statement_timeout_ms");
    assert!(start.elapsed() < Duration::from_millis(1_900), "{:?}", start.elapsed());
    assert_eq!(rows(&url), "0|0\n");
    server().psql(&url, "DROP TRIGGER slow ON like_counts").unwrap();
    assert_eq!(apply(&store).await.unwrap(), APPLIED);
}

/// Waits until a backend of this database waits for a lock, and returns its process id.
async fn waiting_backend(url: &str) -> String {
    let sql =
        "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    for _ in 0..200 {
        let answer = server().psql(url, sql).unwrap();
        if let Some(pid) = answer.lines().next() {
            return pid.to_owned();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nobody waits")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_killed_midway_leaves_nothing() {
    let (url, store) = migrated(server()).await;
    let holder = hold(&url, "LOCK TABLE like_counts IN EXCLUSIVE MODE").await;
    let applying = tokio::spawn({
        let store = Arc::clone(&store);
        async move { apply(&store).await }
    });
    let pid = waiting_backend(&url).await;
    server().psql(&url, &format!("SELECT pg_terminate_backend({pid})")).unwrap();
    assert_retry(&applying.await.unwrap(), "");
    holder.close().await.unwrap();
    assert_eq!(rows(&url), "0|0\n");
    assert_eq!(apply(&store).await.unwrap(), APPLIED);
}

/// The caller goes away in the middle of a batch: it is rolled back, and the only connection is free again.
#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_apply_is_rolled_back() {
    let (url, store) = migrated(server()).await;
    let holder = hold(&url, "LOCK TABLE like_counts IN EXCLUSIVE MODE").await;
    let gone = tokio::time::timeout(Duration::from_millis(100), apply(&store)).await;
    assert!(gone.is_err());
    holder.close().await.unwrap();
    assert_eq!(apply(&store).await.unwrap(), APPLIED);
    assert_eq!(rows(&url), "2|1\n");
}

/// Two consumers decide the same request on a coupon that does not exist, so no row serialises them: the
/// second waits for the first, and then tries again instead of failing the row.
#[tokio::test(flavor = "multi_thread")]
async fn a_race_for_one_request_is_no_bad_row() {
    let (url, store) = migrated(server()).await;
    let request = coupon_issue(1, "none", "ann");
    let other = "INSERT INTO coupon_requests VALUES
        ('01930000-0000-7000-8000-000000000001', 'none', 'ann', 'UNKNOWN_COUPON', NULL, now())";
    let mut holder = hold(&url, other).await;
    let applying = tokio::spawn({
        let (store, request) = (Arc::clone(&store), request.clone());
        async move { store.apply(&[request], at(0)).await }
    });
    waiting_backend(&url).await;
    raw_sql("COMMIT").execute(&mut holder).await.unwrap();
    assert_retry(&applying.await.unwrap(), "another consumer");
    assert_eq!(store.apply(&[request], at(0)).await, Ok(vec![ApplyOutcome::Duplicate]));
}

/// A server that is frozen keeps its connections open, accepts new ones, and answers nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_mute_server_holds_nobody_beyond_the_deadlines() {
    let own = Postgres::start(PostgresOptions::default()).unwrap();
    let (url, store) = migrated(&own).await;
    assert_eq!(apply(&store).await.unwrap(), APPLIED);
    assert_eq!(count(&store).await, Ok(2));
    own.freeze().unwrap();

    let start = Instant::now();
    assert_too_slow(&apply(&store).await, "did not finish");
    assert!(start.elapsed() < Duration::from_millis(2_500), "{:?}", start.elapsed());
    let start = Instant::now();
    assert!(matches!(count(&store).await, Err(ReadError::Unavailable(_))));
    assert!(start.elapsed() < Duration::from_millis(2_500), "{:?}", start.elapsed());
    let fresh = open(&config(url)).unwrap();
    let start = Instant::now();
    assert_retry(&apply(&fresh).await, "no connection within");
    assert!(start.elapsed() < Duration::from_millis(1_500), "{:?}", start.elapsed());

    own.thaw().unwrap();
    assert_eq!(apply(&store).await.unwrap(), [ApplyOutcome::Duplicate; 2]);
    assert_eq!(count(&store).await, Ok(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_costs_one_try_and_no_committed_row() {
    let own = Postgres::start(PostgresOptions::default()).unwrap();
    let (_, store) = migrated(&own).await;
    assert_eq!(apply(&store).await.unwrap(), APPLIED);
    assert_eq!(store.schema_state().await, Ok(SchemaState::Current));
    own.crash().unwrap();
    assert_retry(&apply(&store).await, "");
    own.start_again().unwrap();
    assert_eq!(apply(&store).await.unwrap(), [ApplyOutcome::Duplicate; 2]);
    // its connection lay idle meanwhile: at most one read finds that out
    if count(&store).await.is_err() {
        assert_eq!(count(&store).await, Ok(2));
    }
}
