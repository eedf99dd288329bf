//! What each client holds of what all of them share.
//!
//! # The hard idea
//!
//! Connections, memory, places to wait, look-ups and the queue are everybody's, and one client that takes all of them keeps all others out. A
//! fixed part for each is either so small that who is alone gets little of what nobody else wants, or so large that a few take all. So
//! a client may have *three times as much as it leaves*. Who is alone has three quarters, of two each has three sevenths, of many
//! each has little.
//!
//! Nothing of that is taken back by itself, and so a handful of clients that come one after the other would have all of it: each leaves a
//! quarter of what was left. So *a sixteenth is kept for those who have little*, a thousandth at most. It takes more than sixty clients besides
//! to fill that, too. What nobody is using can be taken back: places of idle connections are ([`crate::yielding`]). All else is free again once its own
//! time is over. Of what is little anyway nothing is kept for others: it is whose who comes first.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use floodgate_buffer::{Sender, Waiting};
use parking_lot::Mutex;

/// How many times as much as it leaves a client may have.
const TIMES_WHAT_IS_LEFT: usize = 3;

/// The part that is kept for those who have little, and what is little.
const KEPT_PART: usize = 16;
const LITTLE_PART: usize = 1024;

/// Those whom nobody knows any more are forgotten when there are twice as many as were left the last time, and at least so many.
const FORGET_FROM: usize = 1024;

/// Something that all share, and how much of it there is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Common {
    max: usize,
    is_shared_out: bool,
}

/// Of less everybody may have all.
const COUNT_MIN: usize = 1000;
const BYTES_MIN: usize = 16 << 20;

impl Common {
    /// So many of something.
    pub(crate) const fn count(max: usize) -> Self {
        Self { max, is_shared_out: max >= COUNT_MIN }
    }

    /// So many bytes.
    pub(crate) const fn bytes(max: usize) -> Self {
        Self { max, is_shared_out: max >= BYTES_MIN }
    }

    /// Whether a client that has `own` of it may take `more`, where all have so much.
    pub(crate) const fn may_take(&self, own: usize, more: usize, taken: usize) -> bool {
        let free = self.max.saturating_sub(taken);
        if more > free {
            return false;
        }
        let (wanted, left) = (own.saturating_add(more), free - more);
        let is_its_part = wanted <= left.saturating_mul(TIMES_WHAT_IS_LEFT) && left >= self.max / KEPT_PART;
        is_its_part || wanted <= self.little() || !self.is_shared_out
    }

    /// Whether anybody may ever have so much.
    pub(crate) const fn may_ever_have(&self, wanted: usize) -> bool {
        self.may_take(0, wanted, 0)
    }

    const fn little(&self) -> usize {
        let little = self.max / LITTLE_PART;
        if little > 0 { little } else { 1 }
    }
}

/// A client, and what it holds.
#[derive(Debug, Default)]
pub(crate) struct Holder {
    /// The same for the same client, also when it comes again.
    pub(crate) id: u64,
    /// Of memory for requests and answers.
    pub(crate) bytes: AtomicUsize,
    /// Requests that wait for a decision.
    pub(crate) waiters: AtomicUsize,
    /// Its events in the queue.
    events: AtomicUsize,
    event_bytes: AtomicUsize,
}

impl Holder {
    /// One that holds nothing yet.
    pub(crate) fn known_as(id: u64) -> Self {
        Self { id, ..Self::default() }
    }
}

impl Sender for Holder {
    fn takes(&self, bytes: usize, max: Waiting, taken: Waiting) -> bool {
        let events = self.events.fetch_add(1, Ordering::Relaxed);
        let before = self.event_bytes.fetch_add(bytes, Ordering::Relaxed);
        let may = Common::count(max.events).may_take(events, 1, taken.events)
            && Common::bytes(max.bytes).may_take(before, bytes, taken.bytes);
        if !may {
            self.gives(bytes);
        }
        may
    }

    fn gives(&self, bytes: usize) {
        self.events.fetch_sub(1, Ordering::Relaxed);
        self.event_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// All clients that hold anything, by what they are known by.
#[derive(Debug)]
pub(crate) struct Holders<K> {
    known: Mutex<Known<K>>,
}

#[derive(Debug)]
struct Known<K> {
    of: HashMap<K, Arc<Holder>>,
    forget_at: usize,
}

impl<K> Default for Holders<K> {
    fn default() -> Self {
        Self { known: Mutex::new(Known { of: HashMap::new(), forget_at: FORGET_FROM }) }
    }
}

impl<K: Clone + Eq + Hash> Holders<K> {
    /// The client known by this. It is known for as long as anything is its own.
    pub(crate) fn of(&self, client: &K) -> Arc<Holder> {
        let mut known = self.known.lock();
        if let Some(holder) = known.of.get(client) {
            return Arc::clone(holder);
        }
        if known.of.len() >= known.forget_at {
            known.of.retain(|_, holder| Arc::strong_count(holder) > 1);
            known.forget_at = FORGET_FROM.max(2 * known.of.len());
        }
        let mut hasher = DefaultHasher::new();
        client.hash(&mut hasher);
        let holder = Arc::new(Holder::known_as(hasher.finish()));
        known.of.insert(client.clone(), Arc::clone(&holder));
        holder
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn who_is_known_is_the_same_and_who_holds_nothing_is_forgotten() {
        let holders = Holders::default();
        let first = holders.of(&0);
        assert!(Arc::ptr_eq(&first, &holders.of(&0)) && !Arc::ptr_eq(&first, &holders.of(&1)));
        let id = holders.of(&1).id;
        for client in 2..10 * FORGET_FROM {
            holders.of(&client);
        }
        let known = holders.known.lock().of.len();
        assert!(known <= FORGET_FROM, "{known} are known");
        assert!(Arc::ptr_eq(&first, &holders.of(&0)), "who holds something is forgotten");
        assert_eq!(holders.of(&1).id, id);
    }

    #[test]
    fn who_is_alone_has_three_quarters_and_newcomers_find_something() {
        let common = Common::count(COUNT_MIN);
        let alone = (0..COUNT_MIN).take_while(|own| common.may_take(*own, 1, *own)).count();
        assert_eq!(alone, 750);
        assert!(common.may_take(0, 1, COUNT_MIN - 1) && !common.may_take(0, 1, COUNT_MIN));
        let little = Common::count(COUNT_MIN - 1);
        assert_eq!((0..COUNT_MIN).take_while(|own| little.may_take(*own, 1, *own)).count(), COUNT_MIN - 1);
    }

    /// How many clients it takes to take all, where each takes what it can get.
    fn takers(common: Common) -> usize {
        let mut taken = 0;
        let all = (0..common.max).find(|_| {
            let mut own = 0;
            while common.may_take(own, 1, taken) {
                (own, taken) = (own + 1, taken + 1);
            }
            taken == common.max
        });
        all.unwrap() + 1
    }

    #[test]
    fn a_handful_does_not_take_all() {
        assert_eq!(takers(Common::count(COUNT_MIN)), 65);
        assert_eq!(takers(Common::count(10_000)), 72);
        assert_eq!(takers(Common::count(COUNT_MIN - 1)), 1);
    }

    /// Whom what is kept suffices for, whatever they take besides.
    const CLIENTS: usize = COUNT_MIN / KEPT_PART - 1;

    proptest! {
        /// Whoever came before, however much they took and gave back: somebody who has nothing gets something.
        #[test]
        fn a_newcomer_gets_something(
            takes in prop::collection::vec((0..CLIENTS, 1usize..400, any::<bool>()), 0..600),
        ) {
            let (common, mut own) = (Common::count(COUNT_MIN), [0_usize; CLIENTS]);
            for (client, more, gives) in takes {
                if gives {
                    own[client] = own[client].saturating_sub(more);
                } else if common.may_take(own[client], more, own.iter().sum()) {
                    own[client] += more;
                }
                prop_assert!(common.may_take(0, 1, own.iter().sum()), "{own:?}");
            }
        }

        #[test]
        fn what_is_given_back_is_free(bytes in prop::collection::vec(0usize..100, 0..20)) {
            let (holder, max) = (Holder::default(), Waiting { events: 10, bytes: 500 });
            let taken = Waiting::default();
            let taken: Vec<_> = bytes.into_iter().filter(|bytes| holder.takes(*bytes, max, taken)).collect();
            taken.into_iter().for_each(|bytes| holder.gives(bytes));
            prop_assert_eq!(holder.events.into_inner() + holder.event_bytes.into_inner(), 0);
        }
    }
}
