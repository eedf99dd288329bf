//! Checks the partitions of a topic, one after the other: read, look up, classify, collect, count.

use std::path::PathBuf;

use floodgate_buffer::{GroupLag, Log, Offset, PartitionLag, Received, Strategy, Topic};
use floodgate_schemas::{Event, EventId, EventType};
use floodgate_store::{Audit, Standing, Store};
use tokio::sync::mpsc;

use crate::class::{Class, Tally};
use crate::dead_letters::DeadLetters;
use crate::read::{CHUNK_EVENTS, CHUNKS_AHEAD, Decoded, Piece, read};
use crate::report::{Missing, NAMED_MAX, Named, Unchecked};
use crate::runs::{self, Run, Source, shown_key};
use crate::state::{PartitionProgress, State, cannot};
use crate::{VerifyError, Watch, blocking};

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
    pub(crate) letters: DeadLetters,
    pub(crate) watch: &'a dyn Watch,
    pub(crate) limits: Limits,
}

impl Check<'_> {
    /// Checks what is left of the topic at `place` of the state.
    pub(crate) async fn topic<E: Event>(
        &self,
        state: &mut State,
        place: usize,
        lag: &GroupLag,
    ) -> Result<(), VerifyError>
    where
        dyn Store: Audit<E>,
    {
        let left = state.progress.types[place].iter().map(|partition| partition.end - partition.next);
        self.watch.begins(&lag.topic, left.sum::<i64>().unsigned_abs());
        let mut log = self.strategy.log(Topic::Events(E::TYPE))?;
        for (number, bounds) in lag.partitions.iter().enumerate() {
            if !state.progress.types[place][number].is_counted {
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
        dyn Store: Audit<E>,
    {
        let mut work = Work::new(self, E::TYPE, state, place, bounds);
        work.passes_expired(bounds.start);
        let range = Offset(work.progress.next)..Offset(work.progress.end);
        let (sender, mut pieces) = mpsc::channel(CHUNKS_AHEAD);
        let (partition, chunk) = (bounds.partition, self.limits.chunk);
        let reading = blocking(move || {
            read::<E>(&mut *log, partition, range, chunk, &sender);
            Ok(log)
        });
        let working = async {
            while let Some(piece) = pieces.recv().await {
                match piece? {
                    Piece::Records(decoded, next) => work.take::<E>(&decoded, next).await?,
                    Piece::Gone(left) => work.passes_expired(left),
                }
                if work.run.is_full(self.limits.run) {
                    work.put_aside(state).await?;
                }
            }
            // nobody else notices when reading ended before its time
            if work.progress.next != work.progress.end {
                return Err(VerifyError::Unavailable(format!(
                    "partition {partition} was not read to its end"
                )));
            }
            work.count(state).await
        };
        let (log, ()) = tokio::try_join!(reading, working)?;
        Ok(log)
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
    run: Run,
    named: Named,
}

impl<'a> Work<'a> {
    fn new(
        check: &'a Check<'a>,
        of: EventType,
        state: &State,
        place: (usize, usize),
        bounds: &'a PartitionLag,
    ) -> Self {
        let progress = state.progress.types[place.0][place.1].clone();
        let named: usize = state.progress.types.iter().flatten().map(|other| other.missing.len()).sum();
        let room = NAMED_MAX.saturating_sub(named - progress.missing.len());
        let named = Named::new(room, progress.missing.clone());
        Self { check, of, bounds, place, progress, run: Run::default(), named }
    }

    /// Everything before `left` that was not read yet has expired.
    fn passes_expired(&mut self, left: Offset) {
        let (from_offset, until_offset) = (self.progress.next, left.0.min(self.progress.end));
        if until_offset <= from_offset {
            return;
        }
        match self.progress.unchecked.last_mut() {
            Some(last) if last.until_offset == from_offset => last.until_offset = until_offset,
            _ => {
                let partition = self.progress.partition;
                self.progress.unchecked.push(Unchecked { partition, from_offset, until_offset });
            }
        }
        self.moves_to(until_offset);
    }

    fn moves_to(&mut self, next: i64) {
        self.check.watch.goes_on((next - self.progress.next).unsigned_abs());
        self.progress.next = next;
    }

    async fn take<E: Event>(&mut self, decoded: &Decoded<E>, next: Offset) -> Result<(), VerifyError>
    where
        dyn Store: Audit<E>,
    {
        let standings = self.check.store.standing(&decoded.events).await?;
        for (event, (number, standing)) in decoded.events.iter().zip(decoded.records.iter().zip(standings)) {
            if let Some(record) = decoded.batch.get(*number) {
                let class = self.class(&record, standing);
                self.run.push(event.event_id(), class, record.origin.offset.0, record.key);
            }
        }
        for record in decoded.unreadable.iter().filter_map(|number| decoded.batch.get(*number)) {
            let class = self.class(&record, Standing::Absent);
            self.progress.unreadable.count(class);
            if class == Class::Missing {
                self.named.add(missing(self.progress.partition, record.origin.offset.0, None, record.key));
            }
        }
        for record in decoded.unknown.iter().filter_map(|number| decoded.batch.get(*number)) {
            match self.class(&record, Standing::Absent) {
                // a newer build may have applied it: who cannot read it cannot tell
                Class::Missing => self.progress.unknown_schema += 1,
                class => self.progress.unreadable.count(class),
            }
        }
        self.progress.records += decoded.batch.len() as u64;
        self.moves_to(next.0);
        Ok(())
    }

    fn class(&self, record: &Received<'_>, standing: Standing) -> Class {
        let offset = record.origin.offset;
        let is_dead_lettered = || self.check.letters.contain(self.of, self.progress.partition, offset.0);
        Class::of(standing, offset, self.bounds.committed, standing == Standing::Absent && is_dead_lettered())
    }

    /// Puts the run aside, and remembers that all up to here is done.
    async fn put_aside(&mut self, state: &mut State) -> Result<(), VerifyError> {
        let (run, path) = (std::mem::take(&mut self.run), state.run_path(self.progress.runs));
        blocking(move || runs::write(&run.sorted(), &path).map_err(cannot)).await?;
        self.progress.runs += 1;
        self.remember(state)
    }

    /// Merges the runs and counts the events: the partition is done.
    async fn count(&mut self, state: &mut State) -> Result<(), VerifyError> {
        let (run, runs) = (std::mem::take(&mut self.run), std::mem::take(&mut self.progress.runs));
        let named = std::mem::take(&mut self.named);
        let (paths, partition) = ((0..runs).map(|number| state.run_path(number)), self.progress.partition);
        let paths: Vec<_> = paths.collect();
        let counted = blocking(move || counted(&paths, run, partition, named)).await?;
        (self.progress.events, self.named) = counted;
        self.progress.is_counted = true;
        self.remember(state)?;
        state.remove_runs(runs)
    }

    fn remember(&mut self, state: &mut State) -> Result<(), VerifyError> {
        self.progress.missing = self.named.sorted();
        state.progress.types[self.place.0][self.place.1].clone_from(&self.progress);
        state.save()
    }
}

/// The events of all runs, the last of which is still in memory: how many are of which class, and the missing ones.
fn counted(
    paths: &[PathBuf],
    last: Run,
    partition: i32,
    mut named: Named,
) -> Result<(Tally, Named), VerifyError> {
    let mut tally = Tally::default();
    let merged = || {
        let mut sources = paths.iter().map(|path| runs::open(path)).collect::<Result<Vec<_>, _>>()?;
        sources.push(Box::new(last.sorted().into_iter().map(Ok)) as Source);
        runs::merge(sources, |entry| {
            tally.count(entry.class);
            if entry.class == Class::Missing {
                named.add(missing(partition, entry.offset, Some(entry.id), entry.key.as_deref()));
            }
        })
    };
    merged().map_err(cannot)?;
    Ok((tally, named))
}

fn missing(partition: i32, offset: i64, event_id: Option<EventId>, key: Option<&[u8]>) -> Missing {
    let key = key.map(|key| String::from_utf8_lossy(shown_key(key)).into_owned());
    Missing { partition, offset, event_id, key }
}
