//! Connections that are sessions of the server, and connections on which a pooler lends one for a transaction at a time.
//!
//! A pooler in transaction mode (PgBouncer's `pool_mode = transaction`) gives each transaction whichever of its sessions is
//! free, and that session to another client behind it. What a client leaves in it is lost to the client and found by others:
//! settings, prepared statements, locks. So on a connection that is *lent* nothing is left:
//!
//! * **Settings** are said within every transaction, in the statement that begins it, so that they cost no round trip.
//! * **Statements have no names**: each is prepared where it runs, which is a round trip more. Executing [`Session`] sees to
//!   that, so that the statements themselves are the same for both.
//! * **Everything is in a transaction**, reads too: a nameless statement is prepared and run in two steps, and between
//!   transactions these may meet two sessions.
//!
//! Without being told so nobody may run like that: the reads of some other client would be answered to ours. Therefore a
//! session is opened with a setting that means nothing, and looks whether it has it.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use sqlx::error::BoxDynError;
use sqlx::postgres::{
    PgArguments, PgConnectOptions, PgConnection, PgQueryResult, PgRow, PgStatement, PgTypeInfo, Postgres,
};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Either, Error, Execute, Executor, Row, SqlStr};

/// What a transaction begins with.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// Means nothing to the server, and has this value in sessions that were opened with it.
const MARK: (&str, &str) = ("floodgate.session", "own");
const LOOK: &str = "SELECT current_setting('floodgate.session', true)";

/// What the operator can do.
const NOT_OWN: &str = "a pooler such as PgBouncer is between this process and PostgreSQL, which keeps no settings and statements of \
                       a session: say so with [store] pooler = \"transaction\", or name the server itself in [store] url";

/// How a kind of session is opened.
pub(super) struct Opening {
    options: PgConnectOptions,
    /// Lent for a transaction at a time.
    is_lent: bool,
    begin: Arc<str>,
}

impl Opening {
    /// With settings for each session, or for each transaction of those that are lent.
    pub(super) fn new(options: &PgConnectOptions, settings: &[(&str, String)], is_lent: bool) -> Self {
        let options = options.clone();
        if is_lent {
            let local = settings.iter().map(|(name, value)| format!("; SET LOCAL {name} = '{value}'"));
            let begin = BEGIN.to_owned() + &local.collect::<String>();
            // poolers refuse what they do not keep track of, and we have no floats
            return Self { options: options.extra_float_digits(None), is_lent, begin: begin.into() };
        }
        let settings = settings.iter().map(|(name, value)| (*name, value.as_str())).chain([MARK]);
        Self { options: options.options(settings), is_lent, begin: BEGIN.into() }
    }
}

/// A connection. All statements go through it, and none through what it holds.
pub(super) struct Session {
    connection: PgConnection,
    opening: Arc<Opening>,
}

impl Session {
    pub(super) async fn open(opening: &Arc<Opening>) -> Result<Self, Error> {
        let connection = opening.options.connect().await.map_err(refused)?;
        let mut session = Self { connection, opening: Arc::clone(opening) };
        if !opening.is_lent {
            let row = sqlx::raw_sql(LOOK).fetch_one(&mut session.connection).await?;
            let mark: Option<String> = row.try_get(0)?;
            if mark.as_deref() != Some(MARK.1) {
                return Err(Error::Configuration(NOT_OWN.into()));
            }
        }
        Ok(session)
    }

    pub(super) fn is_lent(&self) -> bool {
        self.opening.is_lent
    }

    pub(super) async fn ping(&mut self) -> Result<(), Error> {
        self.connection.ping().await
    }

    pub(super) async fn begin(&mut self) -> Result<(), Error> {
        let begin = AssertSqlSafe(Arc::clone(&self.opening.begin));
        sqlx::raw_sql(begin).execute(&mut self.connection).await.map(drop)
    }

    /// Runs `work` with the driver's own connection, in a transaction in which it may begin others. What it prepared under
    /// a name is forgotten before the session may be another's.
    pub(super) async fn within<T, E: From<Error>>(
        mut self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, E>,
    ) -> Result<T, E> {
        let begin = AssertSqlSafe(Arc::clone(&self.opening.begin));
        let mut transaction = self.connection.begin_with(begin).await?;
        let done = work(&mut transaction).await?;
        transaction.clear_cached_statements().await?;
        transaction.commit().await?;
        // done is done, even if the goodbye fails
        let _ = self.connection.close().await;
        Ok(done)
    }
}

/// What a pooler says that takes no settings, in words that help.
fn refused(error: Error) -> Error {
    match &error {
        Error::Database(said) if said.message().starts_with("unsupported startup parameter") => {
            Error::Configuration(format!("{NOT_OWN} (it says: {})", said.message()).into())
        }
        _ => error,
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("is_lent", &self.opening.is_lent).finish_non_exhaustive()
    }
}

impl<'c> Executor<'c> for &'c mut Session {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        match self.is_lent() {
            true => self.connection.fetch_many(Nameless(query)),
            false => self.connection.fetch_many(query),
        }
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        match self.is_lent() {
            true => self.connection.fetch_optional(Nameless(query)),
            false => self.connection.fetch_optional(query),
        }
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, Error>>
    where
        'c: 'e,
    {
        self.connection.prepare_with(sql, parameters)
    }
}

/// A query whose statement gets no name.
struct Nameless<E>(E);

impl<'q, E: Execute<'q, Postgres>> Execute<'q, Postgres> for Nameless<E> {
    fn sql(self) -> SqlStr {
        self.0.sql()
    }

    fn statement(&self) -> Option<&PgStatement> {
        self.0.statement()
    }

    fn take_arguments(&mut self) -> Result<Option<PgArguments>, BoxDynError> {
        self.0.take_arguments()
    }

    fn persistent(&self) -> bool {
        false
    }
}
