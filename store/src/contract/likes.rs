//! Likes and their counters against a model, and by example.

use std::collections::BTreeMap;

use floodgate_schemas::LikeAction::{self, Like as On, Unlike as Off};
use floodgate_schemas::examples::{at, like};
use floodgate_schemas::{Like, LikerAccountId, TargetOcid};
use proptest::prelude::*;
use tokio::runtime::Handle;

use super::delivery::{Delivery, any_delivery, for_all};
use super::subject::{Subject, event_number, nothing_contradicts};
use crate::{Apply, ApplyError, ApplyOutcome, Audit};

/// The event that stands on each row.
#[derive(Default)]
pub(crate) struct Model(BTreeMap<(String, String), Like>);

impl Model {
    pub(crate) fn apply(&mut self, batch: &[Like]) -> Vec<ApplyOutcome> {
        let outcomes = batch.iter().enumerate().map(|(position, event)| {
            let rivals = batch.iter().enumerate().filter(|(_, rival)| rival.row_key() == event.row_key());
            let winner = rivals.max_by_key(|(position, rival)| (rival.rank(), std::cmp::Reverse(*position)));
            let (winner, event_of_winner) = winner.expect("the event itself is there");
            if winner == position {
                self.apply_one(event)
            } else if event_of_winner.event_id == event.event_id {
                ApplyOutcome::Duplicate
            } else {
                ApplyOutcome::Superseded
            }
        });
        outcomes.collect()
    }

    fn apply_one(&mut self, event: &Like) -> ApplyOutcome {
        let key = (event.target_ocid.to_string(), event.liker_account_id.to_string());
        match self.0.get(&key) {
            Some(standing) if standing.event_id == event.event_id => ApplyOutcome::Duplicate,
            Some(standing) if standing.rank() > event.rank() => ApplyOutcome::Superseded,
            _ => {
                self.0.insert(key, event.clone());
                ApplyOutcome::Applied
            }
        }
    }

    /// Every row and every counter is as it ought to be.
    pub(crate) async fn check(&self, subject: &dyn Subject) {
        let mut counts: BTreeMap<&TargetOcid, u64> = BTreeMap::new();
        for like in self.0.values() {
            let liked = subject.store().liked(&like.target_ocid, &like.liker_account_id).await;
            assert_eq!(liked, Ok(like.liked()), "{like:?}");
            *counts.entry(&like.target_ocid).or_default() += u64::from(like.liked());
        }
        let standing: Vec<Like> = self.0.values().cloned().collect();
        let audit: &dyn Audit<Like> = subject.store().as_ref();
        assert_eq!(audit.differences(&standing).await, Ok(vec![]));
        for (target, count) in counts {
            assert_eq!(subject.store().like_count(target).await, Ok(count), "{target}");
        }
    }
}

/// Whatever is liked and unliked, delivered and repeated: outcomes, rows and counters equal the model's.
pub fn follow_the_model(runtime: &Handle, subject: &dyn Subject, cases: u32) {
    let actions = prop::collection::vec((0u8..2, 0u8..3, any::<bool>(), 0i64..4), 1..14);
    for_all(cases, &(actions, any_delivery()), |case, (actions, delivery)| {
        let events: Vec<_> = actions
            .iter()
            .enumerate()
            .map(|(i, (target, liker, on, micros))| {
                let target = format!("{case}-{target}");
                like(event_number(case, i), &target, &format!("l{liker}"), action(*on), *micros)
            })
            .collect();
        runtime.block_on(compare(subject, &events, &delivery));
    });
    runtime.block_on(nothing_contradicts(subject));
}

fn action(on: bool) -> LikeAction {
    if on { On } else { Off }
}

async fn compare(subject: &dyn Subject, events: &[Like], delivery: &Delivery) {
    let mut model = Model::default();
    let log = delivery.in_order(events);
    for range in delivery.batches() {
        let outcomes = subject.store().apply(&log[range.clone()], at(0)).await.expect("a good batch");
        assert_eq!(outcomes, model.apply(&log[range]));
    }
    model.check(subject).await;
}

async fn count(subject: &dyn Subject, target: &str) -> u64 {
    let target = TargetOcid::try_from(target.to_owned()).expect("a target");
    subject.store().like_count(&target).await.expect("an answer")
}

async fn liked(subject: &dyn Subject, target: &str, liker: &str) -> bool {
    let target = TargetOcid::try_from(target.to_owned()).expect("a target");
    let liker = LikerAccountId::try_from(liker.to_owned()).expect("a liker");
    subject.store().liked(&target, &liker).await.expect("an answer")
}

/// One event twice in a batch, and again in the next: it counts once.
pub async fn one_event_twice(subject: &dyn Subject) {
    let store: &dyn Apply<Like> = subject.store().as_ref();
    let event = like(1, "t", "a", On, 1);
    let outcomes = store.apply(&[event.clone(), event.clone()], at(0)).await;
    assert_eq!(outcomes, Ok(vec![ApplyOutcome::Applied, ApplyOutcome::Duplicate]));
    assert_eq!(store.apply(&[event], at(0)).await, Ok(vec![ApplyOutcome::Duplicate]));
    assert_eq!(count(subject, "t").await, 1);
}

/// A like, then an unlike that happened before it: the like stands, in one batch or in two.
pub async fn an_older_unlike_changes_nothing(subject: &dyn Subject) {
    let store: &dyn Apply<Like> = subject.store().as_ref();
    let one_batch = [like(1, "t", "a", On, 5), like(2, "t", "a", Off, 4)];
    assert_eq!(
        store.apply(&one_batch, at(0)).await,
        Ok(vec![ApplyOutcome::Applied, ApplyOutcome::Superseded])
    );
    assert_eq!(store.apply(&[like(3, "t", "b", On, 5)], at(0)).await, Ok(vec![ApplyOutcome::Applied]));
    assert_eq!(store.apply(&[like(4, "t", "b", Off, 4)], at(0)).await, Ok(vec![ApplyOutcome::Superseded]));
    assert!(liked(subject, "t", "a").await && liked(subject, "t", "b").await);
    assert_eq!(count(subject, "t").await, 2);
}

/// Like and unlike of one moment: the greater event id stands, whichever comes first.
pub async fn ties_break_by_event_id(subject: &dyn Subject) {
    let store: &dyn Apply<Like> = subject.store().as_ref();
    assert_eq!(store.apply(&[like(2, "t", "a", Off, 5)], at(0)).await, Ok(vec![ApplyOutcome::Applied]));
    assert_eq!(store.apply(&[like(1, "t", "a", On, 5)], at(0)).await, Ok(vec![ApplyOutcome::Superseded]));
    assert!(!liked(subject, "t", "a").await);
    assert_eq!(store.apply(&[like(3, "t", "a", On, 5)], at(0)).await, Ok(vec![ApplyOutcome::Applied]));
    assert!(liked(subject, "t", "a").await);
    assert_eq!(count(subject, "t").await, 1);
}

/// Asking for the state that stands, and unliking what was never liked, write rows but move no counter.
pub async fn counters_move_with_the_state_only(subject: &dyn Subject) {
    let store: &dyn Apply<Like> = subject.store().as_ref();
    let steps = [
        (like(1, "t", "a", Off, 1), 0),
        (like(2, "t", "a", On, 2), 1),
        (like(3, "t", "a", On, 3), 1),
        (like(4, "t", "b", On, 4), 2),
        (like(5, "t", "a", Off, 5), 1),
        (like(6, "t", "a", Off, 6), 1),
    ];
    for (event, expected) in steps {
        assert_eq!(store.apply(&[event], at(0)).await, Ok(vec![ApplyOutcome::Applied]));
        assert_eq!(count(subject, "t").await, expected);
    }
}

/// One batch with a bad row changes nothing, and says so; without it, it applies. `forbid` is SQL that makes
/// the database refuse the liker `bad`.
pub async fn a_bad_row_undoes_its_batch(subject: &dyn Subject, forbid: &str) {
    subject.sql(forbid).await;
    let store: &dyn Apply<Like> = subject.store().as_ref();
    let batch = [like(1, "t", "a", On, 1), like(2, "t", "bad", On, 1), like(3, "u", "z", On, 1)];
    let refused = store.apply(&batch, at(0)).await;
    assert!(matches!(refused, Err(ApplyError::BadRow(_))), "{refused:?}");
    assert_eq!(
        subject.sql("SELECT (SELECT count(*) FROM likes) + (SELECT count(*) FROM like_counts)").await,
        Some(0)
    );

    let one_by_one = [store.apply(&batch[..1], at(0)).await, store.apply(&batch[1..2], at(0)).await];
    assert_eq!(one_by_one[0], Ok(vec![ApplyOutcome::Applied]));
    assert!(matches!(one_by_one[1], Err(ApplyError::BadRow(_))), "{one_by_one:?}");
    assert_eq!(store.apply(&batch[2..], at(0)).await, Ok(vec![ApplyOutcome::Applied]));
    assert_eq!((count(subject, "t").await, count(subject, "u").await), (1, 1));
}
