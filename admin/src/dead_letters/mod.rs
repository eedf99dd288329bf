//! Dead letters as a working tool: what there is, why, and back to where it came from.
//!
//! The dead-letter topic is a log: nothing on it can be changed, so that a letter was replayed has to be said by
//! another record. That record is a *marker*: a copy of the letter (the same key, value and headers, hence the same
//! origin) with one more header, the time of the replay; or, of a letter that was dismissed, that time and the reason. Readers count distinct origins, as letters are written at
//! least once anyway, so that a marker is news only to those who look for it; it needs no place outside the topic,
//! and as it is younger than its letter it does not expire before it.
//!
//! A letter is *open* until it has a marker. A replay publishes a batch of records, waits until they are acknowledged, and then publishes their markers. Run
//! again it passes over what is marked. Killed between the two it leaves one batch that was published and not marked,
//! which the next run publishes again: harmless, as an event takes effect once.
//!
//! Every reading goes from the oldest record to where the topic ended when it began ([`scan`]), keeps a few bytes for
//! every distinct origin ([`Index`](index::Index)) and never more than a few letters. What cannot be read of it, since a
//! partition has no leader or a batch is damaged, is named beside what can; a letter whose marker may stand there is not
//! replayed.

mod deliver;
mod filter;
mod index;
mod letter;
mod outcome;
mod report;
mod scan;
mod settle;
mod survey;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests;
mod topic;
mod watch;

pub use filter::{FILTERS, Filter, Refusal};
pub use index::{DeadLetterCounts, Troubles};
pub use outcome::ReplayOutcome;
pub use report::{DeadLetterDetail, DeadLetterReport, HeaderReport, LetterStanding};
pub use scan::{ScanError, ScanLimits, Unread, UnreadRange};
pub use settle::{Deed, Settle, SettleError, SettlePlan, Settled};
pub use survey::{Found, Survey, find};
pub use topic::DeadLetterTopic;
pub use watch::LetterWatch;
