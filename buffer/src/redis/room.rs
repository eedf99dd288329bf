//! How much is under way in this process, and how much the lists hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::counts::Counts;
use crate::{Partition, Topic, Waiting};

/// A record that is counted, until it is dropped, also by a panic.
pub(super) struct Counted {
    pub(super) bytes: usize,
    room: Arc<Room>,
    /// Which list it is for, if that counts.
    list: Option<usize>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.room.counts.release(self.bytes);
        if let Some(list) = self.list {
            self.room.lists[list].under_way.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// How much is under way, and how much the lists of events hold, as it was seen last.
pub(super) struct Room {
    pub(super) counts: Counts,
    max: Waiting,
    partitions: usize,
    /// By topic and partition.
    lists: Vec<List>,
    is_full: AtomicBool,
}

/// One list of events.
#[derive(Default)]
struct List {
    /// Records of this process that are on their way.
    under_way: AtomicUsize,
    events: AtomicUsize,
    bytes: AtomicUsize,
}

impl List {
    fn seen(&self) -> Waiting {
        Waiting { events: self.events.load(Ordering::Acquire), bytes: self.bytes.load(Ordering::Acquire) }
    }
}

impl Room {
    /// All lists together may hold so much; each topic of events has so many partitions.
    pub(super) fn new(max: Waiting, partitions: u32) -> Self {
        let partitions = partitions as usize;
        let lists = (0..Topic::ALL.len() * partitions).map(|_| List::default()).collect();
        Self { counts: Counts::default(), max, partitions, lists, is_full: AtomicBool::new(false) }
    }

    /// Where a list of events is counted.
    fn list(&self, topic: Topic, partition: Partition) -> Option<usize> {
        let partition = usize::try_from(partition.0).ok().filter(|partition| *partition < self.partitions)?;
        matches!(topic, Topic::Events(_)).then_some(topic.index() * self.partitions + partition)
    }

    /// Counts a record in that is on its way to a list; also returns what was under way before.
    pub(super) fn count(
        self: &Arc<Self>,
        topic: Topic,
        partition: Partition,
        bytes: usize,
    ) -> (Counted, Waiting) {
        let before = self.counts.add(bytes);
        let list = self.list(topic, partition);
        if let Some(list) = list {
            self.lists[list].under_way.fetch_add(1, Ordering::AcqRel);
        }
        (Counted { bytes, room: Arc::clone(self), list }, before)
    }

    /// Whether the lists hold as much as they may.
    pub(super) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Acquire)
    }

    /// How much a list holds now.
    pub(super) fn note(&self, topic: Topic, partition: Partition, events: i64, bytes: i64) {
        let Some(list) = self.list(topic, partition) else { return };
        let count = |number| usize::try_from(number).unwrap_or(0);
        self.lists[list].events.store(count(events), Ordering::Release);
        self.lists[list].bytes.store(count(bytes), Ordering::Release);
        let all = sum(self.lists.iter());
        self.is_full.store(all.events >= self.max.events || all.bytes >= self.max.bytes, Ordering::Release);
    }

    /// How much all lists hold but this one.
    pub(super) fn held_without(&self, topic: Topic, partition: Partition) -> Waiting {
        let this = self.list(topic, partition);
        let others = self.lists.iter().enumerate().filter(|(list, _)| Some(*list) != this);
        sum(others.map(|(_, list)| list))
    }

    /// Records that a list holds, or that are on their way to it from here.
    pub(super) fn held(&self, topic: Topic, partition: Partition) -> usize {
        let list = self.list(topic, partition).map(|list| &self.lists[list]);
        // in this order: what arrives is seen in the list before it is under way no more
        list.map_or(0, |list| list.under_way.load(Ordering::Acquire) + list.events.load(Ordering::Acquire))
    }
}

fn sum<'l>(lists: impl Iterator<Item = &'l List>) -> Waiting {
    lists.map(List::seen).fold(Waiting::default(), |sum, list| Waiting {
        events: sum.events + list.events,
        bytes: sum.bytes + list.bytes,
    })
}
