//! Behind a pooler that lends sessions for a transaction at a time PostgreSQL passes the same suite, nothing is left in a
//! session or found there, and a pooler that nobody told of is noticed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::{Arc, OnceLock};

use floodgate_schemas::examples::{at, like};
use floodgate_schemas::{Like, LikeAction, TargetOcid};
use floodgate_store::{
    Apply, ApplyError, ApplyOutcome, Config, MigrateError, Pooler, ReadError, Store, migrate, open,
};
use floodgate_testkit::PgBouncer;
use secrecy::ExposeSecret;
use sqlx::{AssertSqlSafe, Connection, PgConnection, raw_sql};
use support::{Database, FORBID_BAD_LIKER, config, server};

/// Two sessions for each database.
fn pooler() -> &'static PgBouncer {
    static POOLER: OnceLock<PgBouncer> = OnceLock::new();
    POOLER.get_or_init(|| PgBouncer::start(server(), &[]).unwrap())
}

fn pooled(url: String) -> Config {
    config(url, Pooler::Transaction)
}

async fn empty() -> Database {
    Database::of(pooled(pooler().url(&server().create_database().unwrap())))
}

async fn migrated() -> Database {
    empty().await.migrated().await
}

floodgate_store::store_contract! {
    migrated: migrated,
    empty: empty,
    cases: 16,
    forbid_bad_liker: FORBID_BAD_LIKER
}

fn target() -> TargetOcid {
    TargetOcid::try_from("t".to_owned()).unwrap()
}

async fn apply(store: &Arc<dyn Store>, liker: u64) -> Result<Vec<ApplyOutcome>, ApplyError> {
    let likes: &dyn Apply<Like> = store.as_ref();
    likes.apply(&[like(liker, "t", &format!("l{liker}"), LikeAction::Like, 0)], at(0)).await
}

/// Another program behind the same pooler keeps to none of its rules: it names statements as we would, and sets what would
/// break ours. Neither is answered with the other's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_are_shared_with_others_that_leave_things_in_them() {
    let database = migrated().await;
    let (store, url) = (&database.store, database.config.url.expose_secret());
    let options = url.parse::<sqlx::postgres::PgConnectOptions>().unwrap().extra_float_digits(None);
    for round in 0..40 {
        let mut other = PgConnection::connect_with(&options).await.unwrap();
        let names = (1..=30).map(|number| format!("PREPARE sqlx_s_{number} AS SELECT {number} AS number;"));
        // longer than it takes to say another one, also while others are at work
        let leaves = format!("DEALLOCATE ALL; {} SET statement_timeout = 500", names.collect::<String>());
        raw_sql(AssertSqlSafe(leaves)).execute(&mut other).await.unwrap();
        let (applied, counted) =
            tokio::join!(apply(store, round), async { store.like_count(&target()).await });
        assert_eq!(applied, Ok(vec![ApplyOutcome::Applied]), "round {round}");
        assert!(counted.is_ok_and(|count| [round, round + 1].contains(&count)), "round {round}");
    }
    assert_eq!(store.like_count(&target()).await, Ok(40));
}

/// Whoever gets the session next finds nothing of ours in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_in_a_session() {
    let alone = PgBouncer::start(server(), &[("default_pool_size", "1")]).unwrap();
    let config = pooled(alone.url(&server().create_database().unwrap()));
    let asked = |sql: &str| server().psql(config.url.expose_secret(), sql).unwrap();
    let settings = "SELECT string_agg(name || setting, ' ' ORDER BY name) FROM pg_settings
        WHERE name LIKE 'enable_%' OR name LIKE '%_timeout' OR name = 'jit'";
    let before = asked(settings);
    migrate(&config).await.unwrap();
    let store = open(&config).unwrap();
    assert_eq!(store.unfit(&[]).await, Ok(Vec::new()));
    for liker in 0..3 {
        assert_eq!(apply(&store, liker).await, Ok(vec![ApplyOutcome::Applied]));
        assert!(store.like_count(&target()).await.is_ok());
    }
    assert_eq!(asked(settings), before);
    let left = "SELECT (SELECT count(*) FROM pg_prepared_statements),
        (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory')";
    assert_eq!(asked(left), "0|0\n");
}

/// What is said within each transaction holds there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_has_its_time_there_too() {
    let database = migrated().await;
    let slow = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN PERFORM pg_sleep(30); RETURN new; END';
        CREATE TRIGGER slow BEFORE INSERT ON likes FOR EACH ROW EXECUTE FUNCTION slow()";
    server().psql(database.config.url.expose_secret(), slow).unwrap();
    let hurried = Config { statement_timeout_ms: 300, lock_timeout_ms: 200, ..database.config };
    let slow = apply(&open(&hurried).unwrap(), 1).await;
    assert!(
        matches!(&slow, Err(ApplyError::TooSlow(why)) if why.contains("statement_timeout_ms")),
        "{slow:?}"
    );
}

/// As PgBouncer comes, and set so that it drops what a session is opened with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_that_nobody_told_of_is_refused_with_what_to_change() {
    let url = server().create_database().unwrap();
    migrate(&pooled(pooler().url(&url))).await.unwrap();
    let drops = [("ignore_startup_parameters", "extra_float_digits,options")];
    let knows = [("ignore_startup_parameters", "extra_float_digits")];
    for settings in [&[][..], &knows, &drops] {
        let pooler = PgBouncer::start(server(), settings).unwrap();
        let config = Config { pooler: Pooler::None, ..pooled(pooler.url(&url)) };
        let store = open(&config).unwrap();
        let helps = |text: &str| text.contains("[store] pooler = \"transaction\"");
        let unfit = store.unfit(&[]).await;
        assert!(unfit.as_ref().is_ok_and(|unfit| helps(&unfit.join("; "))), "{settings:?}: {unfit:?}");
        let migrated = migrate(&config).await;
        assert!(
            matches!(&migrated, Err(MigrateError::Unfit(why)) if helps(why)),
            "{settings:?}: {migrated:?}"
        );
        let applied = apply(&store, 1).await;
        assert!(matches!(&applied, Err(ApplyError::Retry(why)) if helps(why)), "{settings:?}: {applied:?}");
        let counted = store.like_count(&target()).await;
        assert!(
            matches!(&counted, Err(ReadError::Unavailable(why)) if helps(why)),
            "{settings:?}: {counted:?}"
        );
        // and told, the same pooler serves
        let told = open(&Config { pooler: Pooler::Transaction, ..config }).unwrap();
        assert_eq!(told.like_count(&target()).await, Ok(0), "{settings:?}");
    }
}

/// The file has no server.
#[test]
fn a_file_has_no_pooler() {
    let refused = open(&pooled("sqlite://floodgate.db".to_owned())).err().unwrap();
    assert_eq!(refused.key, "pooler");
}
