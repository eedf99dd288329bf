//! Bytes become events, as far as they are any and this build can read them.

use std::collections::BTreeMap;

use floodgate_buffer::{Batch, Decoded, Offset, Partition};
use floodgate_schemas::codec::SchemaName;
use floodgate_schemas::{Codecs, Event};

/// How many records are decoded before other tasks get their turn: about half a millisecond.
const DECODED_AT_ONCE: usize = 500;

/// A record that only a newer build can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Newer {
    pub(crate) offset: Offset,
    pub(crate) schema: SchemaName,
}

/// Decodes batches.
pub(crate) struct Decoder {
    pub(crate) codecs: Codecs,
}

impl Decoder {
    /// Decodes, and cuts the batch in front of what only a newer build can read, the first of which is returned for each
    /// partition that has some. Where nothing `may_wait` for a newer build, such a record is no event.
    pub(crate) async fn decode<E: Event>(
        &self,
        batch: &mut Batch,
        may_wait: bool,
    ) -> (Decoded<E>, BTreeMap<Partition, Newer>) {
        let decoded = self.decode_all(batch).await;
        let newer = if may_wait { first_newer(batch, &decoded) } else { BTreeMap::new() };
        if newer.is_empty() {
            return (decoded, newer);
        }
        // numbers of records are those of what is left: decoded again, which happens while a partition is held only
        newer.iter().for_each(|(partition, first)| batch.keep_before(*partition, first.offset));
        (self.decode_all(batch).await, newer)
    }

    /// Lets other tasks have their turn in between: requests may be served by the same thread.
    async fn decode_all<E: Event>(&self, batch: &Batch) -> Decoded<E> {
        self.codecs.prepare(batch.values()).await;
        let mut decoded = Decoded::with_room_for(batch);
        while decoded.add_next(batch, DECODED_AT_ONCE, &self.codecs) {
            tokio::task::yield_now().await;
        }
        decoded
    }
}

fn first_newer<E>(batch: &Batch, decoded: &Decoded<E>) -> BTreeMap<Partition, Newer> {
    let mut first = BTreeMap::new();
    for (number, schema) in decoded.unknown_schemas() {
        if let Some(received) = batch.get(number) {
            let newer = Newer { offset: received.origin.offset, schema };
            first.entry(received.origin.partition).or_insert(newer);
        }
    }
    first
}
