//! What comes of the consumer, and what it is asked to do with partitions that are held.

use std::time::Duration;

use tokio::time::Instant;

use super::Phase;
use super::Share;
use super::position::{Hold, Position, Unplaced};
use crate::{Header, Offset, Partition, Standing};

/// After a partition could not be paused or set back, until it is tried again.
const HOLD_RETRY: Duration = Duration::from_secs(1);

/// After a partition met trouble of its own, until it is read on from where it stands.
const STANDING_RETRY: Duration = Duration::from_secs(5);

/// A record as it came.
pub(crate) struct Came<'r> {
    pub(crate) partition: Partition,
    pub(crate) offset: Offset,
    pub(crate) leader_epoch: Option<i32>,
    pub(crate) appended_at_ms: i64,
    pub(crate) key: Option<&'r [u8]>,
    pub(crate) value: Option<&'r [u8]>,
    pub(crate) headers: Vec<Header<'r>>,
}

impl Came<'_> {
    /// Key, value and headers, in bytes: what limits count.
    pub(crate) fn bytes(&self) -> usize {
        let length = |part: Option<&[u8]>| part.map_or(0, <[u8]>::len);
        let headers = self.headers.iter().map(|(name, value)| name.len() + length(*value));
        length(self.key) + length(self.value) + headers.sum::<usize>()
    }
}

/// What follows from a record that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Whether there is room for another.
    pub(crate) takes_more: bool,
    /// Whether the pipeline may have been waiting for it.
    pub(crate) is_news: bool,
}

/// What is to be done with a partition that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) partition: Partition,
    pub(crate) step: Step,
    /// How it was held when this was decided.
    hold: Hold,
    /// How it is held once this is done.
    next: Hold,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Pause,
    /// It is read on from there, if the log before it is the one that a leader of this epoch wrote.
    SetBack(Offset, Option<i32>),
    /// As the last one: clients may pass over a resumption without a word.
    Resume,
}

impl Share {
    /// Puts a record into the batch, if it still belongs there.
    pub(crate) fn keep(&mut self, came: Came<'_>, now: Instant) -> Kept {
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
    pub(crate) fn reaches(&mut self, partition: Partition, end: Offset) {
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
    pub(crate) fn is_held(&self, partition: Partition) -> bool {
        self.owned.get(&partition).is_some_and(|position| position.hold.is_on())
    }

    /// A partition met trouble of its own: what came of it before goes on, nothing behind it does, and it is tried again.
    /// Gives what is to be told, if it was not before.
    pub(crate) fn stands(
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
    pub(crate) fn lies_in_another_log(&mut self, partition: Partition) -> Option<Offset> {
        let position = self.owned.get_mut(&partition)?;
        position.hold = Hold::Unplaced;
        let read = position.read;
        self.unplaced.insert(partition, Unplaced::AnotherLog(read));
        self.forget_work(partition);
        Some(read)
    }

    /// What is to be done about held partitions. While all are paused since the batch is full they are left alone.
    pub(crate) fn turns(&self, now: Instant, all_are_paused: bool) -> Vec<Turn> {
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
    pub(crate) fn turned(&mut self, turn: Turn, worked: bool, now: Instant) {
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

/// Partitions behind whose position records wait that do not come.
impl Share {
    /// The partitions that are read, and where.
    pub(crate) fn reading(&self) -> Vec<(Partition, Offset)> {
        let reading = self.owned.iter().filter(|(_, position)| !position.hold.is_on());
        reading.map(|(partition, position)| (*partition, position.read)).collect()
    }

    /// Takes back that a partition stands at an offset, if it is somewhere else by now: the markers of a transaction that ended
    /// are no records, which would take it back themselves.
    pub(crate) fn look_whether_it_went_on(&mut self, partition: Partition, from: Offset) {
        let went_on = self.owned.get(&partition).is_some_and(|position| position.read != from);
        // it may stand for another reason by now, at the place it went on to
        if went_on && self.standing.get(&partition).is_some_and(|told| told.offset == Some(from)) {
            self.standing.remove(&partition);
        }
    }

    /// Nothing comes of a partition at the offset where it was found. Returns whether that is still so and to be told.
    pub(crate) fn is_quiet(&mut self, partition: Partition, at: Offset, reason: &str) -> bool {
        // it went on since, or was taken away
        if self.owned.get(&partition).is_none_or(|position| position.read != at) {
            return false;
        }
        let standing = Standing { partition, offset: Some(at), reason: reason.to_owned() };
        self.standing.insert(partition, standing).is_none()
    }
}
