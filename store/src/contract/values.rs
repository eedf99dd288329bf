//! Values at the edge of what ids allow, and rows nobody wrote.

use floodgate_schemas::LikeAction::Like as On;
use floodgate_schemas::examples::{at, coupon_issue, event_id, like};
use floodgate_schemas::{CharacterId, TargetOcid};

use super::coupons::{always_open, coupon_id};
use super::subject::{Subject, nothing_contradicts};
use crate::{ApplyOutcome, CouponCreated};

/// Ids that SQL, JSON or an array's text form might mistake for something else.
pub async fn any_text_is_an_id(subject: &dyn Subject) {
    let longest = "🙂".repeat(127);
    let texts = [
        "'", "\"", "\\", "{}", "{a,b}", "NULL", "null", "a\u{a0}b", " ", "%", "$1", "?1", "ß", "SS", "é",
        "e\u{301}", "\u{2028}", "\u{fffd}", "가", "true", "1", "01", "1.0", &longest,
    ];
    let store = subject.store();
    let likes: Vec<_> =
        texts.iter().enumerate().map(|(n, text)| like(n as u64, text, &format!("{text}."), On, 0)).collect();
    assert_eq!(store.apply(&likes, at(0)).await, Ok(vec![ApplyOutcome::Applied; likes.len()]));
    for event in &likes {
        assert_eq!(store.like_count(&event.target_ocid).await, Ok(1), "{event:?}");
        assert_eq!(store.liked(&event.target_ocid, &event.liker_account_id).await, Ok(true), "{event:?}");
    }
    assert_eq!(store.apply(&likes, at(0)).await, Ok(vec![ApplyOutcome::Duplicate; likes.len()]));

    let mut requests = Vec::new();
    for (n, text) in texts.iter().enumerate() {
        assert_eq!(store.create_coupon(&always_open(text, 1)).await, Ok(CouponCreated::Created), "{text}");
        requests.push(coupon_issue(n as u64, text, text));
    }
    assert_eq!(store.apply(&requests, at(0)).await, Ok(vec![ApplyOutcome::Issued; texts.len()]));
    let ids: Vec<_> = requests.iter().map(|request| request.event_id).collect();
    for decision in store.decisions(&ids).await.expect("an answer") {
        let request = requests.iter().find(|request| request.event_id == decision.request_id);
        let request = request.expect("a request");
        assert_eq!((&decision.coupon_id, &decision.user_id), (&request.coupon_id, &request.user_id));
    }
    nothing_contradicts(subject).await;
}

/// One event id on two rows is against the rules, but must not tear counters and rows apart.
pub async fn an_event_id_on_two_rows(subject: &dyn Subject) {
    let store = subject.store();
    let batch = [like(1, "t", "a", On, 1), like(1, "t", "b", On, 1), like(1, "u", "a", On, 1)];
    for events in [&batch[..2], &batch[..]] {
        store.apply(events, at(0)).await.expect("a good batch");
        nothing_contradicts(subject).await;
    }
    let target = TargetOcid::try_from("t".to_owned()).expect("a target");
    assert_eq!(store.like_count(&target).await, Ok(2));
}

/// Nothing is known of anything.
pub async fn an_empty_database(subject: &dyn Subject) {
    let store = subject.store();
    let likes = like(1, "t", "a", On, 1);
    assert_eq!(store.like_count(&likes.target_ocid).await, Ok(0));
    assert_eq!(store.liked(&likes.target_ocid, &likes.liker_account_id).await, Ok(false));
    assert_eq!(store.coupon(&coupon_id("none")).await, Ok(None));
    assert_eq!(store.decisions(&[event_id(1)]).await, Ok(vec![]));
    assert_eq!(store.decisions(&[]).await, Ok(vec![]));
    let character = CharacterId::try_from(1).expect("a character");
    assert_eq!(store.expectations(character).await, Ok(vec![]));
    let nothing: &[floodgate_schemas::Like] = &[];
    assert_eq!(store.apply(nothing, at(0)).await, Ok(vec![]));
}
