//! A check from its first look to its report: the order of its looks is what makes it right.

use std::path::Path;
use std::sync::Arc;

use floodgate_buffer::{EventOrigin, GroupLag, PartitionLag, Strategy, Topic};
use floodgate_schemas::{Clock, Codecs, CouponIssue, EventType, ExpectationWrite, Like};
use floodgate_store::{Audit, Store};

use crate::check::{Check, Limits};
use crate::doubt::{Doubt, Lost, expired_unread};
use crate::error::{VerifyError, blocking};
use crate::finding::NAMED_MAX;
use crate::kept::DecisionsKept;
use crate::letter_index::LetterIndex;
use crate::reapplied::Reapplied;
use crate::reapply::Mender;
use crate::report::{DiscrepancyReport, Report};
use crate::state::{PartitionProgress, State, begin};
use crate::watch::Watch;

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
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What events are read with.
    pub codecs: Codecs,
    /// How long decisions are kept.
    pub kept: DecisionsKept,
}

impl Verification<'_> {
    /// Checks, from the beginning or from where the state is. A state is gone when there is a report.
    ///
    /// # Errors
    /// [`VerifyError`] says what the caller can do. Violations are no error, but in the report.
    pub async fn run(&self) -> Result<Report, VerifyError> {
        let mut report = Report { values_compared: self.values, ..Report::new(self.clock.now()) };
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
            let mender = self.mender(dry_run);
            let mut report = Report::new(self.clock.now());
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
        let mender = self.mender(dry_run);
        let strategy = Arc::clone(&self.strategy);
        let lags = blocking(move || lags(&*strategy)).await?;
        mender.bring_back_named(&self.strategy, &lags, origins).await?;
        Ok(mender.ended(Report::new(self.clock.now())))
    }

    fn mender(&self, dry_run: bool) -> Mender<'_> {
        let names = self.strategy.names().clone();
        Mender::new(&*self.store, names, &*self.clock, self.codecs.clone(), dry_run, self.values)
    }

    /// Why events cannot be read here, if so.
    fn unreadable(&self) -> Option<String> {
        self.strategy.logs_from_outside().err().map(|absent| absent.to_string())
    }

    async fn check_events(
        &self,
        report: &mut Report,
        mender: Option<&Mender<'_>>,
    ) -> Result<State, VerifyError> {
        let mut state = State::open(self.state, self.identity())?;
        // the order of these looks is what makes the check right
        let as_of = self.clock.now();
        let strategy = Arc::clone(&self.strategy);
        let lags = blocking(move || lags(&*strategy)).await?;
        begin(&mut state, as_of, &lags)?;
        self.note_expired_unread(&mut state, &lags).await?;
        self.watch.begins("dead letters", 0);
        let strategy = Arc::clone(&self.strategy);
        let letters = blocking(move || LetterIndex::read(&*strategy)).await?;

        let limits = Limits::default();
        let check = Check {
            strategy: &*self.strategy,
            store: &*self.store,
            letters,
            watch: self.watch,
            codecs: &self.codecs,
            limits,
            kept: self.kept,
            clock: &*self.clock,
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
        let names = self.strategy.names();
        for (lag, partitions) in lags.iter().zip(&state.progress.types) {
            report.add(lag, partitions, names);
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
        let is_behind = |partition: &PartitionLag| partition.missing() > 0;
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
        report.cannot_tell.extend(Doubt::of_group(lag, waiting, has_rows, self.clock.now()));
        Ok(())
    }

    /// What is checked, in words that are the same for the same.
    pub(crate) fn identity(&self) -> String {
        let topics = EventType::ALL.map(|of| self.strategy.names().events(of));
        let (name, place) = (self.strategy.name(), self.strategy.place());
        let values = if self.values { ", comparing values" } else { "" };
        format!("{name} at {place} with {} and {}{values}", topics.join(", "), self.store_name)
    }
}

/// Where all groups are. Blocks on the network.
fn lags(strategy: &dyn Strategy) -> Result<Vec<GroupLag>, VerifyError> {
    EventType::ALL.into_iter().map(|of| Ok(strategy.lag(of)?)).collect()
}
