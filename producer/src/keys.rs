//! Which words came with which idempotency key.
//!
//! A key fixes an event's id, and the database keeps to one event per id; but which of two bodies under one key would
//! stand is then left to the ordering rule. A client that changes its words under a key it has used is told so, as long
//! as this instance remembers: the newest keys, up to a configured number. Only a fingerprint of the words is kept.

use std::hash::{DefaultHasher, Hasher};

use floodgate_schemas::{Chance, Event, EventId};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use crate::problem::Problem;

/// The newest keys and their words.
pub(crate) struct Keys {
    /// By the event's id; `None` where none are to be remembered.
    words: Option<Cache<EventId, u64>>,
    /// Has taken in what nobody outside knows, so that nobody finds two bodies of one fingerprint. Copied for each.
    fingerprints: DefaultHasher,
}

/// A key that was not known before. Forgotten again if its event is certainly not stored: then it was not used.
#[must_use]
pub(crate) struct NewKey(Option<EventId>);

impl Keys {
    /// Remembers so many keys at most.
    pub(crate) fn new(keys_max: u64, chance: &dyn Chance) -> Self {
        // the newest, not the most frequent: retries come soon or never
        let words = || Cache::builder().max_capacity(keys_max).eviction_policy(EvictionPolicy::lru()).build();
        let mut fingerprints = DefaultHasher::new();
        fingerprints.write_u64(chance.bits());
        fingerprints.write_u64(chance.bits());
        Self { words: (keys_max > 0).then(words), fingerprints }
    }

    /// Notes an event's words under its key, if a key fixes its id.
    ///
    /// # Errors
    /// The key came with other words before.
    pub(crate) fn note<E: Event>(&self, event: &E) -> Result<NewKey, Problem> {
        let id = event.event_id();
        let Some(words) = self.words.as_ref().filter(|_| id.is_from_key()) else { return Ok(NewKey(None)) };
        let mut hasher = self.fingerprints.clone();
        event.hash_words(&mut hasher);
        let fingerprint = hasher.finish();
        // of two that come at once only one is the first
        let known = words.entry(id).or_insert_with(|| fingerprint);
        match known.is_fresh() {
            true => Ok(NewKey(Some(id))),
            false if *known.value() == fingerprint => Ok(NewKey(None)),
            false => Err(Problem::idempotency_key_reused()),
        }
    }

    /// The event is certainly not stored: its key is as good as never used.
    pub(crate) fn forget(&self, NewKey(key): NewKey) {
        if let (Some(words), Some(id)) = (&self.words, key) {
            words.invalidate(&id);
        }
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

    fn outcome(keys: &Keys, like: &Like) -> Result<bool, &'static str> {
        keys.note(like).map(|key| key.0.is_some()).map_err(|problem| problem.name())
    }

    #[test]
    fn the_same_words_are_a_retry_and_others_are_refused() {
        let keys = Keys::new(10, &SystemChance);
        assert_eq!(outcome(&keys, &like("key-0001", 1)), Ok(true));
        assert_eq!(outcome(&keys, &like("key-0001", 1)), Ok(false));
        assert_eq!(outcome(&keys, &like("key-0001", 2)), Err("idempotency-key-reused"));
        assert_eq!(outcome(&keys, &like("key-0002", 2)), Ok(true));
    }

    #[test]
    fn what_was_not_stored_is_forgotten_and_nothing_is_remembered_for_nobody() {
        let keys = Keys::new(10, &SystemChance);
        let first = keys.note(&like("key-0001", 1)).ok().unwrap();
        keys.forget(first);
        assert_eq!(outcome(&keys, &like("key-0001", 2)), Ok(true));
        // a retry that was refused says nothing about what was stored before
        let again = keys.note(&like("key-0001", 2)).ok().unwrap();
        keys.forget(again);
        assert_eq!(outcome(&keys, &like("key-0001", 3)), Err("idempotency-key-reused"));

        let none = Keys::new(0, &SystemChance);
        assert_eq!(
            (outcome(&none, &like("key-0001", 1)), outcome(&none, &like("key-0001", 2))),
            (Ok(false), Ok(false))
        );
    }

    #[test]
    fn as_many_as_configured_are_remembered_the_newest() {
        let keys = Keys::new(100, &SystemChance);
        let all: Vec<_> = (0..1000).map(|number| like(&format!("key-{number:04}"), 1)).collect();
        for like in &all {
            assert_eq!(outcome(&keys, like), Ok(true));
            if let Some(words) = &keys.words {
                words.run_pending_tasks();
            }
        }
        assert!(keys.words.as_ref().is_some_and(|words| words.entry_count() <= 100));
        assert_eq!(outcome(&keys, &like("key-0999", 2)), Err("idempotency-key-reused"));
    }
}
