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
mod dead_letters;
mod doubt;
mod findings;
mod read;
mod reapplied;
mod reapply;
mod report;
mod reset;
mod runs;
mod state;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use floodgate_buffer::{Absent, EventOrigin, GroupLag, LagError, LogError, OpenError, Strategy, Topic};
use floodgate_schemas::{CouponIssue, EventType, ExpectationWrite, Like, Timestamp};
use floodgate_store::{ApplyError, Audit, ReadError, Store};

use check::{Check, Limits};
use dead_letters::DeadLetters;
use doubt::expired_unread;
use reapply::Mender;
use state::{PartitionProgress, State};

pub use class::Tally;
pub use doubt::{DEAD_LETTER_EXPIRED, DEAD_LETTER_UNREAD, Doubt, Lost};
pub use reapplied::{Left, Reapplied};
pub use report::{
    Column, DifferenceReport, DiscrepancyReport, MissingReport, NAMED_MAX, RecordReport, Report, TypeReport,
    Unchecked, Unreadable, Verdict,
};
pub use reset::{ResetReport, RowReset};

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
    /// Whether values of rows are compared, and set, too, and not only which event stands on a row.
    pub values: bool,
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

impl From<Absent> for VerifyError {
    fn from(absent: Absent) -> Self {
        Self::Config(absent.to_string())
    }
}

impl From<OpenError> for VerifyError {
    fn from(error: OpenError) -> Self {
        Self::Config(error.to_string())
    }
}

impl From<ApplyError> for VerifyError {
    fn from(error: ApplyError) -> Self {
        Self::Unavailable(error.to_string())
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
        let mut report = Report { values_compared: self.values, ..Report::new(Timestamp::now()) };
        let mut state = None;
        if let Some(reason) = self.unreadable() {
            report.values_compared = false;
            report.notes.push(format!("{reason}: they are unchecked, and only the database was checked"));
        } else {
            state = Some(self.check_events(&mut report, None).await?);
        }
        self.watch.begins("counters and coupons", 0);
        let found = self.store.discrepancies(NAMED_MAX).await?;
        report.discrepancy_count = found.total;
        report.discrepancies = found.first.into_iter().map(DiscrepancyReport::from).collect();
        if let Some(state) = state {
            state.finish()?;
        }
        Ok(report.summed_up())
    }

    /// Checks as [`Verification::run`] does, but for counters and coupons, and brings back what is missing (and sets what
    /// differs, if values are compared), partition by partition in the order of the log; only counts it in a dry run. What
    /// is set may have hidden other events: as long as something is set, it looks again, a few times.
    ///
    /// # Errors
    /// [`VerifyError`] says what the caller can do. What was done by then stays, and calling again goes on with the rest.
    pub async fn reapply_missing(&self, dry_run: bool) -> Result<Reapplied, VerifyError> {
        const ROUNDS: usize = 3;
        let mut done = Reapplied::new(dry_run);
        for _ in 0..ROUNDS {
            let mender = Mender::new(&*self.store, self.strategy.names().clone(), dry_run, self.values);
            let mut report = Report::new(Timestamp::now());
            self.check_events(&mut report, Some(&mender)).await?.finish()?;
            let round = mender.ended(report);
            let has_set = round.has_set();
            done.add(round);
            if dry_run || !has_set {
                break;
            }
        }
        Ok(done)
    }

    /// Brings back the events of these records, whatever stands in the database, in the order of the log; only says what
    /// would happen in a dry run. What a group has not read yet is left to it, or coupon requests would overtake others.
    ///
    /// # Errors
    /// As [`Verification::reapply_missing`].
    pub async fn reapply(&self, origins: &[EventOrigin], dry_run: bool) -> Result<Reapplied, VerifyError> {
        let mender = Mender::new(&*self.store, self.strategy.names().clone(), dry_run, self.values);
        let strategy = Arc::clone(&self.strategy);
        let lags = blocking(move || lags(&*strategy)).await?;
        mender.bring_back_named(&self.strategy, &lags, origins).await?;
        Ok(mender.ended(Report::new(Timestamp::now())))
    }

    /// Why events cannot be read here, if so.
    fn unreadable(&self) -> Option<String> {
        if !self.strategy.reach().is_readable_from_outside {
            let name = self.strategy.name();
            return Some(format!("the {name} strategy keeps events inside the running process"));
        }
        self.strategy.logs().err().map(|absent| absent.to_string())
    }

    async fn check_events(
        &self,
        report: &mut Report,
        mender: Option<&Mender<'_>>,
    ) -> Result<State, VerifyError> {
        let mut state = State::open(self.state, self.identity())?;
        // the order of these looks is what makes the check right
        let as_of = Timestamp::now();
        let strategy = Arc::clone(&self.strategy);
        let lags = blocking(move || lags(&*strategy)).await?;
        begin(&mut state, as_of, &lags)?;
        self.note_expired_unread(&mut state, &lags).await?;
        self.watch.begins("dead letters", 0);
        let strategy = Arc::clone(&self.strategy);
        let letters = blocking(move || DeadLetters::read(&*strategy)).await?;

        let limits = Limits::default();
        let check = Check {
            strategy: &*self.strategy,
            store: &*self.store,
            letters,
            watch: self.watch,
            limits,
            values: self.values,
            mender,
        };
        for (place, lag) in lags.iter().enumerate() {
            match lag.of {
                EventType::Expectation => check.topic::<ExpectationWrite>(&mut state, place, lag).await?,
                EventType::Coupon => check.topic::<CouponIssue>(&mut state, place, lag).await?,
                EventType::Like => check.topic::<Like>(&mut state, place, lag).await?,
            }
        }
        report.as_of.clone_from(&state.progress.as_of);
        report.events_checked = true;
        let names = self.strategy.names().clone();
        for (lag, partitions) in lags.iter().zip(&state.progress.types) {
            report.add(lag, partitions, &names);
            self.look_for_reasons(report, lag, partitions).await?;
        }
        let gaps = check.letters.gaps.iter();
        let note = "of events that may be among them nobody can tell";
        report.notes.extend(gaps.map(|gap| format!("{gap}: {note}")));
        Ok(state)
    }

    /// What had expired when its group was still before it. The log's starts of the first look are older than the committed
    /// offsets of the second.
    async fn note_expired_unread(&self, state: &mut State, lags: &[GroupLag]) -> Result<(), VerifyError> {
        let is_behind = |partition: &floodgate_buffer::PartitionLag| partition.missing() > 0;
        for (lag, partitions) in lags.iter().zip(&mut state.progress.types) {
            if !lag.partitions.iter().any(is_behind) {
                continue;
            }
            let (strategy, of) = (Arc::clone(&self.strategy), lag.of);
            let again = blocking(move || Ok(strategy.lag(of)?)).await?;
            for partition in partitions {
                // either look may know less than the other
                let of = |lag: &GroupLag| {
                    lag.partitions.iter().find(|bounds| bounds.partition.0 == partition.partition).cloned()
                };
                if let (Some(first), Some(second)) = (of(lag), of(&again)) {
                    partition.lost = expired_unread(&first, &second).or(partition.lost);
                }
            }
        }
        state.save()
    }

    /// Why offsets hold no record, and whether a group without commits is on its way.
    async fn look_for_reasons(
        &self,
        report: &mut Report,
        lag: &GroupLag,
        partitions: &[PartitionProgress],
    ) -> Result<(), VerifyError> {
        // what was counted before this check was taken up again is known all the same
        let is_counted = |number: i32| {
            partitions.iter().any(|partition| partition.partition == number && partition.is_counted)
        };
        let unknown = lag.unknown.iter().filter(|(partition, _)| !is_counted(partition.0));
        let doubts = unknown.map(|(partition, why)| Doubt::of_partition(lag, partition.0, why));
        report.cannot_tell.extend(doubts);
        for partition in lag.partitions.iter().filter(|partition| partition.end > partition.readable) {
            let (number, from, until) = (partition.partition, partition.readable, partition.end);
            report.notes.push(format!(
                "{} partition {number} offsets {from} to {}: in flight and unchecked, since a transaction of another program is \
                 open there and nobody can read them yet",
                lag.topic,
                until.0 - 1
            ));
        }
        let empty_offsets: u64 = partitions.iter().map(|partition| partition.empty_offsets).sum();
        let empty = || partitions.iter().flat_map(|partition| partition.empty.iter().copied());
        if empty_offsets > 0 {
            let (strategy, topic) = (Arc::clone(&self.strategy), Topic::Events(lag.of));
            let is_compacted = blocking(move || Ok(strategy.logs()?.open(topic)?.is_compacted())).await?;
            let why = match is_compacted {
                Ok(true) => {
                    report.lost.extend(empty().map(|range| Lost::compacted(lag, range)));
                    "; its cleanup.policy is compact"
                }
                Ok(false) => ": transactions ended or were aborted there",
                Err(error) => {
                    let reason = error.to_string();
                    report
                        .cannot_tell
                        .extend(empty().map(|range| Doubt::without_record(lag, range, &reason)));
                    ""
                }
            };
            report.notes.push(format!("{empty_offsets} offsets of {} hold no record{why}", lag.topic));
        }
        let waiting =
            partitions.iter().map(|partition| partition.events.in_flight + partition.unreadable.in_flight);
        let waiting: u64 = waiting.sum();
        let store = &*self.store;
        let has_rows = match lag.of {
            EventType::Expectation => Audit::<ExpectationWrite>::has_rows(store).await?,
            EventType::Coupon => Audit::<CouponIssue>::has_rows(store).await?,
            EventType::Like => Audit::<Like>::has_rows(store).await?,
        };
        report.cannot_tell.extend(Doubt::of_group(lag, waiting, has_rows, Timestamp::now()));
        Ok(())
    }

    /// What is checked, in words that are the same for the same.
    fn identity(&self) -> String {
        let topics = EventType::ALL.map(|of| self.strategy.names().topic(Topic::Events(of)));
        let (name, place) = (self.strategy.name(), self.strategy.place());
        let values = if self.values { ", comparing values" } else { "" };
        format!("{name} at {place} with {} and {}{values}", topics.join(", "), self.store_name)
    }
}

/// Where all groups are. Blocks on the network.
fn lags(strategy: &dyn Strategy) -> Result<Vec<GroupLag>, VerifyError> {
    EventType::ALL.into_iter().map(|of| Ok(strategy.lag(of)?)).collect()
}

/// Fixes the ends of a new check, or looks whether an old one can go on. Partitions that nobody told of then, and somebody
/// does now, are taken in: all looks are later ones for them.
fn begin(state: &mut State, as_of: Timestamp, lags: &[GroupLag]) -> Result<(), VerifyError> {
    let progress = &mut state.progress;
    if progress.types.is_empty() {
        progress.types = lags.iter().map(fresh).collect();
        progress.as_of = as_of.to_string();
        return state.save();
    }
    let other = || {
        let reason = "the state is of other topics: partitions were added, or the topics were made anew";
        VerifyError::State(reason.to_owned())
    };
    if progress.types.len() != lags.len() {
        return Err(other());
    }
    for (partitions, lag) in progress.types.iter_mut().zip(lags) {
        let now = fresh(lag);
        if partitions.len() != now.len() {
            return Err(other());
        }
        for (was, is) in partitions.iter_mut().zip(now) {
            match (was.end, is.end) {
                _ if was.partition != is.partition => return Err(other()),
                (Some(was), Some(is)) if was > is => return Err(other()),
                (None, end) => was.end = end,
                _ => {}
            }
        }
    }
    state.save()
}

/// Of every partition of a topic, in order, how far a check is that has not begun.
fn fresh(lag: &GroupLag) -> Vec<PartitionProgress> {
    let known = lag.partitions.iter().map(|bounds| (bounds.partition.0, Some(bounds.readable.0)));
    let all = known.chain(lag.unknown.iter().map(|(partition, _)| (partition.0, None)));
    let progress = |(partition, end)| PartitionProgress { partition, end, ..PartitionProgress::default() };
    let mut all: Vec<_> = all.map(progress).collect();
    all.sort_by_key(|progress| progress.partition);
    all
}
