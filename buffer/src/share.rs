//! What a member has of its topic, as a value: where it reads, what lies in its batches, what it holds and what it committed.
//!
//! Client, threads and time stay outside. Whoever owns the consumer says what came of it and asks what to do next; the
//! pipeline takes batches and gives them back; a rebalance brings and takes partitions. Each of these is one call that takes
//! the moment as a parameter, waits for nothing and fails for nothing, so tests play thousands of courses of them
//! (`share/tests.rs`), and whatever the threads do comes down to an order of such calls.
//!
//! [`reading`] is what comes of the consumer, [`commits`] what is committed, [`partitions`] how they come and go; the pipeline's
//! half is here.
//!
//! A record is *read* into the batch that fills, is *in work* once the pipeline has taken that batch, and *done* when the
//! pipeline gave it back. What is done is committed, and counts as committed once the cluster said so. Whatever was read and
//! is not done is read again after a partition was held or had left.

pub(crate) mod commits;
pub(crate) mod handle;
mod partitions;
pub(crate) mod place;
mod position;
pub(crate) mod reading;
pub(crate) mod shared;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use self::position::{Hold, Position, Unplaced};
use crate::{Batch, BatchLimits, Incident, LogId, Offset, Partition, Standing, Topic, Word};

/// What a member has of its topic.
pub(crate) struct Share {
    topic: Topic,
    /// Whose member it is, for the log.
    group: String,
    limits: BatchLimits,
    /// How long a batch that is not full waits for more.
    gathers_for: Duration,
    /// Which log all records are of, as the first assignment found it.
    log: Option<Option<LogId>>,
    filling: Batch,
    /// The memory of the batch that was given back last.
    spare: Option<Batch>,
    /// When the batch being filled is handed out though not full.
    hand_out_at: Option<Instant>,
    /// Partitions of the batch in work.
    in_work: HashSet<Partition>,
    owned: HashMap<Partition, Position>,
    /// What is to be known of those whose place is not.
    unplaced: HashMap<Partition, Unplaced>,
    /// Those that do not go on, and why.
    standing: HashMap<Partition, Standing>,
    /// What whoever looks from outside is told of partitions that do not go on.
    words: HashMap<Partition, Word>,
    /// Partitions of which that changed since their last commit was sent.
    untold: HashSet<Partition>,
    /// Partitions whose last commit that was sent carried a word.
    told: HashSet<Partition>,
    /// What operators must know of and were not told yet.
    incidents: Vec<Incident>,
    /// How often partitions came or left, and nobody was told yet.
    rebalances: u64,
    phase: Phase,
    /// Whether the group has given this member its share, which may be nothing.
    has_joined: bool,
    /// Why this member is of no more use.
    failed: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Running,
    /// No new records; the batch in work may still be given back.
    Stopping,
    /// Commit, leave and end.
    Closing,
}

/// What the pipeline gets when it asks for a batch.
#[derive(Debug)]
pub(crate) enum Taken {
    Batch(Batch),
    /// There will be none any more.
    Ended,
    /// There will be none any more, for this reason.
    Failed(String),
    /// There is none yet, but one that is handed out then.
    Wait(Option<Instant>),
}

/// What member and pipeline ask both.
impl Share {
    /// Of a member that has nothing yet; a batch that is not full waits so long for more.
    pub(crate) fn new(topic: Topic, group: &str, limits: BatchLimits, gathers_for: Duration) -> Self {
        Self {
            topic,
            group: group.to_owned(),
            limits,
            gathers_for,
            log: None,
            filling: Batch::new(topic),
            spare: None,
            hand_out_at: None,
            in_work: HashSet::new(),
            owned: HashMap::new(),
            unplaced: HashMap::new(),
            standing: HashMap::new(),
            words: HashMap::new(),
            untold: HashSet::new(),
            told: HashSet::new(),
            incidents: Vec::new(),
            rebalances: 0,
            phase: Phase::Running,
            has_joined: false,
            failed: None,
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    /// What is not in work is left to whoever reads the partition next.
    pub(crate) fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.filling.retain_partitions(|_| false);
    }

    /// This member can go on no longer; the first reason counts.
    pub(crate) fn fail(&mut self, reason: String) {
        self.failed.get_or_insert(reason);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.filling.len() >= self.limits.events || self.filling.bytes() >= self.limits.bytes
    }

    /// Forgets what is in batches of one partition: it will be read again.
    fn forget_work(&mut self, partition: Partition) {
        self.in_work.remove(&partition);
        self.filling.retain_partitions(|other| other != partition);
    }
}

/// The pipeline's half.
impl Share {
    /// Whether the group gave this member its share; an error when it never will.
    pub(crate) fn has_joined(&self) -> Result<bool, String> {
        match &self.failed {
            Some(reason) => Err(reason.clone()),
            None => Ok(self.has_joined || self.phase != Phase::Running),
        }
    }

    /// The batch that filled, once it is full or has waited long enough.
    pub(crate) fn take(&mut self, now: Instant) -> Taken {
        if self.phase != Phase::Running {
            return Taken::Ended;
        }
        if let Some(reason) = &self.failed {
            return Taken::Failed(reason.clone());
        }
        if self.filling.is_empty() {
            return Taken::Wait(None);
        }
        if let Some(at) = self.hand_out_at.filter(|at| *at > now && !self.is_full()) {
            return Taken::Wait(Some(at));
        }
        let empty = self.spare.take().unwrap_or_else(|| Batch::new(self.topic));
        let mut batch = std::mem::replace(&mut self.filling, empty);
        batch.set_log(self.log.clone().flatten());
        self.hand_out_at = None;
        self.in_work.extend(batch.progress().map(|(partition, _)| partition));
        Taken::Batch(batch)
    }

    /// Everything that is left in `batch` is done.
    pub(crate) fn give_back(&mut self, batch: Batch) {
        let ends: HashMap<Partition, Offset> = batch.progress().collect();
        for (partition, next) in ends {
            // a partition that left meanwhile is no longer in work, also if it came back since: what was taken
            // under an earlier ownership says nothing about the present one
            if self.in_work.remove(&partition)
                && let Some(position) = self.owned.get_mut(&partition)
            {
                position.is_done(next);
            }
        }
        self.spare = Some(batch.emptied());
    }

    /// Nothing is taken of a partition until then, and then from where it is done.
    pub(crate) fn hold(&mut self, partition: Partition, until: Instant) {
        self.forget_work(partition);
        // where an unplaced one is read on is not known: it is held until it is
        let position = self.owned.get_mut(&partition).filter(|position| position.hold != Hold::Unplaced);
        if let Some(position) = position {
            position.hold = Hold::Wanted(until);
        }
    }

    pub(crate) fn owns(&self, partition: Partition) -> bool {
        self.owned.contains_key(&partition)
    }

    /// Why a partition does not go on, for whoever looks from outside. It goes with the next commit.
    /// Returns whether that is news.
    pub(crate) fn leave_word(&mut self, partition: Partition, word: Option<&Word>) -> bool {
        if !self.owns(partition) || self.words.get(&partition) == word {
            return false;
        }
        match word {
            Some(word) => drop(self.words.insert(partition, word.clone())),
            None => drop(self.words.remove(&partition)),
        }
        self.untold.insert(partition)
    }

    pub(crate) fn standing(&self) -> Vec<Standing> {
        self.standing.values().cloned().collect()
    }

    pub(crate) fn take_incidents(&mut self) -> Vec<Incident> {
        std::mem::take(&mut self.incidents)
    }

    pub(crate) fn take_rebalances(&mut self) -> u64 {
        std::mem::take(&mut self.rebalances)
    }
}
