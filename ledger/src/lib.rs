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
//! An event is *current*, *superseded* or *decided* by what its row says; if its row does not say so, *dead-lettered*
//! if it is among those; else *in flight* at or beyond the committed offset, and *missing* before it: a violation. The
//! consumers may be far ahead of the first look, which only makes fewer events in flight. Records that expired cannot
//! be checked, and are told.
//!
//! Events are counted once per partition, however often they are in the log: a repeat has its event's key, hence its
//! partition. (Where the number of partitions or `coupon.partition_key` was changed, a repeat may be counted twice.)
//!
//! # Bounds
//!
//! Memory holds a few chunks of a few thousand records (8 MiB each at most), one run of 500,000 entries
//! (24 MB, and 16 MiB of keys where very many are missing), eight bytes per dead letter, and 1000 named violations:
//! the same for a thousand events and for ten millions. The folder of the state holds 27 bytes per
//! record of one partition, and their keys where they are missing. Runs are merged with 64 KiB of memory and one
//! open file for each 500,000 records of a partition.

mod check;
mod class;
mod dead_letters;
mod read;
mod report;
mod runs;
mod state;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use floodgate_buffer::{GroupLag, LagError, LogError, OpenError, Strategy, Topic};
use floodgate_schemas::{CouponIssue, EventType, ExpectationWrite, Like, Timestamp};
use floodgate_store::{ReadError, Store};

use check::{Check, Limits};
use dead_letters::DeadLetters;
use state::{PartitionProgress, State};

pub use class::Tally;
pub use report::{Missing, MissingReport, NAMED_MAX, Report, TypeReport, Unchecked, Unreadable};

/// What is to be checked, and how.
pub struct Verification<'a> {
    /// Where the events are.
    pub strategy: Arc<dyn Strategy>,
    /// What they were applied to.
    pub store: Arc<dyn Store>,
    /// Which database that is, without its password: a state is not taken up with another.
    pub store_name: String,
    /// Where to remember how far the check is. It goes on from there when it is called again after it was killed or
    /// had failed. `None`: nowhere.
    pub state: Option<&'a Path>,
    /// Who is told how far it is.
    pub watch: &'a dyn Watch,
}

/// Is told how far a check is.
pub trait Watch: Send + Sync {
    /// A stretch of work begins: this many offsets, 0 where that is not known.
    fn begins(&self, what: &str, offsets: u64);

    /// So many of them are done.
    fn goes_on(&self, offsets: u64);
}

/// A check has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Log, database or disk do not answer: try again, with the same state it goes on where it was.
    #[error("{0}")]
    Unavailable(String),
    /// The configuration is at fault.
    #[error("{0}")]
    Config(String),
    /// The state is in use, or of another check: give another folder.
    #[error("{0}")]
    State(String),
}

impl From<LagError> for VerifyError {
    fn from(error: LagError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<LogError> for VerifyError {
    fn from(error: LogError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<OpenError> for VerifyError {
    fn from(error: OpenError) -> Self {
        Self::Config(error.to_string())
    }
}

impl From<ReadError> for VerifyError {
    fn from(error: ReadError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// What work on the check's own threads came to.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, VerifyError> + Send + 'static,
) -> Result<T, VerifyError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(VerifyError::Unavailable(error.to_string())))
}

impl Verification<'_> {
    /// Checks, from the beginning or from where the state is. A state is gone when there is a report.
    ///
    /// # Errors
    /// [`VerifyError`] says what the caller can do. Violations are no error, but in the report.
    pub async fn run(&self) -> Result<Report, VerifyError> {
        let mut report = Report::new(Timestamp::now());
        let mut state = None;
        if self.strategy.is_shared() {
            state = Some(self.check_events(&mut report).await?);
        } else {
            report.notes.push(format!(
                "the {} strategy keeps events inside the running process: they are unchecked, and only the database \
                 was checked",
                self.strategy.name()
            ));
        }
        self.watch.begins("counters and coupons", 0);
        let found = self.store.discrepancies(NAMED_MAX).await?;
        report.discrepancy_count = found.total;
        report.discrepancies = found.first;
        if let Some(state) = state {
            state.finish()?;
        }
        Ok(report.summed_up())
    }

    async fn check_events(&self, report: &mut Report) -> Result<State, VerifyError> {
        let mut state = State::open(self.state, self.identity())?;
        // the order of these looks is what makes the check right
        let as_of = Timestamp::now();
        let strategy = Arc::clone(&self.strategy);
        let lags = blocking(move || {
            EventType::ALL.into_iter().map(|of| Ok(strategy.lag(of)?)).collect::<Result<Vec<_>, _>>()
        });
        let lags = lags.await?;
        begin(&mut state, as_of, &lags)?;
        self.watch.begins("dead letters", 0);
        let strategy = Arc::clone(&self.strategy);
        let letters = blocking(move || DeadLetters::read(&*strategy)).await?;

        let limits = Limits::default();
        let check =
            Check { strategy: &*self.strategy, store: &*self.store, letters, watch: self.watch, limits };
        for (place, lag) in lags.iter().enumerate() {
            match lag.of {
                EventType::Expectation => check.topic::<ExpectationWrite>(&mut state, place, lag).await?,
                EventType::Coupon => check.topic::<CouponIssue>(&mut state, place, lag).await?,
                EventType::Like => check.topic::<Like>(&mut state, place, lag).await?,
            }
        }
        report.as_of.clone_from(&state.progress.as_of);
        for (lag, partitions) in lags.iter().zip(&state.progress.types) {
            report.add(lag, partitions);
        }
        for (partition, start) in &check.letters.expired {
            report.notes.push(format!(
                "dead letters before offset {start} of partition {partition} have expired: an event that counts as \
                 missing may have been among them"
            ));
        }
        Ok(state)
    }

    /// What is checked, in words that are the same for the same.
    fn identity(&self) -> String {
        let topics = EventType::ALL.map(|of| self.strategy.topic_name(Topic::Events(of)));
        let (name, place) = (self.strategy.name(), self.strategy.place());
        format!("{name} at {place} with {} and {}", topics.join(", "), self.store_name)
    }
}

/// Fixes the ends of a new check, or looks whether an old one can go on.
fn begin(state: &mut State, as_of: Timestamp, lags: &[GroupLag]) -> Result<(), VerifyError> {
    let progress = &mut state.progress;
    if progress.types.is_empty() {
        let fresh = |lag: &GroupLag| {
            let partition = |bounds: &floodgate_buffer::PartitionLag| PartitionProgress {
                partition: bounds.partition.0,
                end: bounds.readable.0,
                ..PartitionProgress::default()
            };
            lag.partitions.iter().map(partition).collect()
        };
        progress.types = lags.iter().map(fresh).collect();
        progress.as_of = as_of.to_string();
        return state.save();
    }
    let fits = |(partitions, lag): (&Vec<PartitionProgress>, &GroupLag)| {
        let same = |(was, is): (&PartitionProgress, &floodgate_buffer::PartitionLag)| {
            was.partition == is.partition.0 && was.end <= is.readable.0
        };
        partitions.len() == lag.partitions.len() && partitions.iter().zip(&lag.partitions).all(same)
    };
    if progress.types.len() != lags.len() || !progress.types.iter().zip(lags).all(fits) {
        let reason = "the state is of other topics: partitions were added, or the topics were made anew";
        return Err(VerifyError::State(reason.to_owned()));
    }
    Ok(())
}
