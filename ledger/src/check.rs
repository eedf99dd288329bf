//! Checks the partitions of a topic, one after the other: read, look up, classify, collect, count.

use std::ops::Range;
use std::path::PathBuf;

use floodgate_buffer::{
    Chunk, Decoded, GroupLag, Log, Offset, Partition, PartitionLag, PartitionReader, Received, Strategy,
    Topic,
};
use floodgate_schemas::{Clock, Codecs, Event, EventType};
use floodgate_store::{Apply, Audit, Difference, EventStatus, Repair, Store};
use tokio::sync::mpsc;

use crate::class::{Class, Tally};
use crate::error::{VerifyError, blocking};
use crate::finding::{Finding, NAMED_MAX, Note};
use crate::findings::Findings;
use crate::kept::DecisionsKept;
use crate::letter_index::LetterIndex;
use crate::range::OffsetRange;
use crate::read::{CHUNK_EVENTS, CHUNKS_AHEAD, DecodedPiece, read};
use crate::reapplied::Wanted;
use crate::reapply::Mender;
use crate::runs::{self, Run, Source};
use crate::state::{Damage, PartitionProgress, State, cannot};
use crate::watch::Watch;

/// How much is held at a time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Records that are read, and looked up, together.
    pub(crate) chunk: usize,
    /// Entries of one run.
    pub(crate) run: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { chunk: CHUNK_EVENTS, run: 500_000 }
    }
}

/// What stays the same throughout a check.
pub(crate) struct Check<'a> {
    pub(crate) strategy: &'a dyn Strategy,
    pub(crate) store: &'a (dyn Store + 'static),
    pub(crate) letters: LetterIndex,
    pub(crate) watch: &'a dyn Watch,
    pub(crate) codecs: &'a Codecs,
    pub(crate) limits: Limits,
    pub(crate) kept: DecisionsKept,
    pub(crate) clock: &'a dyn Clock,
    /// Whether values are compared, and not only which event stands on a row.
    pub(crate) values: bool,
    /// Who brings back what is found missing.
    pub(crate) mender: Option<&'a Mender<'a>>,
}

/// How many stretches of offsets without a record are kept apart.
const EMPTY_MAX: usize = 100;

impl Check<'_> {
    /// Checks what is left of the topic at `place` of the state.
    pub(crate) async fn topic<E: Event>(
        &self,
        state: &mut State,
        place: usize,
        lag: &GroupLag,
    ) -> Result<(), VerifyError>
    where
        dyn Store: Audit<E> + Apply<E> + Repair<E>,
    {
        let left = state.progress.types[place].iter().map(PartitionProgress::left);
        self.watch.begins(&lag.topic, left.sum());
        let mut log = self.strategy.logs()?.open(Topic::Events(E::TYPE))?;
        for number in 0..state.progress.types[place].len() {
            let progress = &state.progress.types[place][number];
            let bounds = lag.partitions.iter().find(|bounds| bounds.partition.0 == progress.partition);
            if let Some(bounds) = bounds.filter(|_| !progress.is_counted) {
                log = self.partition::<E>(state, (place, number), bounds, log).await?;
            }
        }
        Ok(())
    }

    async fn partition<E: Event>(
        &self,
        state: &mut State,
        place: (usize, usize),
        bounds: &PartitionLag,
        mut log: Box<dyn Log>,
    ) -> Result<Box<dyn Log>, VerifyError>
    where
        dyn Store: Audit<E> + Apply<E> + Repair<E>,
    {
        let mut work = Work::new(self, E::TYPE, state, place, bounds);
        work.passes_expired(bounds.start);
        let range = Offset(work.progress.next)..Offset(work.end);
        let (sender, mut pieces) = mpsc::channel(CHUNKS_AHEAD);
        let (partition, codecs) = (bounds.partition, self.codecs.clone());
        let reader = PartitionReader::new(partition, range, self.limits.chunk);
        let reading = blocking(move || {
            read::<E>(&mut *log, reader, &codecs, &sender);
            Ok(log)
        });
        let working = async {
            while let Some(piece) = pieces.recv().await {
                match piece? {
                    DecodedPiece::Records(chunk, decoded) => work.take::<E>(&chunk, &decoded).await?,
                    DecodedPiece::Gone(left) => work.passes_expired(left),
                    DecodedPiece::Damaged(range, reason) => work.passes_damaged(&range, reason),
                }
                if work.run.is_full(self.limits.run) {
                    work.put_aside(state).await?;
                }
            }
            // nobody else notices when reading ended before its time
            if work.progress.next != work.end {
                return Err(VerifyError::Unavailable(format!(
                    "partition {partition} was not read to its end"
                )));
            }
            work.count(state).await
        };
        let (log, wanted) = tokio::try_join!(reading, working)?;
        match self.mender {
            Some(mender) => mender.bring_back::<E>(log, Partition(bounds.partition.0), &wanted).await,
            None => Ok(log),
        }
    }
}

/// One partition in work.
struct Work<'a> {
    check: &'a Check<'a>,
    of: EventType,
    bounds: &'a PartitionLag,
    /// Where the progress stands in the state.
    place: (usize, usize),
    /// The progress as it will be saved.
    progress: PartitionProgress,
    /// Where the check ends.
    end: i64,
    run: Run,
    findings: Findings,
}

impl<'a> Work<'a> {
    fn new(
        check: &'a Check<'a>,
        of: EventType,
        state: &State,
        place: (usize, usize),
        bounds: &'a PartitionLag,
    ) -> Self {
        let mut progress = state.progress.types[place.0][place.1].clone();
        let findings = Findings::new(&progress, &state.progress.types);
        progress.committed = bounds.committed.map(|committed| committed.0);
        let end = progress.end.unwrap_or(progress.next);
        Self { check, of, bounds, place, progress, end, run: Run::default(), findings }
    }

    /// Everything before `left` that was not read yet has expired.
    fn passes_expired(&mut self, left: Offset) {
        let (from_offset, until_offset) = (self.progress.next, left.0.min(self.end));
        if until_offset <= from_offset {
            return;
        }
        let partition = self.progress.partition;
        let expired = OffsetRange { partition, from_offset, until_offset };
        add(&mut self.progress.unchecked, expired);
        // before the committed offset it was done, and what is lost is told as lost
        let done = self.bounds.committed.map_or(0, |committed| committed.0);
        let done = self.progress.lost.map_or(done, |lost| done.max(lost.until_offset));
        let is_applied = self.check.strategy.logs().is_ok_and(|logs| logs.drops_what_is_applied());
        if done < until_offset && !is_applied {
            add(&mut self.progress.doubtful, OffsetRange { from_offset: from_offset.max(done), ..expired });
        }
        self.moves_to(until_offset);
    }

    /// Offsets whose records nobody can read.
    fn passes_damaged(&mut self, range: &Range<Offset>, reason: String) {
        let (from_offset, until_offset) = (range.start.0, range.end.0.min(self.end));
        self.passes_empty(self.progress.next, from_offset);
        let range = OffsetRange { partition: self.progress.partition, from_offset, until_offset };
        // no end of it: what lies between the last ones is counted among them
        let is_full = self.progress.damaged.len() >= NAMED_MAX;
        match self.progress.damaged.last_mut() {
            Some(last) if is_full || last.range.until_offset == from_offset => {
                last.range.until_offset = until_offset;
            }
            _ => self.progress.damaged.push(Damage { range, reason }),
        }
        self.moves_to(until_offset);
    }

    /// Offsets that hold no record.
    fn passes_empty(&mut self, from_offset: i64, until_offset: i64) {
        let partition = self.progress.partition;
        let empty = OffsetRange { partition, from_offset, until_offset };
        self.progress.empty_offsets += empty.offsets();
        if empty.offsets() > 0 && self.progress.empty.len() < EMPTY_MAX {
            add(&mut self.progress.empty, empty);
        }
    }

    fn moves_to(&mut self, next: i64) {
        self.check.watch.goes_on((next - self.progress.next).unsigned_abs());
        self.progress.next = next;
    }

    async fn take<E: Event>(&mut self, chunk: &Chunk, decoded: &Decoded<E>) -> Result<(), VerifyError>
    where
        dyn Store: Audit<E>,
    {
        let Chunk { batch, next } = chunk;
        let statuses = self.check.store.statuses(&decoded.events).await?;
        // looked at afterwards: a row that has moved on to another event is not compared
        let differences = match self.check.values {
            true => self.check.store.differences(&decoded.events).await?,
            false => Vec::new(),
        };
        // what was deleted by the look is older than it is kept by now
        let now = self.check.clock.now();
        let mut differences = &differences[..];
        for (place, (event, status)) in decoded.events.iter().zip(statuses).enumerate() {
            let own = differences.iter().take_while(|difference| difference.event == place).count();
            let (own, others) = differences.split_at(own);
            differences = others;
            if let Some(record) = decoded.records.get(place).and_then(|number| batch.get(*number)) {
                let mut class = self.class(&record, status, own);
                if self.check.kept.may_lack(event, now) {
                    class = class.unless_forgotten();
                }
                let note = class.is_named().then(|| Note::of(&record, own).to_bytes());
                self.run.push(event.event_id(), class, record.origin.offset.0, note.as_deref());
            }
        }
        for record in decoded.undecodable().filter_map(|(number, _)| batch.get(number)) {
            let class = self.class(&record, EventStatus::Absent, &[]);
            self.progress.unreadable.count(class);
            let note = || Note::of(&record, &[]).to_bytes();
            self.findings.add(class, || Finding::new(record.origin.offset.0, None, Some(note())));
        }
        for record in decoded.unknown_schemas().filter_map(|(number, _)| batch.get(number)) {
            match self.class(&record, EventStatus::Absent, &[]) {
                // a newer build may have applied it: who cannot read it cannot tell
                Class::Missing | Class::LetterExpired | Class::LetterUnread => {
                    self.progress.unknown_schema += 1
                }
                class => self.progress.unreadable.count(class),
            }
        }
        let mut expected = self.progress.next;
        for record in batch.iter() {
            self.passes_empty(expected, record.origin.offset.0);
            expected = record.origin.offset.next().0;
        }
        self.passes_empty(expected, next.0);
        self.progress.records += batch.len() as u64;
        self.moves_to(next.0);
        Ok(())
    }

    fn class(&self, record: &Received<'_>, status: EventStatus, differences: &[Difference]) -> Class {
        let letter = || self.check.letters.letter_of(self.of, record);
        match Class::of(status, record.origin.offset, self.bounds.committed, letter) {
            Class::Current | Class::Superseded | Class::Decided if !differences.is_empty() => {
                Class::Differing
            }
            class => class,
        }
    }

    /// Puts the run aside, and remembers that all up to here is done.
    async fn put_aside(&mut self, state: &mut State) -> Result<(), VerifyError> {
        let (run, path) = (std::mem::take(&mut self.run), state.run_path(self.progress.runs));
        blocking(move || runs::write(&run.sorted(), &path).map_err(cannot)).await?;
        self.progress.runs += 1;
        self.remember(state)
    }

    /// Merges the runs and counts the events: the partition is done. Returns what is to be brought back, if somebody does
    /// that.
    async fn count(&mut self, state: &mut State) -> Result<Wanted, VerifyError> {
        let (run, runs) = (std::mem::take(&mut self.run), std::mem::take(&mut self.progress.runs));
        let findings = std::mem::take(&mut self.findings);
        let paths: Vec<_> = (0..runs).map(|number| state.run_path(number)).collect();
        let is_mended = self.check.mender.is_some();
        let counted = blocking(move || counted(&paths, run, findings, is_mended)).await?;
        let wanted;
        (self.progress.events, self.findings, wanted) = counted;
        self.progress.is_counted = true;
        self.remember(state)?;
        state.remove_runs(runs)?;
        Ok(wanted)
    }

    fn remember(&mut self, state: &mut State) -> Result<(), VerifyError> {
        self.findings.save(&mut self.progress);
        state.progress.types[self.place.0][self.place.1].clone_from(&self.progress);
        state.save()
    }
}

/// Adds a range behind all others.
fn add(ranges: &mut Vec<OffsetRange>, range: OffsetRange) {
    match ranges.last_mut() {
        Some(last) if last.until_offset == range.from_offset => last.until_offset = range.until_offset,
        _ => ranges.push(range),
    }
}

/// The events of all runs, the last of which is still in memory: how many are of which class, those that are named, and
/// those that are wanted back.
fn counted(
    paths: &[PathBuf],
    last: Run,
    mut findings: Findings,
    is_mended: bool,
) -> Result<(Tally, Findings, Wanted), VerifyError> {
    let (mut tally, mut wanted) = (Tally::default(), Wanted::default());
    let merged = || {
        let mut sources = paths.iter().map(|path| runs::open(path)).collect::<Result<Vec<_>, _>>()?;
        sources.push(Box::new(last.sorted().into_iter().map(Ok)) as Source);
        runs::merge(sources, |entry| {
            tally.count(entry.class);
            if is_mended {
                wanted.add(entry.class, entry.offset);
            }
            findings.add_event(entry);
        })
    };
    merged().map_err(cannot)?;
    wanted.sort();
    Ok((tally, findings, wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_are_one() {
        let range = |from_offset, until_offset| OffsetRange { partition: 0, from_offset, until_offset };
        let mut ranges = Vec::new();
        [range(1, 3), range(3, 4), range(6, 7)].into_iter().for_each(|range| add(&mut ranges, range));
        assert_eq!(ranges, [range(1, 4), range(6, 7)]);
    }
}
