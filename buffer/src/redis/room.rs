//! How much is under way in this process, and how much the lists hold.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::{Partition, Topic, Waiting};

/// How much is under way in this process.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) events: AtomicUsize,
    pub(super) bytes: AtomicUsize,
}

/// A record that is counted, until it is dropped, also by a panic.
pub(super) struct Counted {
    pub(super) counts: Arc<Counts>,
    pub(super) bytes: usize,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.counts.events.fetch_sub(1, Ordering::AcqRel);
        self.counts.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// How much the lists of events hold, as it was seen last.
pub(super) struct Room {
    max: Waiting,
    held: Mutex<HashMap<(usize, Partition), Waiting>>,
    is_full: AtomicBool,
}

impl Room {
    /// All lists together may hold so much.
    pub(super) fn new(max: Waiting) -> Self {
        Self { max, held: Mutex::default(), is_full: AtomicBool::new(false) }
    }

    /// Whether they hold as much as they may.
    pub(super) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Acquire)
    }

    /// How much a list holds now.
    pub(super) fn note(&self, topic: Topic, partition: Partition, events: i64, bytes: i64) {
        if let Topic::Events(_) = topic {
            let count = |number| usize::try_from(number).unwrap_or(0);
            let now = Waiting { events: count(events), bytes: count(bytes) };
            self.held.lock().insert((topic.index(), partition), now);
            let held = self.held_by_others(Topic::DeadLetters, Partition(-1));
            let is_full = held.events >= self.max.events || held.bytes >= self.max.bytes;
            self.is_full.store(is_full, Ordering::Release);
        }
    }

    pub(super) fn held_by_others(&self, topic: Topic, partition: Partition) -> Waiting {
        let held = self.held.lock();
        let others = held.iter().filter(|(list, _)| **list != (topic.index(), partition));
        others.fold(Waiting::default(), |sum, (_, list)| Waiting {
            events: sum.events + list.events,
            bytes: sum.bytes + list.bytes,
        })
    }
}
