//! Applying a batch: for as long as it takes, and without the rows the database will never take.
//!
//! The database says that *some* row of a batch is bad, not which. The batch is halved until the bad row
//! stands alone. Halves are applied in order, each in a transaction of its own, so that what depends on order
//! (who was first for a coupon) stays as it was; a batch of n events with one bad row costs about 2·log₂ n
//! transactions, once. Where most rows are bad each costs two, so the search ends as soon as that can be seen, and nothing
//! more of that partition is tried: it is held ([`crate::storm`]).
//!
//! A batch that the database does not get done in time is halved too, or a slow database would fail it for ever. What is
//! applied at once then grows again, twofold with every few successes.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use floodgate_buffer::{Batch, Decoded, Origin, Partition};
use floodgate_schemas::codec::DecodeError;
use floodgate_schemas::dead_letter::BAD_ROW;
use floodgate_schemas::{Clock, Event};
use floodgate_store::{Apply, ApplyError, ApplyOutcome};

use crate::backoff::Backoff;
use crate::dead_letter::DeadLetter;
use crate::follow::Followed;
use crate::metrics::PipelineMetrics;
use crate::patience::{GaveUp, Patience};
use crate::storm::{Search, Storms};

/// How applying events together ended.
enum Applied {
    Done,
    /// The database will not have (one of) these rows.
    BadRow(String),
    /// Not these together.
    TooSlow,
}

/// How many events are applied at once.
#[derive(Debug)]
struct Pace {
    at_once: usize,
    /// How often in a row so many went well.
    successes: u32,
}

/// After so many successes more events are tried at once.
const SUCCESSES: u32 = 4;

impl Pace {
    fn unbounded() -> Self {
        Self { at_once: usize::MAX, successes: 0 }
    }

    fn too_slow(&mut self, events: usize) {
        *self = Self { at_once: (events / 2).max(1), successes: 0 };
    }

    fn done(&mut self, events: usize) {
        // a remainder says nothing about more
        if events < self.at_once {
            return;
        }
        self.successes += 1;
        if self.successes == SUCCESSES {
            *self = Self { at_once: self.at_once.saturating_mul(2), successes: 0 };
        }
    }
}

/// What a batch came to.
pub(crate) struct Searched {
    /// Records that can never be applied, as far as they were looked for.
    pub(crate) letters: Vec<DeadLetter>,
    /// Partitions of which so many are bad that the search broke off: not all of their events were tried.
    pub(crate) broken_off: HashSet<Partition>,
}

/// The events of a batch that are still to be applied.
struct ToApply<E> {
    events: Vec<E>,
    /// For each event, the number of its record in the batch.
    records: Vec<usize>,
    /// A stack of what is to be applied together, the earliest on top.
    ranges: Vec<Range<usize>>,
}

impl<E> ToApply<E> {
    /// Forgets what is done, and everything of one partition.
    fn leave_out(&mut self, partition: Partition, done: usize, batch: &Batch) {
        let stays =
            |record: usize| batch.get(record).is_some_and(|received| received.origin.partition != partition);
        let left = self.records.drain(..).zip(self.events.drain(..)).skip(done);
        (self.records, self.events) = left.filter(|(record, _)| stays(*record)).unzip();
        let all = 0..self.events.len();
        self.ranges = vec![all];
    }
}

/// Applies batches, and knows how much the database gets done at once.
pub(crate) struct Applier<E: Event> {
    store: Arc<dyn Apply<E>>,
    metrics: Arc<PipelineMetrics>,
    patience: Patience,
    pace: Pace,
    clock: Arc<dyn Clock>,
}

impl<E: Event> Applier<E> {
    pub(crate) fn new(
        store: Arc<dyn Apply<E>>,
        metrics: Arc<PipelineMetrics>,
        patience: Patience,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { store, metrics, patience, pace: Pace::unbounded(), clock }
    }

    /// Applies all events but those that can never be; returns what goes to the dead letters. Where partitions may be held
    /// (`storms` is there), one of which most cannot be is left alone.
    pub(crate) async fn apply(
        &mut self,
        batch: &Batch,
        decoded: Decoded<E>,
        storms: Option<&Storms>,
        followed: &Followed,
    ) -> Result<Searched, GaveUp> {
        let (mut bad_rows, mut broken_off) = (Vec::new(), HashSet::new());
        let mut looked_at = storms.map(|storms| LookedAt::new(batch, &decoded.failed, storms));
        let mut backoff = self.patience.backoff();
        let all = 0..decoded.events.len();
        let mut left = ToApply { events: decoded.events, records: decoded.records, ranges: vec![all] };
        while let Some(mut range) = left.ranges.pop() {
            if range.is_empty() {
                continue;
            }
            if range.len() > self.pace.at_once {
                let first = range.start..range.start + self.pace.at_once;
                left.ranges.push(first.end..range.end);
                range = first;
            }
            // a search through many bad rows takes its time, and somebody else can do it
            if !bad_rows.is_empty() && self.patience.is_over() {
                return Err(GaveUp);
            }
            let first = left.records.get(range.start).and_then(|record| batch.get(*record));
            let first = first.map(|received| received.origin);
            match self.apply_until_done(&left.events[range.clone()], first, &mut backoff, followed).await? {
                Applied::Done => {
                    self.pace.done(range.len());
                    backoff.reset();
                }
                Applied::TooSlow => {
                    self.pace.too_slow(range.len());
                    left.ranges.push(range);
                }
                Applied::BadRow(message) if range.len() == 1 => {
                    let record = left.records[range.start];
                    bad_rows.push(DeadLetter { record, reason: BAD_ROW, message });
                    let ends = looked_at.as_mut().and_then(|looked_at| looked_at.breaks_off_at(record));
                    if let Some(partition) = ends {
                        broken_off.insert(partition);
                        left.leave_out(partition, range.end, batch);
                    }
                }
                Applied::BadRow(_) => {
                    let (first, second) = halves(range);
                    left.ranges.extend([second, first]);
                }
            }
        }
        let letters = decoded.failed.into_iter().map(DeadLetter::undecodable).chain(bad_rows).collect();
        Ok(Searched { letters, broken_off })
    }

    /// Tries until the transaction is committed, or should not be tried again as it is.
    async fn apply_until_done(
        &self,
        events: &[E],
        first: Option<Origin>,
        backoff: &mut Backoff,
        followed: &Followed,
    ) -> Result<Applied, GaveUp> {
        loop {
            let (began, followed_from) = (Instant::now(), followed.begins());
            let applied = self.store.apply(events, self.clock.now()).await;
            followed.ended(followed_from, events.len(), &applied);
            match applied {
                Ok(outcomes) => {
                    self.patience.recovered();
                    self.count(events, &outcomes, began);
                    return Ok(Applied::Done);
                }
                Err(ApplyError::BadRow(message)) => return Ok(Applied::BadRow(message)),
                Err(ApplyError::TooSlow(reason)) => {
                    self.failed(events, first, reason);
                    self.patience.pause(backoff.pause()).await?;
                    return Ok(Applied::TooSlow);
                }
                Err(ApplyError::Retry(reason)) => {
                    self.failed(events, first, reason);
                    self.patience.pause(backoff.pause()).await?;
                }
            }
        }
    }

    fn failed(&self, events: &[E], first: Option<Origin>, reason: String) {
        self.metrics.retries.inc();
        if self.patience.troubled(reason.clone()) {
            let (group, events) = (self.patience.group(), events.len());
            let (partition, offset) =
                (first.map(|first| first.partition.0), first.map(|first| first.offset.0));
            tracing::warn!(
                group,
                partition,
                offset,
                events,
                "not applied, this one first, trying again: {reason}"
            );
        }
    }

    fn count(&self, events: &[E], outcomes: &[ApplyOutcome], began: Instant) {
        self.metrics.applied(events, outcomes, began.elapsed().as_secs_f64(), self.clock.now());
    }
}

/// How far a search has come in its batch, whose records it passes in their order.
struct LookedAt<'b> {
    batch: &'b Batch,
    /// Records that are no events and were not passed, by ascending numbers.
    undecodable: &'b [(usize, DecodeError)],
    /// The first record that was not passed.
    next: usize,
    search: Search<'b>,
}

impl<'b> LookedAt<'b> {
    fn new(batch: &'b Batch, undecodable: &'b [(usize, DecodeError)], storms: &'b Storms) -> Self {
        Self { batch, undecodable, next: 0, search: Search::new(storms) }
    }

    /// Passes all up to the record that was found to be bad. Returns its partition if no more of it is to be searched.
    fn breaks_off_at(&mut self, bad: usize) -> Option<Partition> {
        for number in self.next..=bad {
            let is_undecodable = match self.undecodable {
                [(first, _), others @ ..] if *first == number => {
                    self.undecodable = others;
                    true
                }
                _ => false,
            };
            if let Some(received) = self.batch.get(number) {
                self.search.saw(received.origin.partition, is_undecodable || number == bad);
            }
        }
        self.next = bad + 1;
        let partition = self.batch.get(bad)?.origin.partition;
        self.search.breaks_off(partition).then_some(partition)
    }
}

fn halves(range: Range<usize>) -> (Range<usize>, Range<usize>) {
    let middle = range.start + range.len() / 2;
    (range.start..middle, middle..range.end)
}
