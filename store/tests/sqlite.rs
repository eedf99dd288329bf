//! SQLite passes the suite, and behaves as its module's documentation says.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use floodgate_schemas::examples::{at, like};
use floodgate_schemas::{EventType, Like, LikeAction};
use floodgate_store::contract::Subject;
use floodgate_store::{
    Apply, ApplyError, ApplyOutcome, BoxFuture, Config, MigrateError, Pooler, Store, migrate, open,
};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection, Row};
use tempfile::TempDir;

struct Sqlite {
    folder: TempDir,
    config: Config,
    store: Arc<dyn Store>,
}

async fn empty() -> Sqlite {
    let folder = TempDir::new().unwrap();
    let config = Config {
        url: format!("sqlite://{}/floodgate.db", folder.path().display()).into(),
        pooler: Pooler::None,
        max_connections: 4,
        connect_timeout_ms: 5_000,
        statement_timeout_ms: 10_000,
        lock_timeout_ms: 5_000,
        apply_timeout_ms: 15_000,
    };
    let store = open(&config).unwrap();
    Sqlite { folder, config, store }
}

impl Sqlite {
    async fn connect(&self) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(self.folder.path().join("floodgate.db"));
        SqliteConnection::connect_with(&options).await.unwrap()
    }
}

impl Subject for Sqlite {
    fn config(&self) -> &Config {
        &self.config
    }

    fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    fn sql<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Option<i64>> {
        Box::pin(async move {
            let mut connection = self.connect().await;
            let row = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_optional(&mut connection).await.unwrap();
            connection.close().await.unwrap();
            row.map(|row| row.get(0))
        })
    }
}

async fn migrated() -> Sqlite {
    let sqlite = empty().await;
    migrate(&sqlite.config).await.unwrap();
    sqlite
}

floodgate_store::store_contract! {
    migrated: migrated,
    empty: empty,
    cases: 200,
    // a check under the name of one of ours
    forbid_bad_liker: "DROP TABLE likes; CREATE TABLE likes (
        target_ocid TEXT NOT NULL, liker_account_id TEXT NOT NULL, liked INTEGER NOT NULL, occurred_at INTEGER NOT NULL,
        event_id TEXT NOT NULL, PRIMARY KEY (target_ocid, liker_account_id),
        CONSTRAINT \"liked IN (0, 1)\" CHECK (liker_account_id <> 'bad')) STRICT, WITHOUT ROWID"
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_in_which_no_file_can_be_made_is_told() {
    let sqlite = empty().await;
    assert_eq!(sqlite.store.unfit(&EventType::ALL).await, Ok(vec![]));
    assert_eq!(std::fs::read_dir(sqlite.folder.path()).unwrap().count(), 0, "something was left there");
    std::fs::remove_dir(sqlite.folder.path()).unwrap();
    let unfit = sqlite.store.unfit(&EventType::ALL).await.unwrap().concat();
    assert!(unfit.contains("none can be made in the folder"), "{unfit}");
    let refused = migrate(&sqlite.config).await;
    assert!(matches!(&refused, Err(MigrateError::Unfit(why)) if why.contains("No such file")), "{refused:?}");
}

/// Ids of people are in it.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_its_owner_reads_a_file_that_is_made() {
    let sqlite = migrated().await;
    apply(&sqlite.store).await.unwrap();
    let mut modes: Vec<_> = std::fs::read_dir(sqlite.folder.path())
        .unwrap()
        .map(Result::unwrap)
        .map(|file| (file.file_name(), file.metadata().unwrap().permissions().mode() & 0o777))
        .collect();
    modes.sort();
    let names = ["floodgate.db", "floodgate.db-shm", "floodgate.db-wal"];
    assert_eq!(modes, names.map(|name| (name.into(), 0o600)));
}

fn two_likes() -> [Like; 2] {
    [1, 2].map(|n| like(n, "t", &format!("l{n}"), LikeAction::Like, 0))
}

async fn apply(store: &Arc<dyn Store>) -> Result<Vec<ApplyOutcome>, ApplyError> {
    let likes: &dyn Apply<Like> = store.as_ref();
    likes.apply(&two_likes(), at(0)).await
}

#[track_caller]
fn assert_retry(result: &Result<Vec<ApplyOutcome>, ApplyError>, reason: &str) {
    match result {
        Err(ApplyError::Retry(text)) if text.contains(reason) => {}
        other => panic!("not a retry for `{reason}`: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_file_or_schema_is_named_and_no_file_is_made() {
    let sqlite = empty().await;
    assert_retry(&apply(&sqlite.store).await, "run `floodgate migrate`");
    let file = sqlite.folder.path().join("floodgate.db");
    assert!(!file.exists());
    std::fs::write(&file, "").unwrap();
    assert_retry(&apply(&sqlite.store).await, "run `floodgate migrate`");
    migrate(&sqlite.config).await.unwrap();
    assert_eq!(apply(&sqlite.store).await, Ok(vec![ApplyOutcome::Applied; 2]));
    assert_eq!(apply(&sqlite.store).await, Ok(vec![ApplyOutcome::Duplicate; 2]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_database_is_no_bad_row() {
    let sqlite = empty().await;
    std::fs::write(sqlite.folder.path().join("floodgate.db"), [b'x'; 5_000]).unwrap();
    assert_retry(&apply(&sqlite.store).await, "no SQLite database");
    assert!(sqlite.store.schema_state().await.is_err());
}

/// Another process writes for longer than the lock timeout: the batch ends in time, reads go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_held_lock_ends_the_batch_in_time_and_reads_go_on() {
    let mut sqlite = migrated().await;
    assert_eq!(apply(&sqlite.store).await, Ok(vec![ApplyOutcome::Applied; 2]));
    sqlite.config.lock_timeout_ms = 300;
    sqlite.store = open(&sqlite.config).unwrap();
    let mut holder = sqlite.connect().await;
    sqlx::raw_sql("BEGIN IMMEDIATE; DELETE FROM likes").execute(&mut holder).await.unwrap();
    let start = Instant::now();
    assert_retry(&apply(&sqlite.store).await, "lock_timeout_ms");
    let waited = start.elapsed();
    assert!((300..2_000).contains(&waited.as_millis()), "{waited:?}");
    let [first, _] = two_likes();
    let liked = sqlite.store.liked(&first.target_ocid, &first.liker_account_id).await;
    assert_eq!(liked, Ok(true));
    sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
    assert_eq!(apply(&sqlite.store).await, Ok(vec![ApplyOutcome::Duplicate; 2]));
}

/// Two processes on one file take turns.
#[tokio::test(flavor = "multi_thread")]
async fn two_processes_take_turns() {
    let sqlite = migrated().await;
    let other = open(&sqlite.config).unwrap();
    let write = async |store: &Arc<dyn Store>| {
        for n in 0..40 {
            let event = like(n, "t", &format!("l{n}"), LikeAction::Like, 0);
            store.apply(&[event], at(0)).await.unwrap();
        }
    };
    tokio::join!(write(&sqlite.store), write(&other));
    let [first, _] = two_likes();
    assert_eq!(other.like_count(&first.target_ocid).await, Ok(40));
}

/// Readers beside the writer need write-ahead logging; the file itself remembers it.
#[tokio::test(flavor = "multi_thread")]
async fn the_file_is_in_write_ahead_mode() {
    let sqlite = migrated().await;
    let mut connection = sqlite.connect().await;
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut connection).await.unwrap();
    assert_eq!(mode, "wal");
}

/// What other programs read: UUIDs as lower-case text, times as whole microseconds, costs as text with two places.
#[tokio::test]
async fn values_are_kept_as_was_promised() {
    use floodgate_schemas::ExpectationWrite;
    use floodgate_schemas::examples::expectation;

    let sqlite = migrated().await;
    let write = expectation(0xab, 7, 1, 5);
    Apply::<ExpectationWrite>::apply(&*sqlite.store, std::slice::from_ref(&write), at(9)).await.unwrap();
    Apply::<Like>::apply(&*sqlite.store, &[like(0xcd, "t", "l", LikeAction::Like, 3)], at(9)).await.unwrap();
    let mut connection = sqlite.connect().await;
    let mut text = async |sql: &'static str| -> String {
        sqlx::query(sql).fetch_one(&mut connection).await.unwrap().get::<String, _>(0)
    };
    let kept = "SELECT group_concat(value, ' ') FROM (SELECT typeof(event_id) AS value FROM expectations \
                UNION ALL SELECT event_id FROM expectations UNION ALL SELECT typeof(calculated_at) FROM expectations \
                UNION ALL SELECT CAST(calculated_at AS TEXT) FROM expectations \
                UNION ALL SELECT typeof(total_expected_cost) FROM expectations \
                UNION ALL SELECT total_expected_cost FROM expectations)";
    let wanted = format!("text {} integer {} text 500.00", write.event_id, write.calculated_at.as_micros());
    assert_eq!(text(kept).await, wanted);
    assert_eq!(
        text("SELECT typeof(event_id) || ' ' || typeof(occurred_at) FROM likes").await,
        "text integer"
    );
}

/// Rules that somebody else made are trouble of the database, whatever they are.
#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_rule_is_no_bad_row() {
    for (rule, help) in [
        (
            "CREATE TRIGGER forbid BEFORE INSERT ON likes BEGIN SELECT RAISE(ABORT, 'forbidden'); END",
            "a trigger",
        ),
        ("ALTER TABLE likes ADD COLUMN mood TEXT CHECK (mood IS NOT NULL)", "no such rule"),
        ("CREATE UNIQUE INDEX one ON likes (target_ocid)", "someone else"),
    ] {
        let sqlite = migrated().await;
        sqlite.sql(rule).await;
        assert_retry(&apply(&sqlite.store).await, help);
        assert_eq!(sqlite.sql("SELECT count(*) FROM likes").await, Some(0));
    }
}

/// Moves the database's file, and what lies beside it.
fn move_away(sqlite: &Sqlite, from: &str, to: &str) {
    for beside in ["", "-wal", "-shm"] {
        let path = |name: &str| sqlite.folder.path().join(format!("{name}{beside}"));
        if path(from).exists() {
            std::fs::rename(path(from), path(to)).unwrap();
        }
    }
}

async fn apply_more(sqlite: &Sqlite, number: u64) -> Result<Vec<ApplyOutcome>, ApplyError> {
    let store: &dyn Apply<Like> = sqlite.store.as_ref();
    store.apply(&[like(number, "t", &format!("l{number}"), LikeAction::Like, 0)], at(0)).await
}

/// Nothing is applied to a file that nobody finds again, nor to another one that lies in its place.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_moved_is_not_written_to() {
    let sqlite = migrated().await;
    let copy = sqlite.folder.path().join("copy.db");
    assert_eq!(sqlite.store.moved().await, Ok(None));
    assert_eq!(apply(&sqlite.store).await, Ok(vec![ApplyOutcome::Applied; 2]));
    sqlite.sql(&format!("VACUUM INTO '{}'", copy.display())).await;
    assert_eq!(apply_more(&sqlite, 3).await, Ok(vec![ApplyOutcome::Applied]));

    move_away(&sqlite, "floodgate.db", "gone.db");
    assert_retry(&apply_more(&sqlite, 4).await, "there is no such file");
    let moved = async || sqlite.store.moved().await.unwrap().unwrap_or_default();
    assert!(moved().await.contains("is gone"), "{}", moved().await);

    migrate(&sqlite.config).await.unwrap();
    assert_retry(&apply_more(&sqlite, 4).await, "another database stands where the one was");
    assert!(moved().await.contains("another database"), "{}", moved().await);
    assert_eq!(sqlite.sql("SELECT count(*) FROM likes").await, Some(0));

    move_away(&sqlite, "floodgate.db", "new.db");
    std::fs::copy(&copy, sqlite.folder.path().join("floodgate.db")).unwrap();
    assert_retry(&apply_more(&sqlite, 4).await, "lacks what was applied to it last");
    assert_eq!(sqlite.sql("SELECT count(*) FROM likes").await, Some(2));

    move_away(&sqlite, "floodgate.db", "copy.db");
    move_away(&sqlite, "gone.db", "floodgate.db");
    assert_eq!(apply_more(&sqlite, 4).await, Ok(vec![ApplyOutcome::Applied]));
    assert_eq!(
        (sqlite.store.moved().await, sqlite.sql("SELECT count(*) FROM likes").await),
        (Ok(None), Some(4))
    );
}

/// How often this process has a file open.
fn times_open(file: &Path) -> usize {
    let open = std::fs::read_dir("/proc/self/fd").unwrap().map(Result::unwrap);
    open.filter(|entry| std::fs::read_link(entry.path()).is_ok_and(|to| to == file)).count()
}

/// A file in place of another is seen also where it comes while a batch is under way.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_moved_under_a_batch_has_nothing_reported_as_applied() {
    let sqlite = migrated().await;
    let mut holder = sqlite.connect().await;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut holder).await.unwrap();
    let file = sqlite.folder.path().join("floodgate.db").canonicalize().unwrap();
    let before = times_open(&file);
    let (applied, ()) = tokio::join!(apply(&sqlite.store), async {
        // the batch has the file open, and can do no more than wait for the lock
        let opens = async {
            while times_open(&file) == before {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), opens).await.expect("the batch opens the file");
        move_away(&sqlite, "floodgate.db", "gone.db");
        sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
    });
    assert!(matches!(applied, Err(ApplyError::Retry(_))), "{applied:?}");
    move_away(&sqlite, "gone.db", "floodgate.db");
    assert_eq!(apply(&sqlite.store).await, Ok(vec![ApplyOutcome::Applied; 2]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_can_be_written_is_fit() {
    let sqlite = empty().await;
    assert_eq!(sqlite.store.unfit(&[]).await, Ok(vec![]), "nothing there yet");
    migrate(&sqlite.config).await.unwrap();
    assert_eq!(sqlite.store.unfit(&[]).await, Ok(vec![]));
}
