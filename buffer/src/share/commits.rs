//! What is committed, and what counts as committed.
//!
//! **One commit of a partition is on its way at a time.** Commits that a client keeps while a group's coordinator is away, or tries
//! again, may be done after those that were sent later: the older offset then stands, although the newer one was acknowledged, and
//! where no record comes any more the group stays behind for as long as the member lives.

use std::collections::{HashMap, HashSet};

use tokio::time::{Duration, Instant};

use super::Share;
use super::position::{Hold, Position};
use crate::{LogId, Offset, Partition, Word};

/// How long an answer to a commit may take before it is sent again: longer than clients keep and repeat it themselves.
const ANSWER_PATIENCE: Duration = Duration::from_secs(60);

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

    /// What is done and was not sent before, and what was said and was not told, of partitions whose last commit is answered or was
    /// sent too long ago. It counts as sent from here on.
    pub(crate) fn commits_to_send(&mut self, now: Instant) -> Vec<Commit> {
        self.give_up_on_answers(now);
        let Self { owned, words, told, untold, .. } = self;
        let (commits, left) = commits(owned, words, Some(now), |partition, position| {
            (position.done > position.sent, untold.contains(&partition))
        });
        *untold = left;
        note(told, &commits);
        commits
    }

    /// What is done, and not acknowledged, in the partitions asked for, and what was said of them, which is taken back. It counts as
    /// sent from here on.
    pub(crate) fn commits_to_settle(&mut self, of: impl Fn(Partition) -> bool) -> Vec<Commit> {
        let Self { owned, told, .. } = self;
        let (commits, _) = commits(owned, &HashMap::new(), None, |partition, position| {
            let is_asked = of(partition);
            (is_asked && position.done > position.acknowledged, is_asked && told.contains(&partition))
        });
        note(told, &commits);
        commits
    }

    /// Commits that were sent too long ago are to be sent again.
    fn give_up_on_answers(&mut self, now: Instant) {
        let unanswered = |position: &Position| {
            position.sent_at.is_some_and(|at| now.duration_since(at) >= ANSWER_PATIENCE)
        };
        let late: Vec<(Partition, Offset)> = self
            .owned
            .iter()
            .filter(|(_, position)| unanswered(position))
            .map(|(partition, position)| (*partition, position.sent))
            .collect();
        for (partition, sent) in late {
            let (group, offset) = (&self.group, sent.0);
            tracing::warn!(
                group,
                partition = partition.0,
                offset,
                "a commit was not answered; it is sent again"
            );
            self.answered(partition, None);
        }
    }

    /// Up to where a partition's commits are acknowledged.
    #[cfg(test)]
    pub(crate) fn acknowledged(&self, partition: Partition) -> Option<Offset> {
        self.owned.get(&partition).map(|position| position.acknowledged)
    }

    /// A commit was acknowledged, up to there, or it failed and must be sent again.
    pub(crate) fn answered(&mut self, partition: Partition, acknowledged: Option<Offset>) {
        let Some(position) = self.owned.get_mut(&partition) else { return };
        position.sent_at = None;
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

/// Those of which something is done, or something is to be said; and those of which that cannot be said yet. Where nobody waits for
/// the answer they are sent `now`, and none of a partition behind another.
fn commits(
    owned: &mut HashMap<Partition, Position>,
    words: &HashMap<Partition, Word>,
    now: Option<Instant>,
    of: impl Fn(Partition, &Position) -> (bool, bool),
) -> (Vec<Commit>, HashSet<Partition>) {
    let (mut commits, mut left) = (Vec::new(), HashSet::new());
    for (&partition, position) in owned {
        let (is_done, is_to_say) = of(partition, position);
        let is_behind_another = now.is_some() && position.sent_at.is_some();
        // where a log turned out to be another one, what was done of the former says nothing any more; and where what is committed
        // says something of its own, a word alone must not take its place
        if is_behind_another || position.hold == Hold::Unplaced || position.is_found && !is_done {
            left.extend(is_to_say.then_some(partition));
            continue;
        }
        if !is_done && !is_to_say {
            continue;
        }
        (position.sent, position.sent_at) = (position.done, now);
        position.is_found = false;
        let (next, leader_epoch) = (position.done, position.epoch_of_done());
        commits.push(Commit { partition, next, leader_epoch, word: words.get(&partition).cloned() });
    }
    (commits, left)
}

/// Keeps in mind of which something was said.
fn note(told: &mut HashSet<Partition>, commits: &[Commit]) {
    for Commit { partition, word, .. } in commits {
        match word {
            Some(_) => told.insert(*partition),
            None => told.remove(partition),
        };
    }
}
