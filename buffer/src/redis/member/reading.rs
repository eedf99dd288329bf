//! What a member reads of its lists.
//!
//! Redis answers the next question while the records of the former answer are put into the batch: each of the two takes a good
//! part of the time of a record (0.2 µs of Redis' and 0.45 µs of ours, as the benches' C2 tells), and one behind the other they
//! were slower than a pop that loses what it took. So records lie *ahead* of the batch: of a partition at most as many as two answers
//! have.

use std::collections::HashMap;
use std::ops::Range;

use ::redis::Value;
use futures_util::future::join;
use tokio::time::Instant;

use super::super::element;
use super::super::scripts::{Call, SCRIPTS, numbers};
use super::{Owned, Owner};
use crate::share::reading::{Came, Step};
use crate::share::shared::Shared;
use crate::share::{Phase, Share};
use crate::{Offset, Partition, Standing};

/// How many records are read at a time at most: an answer that keeps Redis from everybody else for a few milliseconds (0.4 µs of its
/// time each, as the benches' C2 tells).
const READ_MAX: usize = 10_000;

impl Owner {
    /// Held partitions: nothing is to be paused, as everything is asked for. What is read again begins where it is done.
    pub(super) fn serve_holds(&mut self) {
        let now = Instant::now();
        let mut share = self.shared.share.lock();
        for turn in share.turns(now, false) {
            if let (Step::SetBack(to, _), Some(owned)) = (turn.step, self.owned.get_mut(&turn.partition)) {
                owned.next = to;
                owned.ahead.clear();
                owned.sizes.retain(|(behind, _)| *behind <= to);
            }
            share.turned(turn, true, now);
        }
    }

    /// Reads on in all partitions that may be read. Returns whether anything came.
    pub(super) async fn read(&mut self) -> bool {
        let reads: Vec<Partition> = {
            let share = self.shared.share.lock();
            if share.is_full() || share.phase() != Phase::Running {
                return false;
            }
            let may_be_read = |(partition, owned): (&Partition, &Owned)| {
                (owned.leaves.is_none() && !share.is_held(*partition)).then_some(*partition)
            };
            self.owned.iter().filter_map(may_be_read).collect()
        };
        if reads.is_empty() {
            return false;
        }
        let (asked, calls) = self.questions(&reads);
        let keeping = async {
            // whoever writes the question and reads the answer is to begin before this thread is at work
            tokio::task::yield_now().await;
            keep(&mut self.owned, &reads, &self.shared, &self.group)
        };
        let (called, mut is_news) = join(self.nodes.call(&calls, None), keeping).await;
        let mut called = called.into_iter();
        for (partition, is_range) in asked {
            let records = called.by_ref().take(usize::from(is_range)).next();
            let Some(looked) = called.next() else { continue };
            // one list that somebody spoilt, or a node that is away, keeps no other from being read
            let records = match records.map(|records| self.answer(partition, records)) {
                Some(None) => continue,
                Some(records) => records,
                None => None,
            };
            let Some(looked) = self.answer(partition, looked) else { continue };
            let Some([base, there, bytes]) = numbers::<3>(&looked) else { continue };
            is_news |= self.see(partition, &(Offset(base)..Offset(base + there)), bytes);
            if let (Some(Value::Array(records)), Some(owned)) = (records, self.owned.get_mut(&partition)) {
                is_news |= !records.is_empty();
                owned.ahead.extend(records);
            }
        }
        is_news
    }

    /// What to ask Redis of these partitions, and whether each is asked for records too.
    fn questions(&self, reads: &[Partition]) -> (Vec<(Partition, bool)>, Vec<Call>) {
        let (room, bytes) = (self.shared.limits.events.min(READ_MAX), self.shared.limits.bytes);
        // those of which more was seen share the batch
        let sharing = self.owned.values().filter(|owned| owned.is_behind()).count().max(1);
        let (room, bytes) = (room.div_ceil(sharing), bytes.div_ceil(sharing));
        let keys = self.settings.keys(self.topic);
        let (mut calls, mut asked) = (Vec::with_capacity(reads.len() * 2), Vec::with_capacity(reads.len()));
        for partition in reads {
            let Some(owned) = self.owned.get(partition) else { continue };
            let from = owned.asked();
            // no more than was seen, as it is known of that how large it is
            let seen = usize::try_from(owned.seen.0 - from.0).unwrap_or(0);
            let count = seen.min(room).min((bytes / owned.record_bytes).max(1));
            let is_range = owned.is_behind() && owned.ahead.len() <= count;
            if is_range {
                let from = from.0 - owned.base.0;
                let range = Call::plain("LRANGE", keys.list(*partition)).with(from);
                calls.push(range.with(from + i64::try_from(count).unwrap_or(i64::MAX) - 1));
            }
            // behind it: if the list begins now where it did, it did so then
            calls.push(Call::new(&SCRIPTS.look, [keys.list(*partition), keys.meta(*partition)]));
            asked.push((*partition, is_range));
        }
        (asked, calls)
    }

    /// What a list holds now. Returns whether there is more than was read.
    fn see(&mut self, partition: Partition, log: &Range<Offset>, bytes: i64) -> bool {
        let Some(owned) = self.owned.get_mut(&partition) else { return false };
        if log.start != owned.base || owned.next < owned.base || log.end < owned.next {
            // trimmed by another, or another list: it is taken anew, from its head
            self.lost(partition, "its list does not go on where it was read");
            return false;
        }
        owned.seen = log.end;
        owned.record_bytes = usize::try_from(bytes / (log.end.0 - log.start.0).max(1)).unwrap_or(0).max(1);
        if owned.next == log.end {
            self.shared.share.lock().reaches(partition, log.end);
        }
        owned.next < log.end
    }
}

impl Owned {
    /// Behind what was asked for already.
    fn asked(&self) -> Offset {
        Offset(self.next.0 + i64::try_from(self.ahead.len()).unwrap_or(i64::MAX))
    }

    /// Whether more was seen to be there than was asked for.
    fn is_behind(&self) -> bool {
        self.base <= self.next && self.asked() < self.seen
    }

    /// Puts what lies ahead into the batch as far as there is room. Returns whether anything was put there, and whether the pipeline
    /// may have been waiting for it.
    fn keep(&mut self, partition: Partition, share: &mut Share, group: &str) -> (bool, bool) {
        let now = Instant::now();
        let (mut is_kept, mut is_news) = (false, false);
        while let Some(record) = self.ahead.front() {
            if share.is_full() {
                break;
            }
            let text = if let Value::BulkString(text) = record { &text[..] } else { &[] };
            let Some(read) = element::read(text) else {
                let reason = "what is there is no record of floodgate; look at it with LINDEX and take it off with LPOP, once the \
                              list is at it, while nobody consumes"
                    .to_owned();
                if let Some(Standing { reason, .. }) = share.stands(partition, Some(self.next), reason, now) {
                    let offset = self.next.0;
                    tracing::error!(
                        group,
                        partition = partition.0,
                        offset,
                        "the partition stands at offset {offset}: {reason}"
                    );
                }
                break;
            };
            let came = Came {
                partition,
                offset: self.next,
                leader_epoch: None,
                appended_at_ms: read.appended_at_ms,
                key: read.key,
                value: read.value,
                headers: read.headers,
            };
            let bytes = came.bytes();
            let kept = share.keep(came, now);
            self.ahead.pop_front();
            self.next = self.next.next();
            self.sizes.push((self.next, bytes));
            is_kept = true;
            is_news |= kept.is_news;
            if !kept.takes_more {
                break;
            }
        }
        (is_kept, is_news)
    }
}

/// Puts what lies ahead of these partitions into the batch, and tells the pipeline. Returns whether anything was.
fn keep(owned: &mut HashMap<Partition, Owned>, reads: &[Partition], shared: &Shared, group: &str) -> bool {
    let (mut is_kept, mut is_news) = (false, false);
    for partition in reads {
        let Some(owned) = owned.get_mut(partition).filter(|owned| !owned.ahead.is_empty()) else { continue };
        let (kept, news) = owned.keep(*partition, &mut shared.share.lock(), group);
        is_kept |= kept;
        is_news |= news;
    }
    if is_news {
        shared.news.notify_one();
    }
    is_kept
}
