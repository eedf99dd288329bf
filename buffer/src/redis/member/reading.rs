//! What a member reads of its lists.

use std::ops::Range;

use ::redis::Value;
use tokio::time::Instant;

use super::super::element;
use super::super::scripts::{Call, SCRIPTS, list, numbers, texts};
use super::{Owned, Owner};
use crate::share::Phase;
use crate::share::reading::{Came, Step};
use crate::{Offset, Partition, Standing};

/// How many records are read at a time at most: an answer of Redis that keeps nobody waiting.
const READ_MAX: usize = 2000;

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
        let keys = self.settings.keys(self.topic);
        // those that had more share the batch; of the others it is not known yet, and most have nothing
        let is_behind =
            |partition: &&Partition| self.owned.get(partition).is_some_and(|owned| owned.is_behind);
        let sharing = reads.iter().filter(is_behind).count().max(1);
        let call = |partition: &Partition| {
            let next = self.owned.get(partition).map_or(Offset(0), |owned| owned.next);
            Call::new(&SCRIPTS.peek, [keys.list(*partition), keys.meta(*partition)])
                .with(next)
                .with(room.div_ceil(sharing))
                .with(bytes.div_ceil(sharing))
        };
        let calls: Vec<Call> = reads.iter().map(call).collect();
        let called = self.nodes.call(&calls.iter().collect::<Vec<_>>(), None).await;
        let mut is_read = false;
        for (partition, called) in reads.into_iter().zip(called) {
            // one list that somebody spoilt, or a node that is away, keeps no other from being read
            let Some(answer) = self.answer(partition, called) else { continue };
            let Some([base, there]) = numbers::<2>(&answer) else { continue };
            let log = Offset(base)..Offset(base + there);
            match list(&answer, 2) {
                Some(records) => is_read |= self.keep(partition, records),
                None => self.reach(partition, &log),
            }
            if let Some(owned) = self.owned.get_mut(&partition) {
                owned.is_behind = owned.next < log.end;
            }
        }
        is_read
    }

    /// Nothing was there where a partition was to be read on.
    fn reach(&mut self, partition: Partition, log: &Range<Offset>) {
        let Some(owned) = self.owned.get(&partition) else { return };
        if owned.next == log.end {
            self.shared.share.lock().reaches(partition, log.end);
            return;
        }
        // trimmed by another, or another list: it is taken anew, from its head
        self.lost(partition, "its list does not go on where it was read");
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
