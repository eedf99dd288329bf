//! Places that connections have, and how they are taken back.
//!
//! # The hard idea
//!
//! A connection between two requests keeps a place and needs none. So where places are short, of those of whoever has most of them one goes
//! that has no request in work. Nothing is lost with it: who asks again connects again, and finds a place in the same way.
//!
//! It should be the one that has asked for nothing for longest, and nobody notes when it was that a connection asked: that would be work for
//! each request. So the connections of a client stand in a ring and a *hand* goes round, as in a clock that replaces pages: it passes by those
//! that have asked since it came by last, and stops at one that has not. If all have, the first of them goes. Looks are bounded.
//!
//! Who is told to go leaves at once, but a little later than its place is somebody else's. Only so many are leaving at a time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::Arc;

use floodgate_listener::Exchange;
use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

/// Connections that are looked at for one that is to go.
const LOOKS_MAX: usize = 256;

/// Connections that have been told to go and have not gone.
const LEAVING_MAX: usize = 64;

/// A connection, as somebody who can be told to go.
#[derive(Debug, Clone)]
pub(crate) struct Guest {
    pub(crate) exchange: Arc<Exchange>,
    /// Cancelled when it is to go.
    pub(crate) leave: CancellationToken,
}

impl Guest {
    /// One that is to go when all are.
    pub(crate) fn new(stop: &CancellationToken) -> Self {
        Self { exchange: Exchange::new(), leave: stop.child_token() }
    }
}

/// Places that can be taken back.
pub(crate) struct Yielding {
    /// Whether this one has to be left where it is.
    is_spared: fn(&Exchange) -> bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    of: HashMap<u64, Own>,
    /// Who has most last, and of those who have as many whose oldest is the oldest.
    by_count: BTreeSet<Ranked>,
    /// Numbers connections.
    last: u64,
    leaving: usize,
    kept: usize,
}

/// How many a client has, the number of its oldest, and who it is.
type Ranked = (usize, Reverse<u64>, u64);

/// Of one client.
#[derive(Default)]
struct Own {
    connections: BTreeMap<u64, Sitting>,
    /// The one that was looked at last.
    hand: u64,
    kept: usize,
}

/// One that has a place.
struct Sitting {
    guest: Guest,
    place: OwnedSemaphorePermit,
    /// Requests that had begun when it was looked at last; of a new one as many as there never are.
    begun: usize,
    /// How many reasons there are to keep it.
    kept: usize,
}

/// What was found of a client's connections.
enum Found {
    /// One that has asked for nothing since the last look.
    Idle(u64),
    /// None but such as have: the first of them.
    Asked(u64),
    Nothing,
}

impl Own {
    fn ranked(&self, client: u64) -> Ranked {
        let oldest = self.connections.keys().next().copied().unwrap_or(u64::MAX);
        (self.connections.len(), Reverse(oldest), client)
    }

    /// Looks for one that may go, from the hand on.
    fn look(&mut self, looks: &mut usize, is_spared: fn(&Exchange) -> bool) -> Found {
        let (mut asked, hand) = (None, self.hand);
        for part in [(Excluded(hand), Unbounded), (Unbounded, Included(hand))] {
            for (number, sitting) in self.connections.range_mut(part) {
                let Some(left) = looks.checked_sub(1) else { break };
                (*looks, self.hand) = (left, *number);
                let exchange = &sitting.guest.exchange;
                if sitting.kept > 0 || is_spared(exchange) {
                    continue;
                }
                if std::mem::replace(&mut sitting.begun, exchange.begun()) == sitting.begun {
                    return Found::Idle(*number);
                }
                asked = asked.or(Some(*number));
            }
        }
        asked.map_or(Found::Nothing, Found::Asked)
    }
}

impl State {
    /// Changes what a client has.
    fn change<T>(&mut self, client: u64, change: impl FnOnce(&mut Own) -> T) -> T {
        let own = self.of.entry(client).or_default();
        self.by_count.remove(&own.ranked(client));
        let changed = change(own);
        match own.connections.is_empty() {
            true => drop(self.of.remove(&client)),
            false => drop(self.by_count.insert(own.ranked(client))),
        }
        changed
    }

    /// One that may go, of whoever has most and at least so many.
    fn find(&mut self, least: usize, is_spared: fn(&Exchange) -> bool) -> Option<(u64, u64)> {
        let (mut looks, mut asked) = (LOOKS_MAX, None::<(usize, u64, u64)>);
        for &(count, _, client) in self.by_count.iter().rev() {
            let is_behind = asked.is_some_and(|(of, ..)| of > count);
            if count < least || looks == 0 || is_behind {
                break;
            }
            match self.of.get_mut(&client).map_or(Found::Nothing, |own| own.look(&mut looks, is_spared)) {
                Found::Idle(number) => return Some((client, number)),
                Found::Asked(number) => asked = asked.or(Some((count, client, number))),
                Found::Nothing => {}
            }
        }
        asked.map(|(_, client, number)| (client, number))
    }
}

impl Yielding {
    /// Connections of which this is so keep their places.
    pub(crate) fn new(is_spared: fn(&Exchange) -> bool) -> Arc<Self> {
        Arc::new(Self { is_spared, state: Mutex::default() })
    }

    /// How many a client has.
    pub(crate) fn count(&self, client: u64) -> usize {
        self.state.lock().of.get(&client).map_or(0, |own| own.connections.len())
    }

    /// Gives a place to a connection of this client.
    pub(crate) fn give(self: &Arc<Self>, client: u64, guest: Guest, place: OwnedSemaphorePermit) -> Place {
        let mut state = self.state.lock();
        state.last += 1;
        let number = state.last;
        let sitting = Sitting { guest, place, begun: usize::MAX, kept: 0 };
        state.change(client, |own| own.connections.insert(number, sitting));
        Place { places: Arc::clone(self), client, number }
    }

    /// Takes back a place of whoever has most, and at least so many.
    pub(crate) fn take_back(&self, least: usize) -> Option<OwnedSemaphorePermit> {
        self.end(|state, is_spared| state.find(least, is_spared))
    }

    /// Takes back a place of this client.
    pub(crate) fn take_back_from(&self, client: u64) -> Option<OwnedSemaphorePermit> {
        self.end(|state, is_spared| match state.of.get_mut(&client)?.look(&mut { LOOKS_MAX }, is_spared) {
            Found::Idle(number) | Found::Asked(number) => Some((client, number)),
            Found::Nothing => None,
        })
    }

    fn end(
        &self,
        find: impl FnOnce(&mut State, fn(&Exchange) -> bool) -> Option<(u64, u64)>,
    ) -> Option<OwnedSemaphorePermit> {
        let mut state = self.state.lock();
        if state.leaving >= LEAVING_MAX {
            return None;
        }
        let (client, number) = find(&mut state, self.is_spared)?;
        let Sitting { guest, place, .. } = state.change(client, |own| own.connections.remove(&number))?;
        state.leaving += 1;
        drop(state);
        guest.exchange.make_room();
        guest.leave.cancel();
        Some(place)
    }
}

/// A connection's place, until it is dropped.
pub(crate) struct Place {
    places: Arc<Yielding>,
    pub(crate) client: u64,
    number: u64,
}

impl Place {
    /// Leaves the connection its place for as long as it is open, if that is so of no more than `of_one` requests of its client, and of
    /// `of_all` in all. Whether it does.
    pub(crate) fn keep(&self, of_one: usize, of_all: usize) -> bool {
        let State { of, kept, .. } = &mut *self.places.state.lock();
        let Some(own) = of.get_mut(&self.client) else { return false };
        let Some(sitting) = own.connections.get_mut(&self.number) else { return false };
        if own.kept >= of_one || *kept >= of_all {
            return false;
        }
        sitting.kept += 1;
        own.kept += 1;
        *kept += 1;
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.places.state.lock();
        let ended = state.change(self.client, |own| {
            let ended = own.connections.remove(&self.number);
            own.kept -= ended.as_ref().map_or(0, |ended| ended.kept);
            ended
        });
        match &ended {
            Some(ended) => state.kept -= ended.kept,
            None => state.leaving -= 1,
        }
        drop(state);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;
    use tokio::sync::Semaphore;

    use super::*;

    struct World {
        free: Arc<Semaphore>,
        places: Arc<Yielding>,
        open: Vec<(Guest, Place)>,
    }

    impl World {
        fn new() -> Self {
            let free = Arc::new(Semaphore::new(1000));
            Self { free, places: Yielding::new(Exchange::is_busy), open: Vec::new() }
        }

        fn come(&mut self, client: u64) -> Arc<Exchange> {
            let guest = Guest::new(&CancellationToken::new());
            let place = Arc::clone(&self.free).try_acquire_owned().unwrap();
            self.open.push((guest.clone(), self.places.give(client, guest.clone(), place)));
            guest.exchange
        }

        /// Which one is told to go: by its place among those that came.
        fn goes(&self, least: usize) -> Option<usize> {
            let were: Vec<_> = self.open.iter().map(|(guest, _)| guest.exchange.makes_room()).collect();
            drop(self.places.take_back(least)?);
            let goes = (0..were.len()).filter(|at| !were[*at] && self.open[*at].0.leave.is_cancelled());
            let goes: Vec<_> = goes.collect();
            assert!(goes.len() == 1 && self.open[goes[0]].0.exchange.makes_room(), "{goes:?}");
            Some(goes[0])
        }
    }

    #[test]
    fn of_whoever_has_most_the_one_goes_that_asked_for_nothing_for_longest() {
        let mut world = World::new();
        let came: Vec<_> = [7, 7, 7, 7, 8, 8].into_iter().map(|client| world.come(client)).collect();
        let working = came[0].begin(Some(0));
        came[1].begin(Some(0)).answered();
        assert_eq!(world.goes(5), None, "nobody has five");
        assert_eq!(world.goes(4), Some(1), "nobody was looked at before");
        // from here on those were that have not asked since
        came[2].begin(Some(0)).answered();
        assert_eq!(world.goes(3), Some(3));
        assert_eq!(world.goes(2), Some(2), "all others have a request in work");
        assert_eq!((world.places.count(7), world.places.count(8)), (1, 2));
        came[4].stall(true);
        came[5].stall(true);
        assert_eq!(world.goes(1), None, "answers are being taken");
        came[5].stall(false);
        assert_eq!(world.goes(1), Some(5));
        drop(working);
        world.open.clear();
        let state = world.places.state.lock();
        assert_eq!((state.of.len(), state.by_count.len(), state.leaving), (0, 0, 0));
        assert_eq!(world.free.available_permits(), 1000);
    }

    /// Where each has one, too.
    #[test]
    fn of_those_who_have_as_many_one_goes_that_asks_for_nothing() {
        let mut world = World::new();
        let came: VecDeque<_> = (0..10).map(|client| world.come(client)).collect();
        assert_eq!(world.goes(1), Some(0));
        came.iter().filter(|one| !Arc::ptr_eq(one, &came[7])).for_each(|one| one.begin(Some(0)).answered());
        assert_eq!(world.goes(1), Some(7));
    }

    #[test]
    fn looks_and_those_who_leave_are_bounded() {
        let mut world = World::new();
        let busy: Vec<_> = (0..2 * LOOKS_MAX).map(|_| world.come(1).begin(Some(0))).collect();
        world.come(1);
        assert_eq!(world.goes(1), None);
        assert_eq!(world.goes(1), None);
        assert_eq!(world.goes(1), Some(2 * LOOKS_MAX), "the hand went on");
        drop(busy);
        for _ in 1..LEAVING_MAX {
            assert!(world.goes(1).is_some());
        }
        assert_eq!(world.goes(1), None, "all of them are leaving");
        world.open.clear();
        world.come(1);
        assert_eq!(world.goes(1), Some(0));
    }

    #[test]
    fn what_is_kept_is_not_taken_back() {
        let mut world = World::new();
        (0..4).for_each(|_| drop(world.come(1)));
        world.come(2);
        let keep = |at: usize| world.open[at].1.keep(2, 3);
        assert_eq!([0, 0, 1, 4, 4].map(keep), [true, true, false, true, false]);
        assert_eq!(
            [world.goes(1), world.goes(1), world.goes(1), world.goes(1)],
            [Some(1), Some(2), Some(3), None]
        );
        assert!(!world.open[1].1.keep(9, 9), "it goes already");
        world.open.clear();
        let state = world.places.state.lock();
        assert_eq!((state.kept, state.leaving, state.of.len()), (0, 0, 0));
    }

    proptest! {
        /// Whoever comes: in the end nobody who is idle has two more than somebody who wanted one.
        #[test]
        fn places_are_shared_by_all_who_want_them(wants in prop::collection::vec(0u64..30, 0..300)) {
            let (free, places) = (Arc::new(Semaphore::new(20)), Yielding::new(Exchange::is_busy));
            let (mut open, mut wanted) = (Vec::new(), HashMap::new());
            for client in wants {
                *wanted.entry(client).or_insert(0) += 1;
                let own = places.count(client);
                let place = Arc::clone(&free).try_acquire_owned().ok();
                let place = place.or_else(|| places.take_back(if own == 0 { 1 } else { own + 2 }));
                open.extend(place.map(|place| {
                    let guest = Guest::new(&CancellationToken::new());
                    (guest.clone(), places.give(client, guest, place))
                }));
                open.retain(|(guest, _)| !guest.leave.is_cancelled());
                prop_assert!(places.count(client) >= 1 && open.len() <= 20);
                let most = wanted.keys().map(|client| places.count(*client)).max().unwrap_or_default();
                prop_assert!(places.count(client) + 2 > most || own < places.count(client), "{most}");
            }
        }
    }
}
