//! How much is under way in this process, and how much the lists hold.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::counts::Counts;
use crate::{Partition, Topic, Waiting};

/// A record that is counted, until it is dropped, also by a panic.
pub(super) struct Counted {
    pub(super) counts: Arc<Counts>,
    pub(super) bytes: usize,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.counts.release(self.bytes);
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
            let mut held = self.held.lock();
            held.insert((topic.index(), partition), now);
            let all = sum(held.values());
            self.is_full
                .store(all.events >= self.max.events || all.bytes >= self.max.bytes, Ordering::Release);
        }
    }

    /// How much all lists hold but this one.
    pub(super) fn held_without(&self, topic: Topic, partition: Partition) -> Waiting {
        let held = self.held.lock();
        let this = (topic.index(), partition);
        sum(held.iter().filter(|(list, _)| **list != this).map(|(_, list)| list))
    }
}

fn sum<'l>(lists: impl Iterator<Item = &'l Waiting>) -> Waiting {
    lists.fold(Waiting::default(), |sum, list| Waiting {
        events: sum.events + list.events,
        bytes: sum.bytes + list.bytes,
    })
}
