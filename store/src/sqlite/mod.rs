//! SQLite: one file, one writer at a time.
//!
//! A batch begins with BEGIN IMMEDIATE, which takes the database's only write lock; other processes wait for
//! it (busy timeout). So a batch may first look at what stands, decide in plain code, and then write what
//! really changes. Readers go on meanwhile (write-ahead log). `synchronous = FULL`: a committed batch is on
//! the disk, so it survives a power cut and not only a crash.
//!
//! A batch is bound as one JSON text, unfolded by `json_each`: the statement is the same text for every size.
//! JSON's integers stay exact over the whole range of 64 bits in SQLite, unlike in languages that read them
//! as floats.

mod audit;
mod coupons;
mod expectations;
mod likes;
mod reads;
mod reset;

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use floodgate_schemas::{EventId, Timestamp};
use serde::{Serialize, Serializer};
use sqlx::error::DatabaseError;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteRow, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Error, Row};
use uuid::Uuid;

use crate::connections::{Connections, Lease};
use crate::migrations::{self, MIGRATIONS_TABLE};
use crate::open::Database;
use crate::transaction::{self, Blame, Dialect, Statements};
use crate::{Apply, ApplyError, BoxFuture, Config, MigrateError, MigrationReport, OpenError, Outcome};

/// Version, name and SQL of every migration.
pub(crate) const MIGRATIONS: &[(i64, &str, &str)] =
    &[(1, "tables", include_str!("../../migrations/sqlite/0001_tables.sql"))];

/// How long a recount of all tables may take altogether.
const RECOUNT_TIMEOUT: Duration = Duration::from_secs(3600);

/// SQLite's result codes, under its names.
mod code {
    pub(super) const ERROR: i32 = 1;
    pub(super) const BUSY: i32 = 5;
    pub(super) const LOCKED: i32 = 6;
    pub(super) const READONLY: i32 = 8;
    pub(super) const FULL: i32 = 13;
    pub(super) const CANTOPEN: i32 = 14;
    pub(super) const CONSTRAINT: i32 = 19;
    pub(super) const MISMATCH: i32 = 20;
    pub(super) const NOTADB: i32 = 26;
    pub(super) const CONSTRAINT_KEY: i32 = 1555;
    pub(super) const CONSTRAINT_UNIQUE: i32 = 2067;
}

/// An SQLite database in a file.
pub(crate) struct SqliteStore {
    path: PathBuf,
    /// The one that writes.
    writer: Connections<SqliteConnection>,
    readers: Connections<SqliteConnection>,
    /// Makes the file and its schema.
    migrations: Connections<SqliteConnection>,
    lock_timeout: Duration,
    apply_timeout: Duration,
    request_timeout: Duration,
}

impl SqliteStore {
    pub(crate) fn new(path: &str, config: &Config) -> Result<Self, OpenError> {
        if path.is_empty() {
            return Err(OpenError::new("url", "names no file: write sqlite://floodgate.db"));
        }
        if path == ":memory:" {
            let reason = "is in memory, where every connection has a database of its own: name a file";
            return Err(OpenError::new("url", reason));
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(config.lock_timeout())
            .disable_statement_logging();
        let connections = |options, max| Connections::new(options, max, config.connect_timeout());
        Ok(Self {
            path: path.into(),
            // the rows of a batch lie all over the file: with a cache of 64 MiB (in KiB, negative, by
            // SQLite's convention) instead of 2 MiB, batches are twice as fast
            writer: connections(options.clone().pragma("cache_size", "-65536"), 1),
            readers: connections(options.clone().read_only(true), config.max_connections - 1),
            // the file itself remembers the journal's mode
            migrations: connections(options.create_if_missing(true).journal_mode(SqliteJournalMode::Wal), 1),
            lock_timeout: config.lock_timeout(),
            apply_timeout: config.apply_timeout(),
            request_timeout: config.request_timeout(),
        })
    }

    /// Connects, which switches the file to write-ahead logging. Where another process is at that too, SQLite
    /// gives up at once, whatever the busy timeout; so the waiting is here.
    async fn lease_to_migrate(&self) -> Result<Lease<'_, SqliteConnection>, Error> {
        let start = Instant::now();
        loop {
            match self.migrations.lease().await {
                Err(Error::Database(error))
                    if result_code(error.as_ref()) & 0xff == code::BUSY
                        && start.elapsed() < self.lock_timeout =>
                {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                leased => return leased,
            }
        }
    }

    async fn run_migrations(&self) -> Result<MigrationReport, MigrateError> {
        let failure = |error| migrations::failure(error, explain);
        let unavailable = |error: Error| failure(error.into());
        let mut lease = self.lease_to_migrate().await.map_err(unavailable)?;
        // sqlx takes no lock on SQLite: ours makes another process wait until the whole run is committed
        let begun = lease.connection.begin_with(SqliteConnection::BEGIN).await;
        let mut transaction = begun.map_err(unavailable)?;
        let from = applied(&mut transaction).await.map_err(unavailable)?;
        let migrator = migrations::migrator(MIGRATIONS);
        // `run` has bounds that keep its future from moving between threads
        migrator.run_direct(None, &mut *transaction, false).await.map_err(failure)?;
        transaction.commit().await.map_err(unavailable)?;
        // done is done, even if the goodbye fails
        let _ = lease.connection.close().await;
        Ok(MigrationReport { from, to: migrations::NEWEST })
    }

    /// Whether there is a database to ask; opening one to read does not make it.
    async fn exists(&self) -> bool {
        !matches!(tokio::fs::metadata(&self.path).await, Err(error) if error.kind() == ErrorKind::NotFound)
    }
}

/// The newest migration the database has had; `None` without a schema.
async fn applied(connection: &mut SqliteConnection) -> Result<Option<i64>, Error> {
    let exists: i64 =
        sqlx::query_scalar("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?1")
            .bind(MIGRATIONS_TABLE)
            .fetch_one(&mut *connection)
            .await?;
    if exists == 0 {
        return Ok(None);
    }
    sqlx::query_scalar("SELECT max(version) FROM floodgate_migrations WHERE success")
        .fetch_one(connection)
        .await
}

fn explain(error: &Error) -> String {
    transaction::explain::<SqliteConnection>(error).1
}

impl Database for SqliteStore {
    fn migrate(&self) -> BoxFuture<'_, Result<MigrationReport, MigrateError>> {
        Box::pin(self.run_migrations())
    }
}

impl<E: Statements<SqliteConnection>> Apply<E> for SqliteStore {
    fn apply<'a>(
        &'a self,
        events: &'a [E],
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<Outcome>, ApplyError>> {
        Box::pin(transaction::apply(&self.writer, self.apply_timeout, events, now))
    }
}

/// Rows as a JSON array, to bind as one parameter.
fn json<T: Serialize>(rows: impl IntoIterator<Item = T>) -> Result<String, Error> {
    let mut text = Vec::new();
    let written = serde_json::Serializer::new(&mut text).collect_seq(rows);
    written.map_err(|error| Error::Encode(error.into()))?;
    String::from_utf8(text).map_err(|error| Error::Encode(error.into()))
}

/// Reads the place of a row within a bound array.
fn place(row: &SqliteRow, column: usize) -> Result<usize, Error> {
    usize::try_from(row.try_get::<i64, _>(column)?).map_err(Error::decode)
}

/// Reads an event's id.
fn event_id(row: &SqliteRow, column: usize) -> Result<EventId, Error> {
    Ok(Uuid::parse_str(row.try_get(column)?).map_err(Error::decode)?.into())
}

/// Reads a time.
fn time(row: &SqliteRow, column: usize) -> Result<Timestamp, Error> {
    Timestamp::from_micros(row.try_get(column)?).map_err(Error::decode)
}

/// SQLite's extended result code; the kind of error is its lowest byte.
fn result_code(error: &dyn DatabaseError) -> i32 {
    error.code().and_then(|code| code.parse().ok()).unwrap_or_default()
}

impl Dialect for SqliteConnection {
    const BEGIN: &'static str = "BEGIN IMMEDIATE";

    fn blame(error: &dyn DatabaseError) -> Blame {
        let extended = result_code(error);
        let help = match extended & 0xff {
            // we looked before we wrote, and nobody writes in between
            code::CONSTRAINT if matches!(extended, code::CONSTRAINT_KEY | code::CONSTRAINT_UNIQUE) => {
                "the tables contradict each other: someone else wrote to them"
            }
            code::CONSTRAINT | code::MISMATCH => return Blame::Row,
            code::ERROR if error.message().starts_with("no such") => {
                "the schema is missing or older: run `floodgate migrate`"
            }
            code::BUSY | code::LOCKED => {
                "another process held the database for longer than [store] lock_timeout_ms"
            }
            code::READONLY => "the file, or its folder, is not writable",
            code::FULL => "the disk is full",
            code::CANTOPEN => {
                "there is no such file, or it may not be opened: look whether the folder exists, then run `floodgate migrate`"
            }
            code::NOTADB => "the file is no SQLite database",
            _ => return Blame::Elsewhere(None),
        };
        Blame::Elsewhere(Some(help))
    }
}
