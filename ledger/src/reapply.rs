//! Brings events from the log to their rows again, and sets rows right that carry other values than their event.
//!
//! The store takes an event as often as it comes and whenever it comes, so nothing here has to be exact but the order:
//! events of one partition are applied in the order of the log, as consumers do it. A coupon request that comes late is
//! decided by the stock there is now; nobody knows any more what it would have got.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use floodgate_buffer::{
    Chunk, EventOrigin, GroupLag, Log, Names, Offset, Partition, PartitionReader, Piece, Received, Strategy,
    Topic,
};
use floodgate_schemas::{Clock, Codecs, CouponIssue, Event, EventType, ExpectationWrite, Like};
use floodgate_store::{Apply, ApplyError, ApplyOutcome, Audit, EventStatus, Repair, Store};

use crate::error::{VerifyError, blocking};
use crate::read::CHUNK_EVENTS;
use crate::reapplied::{Reapplied, SET, Wanted};
use crate::report::Report;

/// How often a batch is tried that the database did not take, and the pause between two tries. Consumers that write the
/// same rows at that moment are one reason.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(250);

/// Why there is nothing to bring back.
const ABSENT: &str = "there is no record any more";

/// Brings events back.
pub(crate) struct Mender<'a> {
    store: &'a (dyn Store + 'static),
    names: Names,
    clock: &'a dyn Clock,
    codecs: Codecs,
    dry_run: bool,
    values: bool,
    done: Mutex<Reapplied>,
}

/// What was read of one stretch of the log.
struct Found<E> {
    events: Vec<E>,
    offsets: Vec<i64>,
}

impl<'a> Mender<'a> {
    pub(crate) fn new(
        store: &'a (dyn Store + 'static),
        names: Names,
        clock: &'a dyn Clock,
        codecs: Codecs,
        dry_run: bool,
        values: bool,
    ) -> Self {
        Self { store, names, clock, codecs, dry_run, values, done: Mutex::new(Reapplied::new(dry_run)) }
    }

    fn done(&self) -> MutexGuard<'_, Reapplied> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What came of it, and what the check that went before says of records that cannot be brought back.
    pub(crate) fn ended(self, report: Report) -> Reapplied {
        let mut done = self.done.into_inner().unwrap_or_else(PoisonError::into_inner);
        for missing in report.missing.into_iter().filter(|missing| missing.record.event_id.is_none()) {
            done.leave(missing.record.origin.to_string(), format!("it is no event; {}", missing.mend));
        }
        for lost in report.lost {
            done.notes.push(lost.to_string());
        }
        for doubt in &report.cannot_tell {
            match doubt.leaves_unread() {
                // what was not looked at may be missing
                Some(place) => done.leave(place, doubt.to_string()),
                None => done.notes.push(doubt.to_string()),
            }
        }
        if [
            ApplyOutcome::Issued,
            ApplyOutcome::AlreadyIssued,
            ApplyOutcome::NotOpen,
            ApplyOutcome::SoldOut,
            ApplyOutcome::UnknownCoupon,
        ]
        .iter()
        .any(|outcome| done.outcomes.contains_key(outcome.name()))
        {
            done.notes.push(
                "coupon requests were decided by the stock there is now, in the order of the log".to_owned(),
            );
        }
        done
    }

    fn leave(&self, of: EventType, partition: Partition, offset: i64, reason: impl Into<String>) {
        let origin = self.names.show(EventOrigin { of, partition, offset: Offset(offset) });
        self.done().leave(origin, reason.into());
    }

    /// Brings back the events of named records, as far as their groups have read them.
    pub(crate) async fn bring_back_named(
        &self,
        strategy: &Arc<dyn Strategy>,
        lags: &[GroupLag],
        origins: &[EventOrigin],
    ) -> Result<(), VerifyError> {
        let mut wanted: BTreeMap<(EventType, Partition), Wanted> = BTreeMap::new();
        for origin in origins {
            match not_readable(lags, *origin) {
                Some(reason) => self.leave(origin.of, origin.partition, origin.offset.0, reason),
                None => {
                    let wanted = wanted.entry((origin.of, origin.partition)).or_default();
                    wanted.offsets.push(origin.offset.0);
                    wanted.to_set.extend(self.values.then_some(origin.offset.0));
                }
            }
        }
        for ((of, partition), mut wanted) in wanted {
            wanted.sort();
            let log = strategy.logs()?.open(Topic::Events(of))?;
            match of {
                EventType::Expectation => {
                    self.bring_back::<ExpectationWrite>(log, partition, &wanted).await?
                }
                EventType::Coupon => self.bring_back::<CouponIssue>(log, partition, &wanted).await?,
                EventType::Like => self.bring_back::<Like>(log, partition, &wanted).await?,
            };
        }
        Ok(())
    }

    /// Brings back the events that stand at these offsets of one partition. Gives the log back.
    pub(crate) async fn bring_back<E: Event>(
        &self,
        mut log: Box<dyn Log>,
        partition: Partition,
        wanted: &Wanted,
    ) -> Result<Box<dyn Log>, VerifyError>
    where
        dyn Store: Audit<E> + Apply<E> + Repair<E>,
    {
        let (Some(first), Some(last)) = (wanted.offsets.first(), wanted.offsets.last()) else {
            return Ok(log);
        };
        let range = Offset(*first)..Offset(last + 1);
        let mut reader = PartitionReader::new(partition, range, CHUNK_EVENTS);
        loop {
            let from = reader.position().0;
            let read = blocking(move || {
                let piece = reader.next(&mut *log)?;
                Ok((log, reader, piece))
            });
            let (given_back, read_on, piece) = read.await?;
            (log, reader) = (given_back, read_on);
            let passed = from..reader.position().0;
            match piece {
                None => return Ok(log),
                Some(Piece::Records(Chunk { batch, .. })) => {
                    self.codecs.prepare(batch.values()).await;
                    let is_wanted =
                        |record: &Received<'_>| Wanted::has(&wanted.offsets, record.origin.offset.0);
                    let found = self.found::<E>(partition, batch.iter().filter(is_wanted));
                    let seen: Vec<i64> = batch.iter().map(|record| record.origin.offset.0).collect();
                    self.leave_wanted(E::TYPE, partition, wanted, passed, &seen, ABSENT);
                    self.apply_found(partition, &found, &wanted.to_set).await?;
                }
                Some(Piece::Gone(_)) => {
                    self.leave_wanted(E::TYPE, partition, wanted, passed, &[], ABSENT);
                }
                Some(Piece::Damaged(_, reason)) => {
                    let reason = format!("it is damaged, so that nobody can read it: {reason}");
                    self.leave_wanted(E::TYPE, partition, wanted, passed, &[], &reason);
                }
            }
            // what lies between two wanted records is read past, unless it is much
            let next = reader.position().0;
            let coming = wanted.offsets.partition_point(|offset| *offset < next);
            let coming = wanted.offsets.get(coming).copied().unwrap_or(last + 1);
            if coming - next > CHUNK_EVENTS as i64 {
                reader.skip_to(Offset(coming));
            }
        }
    }

    /// Wanted offsets whose records were not seen, and why.
    fn leave_wanted(
        &self,
        of: EventType,
        partition: Partition,
        wanted: &Wanted,
        range: Range<i64>,
        seen: &[i64],
        reason: &str,
    ) {
        let wanted = wanted.offsets.iter().filter(|offset| range.contains(offset));
        for offset in wanted.filter(|offset| !Wanted::has(seen, **offset)) {
            self.leave(of, partition, *offset, reason);
        }
    }

    fn found<'r, E: Event>(
        &self,
        partition: Partition,
        records: impl Iterator<Item = Received<'r>>,
    ) -> Found<E> {
        let mut found = Found { events: Vec::new(), offsets: Vec::new() };
        for record in records {
            let offset = record.origin.offset.0;
            match self.codecs.decode(record.value.unwrap_or_default()) {
                Ok(event) => {
                    found.events.push(event);
                    found.offsets.push(offset);
                }
                Err(error) => self.leave(E::TYPE, partition, offset, format!("it is no event: {error}")),
            }
        }
        found
    }

    async fn apply_found<E: Event>(
        &self,
        partition: Partition,
        found: &Found<E>,
        to_set: &[i64],
    ) -> Result<(), VerifyError>
    where
        dyn Store: Audit<E> + Apply<E> + Repair<E>,
    {
        if self.dry_run {
            return self.look_at(partition, found, to_set).await;
        }
        let outcomes = self.apply(partition, found).await?;
        let differing = self.differing(found).await?;
        let (mut to_repair, mut to_recount) = (Vec::new(), Vec::new());
        for (place, outcome) in outcomes.into_iter().enumerate() {
            // a bad row is among those that are left
            let Some(outcome) = outcome else { continue };
            if outcome == ApplyOutcome::Applied && E::TYPE == EventType::Like {
                to_recount.push(found.events[place].clone());
            }
            match differing.binary_search(&place).is_ok() {
                true if Wanted::has(to_set, found.offsets[place]) => {
                    to_repair.push(found.events[place].clone())
                }
                true => self.leave_differing(E::TYPE, partition, found.offsets[place]),
                false => self.done().count(outcome.name(), 1),
            }
        }
        // whoever deleted the row may have left its counter as it was: then it was moved for nothing
        patiently(|| self.store.repair(&to_recount, self.clock.now())).await?;
        let set = patiently(|| self.store.repair(&to_repair, self.clock.now())).await?;
        // who is not set any more was overtaken by a newer event between two looks
        let mut done = self.done();
        done.count(SET, set);
        done.count(ApplyOutcome::Superseded.name(), (to_repair.len() as u64).saturating_sub(set));
        Ok(())
    }

    fn leave_differing(&self, of: EventType, partition: Partition, offset: i64) {
        self.leave(of, partition, offset, "its row carries it with other values: --values sets them");
    }

    /// What applying would come to.
    async fn look_at<E: Event>(
        &self,
        partition: Partition,
        found: &Found<E>,
        to_set: &[i64],
    ) -> Result<(), VerifyError>
    where
        dyn Store: Audit<E>,
    {
        let statuses = self.store.statuses(&found.events).await?;
        let differing = self.differing(found).await?;
        for (place, status) in statuses.into_iter().enumerate() {
            let offset = found.offsets[place];
            let outcome = match status {
                EventStatus::Absent if E::TYPE == EventType::Coupon => "wouldDecide",
                EventStatus::Absent => "wouldApply",
                _ if differing.binary_search(&place).is_ok() => match Wanted::has(to_set, offset) {
                    true => "wouldSet",
                    false => {
                        self.leave_differing(E::TYPE, partition, offset);
                        continue;
                    }
                },
                EventStatus::Current => "current",
                EventStatus::Superseded => "superseded",
                EventStatus::Decided => "decided",
            };
            self.done().count(outcome, 1);
        }
        Ok(())
    }

    /// The places of events whose rows carry them with other values.
    async fn differing<E: Event>(&self, found: &Found<E>) -> Result<Vec<usize>, VerifyError>
    where
        dyn Store: Audit<E>,
    {
        let differences = self.store.differences(&found.events).await?;
        let mut places: Vec<usize> = differences.iter().map(|difference| difference.event).collect();
        places.dedup();
        Ok(places)
    }

    /// Applies all events, in order; a bad row is left. One outcome per event, none for bad rows.
    async fn apply<E: Event>(
        &self,
        partition: Partition,
        found: &Found<E>,
    ) -> Result<Vec<Option<ApplyOutcome>>, VerifyError>
    where
        dyn Store: Apply<E>,
    {
        let applied = in_parts(&found.events, async |events| {
            patiently(|| self.store.apply(events, self.clock.now())).await
        });
        let mut outcomes = Vec::with_capacity(found.events.len());
        for (outcome, offset) in applied.await?.into_iter().zip(&found.offsets) {
            if let Err(reason) = &outcome {
                self.leave(E::TYPE, partition, *offset, format!("the database refuses it: {reason}"));
            }
            outcomes.push(outcome.ok());
        }
        Ok(outcomes)
    }
}

/// Applies all events, in order and together where that is possible; where it is not, in halves. One outcome per event, or
/// why the database does not take it.
async fn in_parts<E>(
    events: &[E],
    mut apply: impl AsyncFnMut(&[E]) -> Result<Vec<ApplyOutcome>, ApplyError>,
) -> Result<Vec<Result<ApplyOutcome, String>>, ApplyError> {
    let mut outcomes = Vec::with_capacity(events.len());
    // a stack of what is still to be applied, the earliest on top
    let mut parts = vec![events];
    while let Some(part) = parts.pop() {
        match apply(part).await {
            Ok(applied) => outcomes.extend(applied.into_iter().map(Ok)),
            Err(ApplyError::BadRow(reason)) if part.len() == 1 => outcomes.push(Err(reason)),
            Err(ApplyError::BadRow(_) | ApplyError::TooSlow(_)) if part.len() > 1 => {
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second, first]);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(outcomes)
}

/// Tries again while the database says that this may help.
async fn patiently<T, F>(mut work: impl FnMut() -> F) -> Result<T, ApplyError>
where
    F: Future<Output = Result<T, ApplyError>>,
{
    let mut tries = 1;
    loop {
        match work().await {
            Err(ApplyError::Retry(_)) if tries < TRIES => {
                tries += 1;
                tokio::time::sleep(PAUSE).await;
            }
            ended => return ended,
        }
    }
}

/// Why a record is not for us.
fn not_readable(lags: &[GroupLag], origin: EventOrigin) -> Option<String> {
    let lag = lags.iter().find(|lag| lag.of == origin.of)?;
    let bounds = lag.partitions.iter().find(|bounds| bounds.partition == origin.partition);
    let Some(bounds) = bounds else {
        return Some(format!("there is no such partition: {} has {}", lag.topic, lag.partitions.len()));
    };
    if origin.offset >= bounds.end {
        return Some(format!("there is no such record yet: the partition ends at {}", bounds.end));
    }
    if origin.offset < bounds.start {
        return Some(format!("it has expired: the partition begins at {}", bounds.start));
    }
    let is_read = bounds.committed.is_some_and(|committed| origin.offset < committed);
    (!is_read).then(|| {
        format!("it is on its way: group {} has not read it yet; its consumers will apply it", lag.group)
    })
}

#[cfg(test)]
mod tests;
