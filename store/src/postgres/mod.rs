//! PostgreSQL.
//!
//! Isolation is READ COMMITTED, said explicitly: each statement sees what was committed when *it* began. That
//! is why rows are locked in one statement and looked at in a later one: the second then sees all that the
//! lock's former holder wrote.
//!
//! A batch travels as one array per column and is unfolded by `unnest`, so a statement is the same text for
//! every batch size and is prepared once per connection. The arrays are unfolded side by side in the select list: in the
//! FROM clause each would be written into a temporary store of its own first.
//!
//! A pooler may be in between that lends sessions for a transaction at a time; `session` says what that takes.

mod address;
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
mod session;
mod site;
mod types;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use floodgate_schemas::Timestamp;
use sqlx::Error;
use sqlx::error::DatabaseError;
use sqlx::postgres::PgConnection;
use tokio::time::timeout;

use self::session::{Opening, Session};
use crate::connections::Connections;
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
    (1, "tables", include_str!("../../migrations/postgres/0001_tables.sql")),
    (2, "identity", include_str!("../../migrations/postgres/0002_identity.sql")),
    (3, "registry_schemas", include_str!("../../migrations/postgres/0003_registry_schemas.sql")),
];

/// Makes another process wait until the whole run is committed.
const LOCK_MIGRATIONS: &str = "SELECT pg_advisory_xact_lock(hashtext('floodgate_migrations'))";

/// How long a migration may take altogether, waiting for another process's included.
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(600);

/// How long a recount of all tables may take altogether.
const RECOUNT_TIMEOUT: Duration = Duration::from_secs(3600);

/// A PostgreSQL database.
struct PostgresStore {
    /// Apply batches.
    batches: Connections<Session>,
    /// Serve requests.
    requests: Connections<Session>,
    /// Bring the schema up to date: no statement timeout but that of the whole.
    migrations: Connections<Session>,
    /// Recount whole tables: as patient, and free to scan and hash.
    recounts: Connections<Session>,
    ground: Ground,
    /// Of the certificate that it shows, if it shows one.
    key_file: Option<PathBuf>,
    apply_timeout: Duration,
    request_timeout: Duration,
}

/// The database on the server that the URL names.
pub(crate) fn open(place: &str, config: &Config) -> Opened {
    Ok(Arc::new(PostgresStore::new(place, config)?))
}

/// The URL for people, behind its scheme; `None` where it cannot be understood.
pub(crate) fn shown(place: &str) -> Option<String> {
    address::shown(place)
}

/// What whoever is on the way to the server may read or take.
pub(crate) fn in_the_clear(place: &str) -> Option<String> {
    address::in_the_clear(place)
}

impl PostgresStore {
    fn new(place: &str, config: &Config) -> Result<Self, OpenError> {
        let options = address::options(place)?;
        let timeouts = |statement_ms: u64, lock_ms: u64| {
            [
                ("statement_timeout", statement_ms.to_string()),
                ("lock_timeout", lock_ms.to_string()),
                // frees the locks of a process that vanished without closing its connection
                (
                    "idle_in_transaction_session_timeout",
                    statement_ms.max(config.apply_timeout_ms).to_string(),
                ),
            ]
        };
        let waits = timeouts(config.statement_timeout_ms, config.lock_timeout_ms);
        // Every join of a batch looks up single keys. A plan made and kept while a table was nearly empty
        // would scan it all, for every batch, once it has grown; so only look-ups by index are allowed.
        let by_index = [
            "enable_seqscan",
            "enable_hashjoin",
            "enable_mergejoin",
            "enable_bitmapscan",
            // discouraged plans look costly enough to be compiled, which they never are worth
            "jit",
        ];
        let by_index = by_index.map(|name| (name, "off".to_owned()));
        let patient = MIGRATION_TIMEOUT.as_millis() as u64;
        let is_lent = config.pooler == Pooler::Transaction;
        let connections = |settings: &[(&str, String)], max| {
            let opening = Opening::new(&options, settings, is_lent);
            Connections::new(Arc::new(opening), max, config.connect_timeout())
        };
        let for_requests = config.request_connections();
        Ok(Self {
            batches: connections(&[&waits[..], &by_index].concat(), config.max_connections - for_requests),
            requests: connections(&waits, for_requests),
            migrations: connections(&timeouts(patient, patient), 1),
            recounts: connections(&timeouts(RECOUNT_TIMEOUT.as_millis() as u64, config.lock_timeout_ms), 1),
            ground: Ground::default(),
            apply_timeout: config.apply_timeout(),
            key_file: address::key_file(place),
            request_timeout: config.request_timeout(),
        })
    }

    async fn run_migrations(&self) -> Result<MigrationReport, MigrateError> {
        let from = transaction::request(&self.migrations, MIGRATION_TIMEOUT, applied).await;
        let from = from.map_err(|error| MigrateError::Unavailable(error.to_string()))?;
        let migrate = async |connection: &mut PgConnection| {
            sqlx::raw_sql(LOCK_MIGRATIONS).execute(&mut *connection).await?;
            // `run` has bounds that keep its future from moving between threads
            migrations::migrator(MIGRATIONS).run_direct(None, connection, false).await
        };
        let run = async { self.migrations.lease().await?.connection.within(migrate).await };
        run.await.map_err(|error| migrations::failure(error, explain))?;
        Ok(MigrationReport { from, to: migrations::NEWEST })
    }
}

/// The newest migration the database has had; `None` without a schema.
async fn applied(connection: &mut Session) -> Result<Option<i64>, Error> {
    let exists: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
        .bind(MIGRATIONS_TABLE)
        .fetch_one(&mut *connection)
        .await?;
    if !exists {
        return Ok(None);
    }
    sqlx::query_scalar("SELECT max(version) FROM floodgate_migrations WHERE success")
        .fetch_one(connection)
        .await
}

fn explain(error: &Error) -> String {
    transaction::explain::<Session>(error).1
}

impl Database for PostgresStore {
    fn migrate(&self) -> BoxFuture<'_, Result<MigrationReport, MigrateError>> {
        Box::pin(async {
            timeout(MIGRATION_TIMEOUT, self.run_migrations()).await.unwrap_or_else(|_| {
                let seconds = MIGRATION_TIMEOUT.as_secs();
                Err(MigrateError::Unavailable(format!("the migration did not finish within {seconds} s")))
            })
        })
    }
}

impl<E: Statements<Session> + Lookup<Session>> Apply<E> for PostgresStore {
    fn apply<'a>(
        &'a self,
        events: &'a [E],
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<ApplyOutcome>, ApplyError>> {
        Box::pin(transaction::apply((&self.batches, &self.ground), self.apply_timeout, events, now))
    }
}

/// What names the database, and what differs where the same name may stand over other rows: a table made anew, as by a
/// restored dump; another database under its name, as a copy; a server started anew, as by a backup or a standby that took
/// over.
const PLACE: &str = "
SELECT id::text, concat_ws(' ', identity.tableoid, place.oid, pg_postmaster_start_time())
FROM floodgate_identity AS identity, pg_database AS place WHERE place.datname = current_database()";

impl Dialect for Session {
    type Options = Arc<Opening>;

    async fn connect(opening: &Arc<Opening>) -> Result<Self, Error> {
        Session::open(opening).await
    }

    async fn ping(&mut self) -> Result<(), Error> {
        Session::ping(self).await
    }

    async fn begin(&mut self) -> Result<(), Error> {
        Session::begin(self).await
    }

    async fn commit(&mut self) -> Result<(), Error> {
        sqlx::raw_sql("COMMIT").execute(self).await.map(drop)
    }

    async fn roll_back(&mut self) -> Result<(), Error> {
        sqlx::raw_sql("ROLLBACK").execute(self).await.map(drop)
    }

    fn is_lent(&self) -> bool {
        Session::is_lent(self)
    }

    fn blame(error: &dyn DatabaseError) -> Blame {
        blame::blame(&error.code().unwrap_or_default(), error.table(), error.constraint())
    }

    /// Shutdown, crash or administrator's command; connection exceptions.
    fn is_lost(error: &dyn DatabaseError) -> bool {
        error.code().is_some_and(|code| code.starts_with("57P") || code.starts_with("08"))
    }

    fn help(error: &Error) -> Option<&'static str> {
        address::help(error)
    }

    async fn place(&mut self) -> Result<Place, Error> {
        let found: Option<(String, String)> = sqlx::query_as(PLACE).fetch_optional(self).await?;
        let (identity, make) = found.unzip();
        Ok(Place { identity, make: make.unwrap_or_default() })
    }
}
