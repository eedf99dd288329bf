//! What a member reads of its lists.

use std::ops::Range;

use ::redis::Value;
use tokio::time::Instant;

use super::super::element;
use super::super::scripts::{Call, SCRIPTS, numbers, texts};
use super::{Owned, Owner};
use crate::share::Phase;
use crate::share::reading::{Came, Step};
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
                owned.sizes.retain(|(behind, _)| *behind <= to);
            }
            share.turned(turn, true, now);
        }
    }

    /// Reads on in all partitions that may be read. Returns whether anything came.
    pub(super) async fn read(&mut self) -> bool {
        let (room, bytes) = {
            let share = self.shared.share.lock();
            if share.is_full() || share.phase() != Phase::Running {
                return false;
            }
            (self.shared.limits.events.min(READ_MAX), self.shared.limits.bytes)
        };
        let reads: Vec<Partition> = {
            let share = self.shared.share.lock();
            let may_be_read = |(partition, owned): (&Partition, &Owned)| {
                (owned.leaves.is_none() && !share.is_held(*partition)).then_some(*partition)
            };
            self.owned.iter().filter_map(may_be_read).collect()
        };
        if reads.is_empty() {
            return false;
        }
        // those of which more was seen share the batch
        let is_behind = |owned: &Owned| owned.base <= owned.next && owned.next < owned.seen;
        let sharing = self.owned.values().filter(|owned| is_behind(owned)).count().max(1);
        let (room, bytes) = (room.div_ceil(sharing), bytes.div_ceil(sharing));
        let keys = self.settings.keys(self.topic);
        let (mut calls, mut asked) = (Vec::with_capacity(reads.len() * 2), Vec::with_capacity(reads.len()));
        for partition in reads {
            let Some(owned) = self.owned.get(&partition) else { continue };
            let is_range = is_behind(owned);
            if is_range {
                // no more than was seen, as it is known of that how large it is
                let seen = usize::try_from(owned.seen.0 - owned.next.0).unwrap_or(0);
                let count = seen.min(room).min((bytes / owned.record_bytes).max(1));
                let from = owned.next.0 - owned.base.0;
                let range = Call::plain("LRANGE", keys.list(partition)).with(from);
                calls.push(range.with(from + i64::try_from(count).unwrap_or(i64::MAX) - 1));
            }
            // behind it: if the list begins now where it did, it did so then
            calls.push(Call::new(&SCRIPTS.look, [keys.list(partition), keys.meta(partition)]));
            asked.push((partition, is_range));
        }
        let mut called = self.nodes.call(&calls, None).await.into_iter();
        let mut is_news = false;
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
            if let Some(records) = records {
                is_news |= self.keep(partition, &records);
            }
        }
        is_news
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

    /// Puts records into the batch as far as there is room. Returns whether any was.
    fn keep(&mut self, partition: Partition, records: &Value) -> bool {
        let Some(owned) = self.owned.get_mut(&partition) else { return false };
        let now = Instant::now();
        let mut share = self.shared.share.lock();
        let (mut is_kept, mut is_news) = (false, false);
        for record in texts(records) {
            if share.is_full() {
                break;
            }
            let Some(read) = element::read(record) else {
                let reason = "what is there is no record of floodgate; look at it with LINDEX and take it off with LPOP, once the \
                              list is at it, while nobody consumes"
                    .to_owned();
                if let Some(Standing { reason, .. }) = share.stands(partition, Some(owned.next), reason, now)
                {
                    let offset = owned.next;
                    tracing::error!(group = self.group, %partition, %offset, "the partition stands at offset {offset}: {reason}");
                }
                break;
            };
            let came = Came {
                partition,
                offset: owned.next,
                leader_epoch: None,
                appended_at_ms: read.appended_at_ms,
                key: read.key,
                value: read.value,
                headers: read.headers,
            };
            let bytes = came.bytes();
            let kept = share.keep(came, now);
            owned.next = owned.next.next();
            owned.sizes.push((owned.next, bytes));
            is_kept = true;
            is_news |= kept.is_news;
            if !kept.takes_more {
                break;
            }
        }
        drop(share);
        if is_news {
            self.shared.news.notify_one();
        }
        is_kept
    }
}
