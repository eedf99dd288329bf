//! Bytes become events, as far as they are any and this build can read them.

use std::collections::BTreeMap;

use floodgate_buffer::{Batch, Offset, Partition};
use floodgate_schemas::Event;
use floodgate_schemas::codec::{SchemaName, decode};

use crate::dead_letter::DeadLetter;

/// How many records are decoded before other tasks get their turn: about half a millisecond.
const DECODED_AT_ONCE: usize = 500;

/// A batch, decoded.
pub(crate) struct Decoded<E> {
    /// The events, in order.
    pub(crate) events: Vec<E>,
    /// For each event, the number of its record in the batch.
    pub(crate) records: Vec<usize>,
    /// Records that are no events, in order.
    pub(crate) undecodable: Vec<DeadLetter>,
    /// For each partition that has one, the first record that only a newer build can read.
    pub(crate) newer: BTreeMap<Partition, Newer>,
}

/// A record that only a newer build can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Newer {
    pub(crate) offset: Offset,
    pub(crate) schema: SchemaName,
}

/// Decodes, and cuts the batch in front of what only a newer build can read. Where nothing `may_wait` for one, such a record
/// is no event.
pub(crate) async fn decode_batch<E: Event>(batch: &mut Batch, may_wait: bool) -> Decoded<E> {
    let decoded = decode_all(batch, may_wait).await;
    if decoded.newer.is_empty() {
        return decoded;
    }
    // numbers of records are those of what is left: decoded again, which happens while a partition is held only
    decoded.newer.iter().for_each(|(partition, first)| batch.keep_before(*partition, first.offset));
    Decoded { newer: decoded.newer, ..decode_all(batch, may_wait).await }
}

/// Lets other tasks have their turn in between: requests may be served by the same thread.
async fn decode_all<E: Event>(batch: &Batch, may_wait: bool) -> Decoded<E> {
    let mut decoded = Decoded {
        events: Vec::with_capacity(batch.len()),
        records: Vec::with_capacity(batch.len()),
        undecodable: Vec::new(),
        newer: BTreeMap::new(),
    };
    for (number, record) in batch.iter().enumerate() {
        if number % DECODED_AT_ONCE == DECODED_AT_ONCE - 1 {
            tokio::task::yield_now().await;
        }
        match decode(record.value.unwrap_or_default()) {
            Ok(event) => {
                decoded.events.push(event);
                decoded.records.push(number);
            }
            Err(error) => match error.unknown_schema().filter(|_| may_wait) {
                Some(schema) => {
                    let first = Newer { offset: record.origin.offset, schema };
                    decoded.newer.entry(record.origin.partition).or_insert(first);
                }
                None => decoded.undecodable.push(DeadLetter {
                    record: number,
                    reason: error.reason(),
                    message: error.to_string(),
                }),
            },
        }
    }
    decoded
}
