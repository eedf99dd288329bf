//! Expectation writes against a model, and by example.

use std::collections::BTreeMap;

use floodgate_schemas::examples::{at, expectation};
use floodgate_schemas::{CharacterId, ExpectationWrite, Timestamp};
use proptest::prelude::*;
use tokio::runtime::Handle;

use super::delivery::{Delivery, any_delivery, for_all};
use super::subject::{Subject, event_number};
use crate::{Apply, ApplyOutcome, ExpectationRow};

/// The rows as they ought to be: the event that stands on each, and when it was written.
#[derive(Default)]
struct Model(BTreeMap<(i64, u8), (ExpectationWrite, Timestamp)>);

impl Model {
    fn apply(&mut self, batch: &[ExpectationWrite], now: Timestamp) -> Vec<ApplyOutcome> {
        let outcomes = batch.iter().enumerate().map(|(position, event)| {
            let rivals = batch.iter().enumerate().filter(|(_, rival)| rival.row_key() == event.row_key());
            let winner = rivals.max_by_key(|(position, rival)| (rival.rank(), std::cmp::Reverse(*position)));
            let (winner, event_of_winner) = winner.expect("the event itself is there");
            if winner == position {
                self.apply_one(event, now)
            } else if event_of_winner.event_id == event.event_id {
                ApplyOutcome::Duplicate
            } else {
                ApplyOutcome::Superseded
            }
        });
        outcomes.collect()
    }

    fn apply_one(&mut self, event: &ExpectationWrite, now: Timestamp) -> ApplyOutcome {
        let key = (event.character_id.get(), event.preset_no.get());
        match self.0.get(&key) {
            Some((standing, _)) if standing.event_id == event.event_id => ApplyOutcome::Duplicate,
            Some((standing, _)) if standing.rank() > event.rank() => ApplyOutcome::Superseded,
            _ => {
                self.0.insert(key, (event.clone(), now));
                ApplyOutcome::Applied
            }
        }
    }

    fn rows(&self, character: i64) -> Vec<ExpectationRow> {
        self.0.range((character, 0)..(character + 1, 0)).map(|(_, (event, now))| row(event, *now)).collect()
    }
}

/// The row that an event leaves.
fn row(event: &ExpectationWrite, updated_at: Timestamp) -> ExpectationRow {
    ExpectationRow {
        character_id: event.character_id,
        preset_no: event.preset_no,
        total_expected_cost: event.total_expected_cost,
        black_cube_cost: event.black_cube_cost,
        red_cube_cost: event.red_cube_cost,
        additional_cube_cost: event.additional_cube_cost,
        starforce_cost: event.starforce_cost,
        version: event.version,
        calculated_at: event.calculated_at,
        event_id: event.event_id,
        updated_at,
    }
}

/// Whatever is written, delivered and repeated: outcomes and rows equal the model's.
pub fn follow_the_model(runtime: &Handle, subject: &dyn Subject, cases: u32) {
    let writes = prop::collection::vec((0i64..2, 1i64..=3, -2i64..3), 1..12);
    for_all(cases, &(writes, any_delivery()), |case, (writes, delivery)| {
        let character = |n: i64| case as i64 * 10 + n;
        let events: Vec<_> = writes
            .iter()
            .enumerate()
            .map(|(i, (c, preset, version))| {
                expectation(event_number(case, i), character(*c), *preset, *version)
            })
            .collect();
        runtime.block_on(compare(subject, &events, &delivery, [character(0), character(1)]));
    });
}

async fn compare(
    subject: &dyn Subject,
    events: &[ExpectationWrite],
    delivery: &Delivery,
    characters: [i64; 2],
) {
    let mut model = Model::default();
    let log = delivery.in_order(events);
    for (batch_no, range) in delivery.batches().into_iter().enumerate() {
        let now = at(1_000_000 * batch_no as i64);
        let outcomes = subject.store().apply(&log[range.clone()], now).await.expect("a good batch");
        assert_eq!(outcomes, model.apply(&log[range], now));
    }
    for character in characters {
        assert_eq!(rows(subject, character).await, model.rows(character));
    }
}

async fn rows(subject: &dyn Subject, character: i64) -> Vec<ExpectationRow> {
    let character = CharacterId::try_from(character).expect("a character");
    subject.store().expectations(character).await.expect("an answer")
}

/// One key many times in one batch: the greatest version stands, in one write.
pub async fn one_row_many_times_in_a_batch(subject: &dyn Subject) {
    let store: &dyn Apply<ExpectationWrite> = subject.store().as_ref();
    let mut events: Vec<_> = (0..50).map(|n| expectation(n, 1, 1, (n as i64 * 7) % 50)).collect();
    events.push(events[3].clone());
    let outcomes = store.apply(&events, at(0)).await.expect("a good batch");
    let greatest = events.iter().max_by_key(|event| event.version).expect("an event");
    assert_eq!(rows(subject, 1).await, [row(greatest, at(0))]);
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == ApplyOutcome::Applied).count(), 1);
}

/// Equal versions: the greater event id stands, whichever comes first.
pub async fn ties_break_by_event_id(subject: &dyn Subject) {
    let store: &dyn Apply<ExpectationWrite> = subject.store().as_ref();
    let apply = async |event: &ExpectationWrite, now| store.apply(std::slice::from_ref(event), now).await;
    let (lesser, greater) = (expectation(1, 1, 1, 5), expectation(2, 1, 1, 5));
    assert_eq!(apply(&greater, at(0)).await, Ok(vec![ApplyOutcome::Applied]));
    assert_eq!(apply(&lesser, at(1)).await, Ok(vec![ApplyOutcome::Superseded]));
    assert_eq!(apply(&greater, at(2)).await, Ok(vec![ApplyOutcome::Duplicate]));
    assert_eq!(rows(subject, 1).await, [row(&greater, at(0))]);

    let (lesser, greater) = (expectation(1, 2, 1, 5), expectation(2, 2, 1, 5));
    assert_eq!(apply(&lesser, at(0)).await, Ok(vec![ApplyOutcome::Applied]));
    assert_eq!(apply(&greater, at(1)).await, Ok(vec![ApplyOutcome::Applied]));
    assert_eq!(rows(subject, 2).await, [row(&greater, at(1))]);
}

/// The ends of every range come back as they went in.
pub async fn extremes_survive(subject: &dyn Subject) {
    use floodgate_schemas::Cost;
    let hundredths = [0, 1, 99, 100, 9_999, 1_000_000, 10_000_000_000, Cost::MAX.as_hundredths() - 1];
    let cost = |n: usize| Cost::from_hundredths(hundredths[n % hundredths.len()]).expect("a cost");
    let versions = [i64::MIN, -1, 0, (1 << 53) + 1, i64::MAX];
    let times = [Timestamp::MIN, at(-1), at(1), Timestamp::MAX];
    let mut events = Vec::new();
    for n in 0..8usize {
        let mut event = expectation(n as u64, i64::MAX - n as i64, 3, 0);
        event.version = versions[n % versions.len()];
        event.total_expected_cost = Cost::MAX;
        event.black_cube_cost = cost(n);
        event.red_cube_cost = cost(n + 1);
        event.additional_cube_cost = cost(n + 2);
        event.starforce_cost = cost(n + 3);
        event.calculated_at = times[n % times.len()];
        events.push(event);
    }
    let outcomes = subject.store().apply(&events, Timestamp::MAX).await;
    assert_eq!(outcomes, Ok(vec![ApplyOutcome::Applied; events.len()]));
    for event in &events {
        assert_eq!(rows(subject, event.character_id.get()).await, [row(event, Timestamp::MAX)]);
    }
    let again = subject.store().apply(&events, at(0)).await;
    assert_eq!(again, Ok(vec![ApplyOutcome::Duplicate; events.len()]));
}
