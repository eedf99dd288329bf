//! The distinct origins of the dead letters: eight bytes each.

use std::collections::HashMap;

use floodgate_buffer::{LogError, Offset, Partition, Received, Strategy, Topic};
use floodgate_schemas::EventType;
use floodgate_schemas::dead_letter::headers;

use crate::VerifyError;
use crate::read::CHUNK_EVENTS;

/// Where dead letters came from.
#[derive(Debug, Default)]
pub(crate) struct DeadLetters {
    /// Sorted offsets, by type and partition.
    origins: HashMap<(EventType, i32), Vec<i64>>,
    /// Dead letters that expired: their partition, and the first offset that is left.
    pub(crate) expired: Vec<(Partition, Offset)>,
}

impl DeadLetters {
    /// Reads the dead-letter topic to where it ends now. Blocks on the network.
    pub(crate) fn read(strategy: &dyn Strategy) -> Result<Self, VerifyError> {
        let names = EventType::ALL.map(|of| (of, strategy.topic_name(Topic::Events(of))));
        let mut log = strategy.log(Topic::DeadLetters)?;
        let mut letters = DeadLetters::default();
        for (partition, bounds) in log.bounds()? {
            let (mut from, mut left) = (bounds.start, bounds.start);
            while from < bounds.end {
                match log.read(partition, from..bounds.end, CHUNK_EVENTS) {
                    Ok(chunk) => {
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
                letters.expired.push((partition, left));
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

    /// Whether the record that stood there is among them.
    pub(crate) fn contain(&self, of: EventType, partition: i32, offset: i64) -> bool {
        self.origins.get(&(of, partition)).is_some_and(|offsets| offsets.binary_search(&offset).is_ok())
    }
}
