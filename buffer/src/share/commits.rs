//! What is committed, and what counts as committed.

use super::Share;
use super::position::{Hold, Position};
use crate::{LogId, Offset, Partition, Word};

/// An offset to be committed, with the epoch of the leader that took the record before it, where that is known, and with why the
/// partition does not go on, if it does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Commit {
    pub(crate) partition: Partition,
    pub(crate) next: Offset,
    pub(crate) leader_epoch: Option<i32>,
    pub(crate) word: Option<Word>,
}

impl Share {
    /// Which log its records are of, where that is known.
    pub(crate) fn log(&self) -> Option<&LogId> {
        self.log.as_ref().and_then(Option::as_ref)
    }

    /// What is done and was not sent before. It counts as sent from here on.
    pub(crate) fn commits_to_send(&mut self) -> Vec<Commit> {
        self.commits(|_, position, is_untold| position.done > position.sent || is_untold)
    }

    /// What is done, and not acknowledged, in the partitions asked for. It counts as sent from here on.
    pub(crate) fn commits_to_settle(&mut self, of: impl Fn(Partition) -> bool) -> Vec<Commit> {
        self.commits(|partition, position, _| of(partition) && position.done > position.acknowledged)
    }

    fn commits(&mut self, of: impl Fn(Partition, &Position, bool) -> bool) -> Vec<Commit> {
        let mut commits = Vec::new();
        for (partition, position) in &mut self.owned {
            // where a log turned out to be another one, what was done of the former says nothing any more
            if position.hold != Hold::Unplaced && of(*partition, position, self.untold.contains(partition)) {
                position.sent = position.done;
                self.untold.remove(partition);
                commits.push(Commit {
                    partition: *partition,
                    next: position.done,
                    leader_epoch: position.epoch_of_done(),
                    word: self.words.get(partition).cloned(),
                });
            }
        }
        commits
    }

    /// Up to where a partition's commits are acknowledged.
    #[cfg(test)]
    pub(crate) fn acknowledged(&self, partition: Partition) -> Option<Offset> {
        self.owned.get(&partition).map(|position| position.acknowledged)
    }

    /// A commit was acknowledged, up to there, or it failed and must be sent again.
    pub(crate) fn answered(&mut self, partition: Partition, acknowledged: Option<Offset>) {
        let Some(position) = self.owned.get_mut(&partition) else { return };
        match acknowledged {
            // or it was sent of a log that is read no more, and may say anything; where the new position has come as far, it
            // counts: what is then not committed is read again
            Some(next) if next <= position.sent => position.acknowledged = position.acknowledged.max(next),
            Some(_) => {}
            None => {
                position.sent = position.acknowledged;
                // it may have been for the word alone
                self.untold.insert(partition);
            }
        }
    }
}
