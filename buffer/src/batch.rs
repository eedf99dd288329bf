//! Records on their way to the database, many at a time.
//!
//! All keys, values and headers of a batch lie in one buffer, so that receiving a record costs a copy but
//! no allocation, and a batch's size in memory is known.

use std::ops::Range;

use crate::{Header, LogId, Offset, Origin, Partition, Topic};

/// Records of one topic, in partition order. Given back whole to [`crate::Subscription::commit`].
#[derive(Debug)]
pub struct Batch {
    topic: Topic,
    log: Option<LogId>,
    bytes: Vec<u8>,
    records: Vec<Placed>,
    /// Of all records.
    headers: usize,
}

#[derive(Debug)]
struct Placed {
    partition: Partition,
    offset: Offset,
    appended_at_ms: i64,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    // few events carry any (checksums, traces, replays): without them the box stays empty and costs nothing
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
    /// Which log that is of, where the strategy tells.
    pub log: Option<&'a LogId>,
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
        Self { topic, log: None, bytes: Vec::new(), records: Vec::new(), headers: 0 }
    }

    /// Says which log its records are of.
    pub(crate) fn set_log(&mut self, log: Option<LogId>) {
        self.log = log;
    }

    /// Which log its records are of, where the strategy tells.
    pub fn log(&self) -> Option<&LogId> {
        self.log.as_ref()
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
        let headers: Box<[_]> =
            headers.map(|(name, value)| (self.keep(name), value.map(|value| self.keep(value)))).collect();
        self.headers += headers.len();
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
        self.headers = 0;
        self.records.shrink_to(KEPT_BYTES / size_of::<Placed>());
        self
    }

    /// Forgets the records of partitions for which `keep` is false; the others are numbered anew.
    pub fn retain_partitions(&mut self, keep: impl Fn(Partition) -> bool) {
        self.records.retain(|record| keep(record.partition));
        if self.records.is_empty() {
            self.bytes.clear();
            self.headers = 0;
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

    /// Keys, values and headers, and what says where they lie, in bytes: a header that is nearly nothing takes forty.
    pub fn bytes(&self) -> usize {
        let placed = self.records.len() * size_of::<Placed>() + self.headers * size_of::<PlacedHeader>();
        self.bytes.len() + placed
    }

    /// The records, in the order they were read: partition order within each partition.
    pub fn iter(&self) -> impl Iterator<Item = Received<'_>> {
        self.records.iter().map(|record| self.received(record))
    }

    /// The values of all records, in their order; nothing for a record without one.
    pub fn values(&self) -> impl Iterator<Item = &[u8]> {
        self.values_of(0..self.len())
    }

    /// The values of the records with these numbers, as far as there are any.
    pub(crate) fn values_of(&self, numbers: Range<usize>) -> impl Iterator<Item = &[u8]> {
        let records = &self.records[numbers.start.min(self.len())..numbers.end.min(self.len())];
        records.iter().map(|record| record.value.clone().map_or(&[][..], |value| &self.bytes[value]))
    }

    /// What stands under this header, with the number of its record, for each record that has it with a value. Records without
    /// headers cost nothing.
    pub fn header<'b>(&'b self, name: &'b [u8]) -> impl Iterator<Item = (usize, &'b [u8])> {
        let part = |range: &Range<usize>| &self.bytes[range.clone()];
        self.records.iter().enumerate().filter_map(move |(number, record)| {
            let (_, value) = record.headers.iter().find(|(found, _)| part(found) == name)?;
            Some((number, part(value.as_ref()?)))
        })
    }

    /// Record number `index`, counted as [`Batch::iter`] does.
    pub fn get(&self, index: usize) -> Option<Received<'_>> {
        self.records.get(index).map(|record| self.received(record))
    }

    fn received(&self, record: &Placed) -> Received<'_> {
        let part = |range: &Range<usize>| &self.bytes[range.clone()];
        Received {
            origin: Origin { topic: self.topic, partition: record.partition, offset: record.offset },
            log: self.log.as_ref(),
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

#[cfg(test)]
mod tests {
    use floodgate_schemas::EventType;

    use super::*;

    const TOPIC: Topic = Topic::Events(EventType::Like);

    /// Records of two partitions, which lie between each other: 0/5, 1/5, 0/6, 1/7, 0/8.
    fn batch() -> Batch {
        let mut batch = Batch::new(TOPIC);
        for (partition, offset) in [(0, 5), (1, 5), (0, 6), (1, 7), (0, 8)] {
            let value = format!("{partition}/{offset}");
            let headers: [Header<'_>; 2] = [(b"name", Some(b"content")), (b"none", None)];
            let headers = headers.into_iter().filter(|_| offset == 7);
            let content = (Some(&b"key"[..]), (offset != 8).then_some(value.as_bytes()));
            batch.push(Partition(partition), Offset(offset), 1000 + offset, content, headers);
        }
        batch
    }

    fn places(batch: &Batch) -> Vec<(i32, i64)> {
        batch.iter().map(|record| (record.origin.partition.0, record.origin.offset.0)).collect()
    }

    #[test]
    fn records_are_as_they_were_put_in() {
        let batch = batch();
        let placed = 5 * size_of::<Placed>() + 2 * size_of::<PlacedHeader>();
        assert_eq!(
            (batch.len(), batch.is_empty(), batch.bytes()),
            (5, false, 5 * 3 + 4 * 3 + 4 + 7 + 4 + placed)
        );
        assert_eq!(places(&batch), [(0, 5), (1, 5), (0, 6), (1, 7), (0, 8)]);
        let record = batch.get(3).unwrap();
        let origin = Origin { topic: TOPIC, partition: Partition(1), offset: Offset(7) };
        assert_eq!((record.origin, record.appended_at_ms), (origin, 1007));
        assert_eq!((record.key, record.value), (Some(&b"key"[..]), Some(&b"1/7"[..])));
        assert_eq!(record.headers, [(&b"name"[..], Some(&b"content"[..])), (b"none", None)]);
        let record = batch.get(4).unwrap();
        assert_eq!((record.key, record.value, record.headers.len()), (Some(&b"key"[..]), None, 0));
        assert!(batch.get(5).is_none());
        let headers = |name: &'static str| batch.header(name.as_bytes()).collect::<Vec<_>>();
        assert_eq!(headers("name"), [(3, &b"content"[..])]);
        assert_eq!([headers("none"), headers("nam")], [[], []]);
        let progress: std::collections::HashMap<_, _> = batch.progress().collect();
        assert_eq!(progress, [(Partition(0), Offset(9)), (Partition(1), Offset(8))].into());
    }

    #[test]
    fn what_is_taken_out_is_of_one_partition() {
        let taken = |take: fn(&mut Batch)| {
            let mut batch = batch();
            take(&mut batch);
            assert_eq!(batch.len(), places(&batch).len());
            places(&batch)
        };
        assert_eq!(taken(|batch| batch.retain_partitions(|partition| partition.0 == 1)), [(1, 5), (1, 7)]);
        assert_eq!(taken(|batch| batch.keep_before(Partition(0), Offset(6))), [(0, 5), (1, 5), (1, 7)]);
        assert_eq!(taken(|batch| batch.keep_first(Partition(0), 2)), [(0, 5), (1, 5), (0, 6), (1, 7)]);
        assert_eq!(taken(|batch| batch.keep_first(Partition(1), 0)), [(0, 5), (0, 6), (0, 8)]);
        let mut nothing = batch();
        nothing.retain_partitions(|_| false);
        assert!(nothing.is_empty() && nothing.bytes() == 0);
    }

    /// Others may write records of nothing but headers, each of them nearly nothing.
    #[test]
    fn many_headers_are_counted_as_what_they_take() {
        let mut batch = Batch::new(TOPIC);
        let headers = std::iter::repeat_n((&b"n"[..], None), 100_000);
        batch.push(Partition(0), Offset(0), 0, (None, None), headers);
        assert!(batch.bytes() > 100_000 * size_of::<PlacedHeader>(), "{}", batch.bytes());
        assert_eq!(batch.emptied().bytes(), 0);
    }

    /// A batch that was very large once does not keep its memory for ever, and one of the usual size does.
    #[test]
    fn an_empty_batch_keeps_as_much_memory_as_the_next_one_needs() {
        let mut large = Batch::new(TOPIC);
        for offset in 0..100_000 {
            large.push(Partition(0), Offset(offset), 0, (Some(&[0; 100]), None), std::iter::empty());
        }
        let empty = large.emptied();
        assert_eq!((empty.len(), empty.bytes()), (0, 0));
        for kept in [empty.bytes.capacity(), empty.records.capacity() * size_of::<Placed>()] {
            assert!((1 << 20..=3 << 20).contains(&kept), "{kept}");
        }
    }
}
