//! How far a member is in one partition.
//!
//! **Offsets without records.** Transactions of other programs leave markers in the log, and what they took back leaves
//! gaps. No record stands there, so a commit that only ever follows records would stay behind the log's end for ever. The
//! end of a partition is reported with its offset, and once everything before it is done, the position moves there.

use tokio::time::Instant;

use super::place::Committed;
use crate::Offset;

/// How far this member is in a partition it owns: four offsets, each at most the one before (but that a held partition
/// is read again). A commit that is
/// sent may still fail, so only an acknowledged one counts when the partition moves away.
#[derive(Debug, Clone)]
pub(crate) struct Position {
    /// Where reading goes on: everything before it is in a batch, or was.
    pub(crate) read: Offset,
    /// Everything before it was given back by the pipeline.
    pub(crate) done: Offset,
    /// The newest commit sent.
    pub(crate) sent: Offset,
    /// When that was, until it is answered, where nobody waits for the answer.
    pub(crate) sent_at: Option<Instant>,
    /// The newest commit the cluster acknowledged.
    pub(crate) acknowledged: Offset,
    pub(crate) hold: Hold,
    /// What is committed is something else than where it is read, and is to be seen until something that was done is committed.
    pub(crate) is_found: bool,
    /// The first of its offsets that stood behind the last record and hold none, if they were passed.
    passed_from: Option<Offset>,
    /// The epochs of the records that are read and not done, and of the last one that is: each with the first offset it holds
    /// for, in order. `None` where it is not known.
    epochs: Vec<(Offset, Option<i32>)>,
}

/// A partition whose place is not known yet.
#[derive(Debug, Clone)]
pub(crate) enum Unplaced {
    /// Its bounds were not told when it was assigned. With what the group committed.
    Assigned(Option<Committed>),
    /// Its log is another one than it was read from, up to there: it is read from its start.
    AnotherLog(Offset),
}

/// Whether a partition is held, and how far the thread is with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// It is read.
    None,
    /// The pipeline wants it held until then; the thread has not paused it yet.
    Wanted(Instant),
    /// Paused until then.
    Paused(Instant),
    /// Where to read on is not known yet: paused until it is.
    Unplaced,
    /// It was set back. Its next record must stand before this offset, up to where it had been read.
    SetBack(Offset),
}

impl Hold {
    /// Whether what comes from the partition is to be dropped.
    pub(crate) fn is_on(self) -> bool {
        matches!(self, Hold::Wanted(_) | Hold::Paused(_) | Hold::Unplaced)
    }
}

impl Position {
    /// Of a partition that is read from `offset` on, the record before which was taken by a leader of this epoch.
    pub(crate) fn at(offset: Offset, leader_epoch: Option<i32>) -> Self {
        Self {
            read: offset,
            done: offset,
            sent: offset,
            sent_at: None,
            acknowledged: offset,
            hold: Hold::None,
            is_found: false,
            passed_from: None,
            epochs: vec![(Offset(i64::MIN), leader_epoch)],
        }
    }

    /// The record at `offset` is in a batch.
    pub(crate) fn reads(&mut self, offset: Offset, leader_epoch: Option<i32>) {
        self.read = offset.next();
        self.passed_from = None;
        if self.epochs.last().is_none_or(|(_, last)| *last != leader_epoch) {
            self.epochs.push((offset, leader_epoch));
        }
    }

    /// Everything up to `end` was read: what lies between the last record and there holds none.
    pub(crate) fn reaches(&mut self, end: Offset) {
        if end <= self.read {
            return;
        }
        let from = *self.passed_from.get_or_insert(self.read);
        // the markers there may be of any epoch
        self.epochs.push((self.read, None));
        self.read = end;
        self.pass(from);
        self.forget_epochs();
    }

    /// Everything before `next` was given back.
    pub(crate) fn is_done(&mut self, next: Offset) {
        self.done = self.done.max(next);
        if let Some(from) = self.passed_from {
            self.pass(from);
        }
        self.forget_epochs();
    }

    fn forget_epochs(&mut self) {
        while let [_, (second, _), ..] = self.epochs[..]
            && second < self.done
        {
            self.epochs.remove(0);
        }
    }

    fn pass(&mut self, from: Offset) {
        if self.done >= from {
            self.done = self.done.max(self.read);
        }
    }

    /// It is read again from where it is done.
    pub(crate) fn is_set_back(&mut self) {
        let done = self.done;
        self.epochs.retain(|(from, _)| *from < done);
        self.passed_from = None;
    }

    /// The epoch of the leader that took the record before where it is done, if that is known.
    pub(crate) fn epoch_of_done(&self) -> Option<i32> {
        self.epochs.iter().rev().find(|(from, _)| *from < self.done).and_then(|(_, epoch)| *epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: i64) -> Position {
        Position::at(Offset(offset), Some(1))
    }

    #[test]
    fn what_holds_no_record_is_passed_once_everything_before_it_is_done() {
        let mut position = at(10);
        position.reads(Offset(10), Some(1));
        position.reads(Offset(11), Some(1));
        position.reaches(Offset(13));
        assert_eq!(
            (position.read, position.done),
            (Offset(13), Offset(10)),
            "records before it are not done"
        );
        position.is_done(Offset(11));
        assert_eq!(position.done, Offset(11));
        position.is_done(Offset(12));
        assert_eq!(position.done, Offset(13));
        position.reaches(Offset(15));
        assert_eq!((position.read, position.done), (Offset(15), Offset(15)), "markers alone");
        position.reaches(Offset(15));
        assert_eq!(position.done, Offset(15));
        position.reads(Offset(15), Some(1));
        assert_eq!(position.done, Offset(15));
    }

    #[test]
    fn gaps_in_two_batches_wait_for_both() {
        let mut position = at(0);
        position.reads(Offset(0), Some(1));
        position.reaches(Offset(2));
        position.reads(Offset(2), Some(1));
        position.reaches(Offset(4));
        position.is_done(Offset(1));
        assert_eq!(position.done, Offset(1));
        position.is_done(Offset(3));
        assert_eq!(position.done, Offset(4));
    }

    #[test]
    fn a_commit_carries_the_epoch_of_its_last_record() {
        let mut position = at(5);
        assert_eq!(position.epoch_of_done(), Some(1));
        for (offset, epoch) in [(5, 1), (6, 2), (7, 4), (8, 4)] {
            position.reads(Offset(offset), Some(epoch));
        }
        for (next, epoch) in [(6, 1), (7, 2), (8, 4), (9, 4)] {
            position.is_done(Offset(next));
            assert_eq!(position.epoch_of_done(), Some(epoch), "before {next}");
        }
        position.reaches(Offset(11));
        assert_eq!(
            (position.done, position.epoch_of_done()),
            (Offset(11), None),
            "markers of an unknown epoch"
        );
        position.reads(Offset(11), Some(5));
        position.is_done(Offset(12));
        assert_eq!(position.epoch_of_done(), Some(5));
        assert!(position.epochs.len() <= 2, "{:?}", position.epochs);
    }

    #[test]
    fn what_is_read_again_is_of_its_own_epoch_again() {
        let mut position = at(5);
        position.reads(Offset(5), Some(1));
        position.is_done(Offset(6));
        position.reads(Offset(6), Some(2));
        position.is_set_back();
        assert_eq!(position.epoch_of_done(), Some(1));
        position.reads(Offset(6), Some(3));
        position.is_done(Offset(7));
        assert_eq!(position.epoch_of_done(), Some(3));
    }
}
