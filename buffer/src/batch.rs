//! Records on their way to the database, many at a time.
//!
//! All keys, values and headers of a batch lie in one buffer, so that receiving a record costs a copy but
//! no allocation, and a batch's size in memory is known.

use std::ops::Range;

use crate::{Header, Offset, Origin, Partition, Topic};

/// Records of one topic, in partition order. Given back whole to [`crate::Subscription::commit`].
#[derive(Debug)]
pub struct Batch {
    topic: Topic,
    bytes: Vec<u8>,
    records: Vec<Placed>,
}

#[derive(Debug)]
struct Placed {
    partition: Partition,
    offset: Offset,
    appended_at_ms: i64,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    // events carry no headers unless they were replayed: the box stays empty and costs nothing
    headers: Box<[PlacedHeader]>,
}

/// How much memory an empty batch keeps for its contents, and once more for where they lie: what 10,000 events need.
const KEPT_BYTES: usize = 2 << 20;

type PlacedHeader = (Range<usize>, Option<Range<usize>>);

/// One record of a batch.
#[derive(Debug)]
pub struct Received<'a> {
    /// Where it stood.
    pub origin: Origin,
    /// When the strategy took it, in milliseconds since the Unix epoch.
    pub appended_at_ms: i64,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value.
    pub value: Option<&'a [u8]>,
    /// Its headers, in order.
    pub headers: Vec<Header<'a>>,
}

impl Batch {
    pub(crate) fn new(topic: Topic) -> Self {
        Self { topic, bytes: Vec::new(), records: Vec::new() }
    }

    pub(crate) fn push<'a>(
        &mut self,
        partition: Partition,
        offset: Offset,
        appended_at_ms: i64,
        (key, value): (Option<&[u8]>, Option<&[u8]>),
        headers: impl Iterator<Item = Header<'a>>,
    ) {
        let key = key.map(|key| self.keep(key));
        let value = value.map(|value| self.keep(value));
        let headers =
            headers.map(|(name, value)| (self.keep(name), value.map(|value| self.keep(value)))).collect();
        self.records.push(Placed { partition, offset, appended_at_ms, key, value, headers });
    }

    fn keep(&mut self, part: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(part);
        start..self.bytes.len()
    }

    /// Forgets all records and keeps the memory for the next ones, if it is not very much.
    pub(crate) fn emptied(mut self) -> Self {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        self.records.clear();
        self.records.shrink_to(KEPT_BYTES / size_of::<Placed>());
        self
    }

    /// Forgets the records of partitions for which `keep` is false; the others are numbered anew.
    pub fn retain_partitions(&mut self, keep: impl Fn(Partition) -> bool) {
        self.records.retain(|record| keep(record.partition));
        if self.records.is_empty() {
            self.bytes.clear();
        }
    }

    /// Forgets the records of one partition from this offset on; the others are numbered anew.
    pub fn keep_before(&mut self, partition: Partition, offset: Offset) {
        self.records.retain(|record| record.partition != partition || record.offset < offset);
    }

    /// Forgets the records of one partition but the first few.
    pub fn keep_first(&mut self, partition: Partition, records: usize) {
        let mut left = records;
        self.records.retain(|record| {
            if record.partition != partition {
                return true;
            }
            let keep = left > 0;
            left = left.saturating_sub(1);
            keep
        });
    }

    /// The number of records.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Keys, values and headers, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The records, in the order they were read: partition order within each partition.
    pub fn iter(&self) -> impl Iterator<Item = Received<'_>> {
        self.records.iter().map(|record| self.received(record))
    }

    /// Record number `index`, counted as [`Batch::iter`] does.
    pub fn get(&self, index: usize) -> Option<Received<'_>> {
        self.records.get(index).map(|record| self.received(record))
    }

    fn received(&self, record: &Placed) -> Received<'_> {
        let part = |range: &Range<usize>| &self.bytes[range.clone()];
        Received {
            origin: Origin { topic: self.topic, partition: record.partition, offset: record.offset },
            appended_at_ms: record.appended_at_ms,
            key: record.key.as_ref().map(part),
            value: record.value.as_ref().map(part),
            headers: record
                .headers
                .iter()
                .map(|(name, value)| (part(name), value.as_ref().map(part)))
                .collect(),
        }
    }

    /// For every partition in the batch, the offset that is committed once the batch is done.
    pub(crate) fn progress(&self) -> impl Iterator<Item = (Partition, Offset)> + '_ {
        // records stand in offset order within a partition: a later one overrides an earlier one
        self.records.iter().map(|record| (record.partition, record.offset.next()))
    }
}
