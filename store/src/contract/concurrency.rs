//! Several appliers on the same rows at once, as while a partition moves from one consumer to another.

use std::sync::Arc;

use floodgate_schemas::LikeAction::{Like as On, Unlike as Off};
use floodgate_schemas::examples::{at, coupon_issue, expectation, like};
use floodgate_schemas::{CharacterId, CouponIssue, Event, ExpectationWrite, Like};

use super::coupons::{always_open, coupon_id};
use super::likes::Model;
use super::subject::{Subject, nothing_contradicts};
use crate::{Apply, ApplyError, ApplyOutcome, CouponCreated, Store};

/// How many apply at once.
const APPLIERS: usize = 4;

/// What came of all appliers.
#[derive(Default)]
struct Sum {
    outcomes: Vec<ApplyOutcome>,
    /// Why batches had to be tried again.
    retries: Vec<String>,
}

/// Lets every applier apply all events, each in an order and in batches of its own.
async fn all_apply_all<E: Event>(subject: &dyn Subject, events: &[E], batch: usize) -> Sum
where
    dyn Store: Apply<E>,
{
    let appliers: Vec<_> = (0..APPLIERS)
        .map(|applier| {
            let store = Arc::clone(subject.store());
            let mut events = events.to_vec();
            let turn = events.len() * applier / APPLIERS;
            events.rotate_left(turn);
            if applier % 2 == 1 {
                events.reverse();
            }
            tokio::spawn(async move { apply_all(store.as_ref(), &events, batch + applier).await })
        })
        .collect();
    let mut sum = Sum::default();
    for applier in appliers {
        let Sum { outcomes, retries } = applier.await.expect("no panic");
        sum.outcomes.extend(outcomes);
        sum.retries.extend(retries);
    }
    sum
}

/// Applies batch after batch, each again and again while the database asks for it, as a consumer does.
async fn apply_all<E: Event>(store: &(impl Apply<E> + ?Sized), events: &[E], batch: usize) -> Sum {
    let mut sum = Sum::default();
    for batch in events.chunks(batch) {
        loop {
            match store.apply(batch, at(0)).await {
                Ok(outcomes) => break sum.outcomes.extend(outcomes),
                Err(ApplyError::Retry(reason)) if sum.retries.len() < 500 => sum.retries.push(reason),
                Err(error) => unreachable!("good events were refused: {error}"),
            }
        }
    }
    sum
}

/// Likes and unlikes of one popular target and of many others, crossing: the newest stand, counters agree.
pub async fn likes(subject: &dyn Subject) {
    let events: Vec<Like> = (0..1_500u64)
        .map(|n| {
            let target = if n % 2 == 0 { "popular".to_owned() } else { format!("t{}", n % 37) };
            let action = if n % 3 == 0 { Off } else { On };
            like(n, &target, &format!("l{}", n * 7 % 113), action, (n * 31 % 257) as i64)
        })
        .collect();
    let mut sum = all_apply_all(subject, &events, 60).await;
    // two may find no row and both insert it; locks taken in order never meet in a circle
    sum.retries.retain(|reason| !reason.contains("another consumer wrote the same row"));
    assert_eq!(sum.retries, [""; 0]);
    let mut model = Model::default();
    model.apply(&events);
    model.check(subject).await;
    nothing_contradicts(subject).await;
}

/// Writes to the same presets, crossing: the greatest versions stand.
pub async fn expectations(subject: &dyn Subject) {
    let event = |n: u64| expectation(n, (n * 7 % 53) as i64 + 1, (n % 3) as i64 + 1, (n * 31 % 97) as i64);
    let events: Vec<ExpectationWrite> = (0..1_500).map(event).collect();
    let sum = all_apply_all(subject, &events, 60).await;
    assert_eq!(sum.retries, [""; 0], "locks taken in order never meet in a circle");
    for character in 1..=53 {
        let id = CharacterId::try_from(character).expect("a character");
        for row in subject.store().expectations(id).await.expect("an answer") {
            let rivals = events.iter().filter(|e| (e.character_id, e.preset_no) == (id, row.preset_no));
            assert_eq!(rivals.map(ExpectationWrite::rank).max(), Some((row.version, row.event_id)));
        }
    }
}

/// One popular coupon and one that never sells out; every request comes from every applier: each is decided
/// once, the popular coupon is sold to the last and not beyond.
pub async fn coupons(subject: &dyn Subject) {
    for (id, stock) in [("popular", 100), ("plenty", 10_000)] {
        let created = subject.store().create_coupon(&always_open(id, stock)).await;
        assert_eq!(created, Ok(CouponCreated::Created));
    }
    let request = |n: u64| coupon_issue(n, ["popular", "plenty"][n as usize % 2], &user(n));
    let sum = each_is_decided_once(subject, (0..600).map(request).collect()).await;
    assert_eq!(
        sum.retries, [""; 0],
        "who has the coupons' locks sees all that was decided under them before"
    );
    let popular = subject.store().coupon(&coupon_id("popular")).await.expect("an answer").expect("a coupon");
    assert_eq!(popular.remaining(), 0);
    nothing_contradicts(subject).await;
}

/// Requests for a coupon that does not exist have no row to lock: some meet, are tried again, and are still
/// decided once.
pub async fn unknown_coupons(subject: &dyn Subject) {
    let requests = (0..300).map(|n| coupon_issue(n, "unknown", &user(n))).collect();
    each_is_decided_once(subject, requests).await;
}

fn user(n: u64) -> String {
    format!("u{}", n * 7 % 400)
}

async fn each_is_decided_once(subject: &dyn Subject, requests: Vec<CouponIssue>) -> Sum {
    let sum = all_apply_all(subject, &requests, 40).await;
    let decided = sum.outcomes.iter().filter(|outcome| **outcome != ApplyOutcome::Duplicate).count();
    assert_eq!(decided, requests.len());
    let ids: Vec<_> = requests.iter().map(|request| request.event_id).collect();
    assert_eq!(subject.store().decisions(&ids).await.expect("an answer").len(), requests.len());
    sum
}
