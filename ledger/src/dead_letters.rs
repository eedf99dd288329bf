//! The distinct origins of the dead letters: eight bytes each.

use std::collections::HashMap;

use floodgate_buffer::{LogError, Offset, Partition, Received, Strategy, Topic, murmur2_partition};
use floodgate_schemas::EventType;
use floodgate_schemas::dead_letter::headers;

use crate::VerifyError;
use crate::class::Letter;
use crate::read::CHUNK_EVENTS;

/// How far the clocks of an ingress, which dates events, and of a consumer, which dates letters, may be apart.
const CLOCKS_APART_MS: i64 = 300_000;

/// Where dead letters came from.
#[derive(Debug, Default)]
pub(crate) struct DeadLetters {
    /// Sorted offsets, by type and partition.
    origins: HashMap<(EventType, i32), Vec<i64>>,
    /// How many partitions they are on.
    partitions: usize,
    /// Where dead letters have expired.
    pub(crate) expired: Vec<Expired>,
}

/// Dead letters of one partition have expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expired {
    pub(crate) partition: Partition,
    /// The first offset that is left.
    pub(crate) left: Offset,
    /// When the oldest letter that is left was written; `None` when there is none.
    oldest_left_ms: Option<i64>,
}

impl DeadLetters {
    /// Reads the dead-letter topic to where it ends now. Blocks on the network.
    pub(crate) fn read(strategy: &dyn Strategy) -> Result<Self, VerifyError> {
        let names = EventType::ALL.map(|of| (of, strategy.topic_name(Topic::Events(of))));
        let mut log = strategy.log(Topic::DeadLetters)?;
        let mut letters = DeadLetters::default();
        let bounds = log.bounds()?;
        letters.partitions = bounds.len();
        for (partition, bounds) in bounds {
            let (mut from, mut left, mut oldest_left_ms) = (bounds.start, bounds.start, None);
            while from < bounds.end {
                match log.read(partition, from..bounds.end, CHUNK_EVENTS) {
                    Ok(chunk) => {
                        oldest_left_ms =
                            oldest_left_ms.or(chunk.batch.get(0).map(|letter| letter.appended_at_ms));
                        chunk.batch.iter().for_each(|letter| letters.note(&letter, &names));
                        from = chunk.next;
                    }
                    // the oldest expired while we read
                    Err(LogError::Gone(..)) => {
                        left = log.oldest_after(partition, from)?;
                        from = left;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            if left.0 > 0 {
                letters.expired.push(Expired { partition, left, oldest_left_ms });
            }
        }
        for offsets in letters.origins.values_mut() {
            offsets.sort_unstable();
            offsets.dedup();
        }
        Ok(letters)
    }

    fn note(&mut self, letter: &Received<'_>, names: &[(EventType, String)]) {
        // the last of a name: what was dead-lettered, taken up again and dead-lettered once more has several
        let header = |name: &str| {
            let found = letter.headers.iter().rev().find(|(found, _)| *found == name.as_bytes())?;
            std::str::from_utf8(found.1?).ok()
        };
        let origin = || {
            let topic = header(headers::TOPIC)?;
            let (of, _) = names.iter().find(|(_, name)| name == topic)?;
            Some((*of, header(headers::PARTITION)?.parse().ok()?, header(headers::OFFSET)?.parse().ok()?))
        };
        // a letter without an origin accounts for no record
        if let Some((of, partition, offset)) = origin() {
            self.origins.entry((of, partition)).or_default().push(offset);
        }
    }

    /// Whether there is one of this record, of the topic of `of`.
    pub(crate) fn letter_of(&self, of: EventType, record: &Received<'_>) -> Letter {
        let (partition, offset) = (record.origin.partition.0, record.origin.offset.0);
        let origins = self.origins.get(&(of, partition));
        if origins.is_some_and(|offsets| offsets.binary_search(&offset).is_ok()) {
            return Letter::There;
        }
        match self.may_have_expired(record.key, record.appended_at_ms) {
            true => Letter::Expired,
            false => Letter::None,
        }
    }

    /// A letter lies where its record's key belongs, and is younger than its record: behind one that was written before
    /// the record it has not expired.
    fn may_have_expired(&self, key: Option<&[u8]>, appended_at_ms: i64) -> bool {
        let place = key.filter(|_| self.partitions > 0).map(|key| murmur2_partition(key, self.partitions));
        self.expired.iter().any(|expired| {
            let is_there = place
                .is_none_or(|place| usize::try_from(expired.partition.0).is_ok_and(|there| there == place));
            is_there && expired.oldest_left_ms.is_none_or(|oldest| appended_at_ms < oldest + CLOCKS_APART_MS)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_has_expired_only_where_older_ones_have() {
        let key = b"t\x1fa".as_slice();
        let place = murmur2_partition(key, 4) as i32;
        let expired = |partition, oldest_left_ms| DeadLetters {
            partitions: 4,
            expired: vec![Expired { partition: Partition(partition), left: Offset(7), oldest_left_ms }],
            ..DeadLetters::default()
        };
        let may = |letters: &DeadLetters, key, at_ms| letters.may_have_expired(key, at_ms);
        assert!(!may(&DeadLetters::default(), Some(key), 0) && !may(&DeadLetters::default(), None, 0));
        // nothing is left to compare with
        assert!(may(&expired(place, None), Some(key), i64::MAX));
        let since = expired(place, Some(1_000));
        assert!(may(&since, Some(key), 999 + CLOCKS_APART_MS));
        assert!(!may(&since, Some(key), 1_000 + CLOCKS_APART_MS));
        // on a partition that is not the key's
        let elsewhere = expired((place + 1) % 4, None);
        assert!(!may(&elsewhere, Some(key), 0) && may(&elsewhere, None, 0));
    }
}
