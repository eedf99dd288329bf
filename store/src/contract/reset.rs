//! Rows set back: their rank, and nothing else.

use floodgate_schemas::LikeAction::{Like as On, Unlike as Off};
use floodgate_schemas::examples::{at, event_id, expectation, like};
use floodgate_schemas::{Event, ExpectationWrite, Timestamp};

use super::subject::{Subject, nothing_contradicts};
use crate::{Apply, ApplyOutcome, RowKey, RowRank, Store};

async fn applied<E: Event>(subject: &dyn Subject, event: E) -> ApplyOutcome
where
    dyn Store: Apply<E>,
{
    let outcomes = subject.store().apply(&[event], at(0)).await.expect("a good batch");
    outcomes[0]
}

async fn rank(subject: &dyn Subject, row: &RowKey) -> Option<RowRank> {
    subject.store().rank(row).await.expect("an answer")
}

async fn lower(subject: &dyn Subject, row: &RowKey, above: i64) -> bool {
    subject.store().lower(row, above).await.expect("an answer")
}

/// A version that nobody reaches: no write counts until the row is set back, and then any does. Its neighbours stay.
pub async fn expectations(subject: &dyn Subject) {
    let far_ahead = |number, character, preset| ExpectationWrite {
        version: i64::MAX,
        ..expectation(number, character, preset, 5)
    };
    let frozen = far_ahead(9, 7, 2);
    let row = RowKey::Expectation(frozen.character_id, frozen.preset_no);
    assert_eq!((rank(subject, &row).await, lower(subject, &row, 0).await), (None, false));
    for neighbour in [far_ahead(1, 7, 1), far_ahead(2, 8, 2)] {
        applied(subject, neighbour).await;
    }
    applied(subject, frozen.clone()).await;
    assert_eq!(applied(subject, expectation(3, 7, 2, 5)).await, ApplyOutcome::Superseded);
    assert_eq!(rank(subject, &row).await, Some(RowRank { micros: i64::MAX, event_id: event_id(9) }));

    assert!(!lower(subject, &row, i64::MAX).await, "the rank is not above itself");
    assert!(lower(subject, &row, 1_000_000).await);
    assert!(!lower(subject, &row, 1_000_000).await, "it is done once");
    assert_eq!(rank(subject, &row).await, Some(RowRank { micros: i64::MIN, event_id: event_id(9) }));
    let stands = subject.store().expectations(frozen.character_id).await.expect("rows");
    assert_eq!(stands[1].total_expected_cost, frozen.total_expected_cost, "what the row says stays");
    assert_eq!(stands[0].version, i64::MAX, "its neighbour stays");
    assert_eq!(applied(subject, expectation(3, 7, 2, -5)).await, ApplyOutcome::Applied);
    assert_eq!(applied(subject, expectation(4, 8, 2, 5)).await, ApplyOutcome::Superseded);
}

/// The same for times. Counters stay, and move with the next event as ever.
pub async fn likes(subject: &dyn Subject) {
    let far = (Timestamp::MAX.as_micros() - at(0).as_micros()) - 1;
    let frozen = like(9, "t", "a", On, far);
    let row = RowKey::Like(frozen.target_ocid.clone(), frozen.liker_account_id.clone());
    assert_eq!((rank(subject, &row).await, lower(subject, &row, 0).await), (None, false));
    applied(subject, like(1, "t", "b", On, far)).await;
    applied(subject, frozen.clone()).await;
    assert_eq!(applied(subject, like(2, "t", "a", Off, 5)).await, ApplyOutcome::Superseded);

    assert!(!lower(subject, &row, frozen.occurred_at.as_micros()).await);
    assert!(lower(subject, &row, at(60).as_micros()).await);
    assert!(!lower(subject, &row, at(60).as_micros()).await);
    let lowest = Timestamp::MIN.as_micros();
    assert_eq!(rank(subject, &row).await, Some(RowRank { micros: lowest, event_id: event_id(9) }));
    nothing_contradicts(subject).await;
    assert_eq!(applied(subject, like(2, "t", "a", Off, 5)).await, ApplyOutcome::Applied);
    assert_eq!(applied(subject, like(3, "t", "b", Off, 5)).await, ApplyOutcome::Superseded);
    assert_eq!(subject.store().like_count(&frozen.target_ocid).await, Ok(1));
    nothing_contradicts(subject).await;
}
