//! The distinct origins of the dead letters: eight bytes each.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

use floodgate_buffer::{
    LogId, Names, Offset, Partition, PartitionReader, Piece, Received, Strategy, Topic, murmur2_partition,
};
use floodgate_schemas::EventType;
use floodgate_schemas::dead_letter::Place;

use crate::class::HasLetter;
use crate::error::VerifyError;
use crate::read::CHUNK_EVENTS;

/// How far the clocks of an ingress, which dates events, and of a consumer, which dates letters, may be apart.
const CLOCKS_APART_MS: i64 = 300_000;

/// Where dead letters came from.
#[derive(Debug, Default)]
pub(crate) struct LetterIndex {
    /// Sorted offsets, by type and partition, and by the log they are of.
    origins: HashMap<(EventType, i32), HashMap<Option<String>, Vec<i64>>>,
    /// How many partitions they are on.
    partitions: usize,
    /// Where there is nothing to look at.
    pub(crate) gaps: Vec<Gap>,
}

/// A stretch of one partition whose dead letters nobody can read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) partition: Partition,
    pub(crate) why: Why,
    /// When the first letter behind it was written; `None` when there is none.
    behind_ms: Option<i64>,
}

/// Why dead letters cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Why {
    /// They have expired; the first offset that is left.
    Expired(Offset),
    /// They are damaged, where, and in which way.
    Damaged(Range<Offset>, String),
    /// Nobody tells of the partition.
    Unknown(String),
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let partition = self.partition;
        match &self.why {
            Why::Expired(left) => {
                write!(f, "dead letters before offset {left} of partition {partition} have expired")
            }
            Why::Damaged(Range { start, end }, reason) => write!(
                f,
                "dead letters of partition {partition} from offset {start} up to {end} are damaged ({reason})"
            ),
            Why::Unknown(reason) => {
                write!(f, "dead letters of partition {partition} cannot be read: {reason}")
            }
        }
    }
}

impl LetterIndex {
    /// Reads the dead-letter topic to where it ends now. Blocks on the network.
    pub(crate) fn read(strategy: &dyn Strategy) -> Result<Self, VerifyError> {
        let names = strategy.names();
        let mut log = strategy.logs()?.open(Topic::DeadLetters)?;
        let mut letters = LetterIndex::default();
        let bounds = log.bounds()?;
        letters.partitions = bounds.partitions();
        for (partition, reason) in bounds.unknown {
            letters.gaps.push(Gap { partition, why: Why::Unknown(reason), behind_ms: None });
        }
        for (partition, bounds) in bounds.known {
            // those behind which no letter was read yet
            let mut open = letters.gaps.len();
            if bounds.start.0 > 0 {
                letters.gaps.push(Gap { partition, why: Why::Expired(bounds.start), behind_ms: None });
            }
            let mut reader = PartitionReader::new(partition, bounds, CHUNK_EVENTS);
            while let Some(piece) = reader.next(&mut *log)? {
                let why = match piece {
                    Piece::Records(chunk) => {
                        if let Some(first) = chunk.batch.get(0) {
                            let behind_ms = Some(first.appended_at_ms);
                            letters.gaps[open..].iter_mut().for_each(|gap| gap.behind_ms = behind_ms);
                            open = letters.gaps.len();
                        }
                        chunk.batch.iter().for_each(|letter| letters.note(&letter, names));
                        continue;
                    }
                    Piece::Gone(left) => Why::Expired(left),
                    Piece::Damaged(range, reason) => Why::Damaged(range, reason),
                };
                letters.gaps.push(Gap { partition, why, behind_ms: None });
            }
        }
        for offsets in letters.origins.values_mut().flat_map(HashMap::values_mut) {
            offsets.sort_unstable();
            offsets.dedup();
        }
        Ok(letters)
    }

    fn note(&mut self, letter: &Received<'_>, names: &Names) {
        // a letter without an origin accounts for no record
        let Some(place) = Place::read(&letter.headers) else { return };
        if let Some(of) = names.of(place.topic) {
            let log = place.log.map(str::to_owned);
            self.origins.entry((of, place.partition)).or_default().entry(log).or_default().push(place.offset);
        }
    }

    /// Whether there is one of this record, of the topic of `of`.
    pub(crate) fn letter_of(&self, of: EventType, record: &Received<'_>) -> HasLetter {
        let (partition, offset) = (record.origin.partition.0, record.origin.offset.0);
        // one that does not say of which log it is may be of this one
        let log = record.log.map(LogId::as_str);
        let may_be_of = |of: &Option<String>| of.as_deref().is_none_or(|of| log.is_none_or(|log| of == log));
        let origins = self.origins.get(&(of, partition)).into_iter().flatten();
        let mut offsets = origins.filter(|(of, _)| may_be_of(of)).map(|(_, offsets)| offsets);
        if offsets.any(|offsets| offsets.binary_search(&offset).is_ok()) {
            return HasLetter::Yes;
        }
        let gap = self.may_be_in(record.key, record.appended_at_ms);
        gap.map_or(HasLetter::No, |gap| match gap.why {
            Why::Expired(_) => HasLetter::Expired,
            Why::Damaged(..) | Why::Unknown(_) => HasLetter::Unread,
        })
    }

    /// Why there is no telling of some letter, if there is none.
    ///
    /// # Errors
    /// [`VerifyError::Unavailable`] names the first stretch that could be read another time.
    pub(crate) fn all_read(&self) -> Result<(), VerifyError> {
        let unread = self.gaps.iter().find(|gap| !matches!(gap.why, Why::Expired(_)));
        unread.map_or(Ok(()), |gap| Err(VerifyError::Unavailable(gap.to_string())))
    }

    /// A letter lies where its record's key belongs, and is younger than its record: behind one that was written before
    /// the record there are no others of it.
    fn may_be_in(&self, key: Option<&[u8]>, appended_at_ms: i64) -> Option<&Gap> {
        let place = key.filter(|_| self.partitions > 0).map(|key| murmur2_partition(key, self.partitions));
        self.gaps.iter().find(|gap| {
            let is_there =
                place.is_none_or(|place| usize::try_from(gap.partition.0).is_ok_and(|there| there == place));
            is_there && gap.behind_ms.is_none_or(|behind| appended_at_ms < behind + CLOCKS_APART_MS)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_in_a_gap_only_where_none_behind_it_is_older() {
        let key = b"t\x1fa".as_slice();
        let place = murmur2_partition(key, 4) as i32;
        let gap = |partition, behind_ms| LetterIndex {
            partitions: 4,
            gaps: vec![Gap { partition: Partition(partition), why: Why::Expired(Offset(7)), behind_ms }],
            ..LetterIndex::default()
        };
        let may = |letters: &LetterIndex, key, at_ms| letters.may_be_in(key, at_ms).is_some();
        assert!(!may(&LetterIndex::default(), Some(key), 0) && !may(&LetterIndex::default(), None, 0));
        // nothing is behind it to compare with
        assert!(may(&gap(place, None), Some(key), i64::MAX));
        let since = gap(place, Some(1_000));
        assert!(may(&since, Some(key), 999 + CLOCKS_APART_MS));
        assert!(!may(&since, Some(key), 1_000 + CLOCKS_APART_MS));
        // on a partition that is not the key's
        let elsewhere = gap((place + 1) % 4, None);
        assert!(!may(&elsewhere, Some(key), 0) && may(&elsewhere, None, 0));
    }
}
