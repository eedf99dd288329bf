//! Which words came with which idempotency key.
//!
//! A key fixes an event's id, and the database keeps to one event per id; but which of two bodies under one key would
//! stand is then left to the ordering rule. A client that changes its words under a key it has used is told so, as long
//! as this instance remembers. Only a fingerprint of the words is kept.
//!
//! # The hard idea
//!
//! *A key is used once any event under it may be stored.* Several may be on their way at once, with the same words, and some may turn
//! out not to be stored: only when the last of them has is the key as good as never used.
//!
//! *Memory is shared.* So many keys are remembered, and where another one comes the client forgets that has most of them, its oldest
//! first: whoever uses very many keys forgets its own. Who has most is known at any time, as clients are kept in the order of how many
//! they have. Keys are spread over parts, each behind a lock of its own.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hasher};

use floodgate_schemas::{Chance, Event, EventId};
use parking_lot::Mutex;

use crate::holders::Holder;
use crate::problem::Problem;

/// In so many parts, if there are enough keys for them.
const PARTS: u64 = 16;
const KEYS_A_PART_MIN: u64 = 64;

/// The newest keys and their words.
pub(crate) struct Keys {
    /// None where none are to be remembered.
    parts: Box<[Mutex<Part>]>,
    keys_a_part: usize,
    /// Has taken in what nobody outside knows, so that nobody finds two bodies of one fingerprint. Copied for each.
    fingerprints: DefaultHasher,
}

/// An event on its way under a key. To be told of once it is known what became of it, or else it may be stored.
#[must_use]
pub(crate) struct UsedKey(Option<(EventId, u64)>);

#[derive(Default)]
struct Part {
    words: HashMap<EventId, Words>,
    /// By client, its keys from the oldest on, some of which may be forgotten by now.
    of: HashMap<u64, Own>,
    /// Who has most last, and of those who have as many whose oldest key is the oldest.
    by_count: BTreeSet<Ranked>,
    /// Numbers keys.
    last: u64,
}

/// How many a client has, the number of its oldest, and who it is.
type Ranked = (usize, Reverse<u64>, u64);

struct Words {
    fingerprint: u64,
    client: u64,
    number: u64,
    /// Events on their way.
    under_way: u32,
    /// Whether one may be stored.
    is_used: bool,
}

#[derive(Default)]
struct Own {
    count: usize,
    keys: VecDeque<(EventId, u64)>,
}

impl Own {
    fn ranked(&self, client: u64) -> Ranked {
        (self.count, Reverse(self.keys.front().map_or(u64::MAX, |(_, number)| *number)), client)
    }
}

impl Keys {
    /// Remembers so many keys at most.
    pub(crate) fn new(keys_max: u64, chance: &dyn Chance) -> Self {
        let mut fingerprints = DefaultHasher::new();
        fingerprints.write_u64(chance.bits());
        fingerprints.write_u64(chance.bits());
        let parts = (keys_max / KEYS_A_PART_MIN).clamp(keys_max.min(1), PARTS);
        let keys_a_part = keys_max.checked_div(parts).unwrap_or_default();
        Self {
            parts: (0..parts).map(|_| Mutex::default()).collect(),
            keys_a_part: usize::try_from(keys_a_part).unwrap_or(usize::MAX),
            fingerprints,
        }
    }

    /// Notes an event's words under its key, if a key fixes its id.
    ///
    /// # Errors
    /// The key came with other words before.
    pub(crate) fn note<E: Event>(&self, event: &E, holder: &Holder) -> Result<UsedKey, Problem> {
        let id = event.event_id();
        if self.parts.is_empty() || !id.is_from_key() {
            return Ok(UsedKey(None));
        }
        let mut hasher = self.fingerprints.clone();
        event.hash_words(&mut hasher);
        let number = self.part(id).lock().note(id, hasher.finish(), holder.id, self.keys_a_part);
        match number {
            Some(number) => Ok(UsedKey(Some((id, number)))),
            None => Err(Problem::idempotency_key_reused()),
        }
    }

    /// It is known what became of an event: it is certainly not stored, or may be.
    pub(crate) fn told(&self, UsedKey(key): UsedKey, may_be_stored: bool) {
        if let Some((id, number)) = key {
            self.part(id).lock().told(id, number, may_be_stored);
        }
    }

    fn part(&self, id: EventId) -> &Mutex<Part> {
        // ids of keys are digests
        let place = id.as_uuid().as_u128() % self.parts.len().max(1) as u128;
        &self.parts[place as usize]
    }
}

impl Part {
    /// The key's number, unless it came with other words.
    fn note(&mut self, id: EventId, fingerprint: u64, client: u64, max: usize) -> Option<u64> {
        if let Some(words) = self.words.get_mut(&id) {
            let is_same = words.fingerprint == fingerprint;
            words.under_way += u32::from(is_same);
            return is_same.then_some(words.number);
        }
        while self.words.len() >= max.max(1) {
            self.forget_oldest_of_most();
        }
        self.last += 1;
        let number = self.last;
        self.words.insert(id, Words { fingerprint, client, number, under_way: 1, is_used: false });
        change(&mut self.of, &mut self.by_count, client, |own| {
            own.count += 1;
            own.keys.push_back((id, number));
        });
        Some(number)
    }

    fn told(&mut self, id: EventId, number: u64, may_be_stored: bool) {
        // it may have been forgotten, and come again
        let Some(words) = self.words.get_mut(&id).filter(|words| words.number == number) else { return };
        words.under_way = words.under_way.saturating_sub(1);
        words.is_used |= may_be_stored;
        if words.under_way == 0 && !words.is_used {
            self.forget(id);
        }
    }

    fn forget(&mut self, id: EventId) {
        let Some(words) = self.words.remove(&id) else { return };
        let known = &self.words;
        let is_known =
            |(id, number): &(EventId, u64)| known.get(id).is_some_and(|words| words.number == *number);
        change(&mut self.of, &mut self.by_count, words.client, |own| {
            own.count -= 1;
            while own.keys.front().is_some_and(|key| !is_known(key)) {
                own.keys.pop_front();
            }
            if own.keys.len() > 2 * own.count + 16 {
                own.keys.retain(is_known);
            }
        });
    }

    fn forget_oldest_of_most(&mut self) {
        let most = self.by_count.last().and_then(|(_, _, client)| self.of.get(client));
        if let Some((id, _)) = most.and_then(|own| own.keys.front().copied()) {
            self.forget(id);
        }
    }
}

/// Changes what a client has, and so its place among all.
fn change(
    of: &mut HashMap<u64, Own>,
    by_count: &mut BTreeSet<Ranked>,
    client: u64,
    change: impl FnOnce(&mut Own),
) {
    let own = of.entry(client).or_default();
    by_count.remove(&own.ranked(client));
    change(own);
    match own.count {
        0 => _ = of.remove(&client),
        _ => _ = by_count.insert(own.ranked(client)),
    }
}

#[cfg(test)]
mod tests {
    use floodgate_schemas::examples::at;
    use floodgate_schemas::{Accept, EventIdSource, IdempotencyKey, Like, LikeAction, SystemChance};

    use super::*;

    fn like(key: &str, occurred_at: i64) -> Like {
        let key = IdempotencyKey::new(key).unwrap();
        // accepted at another time whenever it is sent
        let accept = Accept {
            id: EventIdSource::Key(&key),
            accepted_at: at(rand::random::<u16>().into()),
            latest: at(9),
        };
        let ids = ("star".to_owned().try_into().unwrap(), "fan".to_owned().try_into().unwrap());
        Like::new(ids.0, ids.1, LikeAction::Like, Some(at(occurred_at)), &accept).unwrap()
    }

    fn client(id: u64) -> Holder {
        Holder::known_as(id)
    }

    fn noted(keys: &Keys, like: &Like) -> Result<UsedKey, &'static str> {
        keys.note(like, &client(1)).map_err(|problem| problem.name())
    }

    /// Whether it is taken; it is stored then.
    fn is_taken(keys: &Keys, like: &Like, of: u64) -> bool {
        let used = keys.note(like, &client(of));
        let is_taken = used.is_ok();
        used.into_iter().for_each(|used| keys.told(used, true));
        is_taken
    }

    const REUSED: Result<(), &str> = Err("idempotency-key-reused");

    #[test]
    fn the_same_words_are_a_retry_and_others_are_refused() {
        let keys = Keys::new(10, &SystemChance);
        for _ in 0..2 {
            assert!(is_taken(&keys, &like("key-0001", 1), 1));
            assert!(!is_taken(&keys, &like("key-0001", 2), 1) && !is_taken(&keys, &like("key-0001", 2), 2));
        }
        assert!(is_taken(&keys, &like("key-0002", 2), 1));
    }

    #[test]
    fn what_was_not_stored_is_forgotten_and_nothing_is_remembered_for_nobody() {
        let keys = Keys::new(10, &SystemChance);
        let first = noted(&keys, &like("key-0001", 1)).ok().unwrap();
        assert_eq!(noted(&keys, &like("key-0001", 2)).map(drop), REUSED, "it may be stored yet");
        keys.told(first, false);
        assert!(is_taken(&keys, &like("key-0001", 2), 1));
        // a retry that was refused says nothing about what was stored before
        let again = noted(&keys, &like("key-0001", 2)).ok().unwrap();
        keys.told(again, false);
        assert_eq!(noted(&keys, &like("key-0001", 3)).map(drop), REUSED);

        let none = Keys::new(0, &SystemChance);
        assert!(is_taken(&none, &like("key-0001", 1), 1) && is_taken(&none, &like("key-0001", 2), 1));
    }

    /// Of two at once one may be stored and the other not, whichever came first and is told of first.
    #[test]
    fn a_key_is_used_once_any_event_under_it_may_be_stored() {
        for (first_stored, second_stored) in [(false, true), (true, false), (true, true), (false, false)] {
            for is_in_order in [true, false] {
                let keys = Keys::new(10, &SystemChance);
                let both = [0, 1].map(|_| noted(&keys, &like("key-0001", 1)).ok().unwrap());
                let mut told: Vec<_> = both.into_iter().zip([first_stored, second_stored]).collect();
                if !is_in_order {
                    told.reverse();
                }
                told.into_iter().for_each(|(used, stored)| keys.told(used, stored));
                let is_free = is_taken(&keys, &like("key-0001", 2), 1);
                assert_eq!(is_free, !first_stored && !second_stored, "{first_stored} {second_stored}");
            }
        }
        // of one of them nobody ever hears
        let keys = Keys::new(10, &SystemChance);
        let both = [0, 1].map(|_| noted(&keys, &like("key-0001", 1)).ok().unwrap());
        let [first, _lost] = both;
        keys.told(first, false);
        assert_eq!(noted(&keys, &like("key-0001", 2)).map(drop), REUSED);
    }

    fn known(keys: &Keys) -> usize {
        keys.parts.iter().map(|part| part.lock().words.len()).sum()
    }

    #[test]
    fn as_many_as_configured_are_remembered_the_newest() {
        for max in [1, 100, 10_000] {
            let keys = Keys::new(max, &SystemChance);
            for number in 0..2 * max {
                assert!(is_taken(&keys, &like(&format!("key-{number:05}"), 1), 1));
                assert!(known(&keys) <= max as usize);
            }
            assert!(!is_taken(&keys, &like(&format!("key-{:05}", 2 * max - 1), 2), 1));
            assert!(is_taken(&keys, &like("key-00000", 2), 1), "the oldest is forgotten");
        }
    }

    /// Also where each client has one.
    #[test]
    fn of_those_who_have_as_many_the_oldest_is_forgotten() {
        let keys = Keys::new(10, &SystemChance);
        for number in 0..100_u64 {
            assert!(is_taken(
                &keys,
                &like(&format!("key-{number:05}"), 1),
                number.wrapping_mul(u64::MAX / 7)
            ));
        }
        for number in 90..100 {
            assert!(!is_taken(&keys, &like(&format!("key-{number:05}"), 2), 0), "{number} is forgotten");
        }
    }

    #[test]
    fn whoever_uses_very_many_forgets_its_own() {
        let keys = Keys::new(1000, &SystemChance);
        let own: Vec<_> = (0..100).map(|number| like(&format!("own-{number:05}"), 1)).collect();
        assert!(own.iter().all(|like| is_taken(&keys, like, 1)));
        for number in 0..10_000 {
            assert!(is_taken(&keys, &like(&format!("key-{number:05}"), 1), 2));
        }
        for number in 0..100 {
            assert!(!is_taken(&keys, &like(&format!("own-{number:05}"), 2), 1), "{number} is forgotten");
        }
    }

    /// What is forgotten leaves nothing behind.
    #[test]
    fn memory_is_that_of_what_is_known() {
        let keys = Keys::new(1000, &SystemChance);
        for number in 0..10_000 {
            let used = keys.note(&like(&format!("key-{number:05}"), 1), &client(number % 7)).ok().unwrap();
            keys.told(used, number % 3 == 0);
        }
        for part in &keys.parts {
            let part = part.lock();
            let listed: usize = part.of.values().map(|own| own.keys.len()).sum();
            assert!(listed <= 2 * part.words.len() + 7 * 17, "{listed} of {}", part.words.len());
            let counted: usize = part.by_count.iter().map(|(count, ..)| count).sum();
            assert_eq!((counted, part.of.len()), (part.words.len(), part.by_count.len()));
        }
        for number in 0..1000 {
            let used = keys.note(&like(&format!("new-{number:05}"), 1), &client(number)).ok().unwrap();
            keys.told(used, false);
        }
        assert!(keys.parts.iter().all(|part| part.lock().of.len() <= 7));
    }
}
