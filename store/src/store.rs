//! What a database does for the rest of the program.

use std::future::Future;
use std::pin::Pin;

use floodgate_schemas::{
    CharacterId, CouponId, CouponIssue, Event, EventId, ExpectationWrite, Like, LikerAccountId, TargetOcid,
    Timestamp,
};

use crate::SchemaState;
use crate::audit::{Audit, Recount};
use crate::reset::Reset;
use crate::rows::{Coupon, CouponCreated, Decision, ExpectationRow, NewCoupon};

/// A boxed future: one allocation per batch or request, which lets the traits be object-safe.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A database: takes batches, answers reads, and shows a checker what it holds.
pub trait Store:
    Apply<ExpectationWrite>
    + Apply<CouponIssue>
    + Apply<Like>
    + Reads
    + Audit<ExpectationWrite>
    + Audit<CouponIssue>
    + Audit<Like>
    + Recount
    + Reset
{
}

impl<S> Store for S where
    S: Apply<ExpectationWrite>
        + Apply<CouponIssue>
        + Apply<Like>
        + Reads
        + Audit<ExpectationWrite>
        + Audit<CouponIssue>
        + Audit<Like>
        + Recount
        + Reset
{
}

/// What became of one event of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Its effect is now in the database.
    Applied,
    /// A newer event stands on its row, or in the same batch.
    Superseded,
    /// It had taken effect before, or stands twice in the batch: nothing changed.
    Duplicate,
    /// Coupon request: granted.
    Issued,
    /// Coupon request: the user already holds one.
    AlreadyIssued,
    /// Coupon request: outside the coupon's opening hours.
    NotOpen,
    /// Coupon request: none left.
    SoldOut,
    /// Coupon request: there is no such coupon.
    UnknownCoupon,
}

/// Applies one type of event. A batch is one transaction: when `apply` returns `Ok`, all of it is durable.
pub trait Apply<E: Event>: Send + Sync {
    /// Applies `events`, in partition order, exactly once however often and however batched they come.
    /// `now` is written where rows say when they changed. Returns one outcome per event, in order.
    ///
    /// Ends within `apply_timeout_ms`. Dropping the future rolls the batch back, unless it was committing.
    fn apply<'a>(
        &'a self,
        events: &'a [E],
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<Outcome>, ApplyError>>;
}

/// Why a batch was not applied. Nothing of it is in the database, unless `Retry` says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// Try the same batch again later: the database is away, busy, refuses, or the outcome of the commit
    /// is unknown (a repeat is harmless). Everything not known to be the data's fault is here.
    #[error("{0}")]
    Retry(String),
    /// The database did not get the batch done in the time it had: try again, in smaller parts.
    #[error("{0}")]
    TooSlow(String),
    /// At least one event holds a value the database will never take (SQLSTATE class 22 or 23). Applying
    /// the events one by one tells which.
    #[error("{0}")]
    BadRow(String),
}

/// Answers the GET routes, creates coupons and looks at the schema. Every call ends within
/// `connect_timeout_ms + statement_timeout_ms`.
pub trait Reads: Send + Sync {
    /// The presets of a character, by number; empty for an unknown one.
    fn expectations(&self, character: CharacterId) -> BoxFuture<'_, Result<Vec<ExpectationRow>, ReadError>>;

    /// A coupon, if there is one of this id.
    fn coupon<'a>(&'a self, coupon: &'a CouponId) -> BoxFuture<'a, Result<Option<Coupon>, ReadError>>;

    /// Creates a coupon of which none is issued yet, unless there is one of this id.
    fn create_coupon<'a>(&'a self, coupon: &'a NewCoupon) -> BoxFuture<'a, Result<CouponCreated, ReadError>>;

    /// The decisions on those of the `requests` that are decided, in no particular order.
    fn decisions<'a>(&'a self, requests: &'a [EventId]) -> BoxFuture<'a, Result<Vec<Decision>, ReadError>>;

    /// How many accounts like a character; 0 for an unknown one.
    fn like_count<'a>(&'a self, target: &'a TargetOcid) -> BoxFuture<'a, Result<u64, ReadError>>;

    /// Whether an account likes a character; `false` when it never said so.
    fn liked<'a>(
        &'a self,
        target: &'a TargetOcid,
        liker: &'a LikerAccountId,
    ) -> BoxFuture<'a, Result<bool, ReadError>>;

    /// Whether the database has the tables this build expects.
    fn schema_state(&self) -> BoxFuture<'_, Result<SchemaState, ReadError>>;
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
