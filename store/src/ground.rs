//! Whether the database is still the one that this process knows.
//!
//! Offsets are committed for what *a* database holds. If another one comes to stand in its place (a file renamed and made
//! anew, a schema dropped, a backup restored, a server that took over without the last transactions), going on would lose
//! everything that only the former one has, without a word. So a process remembers where it stands, and looks in every
//! transaction that applies events:
//!
//! * **The identity** is a random number that the migration wrote (`floodgate_identity`). A database made anew has another.
//! * **What was applied last** is looked up again wherever the same identity answers from another *make*: a table made anew,
//!   a server started anew, another file. A copy that is older has the identity, and its rows carry lesser ranks or none. The
//!   last few events of one batch that had an effect are remembered; a batch is all or nothing, so a copy that has none of
//!   them lacks the batch.
//!
//! On other ground nothing is applied: the batch fails as one that may be tried again, consumers hold, and go on by
//! themselves if what they know comes back. An operator who wants the new ground restarts them, which forgets the old.

use std::any::{Any, TypeId};
use std::collections::HashMap;

use floodgate_schemas::Event;
use parking_lot::Mutex;

use crate::dialect::{Failure, Lookup, Place};
use crate::{ApplyOutcome, EventStatus};

/// How many of the last events are looked for.
const REMEMBERED: usize = 8;

/// What the operator can do.
const HELP: &str = "nothing is applied to it. Bring back the former one and consumers go on; or restart them, which takes \
                    this one, and see with `floodgate verify` what it lacks";

/// What a process knows of its database.
#[derive(Default)]
pub(crate) struct Ground {
    identity: Mutex<Option<String>>,
    /// By type of event.
    last: Mutex<HashMap<TypeId, Last>>,
}

/// The last events of one type that were applied, and where.
struct Last {
    make: String,
    events: Box<dyn Any + Send>,
}

impl Ground {
    /// A sentence about what stands there if it is not what is known; `place` is `None` where nothing has an identity.
    pub(crate) fn moved(&self, place: Option<&Place>) -> Option<String> {
        match place {
            Some(place) => self.know(place.identity.as_deref()).err(),
            None if self.identity.lock().is_none() => None,
            None => Some(format!("the database that events were applied to, or its schema, is gone: {HELP}")),
        }
    }

    /// Whether this identity is the one that is known; the first one is.
    ///
    /// # Errors
    /// It is not: a sentence about it.
    pub(crate) fn know(&self, identity: Option<&str>) -> Result<(), String> {
        let Some(identity) = identity else {
            return Err(format!("the database has lost its identity (floodgate_identity is empty): {HELP}"));
        };
        let mut known = self.identity.lock();
        match &*known {
            None => *known = Some(identity.to_owned()),
            Some(known) if known == identity => {}
            Some(known) => {
                return Err(format!(
                    "another database stands where the one was that events were applied to (its identity is {identity}, and \
                     was {known}): {HELP}"
                ));
            }
        }
        Ok(())
    }

    /// Whether events may be applied through this connection, which leads to `place`.
    pub(crate) async fn check<C, E: Lookup<C>>(
        &self,
        connection: &mut C,
        place: &Place,
    ) -> Result<(), Failure> {
        self.know(place.identity.as_deref()).map_err(Failure::Moved)?;
        let Some(events) = self.last_elsewhere::<E>(place).filter(|events| !events.is_empty()) else {
            return Ok(());
        };
        let statuses = E::look_up(connection, &events).await?;
        if statuses.iter().all(|status| *status == EventStatus::Absent) {
            let event = events.first().map(|event| event.event_id().to_string()).unwrap_or_default();
            return Err(Failure::Moved(format!(
                "the database lacks what was applied to it last (such as the {} event {event}): it is an older copy, or was \
                 restored: {HELP}",
                E::TYPE
            )));
        }
        Ok(())
    }

    /// The last events, if they were applied elsewhere.
    fn last_elsewhere<E: Event>(&self, place: &Place) -> Option<Vec<E>> {
        let last = self.last.lock();
        let last = last.get(&TypeId::of::<E>()).filter(|last| last.make != place.make)?;
        last.events.downcast_ref::<Vec<E>>().cloned()
    }

    /// These events were applied there.
    pub(crate) fn applied<E: Event>(&self, events: &[E], outcomes: &[ApplyOutcome], place: Place) {
        let had_effect =
            |outcome: &ApplyOutcome| !matches!(outcome, ApplyOutcome::Superseded | ApplyOutcome::Duplicate);
        let effective = events.iter().zip(outcomes).rev().filter(|(_, outcome)| had_effect(outcome));
        let effective: Vec<E> = effective.map(|(event, _)| event.clone()).take(REMEMBERED).collect();
        let mut last = self.last.lock();
        match last.get_mut(&TypeId::of::<E>()) {
            // the others were found there
            Some(last) if effective.is_empty() => last.make = place.make,
            _ => drop(last.insert(TypeId::of::<E>(), Last { make: place.make, events: Box::new(effective) })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_identity_is_the_one_that_is_known() {
        let ground = Ground::default();
        assert!(ground.moved(None).is_none() && ground.know(None).is_err());
        assert_eq!((ground.know(Some("a")), ground.know(Some("a"))), (Ok(()), Ok(())));
        let other = ground.know(Some("b")).unwrap_err();
        assert!(other.contains("identity is b, and was a") && other.contains("floodgate verify"), "{other}");
        assert!(ground.know(None).is_err_and(|lost| lost.contains("lost its identity")));
        assert!(ground.moved(None).is_some_and(|gone| gone.contains("gone")));
        assert_eq!(ground.know(Some("a")), Ok(()), "it came back");
    }
}
