//! One partition: a queue whose records keep their offsets, and who works on them.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use floodgate_schemas::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::receipt::Place;
use crate::{Batch, BatchLimits, Offset, Partition, Record, Waiting, Word};

#[derive(Default)]
pub(super) struct PartitionLog {
    // the first record's offset: everything before it is committed and gone
    pub(super) committed: i64,
    pub(super) records: VecDeque<Kept>,
    pub(super) claim: Option<Claim>,
    // nobody takes anything before
    pub(super) held_until: Option<Instant>,
    // why it does not go on, as whoever works on it says
    pub(super) word: Option<(usize, Word)>,
}

pub(super) struct Claim {
    pub(super) member: usize,
    // woken when more comes, which is the member's alone
    pub(super) news: Arc<Notify>,
    // how many records from the front are in the member's hands
    taken: usize,
}

pub(super) struct Kept {
    pub(super) appended_at_ms: i64,
    key: Option<Box<[u8]>>,
    value: Option<Box<[u8]>>,
    headers: Box<[KeptHeader]>,
    // among those of whoever sent it
    _place: Option<Place>,
}

type KeptHeader = (Box<[u8]>, Option<Box<[u8]>>);

/// What the allocator needs for a part, besides its bytes.
const ALLOCATION_BYTES: usize = 16;

impl Kept {
    /// What a record takes while it waits: its parts, and a queue has room for twice as many as there are when it has grown.
    pub(super) fn bytes_of(record: &Record<'_>) -> usize {
        Self::bytes_with(record.bytes(), record.headers.len())
    }

    const fn bytes_with(bytes: usize, headers: usize) -> usize {
        let own = 2 * size_of::<Self>() + 3 * ALLOCATION_BYTES;
        own + headers * (size_of::<KeptHeader>() + 2 * ALLOCATION_BYTES) + bytes
    }

    fn bytes(&self) -> usize {
        let length = |part: &Option<Box<[u8]>>| part.as_ref().map_or(0, |part| part.len());
        let headers = self.headers.iter().map(|(name, value)| name.len() + length(value));
        let bytes = length(&self.key) + length(&self.value) + headers.sum::<usize>();
        Self::bytes_with(bytes, self.headers.len())
    }

    fn copy_into(&self, batch: &mut Batch, partition: Partition, offset: Offset) {
        let headers = self.headers.iter().map(|(name, value)| (&**name, value.as_deref()));
        batch.push(
            partition,
            offset,
            self.appended_at_ms,
            (self.key.as_deref(), self.value.as_deref()),
            headers,
        );
    }
}

impl Kept {
    pub(super) fn new(record: &Record<'_>, place: Option<Place>, now: Timestamp) -> Self {
        Self {
            appended_at_ms: now.as_micros() / 1000,
            key: record.key.map(Box::from),
            value: record.value.map(Box::from),
            headers: record.headers.iter().map(|(n, v)| (Box::from(*n), v.map(Box::from))).collect(),
            _place: place,
        }
    }
}

pub(super) fn is_full(batch: &Batch, limits: &BatchLimits) -> bool {
    batch.len() >= limits.events || batch.bytes() >= limits.bytes
}

impl PartitionLog {
    pub(super) fn is_claimed_by(&self, member: usize) -> bool {
        self.claim.as_ref().is_some_and(|claim| claim.member == member)
    }

    /// Whether it has records that any member could take.
    pub(super) fn is_free(&self) -> bool {
        !self.records.is_empty() && self.claim.is_none() && !self.is_held()
    }

    fn is_held(&self) -> bool {
        self.held_until.is_some_and(|until| until > Instant::now())
    }

    pub(super) fn claim_into(
        &mut self,
        batch: &mut Batch,
        number: usize,
        (member, news): (usize, &Arc<Notify>),
        limits: &BatchLimits,
    ) {
        if self.claim.as_ref().is_some_and(|claim| claim.member != member) || self.is_held() {
            return;
        }
        self.held_until = None;
        let mut taken = self.claim.as_ref().map_or(0, |claim| claim.taken);
        let before = taken;
        let partition = Partition(i32::try_from(number).unwrap_or(i32::MAX));
        for record in self.records.iter().skip(taken) {
            if is_full(batch, limits) {
                break;
            }
            record.copy_into(batch, partition, Offset(self.committed + taken as i64));
            taken += 1;
        }
        if taken > before {
            self.claim = Some(Claim { member, news: Arc::clone(news), taken });
        }
    }

    /// The offsets of what is kept.
    pub(super) fn bounds(&self) -> Range<Offset> {
        Offset(self.committed)..Offset(self.committed + self.records.len() as i64)
    }

    /// Copies records of a range that begins with what is kept, `events` at most; returns where to go on.
    pub(super) fn copy_into(
        &self,
        batch: &mut Batch,
        partition: Partition,
        range: Range<Offset>,
        events: usize,
    ) -> Offset {
        let end = range.end.min(self.bounds().end);
        let mut next = range.start;
        let skipped = usize::try_from(next.0 - self.committed).unwrap_or(0);
        for record in self.records.iter().skip(skipped) {
            if next >= end || batch.len() >= events {
                break;
            }
            record.copy_into(batch, partition, next);
            next = next.next();
        }
        if next >= end { range.end } else { next }
    }

    /// Drops the records before `next`; returns how many and how large they were.
    pub(super) fn commit(&mut self, next: Offset) -> Waiting {
        let mut done = Waiting::default();
        while self.committed < next.0 {
            let Some(record) = self.records.pop_front() else {
                break;
            };
            self.committed += 1;
            done.events += 1;
            done.bytes += record.bytes();
        }
        if let Some(claim) = &mut self.claim {
            claim.taken = claim.taken.saturating_sub(done.events);
            if claim.taken == 0 {
                self.claim = None;
            }
        }
        done
    }
}
