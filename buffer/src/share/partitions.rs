//! Partitions that come and go.

use std::ops::Range;

use tokio::time::Instant;

use super::place::{Committed, Finding, Place, place};
use super::position::{Hold, Position, Unplaced};
use super::{Phase, Share};
use crate::{LogId, Offset, Partition, Standing};

impl Share {
    /// The group has given this member its share.
    pub(crate) fn joins(&mut self) {
        self.has_joined = true;
    }

    /// Whether a log is the one that this member reads; the first one is.
    pub(crate) fn reads_from(&mut self, log: Option<&LogId>) -> bool {
        self.log.get_or_insert_with(|| log.cloned()).as_ref() == log
    }

    /// Partitions come, together.
    pub(crate) fn is_assigned(&mut self) {
        self.rebalances += 1;
    }

    /// A partition comes, and its place is known. Returns whether it is to be paused: it is set there then, since clients look
    /// whether the log was cut where they are set, not where they begin.
    pub(crate) fn comes(&mut self, partition: Partition, place: &Place, now: Instant) -> bool {
        let mut position = Position::at(place.offset, place.leader_epoch);
        position.is_found = place.is_found();
        if place.leader_epoch.is_some() {
            position.hold = Hold::Paused(now);
        }
        self.owned.insert(partition, position);
        self.takes_back(partition, place);
        self.incidents.extend(place.incident());
        place.leader_epoch.is_some()
    }

    /// A partition comes, and its place is not known, for this reason: it is paused until it is.
    pub(crate) fn comes_unplaced(
        &mut self,
        partition: Partition,
        committed: Option<Committed>,
        reason: String,
    ) {
        let mut position = Position::at(Offset(0), None);
        position.hold = Hold::Unplaced;
        self.owned.insert(partition, position);
        self.unplaced.insert(partition, Unplaced::Assigned(committed));
        self.standing.insert(partition, Standing { partition, offset: None, reason });
    }

    /// The first of its partitions that are in their places, and up to where that one is done: what lines of the log name that are
    /// about all.
    pub(crate) fn first(&self) -> (Option<i32>, Option<i64>) {
        let placed = self.owned.iter().filter(|(_, position)| position.hold != Hold::Unplaced);
        let first = placed.min_by_key(|(partition, _)| **partition);
        first.map(|(partition, position)| (partition.0, position.done.0)).unzip()
    }

    /// The partitions whose place is not known.
    pub(crate) fn unplaced(&self) -> Vec<Partition> {
        self.unplaced.keys().copied().collect()
    }

    /// Where the log of a partition lies is known now. Gives its place, if it was waited for; it is set there with the next
    /// turns.
    pub(crate) fn put_in_place(
        &mut self,
        partition: Partition,
        log: Range<Offset>,
        now: Instant,
    ) -> Option<Place> {
        let place = match self.unplaced.remove(&partition)? {
            Unplaced::Assigned(committed) => {
                place(committed.as_ref(), self.log.as_ref().and_then(Option::as_ref), log)
            }
            Unplaced::AnotherLog(position) => {
                let finding = Some(Finding::AnotherLog { position, log: log.clone() });
                Place { offset: log.start, leader_epoch: None, finding, has_word: false }
            }
        };
        let mut position = Position::at(place.offset, place.leader_epoch);
        position.hold = Hold::Wanted(now);
        position.is_found = place.is_found();
        // a commit of the log before may still be on its way
        position.sent_at = self.owned.get(&partition).and_then(|before| before.sent_at);
        self.owned.insert(partition, position);
        self.standing.remove(&partition);
        self.takes_back(partition, &place);
        self.incidents.extend(place.incident());
        Some(place)
    }

    /// What the member before said of a partition is gone with the next commit, also if nothing else is committed.
    fn takes_back(&mut self, partition: Partition, place: &Place) {
        if place.has_word {
            self.untold.insert(partition);
        }
    }

    /// Partitions are to leave: nothing more of them is handed out.
    pub(crate) fn begin_to_leave(&mut self, leaving: &[Partition]) {
        self.filling.retain_partitions(|partition| !leaving.contains(&partition));
    }

    /// Whether the pipeline may still give back something of them; a handle that closes gives nothing back any more.
    pub(crate) fn are_in_work(&self, leaving: &[Partition]) -> bool {
        self.phase != Phase::Closing && leaving.iter().any(|partition| self.in_work.contains(partition))
    }

    /// Partitions have left: what the pipeline gives back of them from here on is ignored.
    pub(crate) fn have_left(&mut self, left: &[Partition]) {
        self.rebalances += u64::from(!left.is_empty());
        for partition in left {
            self.owned.remove(partition);
            self.standing.remove(partition);
            self.words.remove(partition);
            self.told.remove(partition);
            self.untold.remove(partition);
            self.unplaced.remove(partition);
            self.in_work.remove(partition);
        }
    }

    /// How many partitions this member owns.
    pub(crate) fn owned(&self) -> usize {
        self.owned.len()
    }
}
