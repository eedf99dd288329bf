//! What a database does for the rest of the program.

use std::path::PathBuf;

use floodgate_schemas::{
    CharacterId, CouponId, CouponIssue, Event, EventId, EventType, ExpectationWrite, Like, LikerAccountId,
    TargetOcid, Timestamp,
};

use crate::SchemaState;
use crate::audit::{Audit, Recount, Repair};
use crate::call::{ApplyError, BoxFuture, ReadError};
use crate::forget::Forget;
use crate::reset::Reset;
use crate::rows::{Coupon, CouponCreated, Decision, ExpectationRow, NewCoupon};

/// A database: takes batches, answers reads, shows a checker what it holds, and is set right.
pub trait Store:
    Apply<ExpectationWrite>
    + Apply<CouponIssue>
    + Apply<Like>
    + Reads
    + Audit<ExpectationWrite>
    + Audit<CouponIssue>
    + Audit<Like>
    + Recount
    + Site
    + Repair<ExpectationWrite>
    + Repair<CouponIssue>
    + Repair<Like>
    + Reset
    + Forget
    + RegisteredSchemas
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
        + Site
        + Repair<ExpectationWrite>
        + Repair<CouponIssue>
        + Repair<Like>
        + Reset
        + Forget
        + RegisteredSchemas
{
}

/// What became of one event of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ApplyOutcome {
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

impl ApplyOutcome {
    /// Every outcome.
    pub const ALL: [ApplyOutcome; 8] = [
        ApplyOutcome::Applied,
        ApplyOutcome::Superseded,
        ApplyOutcome::Duplicate,
        ApplyOutcome::Issued,
        ApplyOutcome::AlreadyIssued,
        ApplyOutcome::NotOpen,
        ApplyOutcome::SoldOut,
        ApplyOutcome::UnknownCoupon,
    ];

    /// Whether events of this type can come to it.
    pub const fn is_of(self, of: EventType) -> bool {
        use ApplyOutcome::{
            AlreadyIssued, Applied, Duplicate, Issued, NotOpen, SoldOut, Superseded, UnknownCoupon,
        };
        match self {
            Duplicate => true,
            Applied | Superseded => !matches!(of, EventType::Coupon),
            Issued | AlreadyIssued | NotOpen | SoldOut | UnknownCoupon => matches!(of, EventType::Coupon),
        }
    }

    /// The word for it in metrics and reports. Decisions on coupons are told as clients see them, in capitals:
    /// `DUPLICATE` is the decision that the user already holds the coupon, `duplicate` an event that had taken effect
    /// before.
    pub const fn name(self) -> &'static str {
        match self {
            ApplyOutcome::Applied => "applied",
            ApplyOutcome::Superseded => "superseded",
            ApplyOutcome::Duplicate => "duplicate",
            ApplyOutcome::Issued => "ISSUED",
            ApplyOutcome::AlreadyIssued => "DUPLICATE",
            ApplyOutcome::NotOpen => "NOT_OPEN",
            ApplyOutcome::SoldOut => "SOLD_OUT",
            ApplyOutcome::UnknownCoupon => "UNKNOWN_COUPON",
        }
    }
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
    ) -> BoxFuture<'a, Result<Vec<ApplyOutcome>, ApplyError>>;
}

/// Answers the GET routes, creates coupons and looks at the schema. Every call ends within
/// `connect_timeout_ms + statement_timeout_ms`.
pub trait Reads: Send + Sync {
    /// The presets of a character, by number; empty for an unknown one.
    fn expectations(&self, character: CharacterId) -> BoxFuture<'_, Result<Vec<ExpectationRow>, ReadError>>;

    /// A coupon, if there is one of this id.
    fn coupon<'a>(&'a self, coupon: &'a CouponId) -> BoxFuture<'a, Result<Option<Coupon>, ReadError>>;

    /// Those of these coupons that there are, in no particular order.
    fn coupons_named<'a>(&'a self, ids: &'a [CouponId]) -> BoxFuture<'a, Result<Vec<Coupon>, ReadError>>;

    /// Coupons for somebody who watches: those of which some are left before the others, and of these those of which most are
    /// issued. The whole table is looked at, which is short in most databases: not for every request.
    fn coupons(&self, at_most: u32) -> BoxFuture<'_, Result<Vec<Coupon>, ReadError>>;

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

/// Whether a database is one to apply events to. Every call ends within `connect_timeout_ms + statement_timeout_ms`.
pub trait Site: Send + Sync {
    /// What makes the database unfit for events of these types, a sentence each that says what to change: encoding,
    /// isolation, schemas, permissions, a server or file that takes no writes. What it lacks of the schema is not among
    /// them, see [`Reads::schema_state`].
    fn unfit<'a>(&'a self, of: &'a [EventType]) -> BoxFuture<'a, Result<Vec<String>, ReadError>>;

    /// What keeps old decisions from being deleted there, which needs a right that nothing else does; nothing where there are
    /// no rights.
    fn keeps_decisions(&self) -> BoxFuture<'_, Result<Option<String>, ReadError>> {
        Box::pin(async { Ok(None) })
    }

    /// Whether another database stands where the one was that this process first met: a sentence about it. Meeting one
    /// for the first time, it is remembered.
    fn moved(&self) -> BoxFuture<'_, Result<Option<String>, ReadError>>;

    /// Files that it reads or writes and that nobody else should: rows, and keys.
    fn private_files(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    /// How many connections there are now.
    fn pools(&self) -> Vec<Pool> {
        Vec::new()
    }
}

/// The connections for one kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// Of what.
    pub name: &'static str,
    /// How many there may be.
    pub max: usize,
    /// Those that somebody has.
    pub in_use: usize,
    /// Those that are open and nobody has.
    pub idle: usize,
    /// Who waits for one.
    pub waiting: usize,
}

/// Remembers which schemas a registry had under which numbers. Every call ends within `connect_timeout_ms + statement_timeout_ms`.
pub trait RegisteredSchemas: Send + Sync {
    /// The schema that is remembered for a number.
    fn registered_schema(&self, id: u32) -> BoxFuture<'_, Result<Option<String>, ReadError>>;

    /// Remembers a schema, unless there is one for its number, and gives the one that is remembered from here on.
    fn remember_schema<'a>(&'a self, id: u32, schema: &'a str) -> BoxFuture<'a, Result<String, ReadError>>;
}
