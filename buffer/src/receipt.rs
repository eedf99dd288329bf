//! How a publisher tells the waiting request what became of its records.
//!
//! One request offers one record or thousands. It makes one [`Receipts`] for all of them and hands a
//! [`Receipt`] with each; the request sleeps until the last one is completed and is woken once. The
//! publisher completes receipts one by one but gets the requests back ([`Receipt::complete`]), so that it
//! can go through a whole report before it wakes anybody.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::task::{Poll, Waker};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::Waiting;

/// Whoever sends records: it may have a part of the queue, and not all of it.
pub trait Sender: std::fmt::Debug + Send + Sync {
    /// One more record of so many bytes is to wait. Whether it may, of so much at most, and where so much is taken; if so it is counted
    /// as the sender's.
    fn takes(&self, bytes: usize, max: Waiting, taken: Waiting) -> bool;

    /// Such a record waits no more.
    fn gives(&self, bytes: usize);
}

/// The place of a record that waits, given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    sender: Arc<dyn Sender>,
    bytes: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.sender.gives(self.bytes);
    }
}

/// A request that can go on.
#[derive(Debug)]
#[must_use = "the request sleeps until it is woken"]
pub struct Wake(Waker);

impl Wake {
    /// Wakes it.
    pub fn wake(self) {
        self.0.wake();
    }
}

/// What became of an accepted record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Outcome {
    /// It may or may not be, or become, stored.
    Unknown = 0,
    /// The strategy acknowledged it.
    Stored = 1,
    /// It certainly is not and will not be stored.
    NotStored = 2,
    /// Another strategy acknowledged it, in the place of the one that was to have it.
    Spilled = 3,
}

impl Outcome {
    /// Whether it was acknowledged.
    pub const fn is_stored(self) -> bool {
        matches!(self, Outcome::Stored | Outcome::Spilled)
    }
}

/// What came of records that were sent directly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bound {
    /// Nothing that concerns others.
    Directly,
    /// One was given back, and is in another place.
    GivenBack,
}

#[derive(Debug)]
struct Shared {
    /// Who sends the records, where that matters.
    sender: Option<Arc<dyn Sender>>,
    may_spill: bool,
    /// By way, where a strategy with a fallback sent records of this request directly: what came of them.
    bound: Mutex<Vec<(usize, Bound)>>,
    outstanding: AtomicUsize,
    waker: AtomicWaker,
    // one record is by far the most frequent case, and then needs no second allocation
    outcomes: SmallVec<[AtomicU8; 8]>,
}

/// The waiting side of one or more receipts.
pub struct Receipts(Arc<Shared>);

impl Receipts {
    /// For `count` records.
    pub fn new(count: usize) -> Self {
        Self::with(count, true, None)
    }

    /// For `count` records of somebody who may not have all of the queue.
    pub fn of(sender: Arc<dyn Sender>, count: usize) -> Self {
        Self::with(count, true, Some(sender))
    }

    /// For `count` records that must be stored where they are offered or nowhere.
    pub(crate) fn that_stay(count: usize) -> Self {
        Self::with(count, false, None)
    }

    fn with(count: usize, may_spill: bool, sender: Option<Arc<dyn Sender>>) -> Self {
        Self(Arc::new(Shared {
            sender,
            may_spill,
            bound: Mutex::default(),
            outstanding: AtomicUsize::new(count),
            waker: AtomicWaker::new(),
            outcomes: (0..count).map(|_| AtomicU8::new(Outcome::Unknown as u8)).collect(),
        }))
    }

    /// The receipt for record number `index`, below the count; each is to be taken once.
    pub fn receipt(&self, index: usize) -> Receipt {
        Receipt { shared: Some(Arc::clone(&self.0)), index, is_elsewhere: false, place: None }
    }

    /// Waits until every receipt is completed or dropped. Cancel-safe.
    pub async fn all(&self) {
        poll_fn(|context| {
            if self.0.outstanding.load(Ordering::Acquire) == 0 {
                return Poll::Ready(());
            }
            self.0.waker.register(context.waker());
            // the last receipt may have come between the look and the registration
            match self.0.outstanding.load(Ordering::Acquire) {
                0 => Poll::Ready(()),
                _ => Poll::Pending,
            }
        })
        .await;
    }

    /// What is known of record number `index`: `Unknown` until its receipt says more.
    pub fn outcome(&self, index: usize) -> Outcome {
        match self.0.outcomes.get(index).map(|outcome| outcome.load(Ordering::Acquire)) {
            Some(1) => Outcome::Stored,
            Some(2) => Outcome::NotStored,
            Some(3) => Outcome::Spilled,
            _ => Outcome::Unknown,
        }
    }
}

/// The right, and the duty, to say what became of one record. Dropped unused it says `Unknown`.
#[derive(Debug)]
pub struct Receipt {
    // taken when completed, so that dropping the rest says nothing twice
    shared: Option<Arc<Shared>>,
    index: usize,
    is_elsewhere: bool,
    place: Option<Place>,
}

impl Receipt {
    /// Counts a record of so many bytes as its sender's until its receipt is completed, or longer ([`Receipt::keep_place`]).
    /// Whether it may wait, of so much at most, and where so much is taken.
    pub(crate) fn takes_place(&mut self, bytes: usize, max: Waiting, taken: Waiting) -> bool {
        self.place = None;
        let Some(sender) = self.shared.as_ref().and_then(|shared| shared.sender.as_ref()) else {
            return true;
        };
        let takes = sender.takes(bytes, max, taken);
        self.place = takes.then(|| Place { sender: Arc::clone(sender), bytes });
        takes
    }

    /// The record's place, for a record that waits on when it is acknowledged.
    pub(crate) fn keep_place(&mut self) -> Option<Place> {
        self.place.take()
    }

    /// What came of the records of its request that were sent directly on this way, if any were.
    pub(crate) fn bound(&self, way: usize) -> Option<Bound> {
        let bound = self.shared.as_ref()?.bound.lock();
        bound.iter().find(|(of, _)| *of == way).map(|(_, bound)| *bound)
    }

    /// Says that one more is sent directly on this way, and what came of those before, which stays as it is.
    pub(crate) fn go_directly(&self, way: usize) -> Option<Bound> {
        let mut bound = self.shared.as_ref()?.bound.lock();
        let before = bound.iter().find(|(of, _)| *of == way).map(|(_, bound)| *bound);
        if before.is_none() {
            bound.push((way, Bound::Directly));
        }
        before
    }

    /// Says what comes of them.
    pub(crate) fn bind(&self, way: usize, to: Option<Bound>) {
        let Some(shared) = &self.shared else { return };
        let mut bound = shared.bound.lock();
        bound.retain(|(of, _)| *of != way);
        bound.extend(to.map(|to| (way, to)));
    }

    /// Whether its record may be stored elsewhere.
    pub(crate) fn may_spill(&self) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.may_spill)
    }

    /// Says whether whoever has it now stands in for another strategy: what it stores is [`Outcome::Spilled`] then.
    pub(crate) fn elsewhere(mut self, is_elsewhere: bool) -> Self {
        self.is_elsewhere = is_elsewhere;
        self
    }

    /// Says what became of the record. Returns the request if this was its last record;
    /// whoever gets it must wake it.
    #[must_use = "the request sleeps until it is woken"]
    pub fn complete(mut self, outcome: Outcome) -> Option<Wake> {
        let shared = self.shared.take()?;
        let outcome = match outcome {
            Outcome::Stored if self.is_elsewhere => Outcome::Spilled,
            outcome => outcome,
        };
        if let Some(slot) = shared.outcomes.get(self.index) {
            slot.store(outcome as u8, Ordering::Release);
        }
        shared.count_down()
    }
}

impl Shared {
    fn count_down(&self) -> Option<Wake> {
        match self.outstanding.fetch_sub(1, Ordering::AcqRel) {
            1 => self.waker.take().map(Wake),
            _ => None,
        }
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if let Some(wake) = self.shared.take().and_then(|shared| shared.count_down()) {
            wake.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn the_last_receipt_wakes_and_a_dropped_one_reads_unknown() {
        let receipts = Receipts::new(3);
        let [first, second, third] = [0, 1, 2].map(|index| receipts.receipt(index));
        assert!(first.complete(Outcome::Stored).is_none());
        drop(second);
        let reporter = tokio::spawn(async move {
            if let Some(wake) = third.complete(Outcome::NotStored) {
                wake.wake();
            }
        });
        let waited = tokio::time::timeout(Duration::from_secs(5), receipts.all()).await;
        assert!(waited.is_ok());
        assert!(reporter.await.is_ok());
        let outcomes = [0, 1, 2].map(|index| receipts.outcome(index));
        assert_eq!(outcomes, [Outcome::Stored, Outcome::Unknown, Outcome::NotStored]);
    }
}
