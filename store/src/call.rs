//! What every call to a database has in common: how it is waited for, and why it may fail.

pub use floodgate_schemas::BoxFuture;

/// Why a batch was not applied. Nothing of it is in the database, unless `Retry` says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// Try the same batch again later: the database is away, busy, refuses, is not the one it was, or the outcome of the
    /// commit is unknown (a repeat is harmless). Everything not known to be the data's fault is here.
    #[error("{0}")]
    Retry(String),
    /// The database did not get the batch done in the time it had: try again, in smaller parts.
    #[error("{0}")]
    TooSlow(String),
    /// At least one event holds a value that no database with our tables will ever take. Applying the events one by one
    /// tells which.
    #[error("{0}")]
    BadRow(String),
}

/// Why a read, or the creation of a coupon, has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The database is away, busy or refuses; the same call may succeed later. Nothing was written.
    #[error("{0}")]
    Unavailable(String),
    /// The database was asked and did not answer. A coupon may have been created all the same; creating it
    /// again is harmless.
    #[error("{0}")]
    Unanswered(String),
    /// What the database holds is no value of ours: someone else wrote to the tables.
    #[error("{0}")]
    Unreadable(String),
}
