//! Applying a batch: for as long as it takes, and without the rows the database will never take.
//!
//! The database says that *some* row of a batch is bad, not which. The batch is halved until the bad row
//! stands alone. Halves are applied in order, each in a transaction of its own, so that what depends on order
//! (who was first for a coupon) stays as it was; a batch of n events with one bad row costs about 2·log₂ n
//! transactions, once.
//!
//! A batch that the database does not get done in time is halved too, or a slow database would fail it for ever. What is
//! applied at once then grows again, twofold with every few successes.

use std::ops::Range;
use std::time::Instant;

use floodgate_schemas::{Event, Timestamp};
use floodgate_store::{ApplyError, Outcome};

use crate::backoff::Backoff;
use crate::dead_letter::DeadLetter;
use crate::pipeline::{Decoded, GaveUp, Pipeline};

/// Why a row is in the dead letters.
const BAD_ROW: &str = "bad-row";

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
pub(crate) struct Pace {
    at_once: usize,
    /// How often in a row so many went well.
    successes: u32,
}

/// After so many successes more events are tried at once.
const SUCCESSES: u32 = 4;

impl Pace {
    pub(crate) fn unbounded() -> Self {
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

impl<E: Event> Pipeline<E> {
    /// Applies all events but those that can never be; returns these.
    pub(crate) async fn apply(
        &self,
        decoded: &Decoded<E>,
        pace: &mut Pace,
    ) -> Result<Vec<DeadLetter>, GaveUp> {
        let mut bad_rows = Vec::new();
        let mut backoff = Backoff::new(&self.config);
        // a stack of what is still to be applied, the earliest on top
        let all = 0..decoded.events.len();
        let mut ranges = vec![all];
        while let Some(mut range) = ranges.pop() {
            if range.is_empty() {
                continue;
            }
            if range.len() > pace.at_once {
                let first = range.start..range.start + pace.at_once;
                ranges.push(first.end..range.end);
                range = first;
            }
            // a search through many bad rows takes its time, and somebody else can do it
            if !bad_rows.is_empty() && self.stop.is_cancelled() && self.strategy.is_shared() {
                return Err(GaveUp);
            }
            match self.apply_until_done(&decoded.events[range.clone()], &mut backoff).await? {
                Applied::Done => {
                    pace.done(range.len());
                    backoff.reset();
                }
                Applied::TooSlow => {
                    pace.too_slow(range.len());
                    ranges.push(range);
                }
                Applied::BadRow(message) if range.len() == 1 => {
                    let record = decoded.records[range.start];
                    bad_rows.push(DeadLetter { record, reason: BAD_ROW, message });
                }
                Applied::BadRow(_) => {
                    let (first, second) = halves(range);
                    ranges.extend([second, first]);
                }
            }
        }
        Ok(bad_rows)
    }

    /// Tries until the transaction is committed, or should not be tried again as it is.
    async fn apply_until_done(&self, events: &[E], backoff: &mut Backoff) -> Result<Applied, GaveUp> {
        loop {
            let began = Instant::now();
            match self.store.apply(events, Timestamp::now()).await {
                Ok(outcomes) => {
                    self.recovered();
                    self.count(events, &outcomes, began);
                    return Ok(Applied::Done);
                }
                Err(ApplyError::BadRow(message)) => return Ok(Applied::BadRow(message)),
                Err(ApplyError::TooSlow(reason)) => {
                    self.failed(events, reason);
                    self.pause(backoff.pause()).await?;
                    return Ok(Applied::TooSlow);
                }
                Err(ApplyError::Retry(reason)) => {
                    self.failed(events, reason);
                    self.pause(backoff.pause()).await?;
                }
            }
        }
    }

    fn failed(&self, events: &[E], reason: String) {
        self.metrics.retries.inc();
        if self.health.troubled(reason.clone()) {
            tracing::warn!(of = %E::TYPE, events = events.len(), "not applied, trying again: {reason}");
        }
    }

    fn count(&self, events: &[E], outcomes: &[Outcome], began: Instant) {
        self.metrics.applied(events, outcomes, began.elapsed().as_secs_f64(), Timestamp::now());
    }
}

fn halves(range: Range<usize>) -> (Range<usize>, Range<usize>) {
    let middle = range.start + range.len() / 2;
    (range.start..middle, middle..range.end)
}
