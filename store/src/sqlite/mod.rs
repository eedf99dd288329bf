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
mod blame;
mod coupons;
mod expectations;
mod forget;
mod likes;
mod reads;
mod repair;
mod reset;
mod schemas;
mod site;

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use floodgate_schemas::{EventId, Timestamp};
use serde::{Serialize, Serializer};
use sqlx::error::DatabaseError;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteRow, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Error, Row};
use uuid::Uuid;

use crate::connections::{Connections, Lease};
use crate::database::{Database, Opened};
use crate::dialect::{Blame, Dialect, Lookup, Place, Statements};
use crate::ground::Ground;
use crate::migrations::{self, MIGRATIONS_TABLE};
use crate::transaction;
use crate::{
    Apply, ApplyError, ApplyOutcome, BoxFuture, Config, MigrateError, MigrationReport, OpenError, Pooler,
};

/// Version, name and SQL of every migration.
pub(crate) const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "tables", include_str!("../../migrations/sqlite/0001_tables.sql")),
    (2, "identity", include_str!("../../migrations/sqlite/0002_identity.sql")),
    (3, "registry_schemas", include_str!("../../migrations/sqlite/0003_registry_schemas.sql")),
];

/// What a transaction that writes begins with.
const BEGIN: &str = "BEGIN IMMEDIATE";

/// How long a recount of all tables may take altogether.
const RECOUNT_TIMEOUT: Duration = Duration::from_secs(3600);

/// An SQLite database in a file.
struct SqliteStore {
    path: PathBuf,
    /// The one that writes.
    writer: Connections<SqliteConnection>,
    readers: Connections<SqliteConnection>,
    /// Makes the file and its schema.
    migrations: Connections<SqliteConnection>,
    ground: Ground,
    lock_timeout: Duration,
    apply_timeout: Duration,
    request_timeout: Duration,
}

/// The database in the file at this path.
pub(crate) fn open(path: &str, config: &Config) -> Opened {
    Ok(Arc::new(SqliteStore::new(path, config)?))
}

/// The URL for people, of what stands behind its scheme; `None` where that is no file's name, and may hold anything.
pub(crate) fn shown(path: &str) -> Option<String> {
    no_name(path).is_none().then(|| format!("sqlite://{path}"))
}

/// Why a file's name is none that somebody means: other programs' URLs have more in them, which would be a part of the name here.
fn no_name(path: &str) -> Option<&'static str> {
    let is_encoded = |text: &str| {
        let digits = text.as_bytes();
        digits.len() >= 2 && digits[..2].iter().all(u8::is_ascii_hexdigit)
    };
    if path.contains('?') {
        Some("takes no parameters after the file's name")
    } else if path.contains('@') && !path.starts_with(['/', '.']) {
        Some(
            "holds an `@`, as a server's address does: a file whose name has one is written with ./ or / in front",
        )
    } else if path.starts_with("file:") {
        Some("takes no `file:` in front of the file's name")
    } else if path.starts_with(char::is_whitespace) {
        Some("has a blank in front of the file's name")
    } else if path.split('%').skip(1).any(is_encoded) {
        Some("has a file's name that is percent-encoded: it is written as it is")
    } else {
        None
    }
}

impl SqliteStore {
    fn new(path: &str, config: &Config) -> Result<Self, OpenError> {
        if path.is_empty() {
            return Err(OpenError::new("url", "names no file: write sqlite://floodgate.db"));
        }
        if path == ":memory:" {
            let reason = "is in memory, where every connection has a database of its own: name a file";
            return Err(OpenError::new("url", reason));
        }
        if let Some(reason) = no_name(path) {
            return Err(OpenError::new("url", reason));
        }
        if config.pooler != Pooler::None {
            return Err(OpenError::new("pooler", "is for servers, and sqlite:// has none"));
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
            writer: connections(options.clone().pragma("cache_size", "-65536"), 1).in_file(path.into()),
            readers: connections(options.clone().read_only(true), config.max_connections - 1)
                .in_file(path.into()),
            // the file itself remembers the journal's mode
            migrations: connections(options.journal_mode(SqliteJournalMode::Wal), 1),
            ground: Ground::default(),
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
                    if blame::is_busy(error.as_ref()) && start.elapsed() < self.lock_timeout =>
                {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                leased => return leased,
            }
        }
    }

    /// Makes the file, if there is none, for nobody but its owner. SQLite gives its other files the same mode.
    async fn make_file(&self) {
        let mut owners = tokio::fs::OpenOptions::new();
        // what stands against it SQLite says when it opens it
        let _ = owners.write(true).create_new(true).mode(0o600).open(&self.path).await;
    }

    async fn run_migrations(&self) -> Result<MigrationReport, MigrateError> {
        let failure = |error| migrations::failure(error, explain);
        let unavailable = |error: Error| failure(error.into());
        self.make_file().await;
        let mut lease = self.lease_to_migrate().await.map_err(unavailable)?;
        // makes another process wait until the whole run is committed
        let begun = lease.connection.begin_with(BEGIN).await;
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

impl<E: Statements<SqliteConnection> + Lookup<SqliteConnection>> Apply<E> for SqliteStore {
    fn apply<'a>(
        &'a self,
        events: &'a [E],
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<ApplyOutcome>, ApplyError>> {
        Box::pin(transaction::apply((&self.writer, &self.ground), self.apply_timeout, events, now))
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

impl Dialect for SqliteConnection {
    type Options = SqliteConnectOptions;

    async fn connect(options: &SqliteConnectOptions) -> Result<Self, Error> {
        options.connect().await
    }

    async fn ping(&mut self) -> Result<(), Error> {
        Connection::ping(self).await
    }

    async fn begin(&mut self) -> Result<(), Error> {
        sqlx::raw_sql(BEGIN).execute(self).await.map(drop)
    }

    async fn commit(&mut self) -> Result<(), Error> {
        sqlx::raw_sql("COMMIT").execute(self).await.map(drop)
    }

    async fn roll_back(&mut self) -> Result<(), Error> {
        sqlx::raw_sql("ROLLBACK").execute(self).await.map(drop)
    }

    fn blame(error: &dyn DatabaseError) -> Blame {
        blame::blame(blame::result_code(error), error.message())
    }

    /// There is no server.
    fn is_lost(_: &dyn DatabaseError) -> bool {
        false
    }

    async fn place(&mut self) -> Result<Place, Error> {
        let query = sqlx::query_scalar("SELECT id FROM floodgate_identity");
        Ok(Place { identity: query.fetch_optional(self).await?, make: String::new() })
    }
}
