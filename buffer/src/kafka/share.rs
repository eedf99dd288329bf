//! What a member has of its topic, as a value: where it reads, what lies in its batches, what it holds and what it committed.
//!
//! Client, threads and time stay outside. Whoever owns the consumer says what came of it and asks what to do next; the
//! pipeline takes batches and gives them back; a rebalance brings and takes partitions. Each of these is one call that takes
//! the moment as a parameter, waits for nothing and fails for nothing, so tests play thousands of courses of them
//! (`share/tests.rs`), and whatever the threads do comes down to an order of such calls.
//!
//! A record is *read* into the batch that fills, is *in work* once the pipeline has taken that batch, and *done* when the
//! pipeline gave it back. What is done is committed, and counts as committed once the cluster said so. Whatever was read and
//! is not done is read again after a partition was held or had left.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::time::Duration;

use tokio::time::Instant;

use super::place::{Committed, Finding, Place, metadata, place};
use super::position::{Hold, Position, Unplaced};
use crate::{Batch, BatchLimits, Header, Incident, LogId, Offset, Partition, Standing, Topic};

/// After a partition could not be paused or set back, until it is tried again.
const HOLD_RETRY: Duration = Duration::from_secs(1);

/// After a partition met trouble of its own, until it is read on from where it stands.
const STANDING_RETRY: Duration = Duration::from_secs(5);

/// What a member has of its topic.
pub(super) struct Share {
    topic: Topic,
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
    /// What operators must know of and were not told yet.
    incidents: Vec<Incident>,
    phase: Phase,
    /// Whether the group has given this member its share, which may be nothing.
    has_joined: bool,
    /// Why this member is of no more use.
    failed: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    /// No new records; the batch in work may still be given back.
    Stopping,
    /// Commit, leave and end.
    Closing,
}

/// What the pipeline gets when it asks for a batch.
#[derive(Debug)]
pub(super) enum Taken {
    Batch(Batch),
    /// There will be none any more.
    Ended,
    /// There will be none any more, for this reason.
    Failed(String),
    /// There is none yet, but one that is handed out then.
    Wait(Option<Instant>),
}

/// A record as it came.
pub(super) struct Came<'r> {
    pub(super) partition: Partition,
    pub(super) offset: Offset,
    pub(super) leader_epoch: Option<i32>,
    pub(super) appended_at_ms: i64,
    pub(super) key: Option<&'r [u8]>,
    pub(super) value: Option<&'r [u8]>,
    pub(super) headers: Vec<Header<'r>>,
}

/// What follows from a record that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kept {
    /// Whether there is room for another.
    pub(super) takes_more: bool,
    /// Whether the pipeline may have been waiting for it.
    pub(super) is_news: bool,
}

/// What is to be done with a partition that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) partition: Partition,
    pub(super) step: Step,
    /// How it was held when this was decided.
    hold: Hold,
    /// How it is held once this is done.
    next: Hold,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Pause,
    /// It is read on from there, if the log before it is the one that a leader of this epoch wrote.
    SetBack(Offset, Option<i32>),
    /// As the last one: clients may pass over a resumption without a word.
    Resume,
}

/// An offset to be committed, with the epoch of the leader that took the record before it, where that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Commit {
    pub(super) partition: Partition,
    pub(super) next: Offset,
    pub(super) leader_epoch: Option<i32>,
}

/// What member and pipeline ask both.
impl Share {
    /// Of a member that has nothing yet; a batch that is not full waits so long for more.
    pub(super) fn new(topic: Topic, limits: BatchLimits, gathers_for: Duration) -> Self {
        Self {
            topic,
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
            incidents: Vec::new(),
            phase: Phase::Running,
            has_joined: false,
            failed: None,
        }
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    /// What is not in work is left to whoever reads the partition next.
    pub(super) fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.filling.retain_partitions(|_| false);
    }

    /// This member can go on no longer; the first reason counts.
    pub(super) fn fail(&mut self, reason: String) {
        self.failed.get_or_insert(reason);
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
    pub(super) fn has_joined(&self) -> Result<bool, String> {
        match &self.failed {
            Some(reason) => Err(reason.clone()),
            None => Ok(self.has_joined || self.phase != Phase::Running),
        }
    }

    /// The batch that filled, once it is full or has waited long enough.
    pub(super) fn take(&mut self, now: Instant) -> Taken {
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
    pub(super) fn give_back(&mut self, batch: Batch) {
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
    pub(super) fn hold(&mut self, partition: Partition, until: Instant) {
        self.forget_work(partition);
        // where an unplaced one is read on is not known: it is held until it is
        let position = self.owned.get_mut(&partition).filter(|position| position.hold != Hold::Unplaced);
        if let Some(position) = position {
            position.hold = Hold::Wanted(until);
        }
    }

    pub(super) fn owns(&self, partition: Partition) -> bool {
        self.owned.contains_key(&partition)
    }

    pub(super) fn standing(&self) -> Vec<Standing> {
        self.standing.values().cloned().collect()
    }

    pub(super) fn take_incidents(&mut self) -> Vec<Incident> {
        std::mem::take(&mut self.incidents)
    }
}

/// What comes of the consumer.
impl Share {
    pub(super) fn is_full(&self) -> bool {
        self.filling.len() >= self.limits.events || self.filling.bytes() >= self.limits.bytes
    }

    /// Puts a record into the batch, if it still belongs there.
    pub(super) fn keep(&mut self, came: Came<'_>, now: Instant) -> Kept {
        let (partition, offset) = (came.partition, came.offset);
        // revoked, held or stopped since it was fetched
        let Some(position) = self.owned.get_mut(&partition).filter(|position| !position.hold.is_on()) else {
            return Kept { takes_more: true, is_news: false };
        };
        if let Hold::SetBack(below) = std::mem::replace(&mut position.hold, Hold::None)
            && offset >= below
        {
            // taking it would pass over what lies before
            self.fail(format!("partition {partition} went on at {offset} instead of before {below}"));
            return Kept { takes_more: false, is_news: true };
        }
        position.reads(offset, came.leader_epoch);
        // what is read again before the place where it stands says nothing of that place
        if self.standing.get(&partition).is_some_and(|stands| stands.offset.is_none_or(|at| offset >= at)) {
            self.standing.remove(&partition);
        }
        if self.phase != Phase::Running {
            return Kept { takes_more: false, is_news: false };
        }
        let begins = self.filling.is_empty();
        let content = (came.key, came.value);
        self.filling.push(partition, offset, came.appended_at_ms, content, came.headers.into_iter());
        if begins {
            self.hand_out_at = Some(now + self.gathers_for);
        }
        let is_full = self.is_full();
        Kept { takes_more: !is_full, is_news: begins || is_full }
    }

    /// There is nothing more in a partition up to this offset.
    pub(super) fn reaches(&mut self, partition: Partition, end: Offset) {
        let Some(position) = self.owned.get_mut(&partition) else { return };
        if position.hold == Hold::SetBack(Offset(i64::MAX)) {
            // it is read again, and nothing had been read that could be passed over
            position.hold = Hold::None;
        }
        if position.hold == Hold::None {
            position.reaches(end);
        }
    }

    /// Whether what comes of a partition is dropped.
    pub(super) fn is_held(&self, partition: Partition) -> bool {
        self.owned.get(&partition).is_some_and(|position| position.hold.is_on())
    }

    /// A partition met trouble of its own: what came of it before goes on, nothing behind it does, and it is tried again.
    /// Gives what is to be told, if it was not before.
    pub(super) fn stands(
        &mut self,
        partition: Partition,
        offset: Option<Offset>,
        reason: String,
        now: Instant,
    ) -> Option<Standing> {
        let position = self.owned.get_mut(&partition)?;
        let offset = offset.unwrap_or(position.read).max(position.read);
        position.hold = Hold::Wanted(now + STANDING_RETRY);
        let stands = Standing { partition, offset: Some(offset), reason };
        let before = self.standing.insert(partition, stands.clone());
        before.is_none_or(|before| before.reason != stands.reason).then_some(stands)
    }

    /// A partition's log is not the one it was read from, up to the offset that this gives: it is read from its start, once that
    /// is known.
    pub(super) fn lies_in_another_log(&mut self, partition: Partition) -> Option<Offset> {
        let position = self.owned.get_mut(&partition)?;
        position.hold = Hold::Unplaced;
        let read = position.read;
        self.unplaced.insert(partition, Unplaced::AnotherLog(read));
        self.forget_work(partition);
        Some(read)
    }

    /// What is to be done about held partitions. While all are paused since the batch is full they are left alone.
    pub(super) fn turns(&self, now: Instant, all_are_paused: bool) -> Vec<Turn> {
        let turn = |(partition, position): (&Partition, &Position)| {
            let (step, next) = match position.hold {
                Hold::Wanted(until) => (Step::Pause, Hold::Paused(until)),
                Hold::Paused(until) if until <= now && !all_are_paused && !self.is_in_batches(*partition) => {
                    let below = if position.done < position.read { position.read } else { Offset(i64::MAX) };
                    (Step::SetBack(position.done, position.epoch_of_done()), Hold::SetBack(below))
                }
                Hold::SetBack(_) if !all_are_paused => (Step::Resume, position.hold),
                _ => return None,
            };
            Some(Turn { partition: *partition, step, hold: position.hold, next })
        };
        self.owned.iter().filter_map(turn).collect()
    }

    /// A turn worked, or it is tried again.
    pub(super) fn turned(&mut self, turn: Turn, worked: bool, now: Instant) {
        // it may have left, or be held anew, since
        let position = self.owned.get_mut(&turn.partition).filter(|position| position.hold == turn.hold);
        let Some(position) = position else { return };
        if !worked {
            position.hold = Hold::Paused(now + HOLD_RETRY);
            return;
        }
        position.hold = turn.next;
        if let Step::SetBack(..) = turn.step {
            position.is_set_back();
        }
    }

    /// Whether batches hold records of a partition, which will be done or given up.
    fn is_in_batches(&self, partition: Partition) -> bool {
        self.in_work.contains(&partition) || self.filling.progress().any(|(other, _)| other == partition)
    }
}

/// Commits.
impl Share {
    /// What a commit carries besides its offset.
    pub(super) fn mark(&self) -> String {
        metadata(self.log.as_ref().and_then(Option::as_ref))
    }

    /// What is done and was not sent before. It counts as sent from here on.
    pub(super) fn commits_to_send(&mut self) -> Vec<Commit> {
        self.commits(|_, position| position.done > position.sent)
    }

    /// What is done, and not acknowledged, in the partitions asked for. It counts as sent from here on.
    pub(super) fn commits_to_settle(&mut self, of: impl Fn(Partition) -> bool) -> Vec<Commit> {
        self.commits(|partition, position| of(partition) && position.done > position.acknowledged)
    }

    fn commits(&mut self, of: impl Fn(Partition, &Position) -> bool) -> Vec<Commit> {
        let mut commits = Vec::new();
        for (partition, position) in &mut self.owned {
            // where a log turned out to be another one, what was done of the former says nothing any more
            if position.hold != Hold::Unplaced && of(*partition, position) {
                position.sent = position.done;
                let leader_epoch = position.epoch_of_done();
                commits.push(Commit { partition: *partition, next: position.done, leader_epoch });
            }
        }
        commits
    }

    /// Up to where a partition's commits are acknowledged.
    #[cfg(test)]
    pub(super) fn acknowledged(&self, partition: Partition) -> Option<Offset> {
        self.owned.get(&partition).map(|position| position.acknowledged)
    }

    /// A commit was acknowledged, up to there, or it failed and must be sent again.
    pub(super) fn answered(&mut self, partition: Partition, acknowledged: Option<Offset>) {
        let Some(position) = self.owned.get_mut(&partition) else { return };
        match acknowledged {
            // or it was sent of a log that is read no more, and may say anything
            Some(next) if next <= position.sent => position.acknowledged = position.acknowledged.max(next),
            Some(_) => {}
            None => position.sent = position.acknowledged,
        }
    }
}

/// Partitions that come and go.
impl Share {
    /// The group has given this member its share.
    pub(super) fn joins(&mut self) {
        self.has_joined = true;
    }

    /// Whether a log is the one that this member reads; the first one is.
    pub(super) fn reads_from(&mut self, log: Option<&LogId>) -> bool {
        self.log.get_or_insert_with(|| log.cloned()).as_ref() == log
    }

    /// A partition comes, and its place is known. Returns whether it is to be paused: it is set there then, since clients look
    /// whether the log was cut where they are set, not where they begin.
    pub(super) fn comes(&mut self, partition: Partition, place: &Place, now: Instant) -> bool {
        let mut position = Position::at(place.offset, place.leader_epoch);
        if place.leader_epoch.is_some() {
            position.hold = Hold::Paused(now);
        }
        self.owned.insert(partition, position);
        self.incidents.extend(place.incident());
        place.leader_epoch.is_some()
    }

    /// A partition comes, and its place is not known, for this reason: it is paused until it is.
    pub(super) fn comes_unplaced(
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

    /// The partitions whose place is not known.
    pub(super) fn unplaced(&self) -> Vec<Partition> {
        self.unplaced.keys().copied().collect()
    }

    /// Where the log of a partition lies is known now. Gives its place, if it was waited for; it is set there with the next
    /// turns.
    pub(super) fn put_in_place(
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
                Place { offset: log.start, leader_epoch: None, finding }
            }
        };
        let mut position = Position::at(place.offset, place.leader_epoch);
        position.hold = Hold::Wanted(now);
        self.owned.insert(partition, position);
        self.standing.remove(&partition);
        self.incidents.extend(place.incident());
        Some(place)
    }

    /// Partitions are to leave: nothing more of them is handed out.
    pub(super) fn begin_to_leave(&mut self, leaving: &[Partition]) {
        self.filling.retain_partitions(|partition| !leaving.contains(&partition));
    }

    /// Whether the pipeline may still give back something of them; a handle that closes gives nothing back any more.
    pub(super) fn are_in_work(&self, leaving: &[Partition]) -> bool {
        self.phase != Phase::Closing && leaving.iter().any(|partition| self.in_work.contains(partition))
    }

    /// Partitions have left: what the pipeline gives back of them from here on is ignored.
    pub(super) fn have_left(&mut self, left: &[Partition]) {
        for partition in left {
            self.owned.remove(partition);
            self.standing.remove(partition);
            self.unplaced.remove(partition);
            self.in_work.remove(partition);
        }
    }

    /// How many partitions this member owns.
    pub(super) fn owned(&self) -> usize {
        self.owned.len()
    }
}

/// Partitions behind whose position records wait that do not come.
impl Share {
    /// The partitions that are read, and where.
    pub(super) fn reading(&self) -> Vec<(Partition, Offset)> {
        let reading = self.owned.iter().filter(|(_, position)| !position.hold.is_on());
        reading.map(|(partition, position)| (*partition, position.read)).collect()
    }

    /// Takes back that a partition stands at an offset, if it is somewhere else by now: the markers of a transaction that ended
    /// are no records, which would take it back themselves.
    pub(super) fn look_whether_it_went_on(&mut self, partition: Partition, from: Offset) {
        let went_on = self.owned.get(&partition).is_some_and(|position| position.read != from);
        // it may stand for another reason by now, at the place it went on to
        if went_on && self.standing.get(&partition).is_some_and(|told| told.offset == Some(from)) {
            self.standing.remove(&partition);
        }
    }

    /// Nothing comes of a partition at the offset where it was found. Returns whether that is still so and to be told.
    pub(super) fn is_quiet(&mut self, partition: Partition, at: Offset, reason: &str) -> bool {
        // it went on since, or was taken away
        if self.owned.get(&partition).is_none_or(|position| position.read != at) {
            return false;
        }
        let standing = Standing { partition, offset: Some(at), reason: reason.to_owned() };
        self.standing.insert(partition, standing).is_none()
    }
}

#[cfg(test)]
mod tests;
