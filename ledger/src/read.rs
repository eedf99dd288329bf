//! Reads one partition ahead of those who look its events up, on a thread of its own.

use std::ops::Range;

use floodgate_buffer::{Batch, Log, LogError, Offset, Partition};
use floodgate_schemas::Event;
use floodgate_schemas::codec::decode;
use tokio::sync::mpsc;

use crate::error::VerifyError;

/// Records that are read, and looked up, at a time.
pub(crate) const CHUNK_EVENTS: usize = 5000;
/// Chunks that wait to be looked up.
pub(crate) const CHUNKS_AHEAD: usize = 2;

/// Part of a partition. Parts come in order and without a gap.
pub(crate) enum Piece<E> {
    /// Records, and where the next piece begins.
    Records(Decoded<E>, Offset),
    /// Everything before this offset has expired.
    Gone(Offset),
    /// These offsets are damaged, in which way.
    Damaged(Range<Offset>, String),
}

/// A chunk, decoded.
pub(crate) struct Decoded<E> {
    pub(crate) batch: Batch,
    /// The events, in order.
    pub(crate) events: Vec<E>,
    /// For each event, the number of its record in the batch.
    pub(crate) records: Vec<usize>,
    /// Numbers of the records that are no events.
    pub(crate) unreadable: Vec<usize>,
    /// Numbers of the records of schemas that this build does not know.
    pub(crate) unknown: Vec<usize>,
}

impl<E: Event> From<Batch> for Decoded<E> {
    fn from(batch: Batch) -> Self {
        let (mut events, mut records) = (Vec::with_capacity(batch.len()), Vec::new());
        let (mut unreadable, mut unknown) = (Vec::new(), Vec::new());
        for (number, record) in batch.iter().enumerate() {
            match decode(record.value.unwrap_or_default()) {
                Ok(event) => {
                    events.push(event);
                    records.push(number);
                }
                Err(error) if error.unknown_schema().is_some() => unknown.push(number),
                Err(_) => unreadable.push(number),
            }
        }
        Self { batch, events, records, unreadable, unknown }
    }
}

/// Reads all of `range`, `chunk` records at a time, until it ends, fails, or nobody listens any more. Blocks.
pub(crate) fn read<E: Event>(
    log: &mut dyn Log,
    partition: Partition,
    range: Range<Offset>,
    chunk: usize,
    pieces: &mpsc::Sender<Result<Piece<E>, VerifyError>>,
) {
    let mut from = range.start;
    while from < range.end {
        let piece = next(log, partition, from..range.end, chunk);
        let goes_on = match &piece {
            Ok(Piece::Records(_, next) | Piece::Gone(next) | Piece::Damaged(Range { end: next, .. }, _)) => {
                from = *next;
                true
            }
            Err(_) => false,
        };
        if pieces.blocking_send(piece).is_err() || !goes_on {
            return;
        }
    }
}

fn next<E: Event>(
    log: &mut dyn Log,
    partition: Partition,
    range: Range<Offset>,
    chunk: usize,
) -> Result<Piece<E>, VerifyError> {
    let from = range.start;
    match log.read(partition, range.clone(), chunk) {
        Ok(chunk) => Ok(Piece::Records(chunk.batch.into(), chunk.next)),
        Err(LogError::Gone(..)) => Ok(Piece::Gone(log.oldest_after(partition, from)?.min(range.end))),
        Err(LogError::Damaged(_, damaged, reason)) => {
            let behind = log.behind_damage(partition, damaged, range.end)?;
            Ok(Piece::Damaged(damaged..behind, reason))
        }
        Err(error) => Err(error.into()),
    }
}
