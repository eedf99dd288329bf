//! What each database brings for the work that all have in common ([`crate::transaction`]): how it is talked to, and its
//! statements for each type of event.

use std::fs::Metadata;
use std::future::Future;
use std::os::unix::fs::MetadataExt;

use floodgate_schemas::{Event, Timestamp};
use sqlx::Error;
use sqlx::error::DatabaseError;

use crate::audit::Valued;
use crate::{ApplyOutcome, EventStatus};

/// What differs between databases in connecting, in transactions and in reading errors.
pub(crate) trait Dialect: Send + Sized {
    /// What it takes to connect.
    type Options: Send + Sync;

    /// A new connection.
    fn connect(options: &Self::Options) -> impl Future<Output = Result<Self, Error>> + Send;

    /// Whether somebody is still at the other end.
    fn ping(&mut self) -> impl Future<Output = Result<(), Error>> + Send;

    /// Begins a transaction that writes. Dropping the connection rolls it back.
    fn begin(&mut self) -> impl Future<Output = Result<(), Error>> + Send;

    /// Ends it, and keeps what it did.
    fn commit(&mut self) -> impl Future<Output = Result<(), Error>> + Send;

    /// Ends it, and keeps nothing.
    fn roll_back(&mut self) -> impl Future<Output = Result<(), Error>> + Send;

    /// Whether nothing may be asked outside of a transaction.
    fn is_lent(&self) -> bool {
        false
    }

    /// Whose fault an error is.
    fn blame(error: &dyn DatabaseError) -> Blame;

    /// Whether an error means that the connection is gone, and with it probably all others to the same server: a shutdown, a
    /// crash, a server that is the replica of another now.
    fn is_lost(error: &dyn DatabaseError) -> bool;

    /// What helps against an error that is not the database's own, where that is known.
    fn help(error: &Error) -> Option<&'static str> {
        let _ = error;
        None
    }

    /// The number or name under which the database's manual has an error.
    fn code(error: &dyn DatabaseError) -> String {
        error.code().unwrap_or_default().into_owned()
    }

    /// Where the connection leads.
    fn place(&mut self) -> impl Future<Output = Result<Place, Error>> + Send;
}

/// Whose fault an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blame {
    /// A value that no database with our tables will ever take.
    Row,
    /// It took too long, which may be for its size. With what helps.
    Slowness(&'static str),
    /// Anything else: it may pass. With what helps, where that is known.
    Elsewhere(Option<&'static str>),
}

/// Tells files apart, whatever their names: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileId(u64, u64);

impl FileId {
    pub(crate) fn of(found: &Metadata) -> Self {
        Self(found.dev(), found.ino())
    }
}

/// Where a connection leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The database's name for itself; `None` if it lost it.
    pub(crate) identity: Option<String>,
    /// Differs where the same identity may have other rows.
    pub(crate) make: String,
}

impl Place {
    /// The same, in a database that is a file.
    pub(crate) fn of_file(self, file: Option<FileId>) -> Self {
        match file {
            None => self,
            Some(file) => Self { make: format!("{} {file:?}", self.make), ..self },
        }
    }
}

/// Why a transaction did not happen.
pub(crate) enum Failure {
    /// The database says so, or does not answer.
    Database(Error),
    /// It is not the one that is known: a sentence about it.
    Moved(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}

/// The statements that apply a batch of one type, in a transaction that is already open.
pub(crate) trait Statements<C>: Event {
    fn run(
        connection: &mut C,
        events: &[Self],
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<ApplyOutcome>, Error>> + Send;
}

/// The statements that set the values of rows that carry these very events.
pub(crate) trait Repairs<C>: Event {
    fn repair(
        connection: &mut C,
        events: &[Self],
        now: Timestamp,
    ) -> impl Future<Output = Result<u64, Error>> + Send;
}

/// Finds where events of one type stand, and what their rows say.
pub(crate) trait Lookup<C>: Valued {
    /// Answers with one row, that says whether the type has any.
    const HAS_ROWS: &'static str;

    fn look_up(
        connection: &mut C,
        events: &[Self],
    ) -> impl Future<Output = Result<Vec<EventStatus>, Error>> + Send;

    /// The texts of [`Valued::values`] on rows that carry one of these very events, by its place; at least of those
    /// that differ.
    fn look_closer(
        connection: &mut C,
        events: &[Self],
    ) -> impl Future<Output = Result<Vec<(usize, Vec<String>)>, Error>> + Send;
}
