//! Reduces a batch to at most one event per row: the one of the greatest rank.
//!
//! An upsert statement must not meet a row twice, and there is no point in writing what the same transaction
//! overwrites. The winners come out sorted by key, which is the order in which rows are locked (so that two
//! batches never wait for each other in a circle) and the order in which indexes like to be filled.

use std::cmp::Ordering;

use floodgate_schemas::{Event, EventId, ExpectationWrite, Like, Timestamp};

use crate::ApplyOutcome;

/// An event whose row keeps the greatest rank.
pub(crate) trait Ranked: Event {
    /// Names the row; orders bytewise, as the database does.
    type Key<'a>: Ord;
    /// Decides who stands on the row. Equal ranks mean the same event: the id is part of it.
    type Rank: Ord;

    fn key(&self) -> Self::Key<'_>;
    fn rank(&self) -> Self::Rank;
}

impl Ranked for ExpectationWrite {
    type Key<'a> = (i64, i16);
    type Rank = (i64, EventId);

    fn key(&self) -> (i64, i16) {
        (self.character_id.get(), i16::from(self.preset_no.get()))
    }

    fn rank(&self) -> (i64, EventId) {
        ExpectationWrite::rank(self)
    }
}

impl Ranked for Like {
    type Key<'a> = (&'a str, &'a str);
    type Rank = (Timestamp, EventId);

    fn key(&self) -> (&str, &str) {
        (self.target_ocid.as_str(), self.liker_account_id.as_str())
    }

    fn rank(&self) -> (Timestamp, EventId) {
        Like::rank(self)
    }
}

/// A batch, compacted: of each row the event that wins.
pub(crate) struct Compacted<'a, E: Ranked> {
    events: &'a [E],
    /// Positions in `events`, sorted by key, no key twice.
    winners: Vec<usize>,
    /// Of every event: what the batch itself decides, and `Applied` for the winners until told otherwise.
    outcomes: Vec<ApplyOutcome>,
}

impl<'a, E: Ranked> Compacted<'a, E> {
    pub(crate) fn new(events: &'a [E]) -> Self {
        let mut by_key: Vec<(E::Key<'a>, usize)> =
            events.iter().enumerate().map(|(position, event)| (event.key(), position)).collect();
        // with the position as the last part of the order, the first of equals wins
        by_key.sort_unstable();

        let mut outcomes = vec![ApplyOutcome::Applied; events.len()];
        let mut winners = Vec::with_capacity(events.len());
        for same_row in by_key.chunk_by(|a, b| a.0 == b.0) {
            let Some(winner) = first_greatest(events, same_row.iter().map(|(_, position)| *position)) else {
                continue;
            };
            for (_, position) in same_row {
                if *position != winner {
                    outcomes[*position] = loses_to(events[winner].event_id(), events[*position].event_id());
                }
            }
            winners.push(winner);
        }
        Self { events, winners, outcomes }
    }

    /// How many rows the batch wants to write.
    pub(crate) fn len(&self) -> usize {
        self.winners.len()
    }

    /// The winners, sorted by key.
    pub(crate) fn winners(&self) -> impl ExactSizeIterator<Item = &'a E> + Clone + '_ {
        self.winners.iter().map(|position| &self.events[*position])
    }

    /// The winner at this place of the sorted order.
    pub(crate) fn winner(&self, place: usize) -> &'a E {
        &self.events[self.winners[place]]
    }

    /// The place of the winner whose key compares as equal.
    pub(crate) fn place_by(&self, compare: impl Fn(&E) -> Ordering) -> Option<usize> {
        self.winners.binary_search_by(|position| compare(&self.events[*position])).ok()
    }

    /// Says what became of the winner at `place`.
    pub(crate) fn settle(&mut self, place: usize, outcome: ApplyOutcome) {
        self.outcomes[self.winners[place]] = outcome;
    }

    /// Settles the winners at the `passed` places, which changed nothing. `standing` are indexes into
    /// `passed`: of those whose very event stands on the row.
    pub(crate) fn settle_passed_over(&mut self, passed: &[usize], standing: impl IntoIterator<Item = i64>) {
        for place in passed {
            self.settle(*place, ApplyOutcome::Superseded);
        }
        for index in standing {
            if let Some(place) = usize::try_from(index).ok().and_then(|index| passed.get(index)) {
                self.settle(*place, ApplyOutcome::Duplicate);
            }
        }
    }

    /// One outcome per event, in the order they came.
    pub(crate) fn into_outcomes(self) -> Vec<ApplyOutcome> {
        self.outcomes
    }
}

/// The first of the positions whose events have the greatest rank.
fn first_greatest<E: Ranked>(events: &[E], positions: impl Iterator<Item = usize>) -> Option<usize> {
    positions.reduce(|best, next| if events[next].rank() > events[best].rank() { next } else { best })
}

/// What becomes of an event when another stands on its row, whose rank is at least as great.
pub(crate) fn loses_to(standing: EventId, event: EventId) -> ApplyOutcome {
    if standing == event { ApplyOutcome::Duplicate } else { ApplyOutcome::Superseded }
}

#[cfg(test)]
mod tests {
    use floodgate_schemas::LikeAction::{Like as On, Unlike as Off};
    use floodgate_schemas::examples::{expectation, like};
    use proptest::prelude::*;

    use super::*;

    fn reduced<E: Ranked>(events: &[E]) -> (Vec<EventId>, Vec<ApplyOutcome>) {
        let batch = Compacted::new(events);
        (batch.winners().map(Event::event_id).collect(), batch.into_outcomes())
    }

    #[test]
    fn one_event_per_row_wins_and_winners_are_sorted() {
        use ApplyOutcome::{Applied, Duplicate, Superseded};
        let events = [
            like(1, "b", "x", On, 5),
            like(2, "a", "y", On, 5),
            like(3, "b", "x", Off, 4),
            like(1, "b", "x", On, 5),
            like(4, "a", "x", On, 0),
            like(5, "a", "y", Off, 5),
        ];
        let (winners, outcomes) = reduced(&events);
        assert_eq!(winners, [4, 5, 1].map(floodgate_schemas::examples::event_id));
        assert_eq!(outcomes, [Applied, Superseded, Superseded, Duplicate, Applied, Applied]);
    }

    #[test]
    fn an_empty_batch_reduces_to_nothing() {
        assert_eq!(reduced::<Like>(&[]), (vec![], vec![]));
    }

    #[test]
    fn winners_are_found_by_key() {
        let events = [expectation(1, 7, 2, 1), expectation(2, 7, 1, 1), expectation(3, 5, 3, 1)];
        let batch = Compacted::new(&events);
        let place = |key| batch.place_by(|event: &ExpectationWrite| event.key().cmp(&key));
        assert_eq!((place((5, 3)), place((7, 1)), place((7, 2))), (Some(0), Some(1), Some(2)));
        assert_eq!(place((7, 3)), None);
    }

    #[test]
    fn what_the_database_says_of_winners_reaches_their_events() {
        use ApplyOutcome::{Applied, Duplicate, Superseded};
        // winners in the order of their keys: the second, the third, the first event
        let events = [expectation(1, 9, 1, 1), expectation(2, 3, 1, 1), expectation(3, 5, 1, 1)];
        let mut batch = Compacted::new(&events);
        assert_eq!((batch.len(), batch.winner(1).event_id()), (3, floodgate_schemas::examples::event_id(3)));
        batch.settle(0, Duplicate);
        assert_eq!(batch.into_outcomes(), [Applied, Duplicate, Applied]);

        let mut batch = Compacted::new(&events);
        // of the two that changed nothing the later one stands itself; what is no index of theirs says nothing
        batch.settle_passed_over(&[0, 2], [1, 2, -1]);
        assert_eq!(batch.into_outcomes(), [Duplicate, Superseded, Applied]);
    }

    proptest! {
        /// Whatever the batch: each row's winner is its maximum, and no key is left out or twice.
        #[test]
        fn winners_are_the_maxima(rows in prop::collection::vec((1i64..4, 1i64..=3, 0i64..4, 0u64..12), 0..40)) {
            let events: Vec<_> = rows.iter().map(|(c, p, version, id)| expectation(*id, *c, *p, *version)).collect();
            let batch = Compacted::new(&events);
            let keys: Vec<_> = batch.winners().map(Ranked::key).collect();
            prop_assert!(keys.is_sorted_by(|a, b| a < b));
            for event in &events {
                let place = batch.place_by(|winner| winner.key().cmp(&event.key()));
                let winner = batch.winner(place.ok_or_else(|| TestCaseError::fail("a key is missing"))?);
                prop_assert!(winner.rank() >= event.rank());
            }
            let applied = batch.into_outcomes().into_iter().filter(|o| *o == ApplyOutcome::Applied).count();
            prop_assert_eq!(applied, keys.len());
        }
    }
}
