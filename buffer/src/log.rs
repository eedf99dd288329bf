//! A topic as it stands, read past all groups: for tools that look at what it holds, and change nothing by it.

use std::ops::Range;

use crate::{Batch, LogId, Offset, OpenError, Partition, Topic};

/// What was published, topic by topic.
pub trait Logs: Send + Sync {
    /// Reads a topic past all groups.
    ///
    /// # Errors
    /// [`OpenError`] when the configuration cannot work.
    fn open(&self, topic: Topic) -> Result<Box<dyn Log>, OpenError>;

    /// Whether records of events go when their group has applied them, and in no other way.
    fn drops_what_is_applied(&self) -> bool {
        false
    }
}

/// What one topic holds. Reading it joins no group and commits nothing. Blocks on the network: not for async threads.
pub trait Log: Send {
    /// Where every partition begins and ends, or why that is not known.
    ///
    /// # Errors
    /// [`LogError`] when nothing is known of any.
    fn bounds(&mut self) -> Result<LogBounds, LogError>;

    /// Whether older records of a key are given up before their time, so that events vanish and leave offsets without a
    /// record.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] when nobody says: whoever holds the log does not answer, or does not tell this user.
    fn is_compacted(&mut self) -> Result<bool, LogError>;

    /// The next records of one partition from `range`, `events` at most, fewer where they are large. Reading on where the last call ended is fast;
    /// anything else begins anew.
    ///
    /// # Errors
    /// [`LogError`] when they cannot be read now, or are not there any more.
    fn read(&mut self, partition: Partition, range: Range<Offset>, events: usize) -> Result<Chunk, LogError>;

    /// The oldest offset that is left, after [`LogError::Gone`] said that `gone` is not.
    ///
    /// # Errors
    /// [`LogError::Gone`] when nothing later is there: the topic was made anew, and reading has to begin anew as well.
    fn oldest_after(&mut self, partition: Partition, gone: Offset) -> Result<Offset, LogError> {
        let LogBounds { known, unknown, .. } = self.bounds()?;
        if let Some((_, reason)) = unknown.into_iter().find(|(found, _)| *found == partition) {
            return Err(LogError::Unavailable(reason));
        }
        let left = known.into_iter().find(|(found, range)| *found == partition && range.start > gone);
        left.map(|(_, range)| range.start).ok_or(LogError::Gone(partition, gone))
    }

    /// Where records can be read again, at the latest `end`, after [`LogError::Damaged`] said that they cannot from `damaged` on.
    /// Sound records between two damaged stretches may be passed over.
    ///
    /// # Errors
    /// [`LogError`] when that cannot be found out now.
    fn behind_damage(
        &mut self,
        partition: Partition,
        damaged: Offset,
        end: Offset,
    ) -> Result<Offset, LogError> {
        // nobody tells how long it is: first in growing steps, since batches are short beside logs, then by halves
        let (mut low, mut high, mut step) = (damaged.0, end.0, 1);
        while high - low > 1 {
            let at = if high == end.0 { (low + step).min(high - 1) } else { low + (high - low) / 2 };
            match self.read(partition, Offset(at)..end, 1) {
                Ok(_) => high = at,
                Err(LogError::Damaged(..)) => (low, step) = (at, step * 2),
                Err(error) => return Err(error),
            }
        }
        Ok(Offset(high.max(damaged.0)))
    }
}

/// Where the partitions of a topic begin and end.
#[derive(Debug, Default)]
pub struct LogBounds {
    /// Which log it is, where the strategy tells.
    pub log: Option<LogId>,
    /// In order, with the offsets from the oldest record up to where the next one will go, or to where records cannot be
    /// read yet. Offsets before it have expired.
    pub known: Vec<(Partition, Range<Offset>)>,
    /// The other partitions of the topic, each with the reason in a sentence for operators.
    pub unknown: Vec<(Partition, String)>,
}

impl LogBounds {
    /// How many partitions the topic has.
    pub fn partitions(&self) -> usize {
        self.known.len() + self.unknown.len()
    }

    /// All partitions, for those who can do nothing with a part of them.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] names those that are not known.
    pub fn all(self) -> Result<Vec<(Partition, Range<Offset>)>, LogError> {
        if self.unknown.is_empty() {
            return Ok(self.known);
        }
        let named = self.unknown.iter().map(|(partition, reason)| format!("partition {partition}: {reason}"));
        Err(LogError::Unavailable(named.collect::<Vec<_>>().join("; ")))
    }
}

/// Part of a partition.
#[derive(Debug)]
pub struct Chunk {
    /// Its records, in order. Not every offset need have one.
    pub batch: Batch,
    /// Where reading goes on: everything of the range before it was read. The range's end when nothing is left.
    pub next: Offset,
}

/// What is next in a partition.
#[derive(Debug)]
pub enum Piece {
    /// Records.
    Records(Chunk),
    /// Nothing before this offset is there any more: it expired while it was read.
    Gone(Offset),
    /// These offsets hold something else than what was written, in the words of who met it.
    Damaged(Range<Offset>, String),
}

/// Reads one partition to its end, piece by piece, past what has expired and what is damaged.
#[derive(Debug)]
pub struct PartitionReader {
    partition: Partition,
    range: Range<Offset>,
    /// How many records are read at once.
    events: usize,
    next: Offset,
    /// What was met by now.
    damaged: Vec<Range<Offset>>,
}

impl PartitionReader {
    /// Of what lies in `range`, at most so many records at a time.
    pub fn new(partition: Partition, range: Range<Offset>, events: usize) -> Self {
        Self { partition, next: range.start, range, events, damaged: Vec::new() }
    }

    /// Which partition it reads.
    pub fn partition(&self) -> Partition {
        self.partition
    }

    /// Where it reads on. May lie behind the end, where all up to there has expired.
    pub fn position(&self) -> Offset {
        self.next
    }

    /// Where it ends.
    pub fn end(&self) -> Offset {
        self.range.end
    }

    /// Whether there is nothing left to read.
    pub fn is_at_end(&self) -> bool {
        self.next >= self.range.end
    }

    /// Reads nothing more before this offset.
    pub fn skip_to(&mut self, offset: Offset) {
        self.next = self.next.max(offset);
    }

    /// Begins anew. Where damage ends is known by then, and is not looked for again.
    pub fn rewind(&mut self) {
        self.next = self.range.start;
    }

    /// The next piece, which begins where it was; `None` at the end. Blocks on the network.
    ///
    /// # Errors
    /// [`LogError`] when it cannot be read now, which may be tried again, or the topic was made anew.
    pub fn next(&mut self, log: &mut dyn Log) -> Result<Option<Piece>, LogError> {
        if self.is_at_end() {
            return Ok(None);
        }
        let (piece, next) = match log.read(self.partition, self.next..self.range.end, self.events) {
            Ok(chunk) => {
                let next = chunk.next;
                (Piece::Records(chunk), next)
            }
            Err(LogError::Gone(..)) => {
                let left = log.oldest_after(self.partition, self.next)?;
                (Piece::Gone(left), left)
            }
            Err(LogError::Damaged(_, from, reason)) => {
                let damaged = self.damaged_from(log, from)?;
                (Piece::Damaged(damaged.clone(), reason), damaged.end)
            }
            Err(error) => return Err(error),
        };
        self.next = next;
        Ok(Some(piece))
    }

    fn damaged_from(&mut self, log: &mut dyn Log, from: Offset) -> Result<Range<Offset>, LogError> {
        if let Some(known) = self.damaged.iter().find(|known| known.start == from) {
            return Ok(known.clone());
        }
        let damaged = from..log.behind_damage(self.partition, from, self.range.end)?;
        self.damaged.push(damaged.clone());
        Ok(damaged)
    }
}

/// Records cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// They expired, or the topic was made anew: see [`Log::oldest_after`].
    #[error("offset {1} of partition {0} is not there any more (was its topic made anew?)")]
    Gone(Partition, Offset),
    /// What is there from this offset on is not what was written: the words are the client library's. Trying again helps only
    /// once the log was mended.
    #[error("partition {0} is damaged at offset {1}: {2}")]
    Damaged(Partition, Offset, String),
    /// Whoever holds them does not answer, or refuses: try again later.
    #[error("{0}")]
    Unavailable(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Topic;

    /// A log that is damaged at these offsets, and how often it was read.
    struct Spoilt(Vec<i64>, usize);

    impl Log for Spoilt {
        fn bounds(&mut self) -> Result<LogBounds, LogError> {
            Ok(LogBounds::default())
        }

        fn is_compacted(&mut self) -> Result<bool, LogError> {
            Ok(false)
        }

        fn read(&mut self, partition: Partition, range: Range<Offset>, _: usize) -> Result<Chunk, LogError> {
            self.1 += 1;
            match self.0.contains(&range.start.0) {
                true => Err(LogError::Damaged(partition, range.start, "bytes".to_owned())),
                false => Ok(Chunk { batch: Batch::new(Topic::DeadLetters), next: Offset(range.start.0 + 1) }),
            }
        }
    }

    /// Two partitions, of which nothing can be read.
    struct Expired;

    impl Log for Expired {
        fn bounds(&mut self) -> Result<LogBounds, LogError> {
            let known = vec![(Partition(0), Offset(90)..Offset(99)), (Partition(1), Offset(7)..Offset(9))];
            Ok(LogBounds { known, ..LogBounds::default() })
        }

        fn is_compacted(&mut self) -> Result<bool, LogError> {
            Ok(false)
        }

        fn read(&mut self, partition: Partition, range: Range<Offset>, _: usize) -> Result<Chunk, LogError> {
            Err(LogError::Gone(partition, range.start))
        }
    }

    #[test]
    fn reading_goes_on_right_behind_damage() {
        for (from, until, end) in
            [(0, 1, 1), (0, 1, 2), (0, 1, 1000), (7, 300, 1000), (7, 1000, 1000), (999, 1000, 1000)]
        {
            let mut log = Spoilt((from..until).collect(), 0);
            let behind = log.behind_damage(Partition(0), Offset(from), Offset(end)).unwrap();
            assert_eq!(behind, Offset(until), "{from}..{until} of {end}");
            assert!(log.1 <= 20, "{} reads for {from}..{until} of {end}", log.1);
        }
        // what lies between is passed over at worst, and never taken for more damage than there is
        let mut log = Spoilt((3..10).chain(12..20).collect(), 0);
        let behind = log.behind_damage(Partition(0), Offset(3), Offset(1000)).unwrap();
        assert!([10, 20].contains(&behind.0), "{behind}");
    }

    #[test]
    fn what_is_left_begins_behind_what_is_gone() {
        let left = |partition, gone| Expired.oldest_after(Partition(partition), Offset(gone)).ok();
        assert_eq!(
            [left(1, 3), left(1, 6), left(0, 7)],
            [Some(Offset(7)), Some(Offset(7)), Some(Offset(90))]
        );
        // reading on there would meet the same for ever
        assert_eq!([left(1, 7), left(1, 8), left(2, 0)], [None, None, None]);
    }

    /// A partition of single records that begins at an offset, is damaged at others, and does not answer as often as is said.
    struct Worn {
        start: i64,
        damaged: Range<i64>,
        silences: usize,
        reads: usize,
    }

    impl Log for Worn {
        fn bounds(&mut self) -> Result<LogBounds, LogError> {
            let known = vec![(Partition(0), Offset(self.start)..Offset(99))];
            Ok(LogBounds { known, ..LogBounds::default() })
        }

        fn is_compacted(&mut self) -> Result<bool, LogError> {
            Ok(false)
        }

        fn read(&mut self, partition: Partition, range: Range<Offset>, _: usize) -> Result<Chunk, LogError> {
            self.reads += 1;
            if self.silences > 0 {
                self.silences -= 1;
                return Err(LogError::Unavailable("silence".to_owned()));
            }
            match range.start.0 {
                from if from < self.start => Err(LogError::Gone(partition, range.start)),
                from if self.damaged.contains(&from) => {
                    Err(LogError::Damaged(partition, range.start, "bytes".to_owned()))
                }
                from => Ok(Chunk { batch: Batch::new(Topic::DeadLetters), next: Offset(from + 1) }),
            }
        }
    }

    fn read_to_end(reader: &mut PartitionReader, log: &mut Worn) -> Vec<String> {
        let mut told = Vec::new();
        while let Some(piece) = reader.next(log).unwrap() {
            told.push(match piece {
                Piece::Records(chunk) => format!("to {}", chunk.next),
                Piece::Gone(left) => format!("gone to {left}"),
                Piece::Damaged(Range { start, end }, reason) => format!("{reason} {start}..{end}"),
            });
        }
        told
    }

    #[test]
    fn a_partition_is_read_to_its_end_past_what_is_gone_and_what_is_damaged() {
        let mut log = Worn { start: 3, damaged: 4..8, silences: 0, reads: 0 };
        let mut reader = PartitionReader::new(Partition(0), Offset(0)..Offset(10), 5);
        let all = ["gone to 3", "to 4", "bytes 4..8", "to 9", "to 10"];
        assert_eq!(read_to_end(&mut reader, &mut log), all);
        assert_eq!(
            (reader.partition(), reader.position(), reader.is_at_end()),
            (Partition(0), Offset(10), true)
        );
        // the end of damage is looked for once
        let (reads, _) = (std::mem::take(&mut log.reads), reader.rewind());
        assert_eq!(read_to_end(&mut reader, &mut log), all);
        assert!(log.reads == all.len() && reads > log.reads, "{reads} reads, then {}", log.reads);
        // what is passed over is not read, and going back is for rewinding
        reader.rewind();
        reader.skip_to(Offset(8));
        reader.skip_to(Offset(2));
        assert_eq!(read_to_end(&mut reader, &mut log), ["to 9", "to 10"]);
        // damage up to the end, and what has expired beyond it
        let mut reader = PartitionReader::new(Partition(0), Offset(5)..Offset(7), 5);
        assert_eq!(read_to_end(&mut reader, &mut log), ["bytes 5..7"]);
        let mut reader = PartitionReader::new(Partition(0), Offset(0)..Offset(2), 5);
        assert_eq!(read_to_end(&mut reader, &mut log), ["gone to 3"]);
        assert_eq!(reader.position(), Offset(3));
        let mut nothing = PartitionReader::new(Partition(0), Offset(7)..Offset(7), 5);
        assert_eq!(read_to_end(&mut nothing, &mut log), [""; 0]);
    }

    #[test]
    fn reading_goes_on_where_it_failed() {
        let mut log = Worn { start: 0, damaged: 0..0, silences: 0, reads: 0 };
        let mut reader = PartitionReader::new(Partition(0), Offset(0)..Offset(3), 5);
        assert!(matches!(reader.next(&mut log), Ok(Some(Piece::Records(_)))));
        log.silences = 2;
        for _ in 0..2 {
            assert!(matches!(reader.next(&mut log), Err(LogError::Unavailable(_))));
        }
        assert_eq!(read_to_end(&mut reader, &mut log), ["to 2", "to 3"]);
        // nothing later is there
        let mut reader = PartitionReader::new(Partition(1), Offset(0)..Offset(3), 5);
        log.start = 2;
        assert!(matches!(reader.next(&mut log), Err(LogError::Gone(..))));
    }
}
