//! Reading the dead-letter topic from its oldest record to where it ended when the reading began.

use std::fmt;
use std::ops::Range;
use std::time::Instant;

use floodgate_buffer::{
    Absent, Batch, Log, LogError, LogId, Offset, OpenError, Partition, PartitionReader, Piece, Topic,
};
use floodgate_schemas::Codecs;
use serde::Serialize;

use super::topic::DeadLetterTopic;

/// Records read at once, hence how many a reading holds in memory, and a replay publishes before it marks them.
const CHUNK_RECORDS: usize = 200;

/// The dead letters could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The configuration cannot work: give up.
    #[error("{0}")]
    Open(#[from] OpenError),
    /// The strategy has no dead letters that could be read: give up.
    #[error("{0}")]
    Absent(#[from] Absent),
    /// Try again later.
    #[error("dead letters cannot be read: {0}")]
    Log(#[from] LogError),
    /// There is no time for all there are.
    #[error("there are too many dead letters to read in the time there is")]
    TooSlow,
    /// There is no room to tell them apart.
    #[error("there are more than {0} dead letters")]
    TooMany(usize),
}

/// What a reading may take.
#[derive(Debug, Clone, Copy)]
pub struct ScanLimits {
    /// When it ends at the latest; looked at between reads, each of which may take seconds itself.
    pub until: Option<Instant>,
    /// Distinct letters, matching or not. Each takes some 30 to 90 bytes while the reading lasts.
    pub letters_max: usize,
}

impl ScanLimits {
    /// However long it takes, and whatever it takes.
    pub const NONE: Self = Self { until: None, letters_max: usize::MAX };
}

/// Part of the topic that could not be read, while the rest could.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Unread {
    /// The partition.
    pub partition: i32,
    /// The first offset and the one after the last; without them it is the whole partition.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub range: Option<UnreadRange>,
    /// Why.
    pub reason: String,
}

/// Offsets that could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UnreadRange {
    /// The first of them.
    pub from_offset: i64,
    /// The one after the last.
    pub until_offset: i64,
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "partition {}", self.partition)?;
        if let Some(UnreadRange { from_offset, until_offset }) = self.range {
            write!(f, " from offset {from_offset} up to {until_offset}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

/// A reading, which can be repeated over the same records, or gone on with.
pub(super) struct Scan {
    log: Box<dyn Log>,
    /// Which log it is, where the strategy tells.
    id: Option<LogId>,
    readers: Vec<PartitionReader>,
    /// With which events are read; `None` where nobody does.
    codecs: Option<Codecs>,
    /// What was found unreadable so far.
    pub(super) unread: Vec<Unread>,
    /// How many partitions there are.
    pub(super) partitions: usize,
    until: Option<Instant>,
}

impl Scan {
    /// Fixes where the topic ends. Blocks on the network.
    pub(super) fn open(topic: &DeadLetterTopic, limits: &ScanLimits) -> Result<Self, ScanError> {
        let mut log = topic.strategy.logs()?.open(Topic::DeadLetters)?;
        let bounds = log.bounds()?;
        let partitions = bounds.partitions();
        let unread = bounds.unknown.into_iter();
        let unread = unread
            .map(|(partition, reason)| Unread { partition: partition.0, range: None, reason })
            .collect();
        let readers = bounds.known.into_iter();
        let readers =
            readers.map(|(partition, range)| PartitionReader::new(partition, range, CHUNK_RECORDS)).collect();
        let (id, codecs) = (bounds.log, Some(topic.codecs.clone()));
        Ok(Self { log, id, readers, codecs, unread, partitions, until: limits.until })
    }

    /// For whoever reads headers alone: nobody is asked for schemas.
    pub(super) fn of_headers(self) -> Self {
        Self { codecs: None, ..self }
    }

    /// Goes on behind what was read, up to where the topic ends now; from the beginning where it is another log. Returns the
    /// offsets that are there of the partitions that are known. Blocks on the network.
    pub(super) fn go_on(&mut self) -> Result<Vec<(Partition, Range<Offset>)>, ScanError> {
        let bounds = self.log.bounds()?;
        let is_same = bounds.log == self.id;
        let reader = |(partition, range): &(Partition, Range<Offset>)| {
            let read = self.readers.iter().find(|read| read.partition() == *partition && is_same);
            let from = read.map(PartitionReader::end).filter(|end| *end <= range.end);
            let from = from.map_or(range.start, |end| end.max(range.start));
            PartitionReader::new(*partition, from..range.end, CHUNK_RECORDS)
        };
        self.readers = bounds.known.iter().map(reader).collect();
        (self.id, self.unread) = (bounds.log, Vec::new());
        Ok(bounds.known)
    }

    /// Reads only what came behind where `before` ended.
    pub(super) fn skip_read_by(&mut self, before: &Scan) {
        for reader in &mut self.readers {
            let (partition, end) = (reader.partition(), reader.end());
            let read = before.readers.iter().find(|read| read.partition() == partition);
            let from = read.map_or(Offset(0), PartitionReader::end).min(end);
            *reader = PartitionReader::new(partition, from..end, CHUNK_RECORDS);
        }
    }

    /// Gives all records that can be read to `visit`, partition by partition in their order, and what was found unreadable by
    /// then.
    pub(super) fn each<E: From<ScanError>>(
        &mut self,
        mut visit: impl FnMut(&Batch, &[Unread]) -> Result<(), E>,
    ) -> Result<(), E> {
        let Self { log, readers, codecs, unread, until, .. } = self;
        for reader in readers {
            reader.rewind();
            while !reader.is_at_end() {
                if until.is_some_and(|until| Instant::now() >= until) {
                    return Err(ScanError::TooSlow.into());
                }
                match reader.next(&mut **log).map_err(ScanError::from)? {
                    Some(Piece::Records(chunk)) => {
                        if let Some(codecs) = codecs {
                            futures_executor::block_on(codecs.prepare(chunk.batch.values()));
                        }
                        visit(&chunk.batch, unread)?;
                    }
                    Some(Piece::Damaged(range, reason)) => note(unread, reader.partition(), &range, &reason),
                    // the oldest records may expire while they are read
                    Some(Piece::Gone(_)) | None => {}
                }
            }
        }
        Ok(())
    }
}

/// Notes damage, once: a reading may be repeated.
fn note(unread: &mut Vec<Unread>, partition: Partition, damaged: &Range<Offset>, reason: &str) {
    let (from_offset, partition) = (damaged.start.0, partition.0);
    let is_this = |unread: &Unread| {
        unread.partition == partition && unread.range.is_some_and(|range| range.from_offset == from_offset)
    };
    if !unread.iter().any(is_this) {
        let range = Some(UnreadRange { from_offset, until_offset: damaged.end.0 });
        let reason = format!("damaged, so that nobody can read it ({reason})");
        unread.push(Unread { partition, range, reason });
    }
}
