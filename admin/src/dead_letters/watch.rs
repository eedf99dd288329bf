//! How many letters are open, and for how long: read in the background, once from the beginning and then only what is new.
//!
//! What is remembered is bounded: of more than [`WATCHED_MAX`] letters the oldest ones on the topic are counted. They are
//! what an operator has to work off first, and a number beyond that tells nobody more.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use floodgate_buffer::{EventOrigin, Names, Offset, Partition, Received};
use floodgate_observe::LetterGauges;
use floodgate_schemas::{EventType, Timestamp};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::letter::{Letter, LetterId};
use super::scan::{Scan, ScanError, ScanLimits};
use super::topic::DeadLetterTopic;
use crate::rounds::Rounds;

/// Letters that are told apart, in some 100 bytes each.
const WATCHED_MAX: usize = 100_000;

/// Looks at the dead letters again and again.
pub struct LetterWatch {
    topic: DeadLetterTopic,
    gauges: LetterGauges,
    /// `None` before the first look, and after one that failed.
    known: Mutex<Option<Known>>,
}

impl LetterWatch {
    /// For the process that exports what is the same whoever reads it.
    pub fn new(topic: DeadLetterTopic, gauges: LetterGauges) -> Arc<Self> {
        Arc::new(Self { topic, gauges, known: Mutex::new(None) })
    }

    /// Looks every `refresh` until `stop`. When it cannot the gauges have no values: nobody is told an old one.
    pub async fn run(self: Arc<Self>, refresh: Duration, stop: CancellationToken) {
        let look = |watch: &Self| match watch.look() {
            Ok(()) => Ok(Some(())),
            // there are none, and there never will be
            Err(ScanError::Absent(_)) => Ok(None),
            Err(error) => Err(error),
        };
        let failed = |_: &Self, error: &ScanError, is_news| {
            if is_news {
                tracing::warn!("how many dead letters are open is not known: {error}");
            }
        };
        Rounds { refresh, stop }.run(self, look, |_, ()| {}, failed).await;
    }

    /// Reads what is new, and tells. Blocks on the network.
    pub(super) fn look(&self) -> Result<(), ScanError> {
        let mut slot = self.known.lock();
        let looked = self.know(slot.take());
        match &looked {
            Ok(known) => known.tell(&self.gauges, &self.topic),
            Err(_) => {
                self.gauges.open.reset();
                self.gauges.oldest_open_seconds.reset();
            }
        }
        *slot = Some(looked?);
        Ok(())
    }

    fn know(&self, before: Option<Known>) -> Result<Known, ScanError> {
        let mut known = match before {
            Some(mut known) => {
                let there = known.scan.go_on()?;
                known.letters.retain(|_, seen| seen.is_in(&there));
                known
            }
            None => {
                let scan = Scan::open(&self.topic, &ScanLimits::NONE)?.of_headers();
                Known { scan, letters: HashMap::new() }
            }
        };
        let Known { scan, letters } = &mut known;
        scan.each(|batch, _| {
            batch.iter().for_each(|record| note(letters, &record, self.topic.names()));
            Ok::<_, ScanError>(())
        })?;
        Ok(known)
    }
}

/// What was read so far.
struct Known {
    scan: Scan,
    letters: HashMap<LetterId, Seen>,
}

/// One letter.
struct Seen {
    is_open: bool,
    failed_at: Timestamp,
    /// Where its newest copy stands.
    at: (Partition, Offset),
}

impl Seen {
    fn is_in(&self, there: &[(Partition, Range<Offset>)]) -> bool {
        let (partition, offset) = &self.at;
        // of a partition that does not answer nothing is known to be gone
        there.iter().find(|(found, _)| found == partition).is_none_or(|(_, range)| range.contains(offset))
    }
}

fn note(letters: &mut HashMap<LetterId, Seen>, record: &Received<'_>, topics: &Names) {
    let Ok(letter) = Letter::read(record, topics) else { return };
    let at = (record.origin.partition, record.origin.offset);
    let is_full = letters.len() >= WATCHED_MAX;
    match letters.get_mut(&letter.id()) {
        Some(seen) => {
            seen.is_open &= letter.mark.is_none();
            seen.at = at;
        }
        None if is_full => {}
        None => {
            let seen = Seen { is_open: letter.mark.is_none(), failed_at: letter.failed_at, at };
            letters.insert(letter.id(), seen);
        }
    }
}

impl Known {
    fn tell(&self, gauges: &LetterGauges, topic: &DeadLetterTopic) {
        let now = topic.clock.now().as_micros();
        for of in EventType::ALL {
            let is_of = |EventOrigin { of: found, .. }: EventOrigin| found == of;
            let open = self.letters.iter().filter(|(id, seen)| seen.is_open && is_of(id.origin));
            let (mut count, mut oldest) = (0, now);
            for (_, seen) in open {
                count += 1;
                oldest = oldest.min(seen.failed_at.as_micros());
            }
            let group = &[topic.names().group(of)];
            gauges.open.with_label_values(group).set(count);
            gauges.oldest_open_seconds.with_label_values(group).set((now - oldest) as f64 / 1e6);
        }
    }
}
