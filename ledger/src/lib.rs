//! The conservation ledger: whatever was accepted is in the database, among the dead letters, or on its way.
//!
//! # The hard idea
//!
//! The log says what was accepted and the database what was applied, and both move while we look. What makes the
//! comparison exact all the same is the order of three looks, since everything they look at only ever grows:
//!
//! 1. **Where the groups are.** Committed offsets, and where every partition ends; nothing beyond these ends is part
//!    of the check. An offset is committed only after everything before it is in the database or on the dead-letter
//!    topic, so whatever lies before one was done *by then*.
//! 2. **The dead letters**, to where their topic ends now: all that were acknowledged before the first look are there.
//! 3. **The events**, from the log, each looked up in the database *afterwards*. Ranks on rows only grow and decisions
//!    are final, so what was done by the first look is seen to be done now.
//!
//! Of a coupon request that is older than decisions are kept the row may have been deleted: before the committed offset it
//! is *forgotten*, which is as good as decided.
//!
//! An event is *current*, *superseded* or *decided* by what its row says; if its row does not say so, *dead-lettered*
//! if it is among those; else *in flight* at or beyond the committed offset, and *missing* before it: a violation. The
//! consumers may be far ahead of the first look, which only makes fewer events in flight.
//!
//! Where one of the looks has nothing to see, nothing is made up: what expired unread is *lost*, and of what expired
//! elsewhere, of groups whose commits are gone and of dead letters that expired `doubt` says when nobody can tell. That is
//! a result of its own, neither balance nor violation.
//!
//! What is missing is still in the log, so it can be brought back ([`Verification::reapply_missing`]): the store takes an
//! event as often as it comes, and at any time.
//!
//! Events are counted once per partition, however often they are in the log: a repeat has its event's key, hence its
//! partition. (Where the number of partitions or `coupon.partition_key` was changed, a repeat may be counted twice.)
//!
//! # Bounds
//!
//! Memory holds a few chunks of a few thousand records (8 MiB each at most), one run of 500,000 entries
//! (24 MB, and 16 MiB of keys or values where very many are named), eight bytes per dead letter, 1000 named violations of
//! each kind, and, where events are brought back, eight bytes for each of one partition:
//! the same for a thousand events and for ten millions. The folder of the state holds 27 bytes per
//! record of one partition, and their keys where they are missing. Runs are merged with 64 KiB of memory and one
//! open file for each 500,000 records of a partition.

mod check;
mod class;
mod doubt;
mod error;
mod finding;
mod findings;
mod kept;
mod letter_index;
mod range;
mod read;
mod reapplied;
mod reapply;
mod record;
mod report;
mod reset;
mod runs;
mod state;
#[cfg(test)]
mod tests;
mod verification;
mod watch;
mod whereabouts;

pub use class::Tally;
pub use doubt::{DEAD_LETTER_EXPIRED, DEAD_LETTER_UNREAD, Doubt, Lost};
pub use error::VerifyError;
pub use finding::{Column, NAMED_MAX};
pub use kept::DecisionsKept;
pub use range::OffsetRange;
pub use reapplied::{Left, Reapplied};
pub use record::RecordReport;
pub use report::{
    DifferenceReport, DiscrepancyReport, MissingReport, Report, TypeReport, Unreadable, Verdict,
};
pub use reset::{ResetReport, RowReset};
pub use verification::Verification;
pub use watch::Watch;
pub use whereabouts::{DecisionReport, FOUND_MAX, FoundRecord, Search, Sought, Whereabouts};
