//! What goes wrong with PostgreSQL ends in time, is told apart, leaves nothing half done, and passes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "postgres_faults/interrupted.rs"]
mod interrupted;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use floodgate_schemas::examples::{at, coupon_issue, like};
use floodgate_schemas::{EventType, Like, LikeAction, TargetOcid};
use floodgate_store::{
    Apply, ApplyError, ApplyOutcome, Config, MigrateError, Pooler, ReadError, SchemaState, Store, migrate,
    open,
};
use floodgate_testkit::{Postgres, PostgresOptions};
use sqlx::{AssertSqlSafe, Connection, PgConnection, raw_sql};

/// The server of the tests that do not harm it; each has a database of its own.
fn server() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(|| Postgres::start(PostgresOptions::default()).unwrap())
}

/// Short timeouts. One connection applies, one serves requests.
fn config(url: String) -> Config {
    Config {
        url: url.into(),
        pooler: Pooler::None,
        max_connections: 2,
        connect_timeout_ms: 1_000,
        statement_timeout_ms: 1_000,
        lock_timeout_ms: 500,
        apply_timeout_ms: 2_000,
    }
}

async fn migrated(server: &Postgres) -> (String, Arc<dyn Store>) {
    let url = server.create_database().unwrap();
    migrate(&config(url.clone())).await.unwrap();
    let store = open(&config(url.clone())).unwrap();
    (url, store)
}

fn two_likes() -> [Like; 2] {
    [1, 2].map(|n| like(n, "t", &format!("l{n}"), LikeAction::Like, 0))
}

async fn apply(store: &Arc<dyn Store>) -> Result<Vec<ApplyOutcome>, ApplyError> {
    let likes: &dyn Apply<Like> = store.as_ref();
    likes.apply(&two_likes(), at(0)).await
}

async fn count(store: &Arc<dyn Store>) -> Result<u64, ReadError> {
    store.like_count(&TargetOcid::try_from("t".to_owned()).unwrap()).await
}

/// Rows of both tables that a batch of likes writes.
fn rows(url: &str) -> String {
    let sql = "SELECT (SELECT count(*) FROM likes), (SELECT count(*) FROM like_counts)";
    server().psql(url, sql).unwrap()
}

#[track_caller]
fn assert_retry(result: &Result<Vec<ApplyOutcome>, ApplyError>, reason: &str) {
    match result {
        Err(ApplyError::Retry(text)) if text.contains(reason) => {}
        other => panic!("not a retry for `{reason}`: {other:?}"),
    }
}

#[track_caller]
fn assert_too_slow(result: &Result<Vec<ApplyOutcome>, ApplyError>, reason: &str) {
    match result {
        Err(ApplyError::TooSlow(text)) if text.contains(reason) => {}
        other => panic!("not too slow for `{reason}`: {other:?}"),
    }
}

const APPLIED: [ApplyOutcome; 2] = [ApplyOutcome::Applied; 2];

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_schema_is_named() {
    let url = server().create_database().unwrap();
    let store = open(&config(url.clone())).unwrap();
    assert_retry(&apply(&store).await, "run `floodgate migrate`");
    let read = count(&store).await;
    assert!(
        matches!(&read, Err(ReadError::Unavailable(text)) if text.contains("floodgate migrate")),
        "{read:?}"
    );
    migrate(&config(url)).await.unwrap();
    assert_eq!(apply(&store).await.unwrap(), APPLIED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_is_reported_at_once() {
    let free_port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = config(format!("postgres://ann:secret@127.0.0.1:{free_port}/none"));
    let store = open(&config).unwrap();
    let start = Instant::now();
    assert_retry(&apply(&store).await, "refused");
    assert!(matches!(store.schema_state().await, Err(ReadError::Unavailable(_))));
    assert!(migrate(&config).await.is_err());
    assert!(start.elapsed() < Duration::from_millis(900), "{:?}", start.elapsed());
}

/// The likes may be written, their counters not: the batch fails at its last statement and leaves nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_permission_holds_the_batch_and_leaves_nothing() {
    let (url, _) = migrated(server()).await;
    let grants = "CREATE ROLE guest LOGIN PASSWORD 'guest'; GRANT SELECT, INSERT, UPDATE ON likes TO guest";
    server().psql(&url, grants).unwrap();
    let store = open(&config(url.replace("testkit:testkit", "guest:guest"))).unwrap();
    assert_retry(&apply(&store).await, "grant");
    assert_eq!(rows(&url), "0|0\n");
    server().psql(&url, "GRANT SELECT, INSERT, UPDATE ON like_counts TO guest").unwrap();
    assert_eq!(apply(&store).await.unwrap(), APPLIED);
    assert_eq!(rows(&url), "2|1\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_no_bad_row_and_is_not_shown() {
    let (url, _) = migrated(server()).await;
    let store = open(&config(url.replace("testkit:testkit", "testkit:hunter2"))).unwrap();
    let refused = apply(&store).await;
    assert_retry(&refused, "check user and password");
    assert!(!format!("{refused:?}").contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_no_writes_holds_the_batch() {
    let (url, store) = migrated(server()).await;
    let name = url.rsplit('/').next().unwrap();
    let alter = format!("ALTER DATABASE {name} SET default_transaction_read_only = on");
    server().psql(&url, &alter).unwrap();
    assert_retry(&apply(&store).await, "takes no writes");
    server().psql("postgres", &format!("ALTER DATABASE {name} RESET default_transaction_read_only")).unwrap();
    // the connection that was refused is not used again
    assert_eq!(apply(&store).await.unwrap(), APPLIED);
}

/// An empty database of this encoding.
fn encoded(encoding: &str) -> String {
    let name = format!("encoded_{}", encoding.to_lowercase());
    let create = format!(
        "CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    );
    server().psql("postgres", &create).unwrap();
    server().url(&name)
}

/// The tables, as an earlier build that did not look made them.
fn make_tables(url: &str) {
    server().psql(url, include_str!("../migrations/postgres/0001_tables.sql")).unwrap();
    server().psql(url, include_str!("../migrations/postgres/0002_identity.sql")).unwrap();
    let migrated = "CREATE TABLE floodgate_migrations (version bigint, success boolean);
        INSERT INTO floodgate_migrations VALUES (1, true), (2, true)";
    server().psql(url, migrated).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_character_that_the_encoding_lacks_is_no_bad_row() {
    let url = encoded("LATIN1");
    assert!(matches!(
        migrate(&config(url.clone())).await,
        Err(MigrateError::Unfit(text)) if text.contains("encoding is LATIN1")
    ));
    make_tables(&url);
    let store = open(&config(url.clone())).unwrap();
    let likes: &dyn Apply<Like> = store.as_ref();
    let refused = likes.apply(&[like(1, "용사", "l", LikeAction::Like, 0)], at(0)).await;
    assert_retry(&refused, "UTF8");
    assert_eq!(rows(&url), "0|0\n");
}

/// Whatever others made of the tables: it is mended there, and the events wait.
#[tokio::test(flavor = "multi_thread")]
async fn what_others_made_of_the_tables_is_no_bad_row() {
    let trigger = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN RAISE EXCEPTION ''no''; END';
        CREATE TRIGGER refuse BEFORE INSERT ON likes FOR EACH ROW EXECUTE FUNCTION refuse()";
    let partitioned = "DROP TABLE likes; CREATE TABLE likes (target_ocid text COLLATE \"C\" NOT NULL,
            liker_account_id text COLLATE \"C\" NOT NULL, liked boolean NOT NULL, occurred_at timestamptz NOT NULL,
            event_id uuid NOT NULL, PRIMARY KEY (target_ocid, liker_account_id)) PARTITION BY LIST (target_ocid);
        CREATE TABLE likes_u PARTITION OF likes FOR VALUES IN ('u')";
    for (change, help, undo) in [
        (
            "ALTER TABLE likes ADD CONSTRAINT house CHECK (target_ocid <> 't')",
            "no such rule",
            "ALTER TABLE likes DROP CONSTRAINT house",
        ),
        ("ALTER TABLE likes ADD COLUMN mood text NOT NULL", "default", "ALTER TABLE likes DROP COLUMN mood"),
        (
            "CREATE UNIQUE INDEX one ON like_counts (count); INSERT INTO like_counts VALUES ('x', 2)",
            "no such rule",
            "DROP INDEX one; DELETE FROM like_counts",
        ),
        (
            "CREATE TABLE accounts (id text PRIMARY KEY);
             ALTER TABLE likes ADD CONSTRAINT known FOREIGN KEY (liker_account_id) REFERENCES accounts",
            "no such rule",
            "ALTER TABLE likes DROP CONSTRAINT known",
        ),
        (
            "ALTER TABLE likes ALTER liker_account_id TYPE varchar(1)",
            "narrower",
            "ALTER TABLE likes ALTER liker_account_id TYPE text COLLATE \"C\"",
        ),
        (trigger, "trigger", "DROP TRIGGER refuse ON likes"),
        (partitioned, "partition", "CREATE TABLE likes_t PARTITION OF likes FOR VALUES IN ('t')"),
    ] {
        let (url, store) = migrated(server()).await;
        server().psql(&url, change).unwrap();
        assert_retry(&apply(&store).await, help);
        server().psql(&url, undo).unwrap();
        assert_eq!(apply(&store).await.unwrap(), APPLIED, "{change}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_a_database_unfit_is_told_in_words() {
    let unfit =
        async |url: &str| open(&config(url.to_owned())).unwrap().unfit(&EventType::ALL).await.unwrap();
    let (url, _) = migrated(server()).await;
    assert_eq!(unfit(&url).await, Vec::<String>::new());
    let name = url.rsplit('/').next().unwrap();
    for (change, told, undo) in [
        (
            "SET default_transaction_isolation = 'serializable'",
            "default_transaction_isolation is serializable",
            "RESET default_transaction_isolation",
        ),
        ("SET default_transaction_read_only = on", "takes no writes", "RESET default_transaction_read_only"),
        ("SET search_path = nowhere", "search_path", "RESET search_path"),
    ] {
        server().psql("postgres", &format!("ALTER DATABASE {name} {change}")).unwrap();
        let found = unfit(&url).await.join("; ");
        assert!(found.contains(told), "{found}");
        // and it is not migrated
        assert!(
            matches!(migrate(&config(url.clone())).await, Err(MigrateError::Unfit(text)) if text.contains(told))
        );
        server().psql("postgres", &format!("ALTER DATABASE {name} {undo}")).unwrap();
    }
    server().psql(&url, "CREATE ROLE reader LOGIN PASSWORD 'reader'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader").unwrap();
    let reader = url.replace("testkit:testkit", "reader:reader");
    let found = unfit(&reader).await.join("; ");
    assert!(
        found.contains("may not INSERT, UPDATE on likes: GRANT SELECT, INSERT, UPDATE ON likes TO reader"),
        "{found}"
    );
    let asked = open(&config(reader)).unwrap();
    assert_eq!(asked.unfit(&[]).await, Ok(vec![]), "only what is asked for");
    let told = asked.keeps_decisions().await.unwrap().unwrap();
    assert!(told.contains("GRANT DELETE ON coupon_requests TO reader"), "{told}");
    server().psql(&url, "GRANT DELETE ON coupon_requests TO reader").unwrap();
    assert_eq!(asked.keeps_decisions().await, Ok(None));
    server().psql(&url, "ALTER TABLE coupon_requests RENAME TO others").unwrap();
    assert_eq!(asked.keeps_decisions().await, Ok(None), "there is none to delete from");
    assert!(unfit(&encoded("SQL_ASCII")).await.join("; ").contains("SQL_ASCII"));
}

/// Ends all sessions of a database and keeps others from beginning while `change` is made, from another database.
fn exclusively(name: &str, change: &str) {
    let change = change.split("; ").map(str::to_owned);
    let before = [
        format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false"),
        format!("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'"),
    ];
    for sql in before.into_iter().chain(change) {
        server().psql("postgres", &sql).unwrap();
    }
}

/// Neither a database made anew, nor an older copy of it, nor a schema made anew has anything applied to it.
#[tokio::test(flavor = "multi_thread")]
async fn another_database_behind_the_same_url_is_noticed() {
    let (url, store) = migrated(server()).await;
    let name = url.rsplit('/').next().unwrap();
    assert_eq!(store.moved().await, Ok(None));
    exclusively(
        name,
        &format!("CREATE DATABASE {name}_copy TEMPLATE {name}; ALTER DATABASE {name} ALLOW_CONNECTIONS true"),
    );
    // whatever was terminated is told once
    let first = loop {
        if let Ok(outcomes) = apply(&store).await {
            break outcomes;
        }
    };
    assert_eq!(first, APPLIED);

    let swap = |gone: &str, comes: &str| {
        let change = format!(
            "ALTER DATABASE {name} RENAME TO {gone}; ALTER DATABASE {comes} RENAME TO {name}; ALTER DATABASE {name} ALLOW_CONNECTIONS true"
        );
        exclusively(name, &change);
    };
    let refused = async |reason: &str| {
        let refused = loop {
            match apply(&store).await {
                // of the sessions that were terminated
                Err(ApplyError::Retry(text)) if !text.contains("nothing is applied to it") => {}
                other => break other,
            }
        };
        assert_retry(&refused, reason);
        assert_eq!(rows(&url), "0|0\n");
    };
    let moved = async || {
        loop {
            // the first to use a session that was terminated is told so
            if let Ok(moved) = store.moved().await {
                break moved;
            }
        }
    };
    swap(&format!("{name}_gone"), &format!("{name}_copy"));
    refused("lacks what was applied to it last").await;

    server().psql("postgres", &format!("CREATE DATABASE {name}_new")).unwrap();
    migrate(&config(server().url(&format!("{name}_new")))).await.unwrap();
    swap(&format!("{name}_copy"), &format!("{name}_new"));
    refused("another database stands where the one was").await;

    // a session that goes on sees the schema change under it
    swap(&format!("{name}_new"), &format!("{name}_gone"));
    let again = loop {
        if let Ok(outcomes) = apply(&store).await {
            break outcomes;
        }
    };
    assert_eq!(again, [ApplyOutcome::Duplicate; 2]);
    assert_eq!(moved().await, None);
    server().psql(&url, "ALTER SCHEMA public RENAME TO gone; CREATE SCHEMA public").unwrap();
    assert!(moved().await.is_some_and(|moved| moved.contains("is gone")));
    assert_retry(&apply(&store).await, "floodgate migrate");
    migrate(&config(url.clone())).await.unwrap();
    refused("another database stands where the one was").await;
    assert!(moved().await.is_some_and(|moved| moved.contains("another database")));
    server().psql(&url, "DROP SCHEMA public CASCADE; ALTER SCHEMA gone RENAME TO public").unwrap();
    let again = loop {
        if let Ok(outcomes) = apply(&store).await {
            break outcomes;
        }
    };
    assert_eq!((again, moved().await), (vec![ApplyOutcome::Duplicate; 2], None));
}
