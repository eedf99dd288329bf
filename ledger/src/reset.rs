//! Sets one row back whose rank keeps every write from counting, so that the ledger balances afterwards.
//!
//! # The hard idea
//!
//! Lowering the rank of a row is easy; what it leaves behind is not. The event that stood there is then in the log and
//! not on its row any more, and so is every event that it had superseded: to `floodgate verify` all of them would be
//! missing. So the log decides what the row is to say. Every record of the row beyond the bound becomes a dead letter of
//! its own reason, which accounts for it; and the greatest event that is left is applied again, which accounts for all
//! others. The row then is as if what is beyond the bound had never been sent.
//!
//! The order makes it safe to kill and to repeat, and to run beside consumers. Letters come first: an event that is on
//! its row counts as that, whatever letters there are. Then the row is lowered, in one statement. From there on every
//! event that consumers apply counts, and those they passed over until then are in the log before its end as it is *now*:
//! so the log is read on to there, and only then the greatest is applied. A row at the lowest rank is one that a run may
//! have left there, and is gone through again.
//!
//! Records beyond the bound that the group has not committed are not touched: the group would put them on the row again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use floodgate_buffer::{
    Batch, LogError, Offset, Outcome, Partition, PartitionReader, Piece, Publish, Receipts, Received, Record,
    Strategy, Topic,
};
use floodgate_schemas::dead_letter::{Heading, ROW_RESET};
use floodgate_schemas::{Clock, Codecs, Event, EventId, ExpectationWrite, Like};
use floodgate_store::{Apply, RowKey, RowRank, Store};
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::class::HasLetter;
use crate::error::{VerifyError, blocking};
use crate::letter_index::LetterIndex;
use crate::read::CHUNK_EVENTS;

/// How long the strategy may take to become ready, and to acknowledge letters.
const PATIENCE: Duration = Duration::from_secs(30);
const READY_PAUSE: Duration = Duration::from_millis(50);

/// Which row is to be set back, and from which ranks on.
pub struct RowReset {
    /// Where the events are.
    pub strategy: Arc<dyn Strategy>,
    /// Where the row is.
    pub store: Arc<dyn Store>,
    /// The row.
    pub row: RowKey,
    /// Versions, or times in microseconds, above this one are not to count.
    pub above: i64,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What events are read with.
    pub codecs: Codecs,
}

/// What setting a row back came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResetReport {
    /// The rank that stood there.
    pub before: Option<RowRank>,
    /// Whether there was something to do.
    pub was_reset: bool,
    /// Where the records stood that are dead letters now, as `TOPIC/PARTITION/OFFSET`.
    pub dead_lettered: Vec<String>,
    /// The rank that stands there now.
    pub after: Option<RowRank>,
}

/// An event that a row keeps.
trait OfRow: Event {
    fn is_of(&self, row: &RowKey) -> bool;
    fn rank(&self) -> (i64, EventId);
}

impl OfRow for ExpectationWrite {
    fn is_of(&self, row: &RowKey) -> bool {
        matches!(row, RowKey::Expectation(character, preset) if self.row_key() == (*character, *preset))
    }

    fn rank(&self) -> (i64, EventId) {
        ExpectationWrite::rank(self)
    }
}

impl OfRow for Like {
    fn is_of(&self, row: &RowKey) -> bool {
        matches!(row, RowKey::Like(target, liker) if self.row_key() == (target, liker))
    }

    fn rank(&self) -> (i64, EventId) {
        (self.occurred_at.as_micros(), self.event_id)
    }
}

impl RowReset {
    /// Sets the row back. Does nothing where its rank is not above the bound. May be repeated after a failure.
    ///
    /// # Errors
    /// [`VerifyError`] says what the caller can do.
    pub async fn run(&self) -> Result<ResetReport, VerifyError> {
        let before = self.store.rank(&self.row).await?;
        let is_due = |rank: RowRank| rank.micros > self.above || rank.micros == self.row.lowest();
        if !before.is_some_and(is_due) {
            return Ok(ResetReport { before, was_reset: false, dead_lettered: Vec::new(), after: before });
        }
        let dead_lettered = match &self.row {
            RowKey::Expectation(..) => self.reset::<ExpectationWrite>().await?,
            RowKey::Like(..) => self.reset::<Like>().await?,
        };
        let after = self.store.rank(&self.row).await?;
        Ok(ResetReport { before, was_reset: true, dead_lettered, after })
    }

    async fn reset<E: OfRow>(&self) -> Result<Vec<String>, VerifyError>
    where
        dyn Store: Apply<E>,
    {
        if self.strategy.logs_from_outside().is_err() {
            // events are where nobody looks for them afterwards
            self.store.lower(&self.row, self.above).await?;
            return Ok(Vec::new());
        }
        let publisher = self.strategy.publisher()?;
        wait_ready(&*publisher).await?;
        let mut reading = RowReading::<E> {
            strategy: Arc::clone(&self.strategy),
            publisher: Arc::clone(&publisher),
            row: self.row.clone(),
            above: self.above,
            clock: Arc::clone(&self.clock),
            codecs: self.codecs.clone(),
            committed: HashMap::new(),
            next: HashMap::new(),
            letters: LetterIndex::default(),
            dead_lettered: Vec::new(),
            greatest: None,
        };
        reading = reading.on(RowReading::begin).await?.on(RowReading::go_on).await?;
        self.store.lower(&self.row, self.above).await?;
        reading = reading.on(RowReading::go_on).await?;
        if let Some(greatest) = reading.greatest {
            let applied = self.store.apply(&[greatest], self.clock.now()).await;
            applied.map_err(|error| VerifyError::Unavailable(error.to_string()))?;
        }
        publisher.close(PATIENCE).await;
        Ok(reading.dead_lettered)
    }
}

async fn wait_ready(publisher: &dyn Publish) -> Result<(), VerifyError> {
    let until = Instant::now() + PATIENCE;
    while let Err(reason) = publisher.ready() {
        if Instant::now() >= until {
            return Err(VerifyError::Unavailable(reason));
        }
        tokio::time::sleep(READY_PAUSE).await;
    }
    Ok(())
}

/// The log, read for one row.
struct RowReading<E> {
    strategy: Arc<dyn Strategy>,
    publisher: Arc<dyn Publish>,
    row: RowKey,
    above: i64,
    clock: Arc<dyn Clock>,
    codecs: Codecs,
    /// The next offset of the group, by partition, before anything was read.
    committed: HashMap<Partition, Option<Offset>>,
    /// Up to where each partition was read.
    next: HashMap<Partition, Offset>,
    letters: LetterIndex,
    dead_lettered: Vec<String>,
    /// The event within the bound that counts.
    greatest: Option<E>,
}

impl<E: OfRow> RowReading<E> {
    /// Does a step of it where blocking is allowed.
    async fn on(mut self, step: fn(&mut Self) -> Result<(), VerifyError>) -> Result<Self, VerifyError> {
        blocking(move || step(&mut self).map(|()| self)).await
    }

    fn begin(&mut self) -> Result<(), VerifyError> {
        let lag = self.strategy.lag(E::TYPE)?;
        self.committed = lag.partitions.iter().map(|of| (of.partition, of.committed)).collect();
        self.letters = LetterIndex::read(&*self.strategy)?;
        // a letter that is not seen would be written a second time
        self.letters.all_read()?;
        Ok(())
    }

    /// Reads from where it was to the ends as they are now.
    fn go_on(&mut self) -> Result<(), VerifyError> {
        let mut log = self.strategy.logs()?.open(Topic::Events(E::TYPE))?;
        for (partition, bounds) in log.bounds()?.all()? {
            let from = self.next.get(&partition).copied().unwrap_or(bounds.start).max(bounds.start);
            let mut reader = PartitionReader::new(partition, from..bounds.end, CHUNK_EVENTS);
            while let Some(piece) = reader.next(&mut *log)? {
                match piece {
                    Piece::Records(chunk) => self.take(&chunk.batch)?,
                    Piece::Gone(_) => {}
                    // what is in it may be of the row
                    Piece::Damaged(range, reason) => {
                        return Err(LogError::Damaged(partition, range.start, reason).into());
                    }
                }
            }
            self.next.insert(partition, reader.position());
        }
        Ok(())
    }

    fn take(&mut self, batch: &Batch) -> Result<(), VerifyError> {
        Handle::current().block_on(self.codecs.prepare(batch.values()));
        let mut beyond = Vec::new();
        for record in batch.iter() {
            let event = match self.codecs.decode::<E>(record.value.unwrap_or_default()) {
                Ok(event) => event,
                // it may be of the row
                Err(error) if error.unknown_schema().is_some() => {
                    let (partition, offset) = (record.origin.partition, record.origin.offset);
                    return Err(VerifyError::Unavailable(format!(
                        "offset {offset} of partition {partition} may be of the row, and cannot be read now: {error}"
                    )));
                }
                Err(_) => continue,
            };
            if !event.is_of(&self.row) {
                continue;
            }
            if event.rank().0 > self.above {
                beyond.push(record);
            } else if self.greatest.as_ref().is_none_or(|greatest| greatest.rank() < event.rank()) {
                self.greatest = Some(event);
            }
        }
        beyond.retain(|record| self.letters.letter_of(E::TYPE, record) != HasLetter::Yes);
        self.dead_letter(&beyond)
    }

    fn dead_letter(&mut self, records: &[Received<'_>]) -> Result<(), VerifyError> {
        if records.is_empty() {
            return Ok(());
        }
        let receipts = Receipts::new(records.len());
        for (index, record) in records.iter().enumerate() {
            let (partition, offset) = (record.origin.partition, record.origin.offset);
            let committed = self.committed.get(&partition).copied().flatten();
            if committed.is_none_or(|committed| offset >= committed) {
                return Err(VerifyError::Unavailable(format!(
                    "partition {partition} offset {offset} holds a record of this row beyond the bound that the group has \
                     not applied yet: run this again when it has (`floodgate lag`)"
                )));
            }
            self.offer(record, receipts.receipt(index))?;
        }
        Handle::current().block_on(receipts.all());
        for (index, record) in records.iter().enumerate() {
            let (partition, offset) = (record.origin.partition, record.origin.offset);
            if receipts.outcome(index) != Outcome::Stored {
                return Err(VerifyError::Unavailable(format!(
                    "the dead letter of partition {partition} offset {offset} was not acknowledged"
                )));
            }
            let topic = self.strategy.names().events(E::TYPE);
            self.dead_lettered.push(format!("{topic}/{partition}/{offset}"));
        }
        Ok(())
    }

    fn offer(&self, record: &Received<'_>, receipt: floodgate_buffer::Receipt) -> Result<(), VerifyError> {
        let names = self.strategy.names();
        let message =
            format!("the row {} was set back: its events above {} do not count", self.row, self.above);
        let heading = Heading {
            place: names.place(record.origin, record.log),
            group: names.group(E::TYPE),
            reason: ROW_RESET,
            message: &message,
            failed_at: self.clock.now(),
        };
        let offered = heading.under(&record.headers, |headers| {
            let (topic, key, value) = (Topic::DeadLetters, record.key, record.value);
            self.publisher.offer(&Record { topic, key, value, headers }, receipt)
        });
        offered.map_err(|not_taken| VerifyError::Unavailable(not_taken.reason.to_string()))
    }
}
