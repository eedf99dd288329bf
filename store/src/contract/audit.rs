//! What a checker is told: where events stand, and what contradicts what.

use floodgate_schemas::LikeAction::{Like as On, Unlike as Off};
use floodgate_schemas::examples::{at, coupon_issue, event_id, expectation, like};
use floodgate_schemas::{CouponIssue, Event, ExpectationWrite, Like};

use super::Subject;
use super::coupons::always_open;
use crate::Standing::{Absent, Current, Decided, Superseded};
use crate::{Apply, Audit, Discrepancies, Discrepancy, Standing, Store};

async fn standing<E: Event>(subject: &dyn Subject, events: &[E]) -> Vec<Standing>
where
    dyn Store: Audit<E>,
{
    let audit: &dyn Store = subject.store().as_ref();
    audit.standing(events).await.expect("an answer")
}

async fn apply<E: Event>(subject: &dyn Subject, events: &[E])
where
    dyn Store: Apply<E>,
{
    let store: &dyn Store = subject.store().as_ref();
    store.apply(events, at(0)).await.expect("a good batch");
}

/// Applied, superseded and unknown events are told apart, in the order in which they are asked for.
pub async fn standings(subject: &dyn Subject) {
    assert_eq!(standing::<Like>(subject, &[]).await, []);
    let likes = [like(1, "t", "a", On, 1), like(2, "t", "a", Off, 2), like(3, "u", "a", On, 1)];
    assert_eq!(standing(subject, &likes).await, [Absent; 3]);
    apply(subject, &likes[..2]).await;
    assert_eq!(standing(subject, &likes).await, [Superseded, Current, Absent]);
    let twice = [likes[2].clone(), likes[1].clone(), likes[0].clone(), likes[1].clone()];
    assert_eq!(standing(subject, &twice).await, [Absent, Current, Superseded, Current]);

    let writes = [expectation(1, 7, 1, -5), expectation(2, 7, 1, 5), expectation(3, 7, 2, 5)];
    apply(subject, &writes[..2]).await;
    assert_eq!(standing(subject, &writes).await, [Superseded, Current, Absent]);

    let requests = [coupon_issue(1, "none", "ann"), coupon_issue(2, "none", "ben")];
    apply(subject, &requests[1..]).await;
    assert_eq!(standing(subject, &requests).await, [Absent, Decided]);
}

/// A row that carries a lesser pair does not show that a later event was applied; version or time come first, then ids.
pub async fn lesser_pairs(subject: &dyn Subject) {
    apply(subject, &[like(5, "t", "a", On, 5)]).await;
    let asked = [
        like(9, "t", "a", On, 4),
        like(4, "t", "a", On, 5),
        like(6, "t", "a", On, 5),
        like(1, "t", "a", On, 6),
    ];
    assert_eq!(standing(subject, &asked).await, [Superseded, Superseded, Absent, Absent]);
    apply(subject, &[expectation(5, 1, 1, 5)]).await;
    let asked = [(9, 4), (4, 5), (6, 5), (1, 6)].map(|(id, version)| expectation(id, 1, 1, version));
    assert_eq!(standing(subject, &asked).await, [Superseded, Superseded, Absent, Absent]);
}

/// Three coupons of which two are left, and likes of which some were taken back.
async fn fill(subject: &dyn Subject) {
    for (id, stock) in [("few", 2), ("many", 9), ("untouched", 1)] {
        subject.store().create_coupon(&always_open(id, stock)).await.expect("a coupon");
    }
    let asks = (0..6u64).map(|n| coupon_issue(n, if n % 2 == 0 { "few" } else { "many" }, &format!("u{n}")));
    apply::<CouponIssue>(subject, &asks.collect::<Vec<_>>()).await;
    apply(subject, &[coupon_issue(90, "none", "u0"), coupon_issue(91, "few", "u0")]).await;
    let likes = (0..9u64)
        .map(|n| like(n, &format!("t{}", n % 3), &format!("l{n}"), if n % 4 == 0 { Off } else { On }, 1));
    apply::<Like>(subject, &likes.collect::<Vec<_>>()).await;
    apply::<ExpectationWrite>(subject, &[expectation(1, 7, 1, 5)]).await;
}

async fn discrepancies(subject: &dyn Subject) -> Vec<Discrepancy> {
    let Discrepancies { total, first } = subject.store().discrepancies(100).await.expect("an answer");
    assert_eq!(total, first.len() as u64, "{first:?}");
    first
}

/// An empty database and one that events were applied to: nothing contradicts.
pub async fn nothing_to_find(subject: &dyn Subject) {
    assert_eq!(discrepancies(subject).await, []);
    fill(subject).await;
    assert_eq!(discrepancies(subject).await, []);
    // a counter that says 0 and one that is not there are the same
    subject.sql("INSERT INTO like_counts (target_ocid, count) VALUES ('nobody', 0)").await;
    assert_eq!(discrepancies(subject).await, []);
}

/// Makes a table without its constraints.
async fn unconstrained(subject: &dyn Subject, table: &str) {
    for sql in [
        format!("CREATE TABLE loose AS SELECT * FROM {table}"),
        format!("DROP TABLE {table}"),
        format!("ALTER TABLE loose RENAME TO {table}"),
    ] {
        subject.sql(&sql).await;
    }
}

/// Whatever is made wrong by hand is found, and only that.
pub async fn holes(subject: &dyn Subject) {
    fill(subject).await;
    unconstrained(subject, "coupons").await;
    unconstrained(subject, "coupon_issues").await;
    assert_eq!(discrepancies(subject).await, []);
    let likes = |target: &str, count, recount| Discrepancy::LikeCount {
        target_ocid: target.to_owned(),
        count,
        recount,
    };
    let [few, many] = ["few", "many"].map(str::to_owned);
    let request = |n| event_id(n).to_string();
    let without_decision = |n: u64, rank| Discrepancy::IssueWithoutDecision {
        coupon_id: "many".to_owned(),
        user_id: format!("u{n}"),
        request_id: request(n),
        rank,
    };
    let without_issue = |n: u64, rank| Discrepancy::DecisionWithoutIssue {
        coupon_id: "many".to_owned(),
        user_id: format!("u{n}"),
        request_id: request(n),
        rank: Some(rank),
    };
    let doubled = |rank| Discrepancy::RankDoubled { coupon_id: many.clone(), rank, holders: 2 };
    let gap = |from_rank, to_rank| Discrepancy::RankGap { coupon_id: many.clone(), from_rank, to_rank };
    let issued =
        |id: &str, issued, rows| Discrepancy::CouponIssued { coupon_id: id.to_owned(), issued, rows };
    let cases = [
        (
            "UPDATE like_counts SET count = count + 1 WHERE target_ocid = 't0'",
            "UPDATE like_counts SET count = count - 1 WHERE target_ocid = 't0'",
            vec![likes("t0", 3, 2)],
        ),
        (
            "DELETE FROM like_counts WHERE target_ocid = 't1'",
            "INSERT INTO like_counts (target_ocid, count) VALUES ('t1', 2)",
            vec![likes("t1", 0, 2)],
        ),
        (
            "INSERT INTO like_counts (target_ocid, count) VALUES ('nobody', 7)",
            "DELETE FROM like_counts WHERE target_ocid = 'nobody'",
            vec![likes("nobody", 7, 0)],
        ),
        (
            "UPDATE coupons SET issued = 2 WHERE coupon_id = 'many'",
            "UPDATE coupons SET issued = 3 WHERE coupon_id = 'many'",
            vec![issued("many", Some(2), 3)],
        ),
        (
            "UPDATE coupons SET coupon_id = 'lost' WHERE coupon_id = 'few'",
            "UPDATE coupons SET coupon_id = 'few' WHERE coupon_id = 'lost'",
            vec![issued("few", None, 2), issued("lost", Some(2), 0)],
        ),
        (
            "UPDATE coupons SET stock = 1 WHERE coupon_id = 'few'",
            "UPDATE coupons SET stock = 2 WHERE coupon_id = 'few'",
            vec![Discrepancy::CouponOversold { coupon_id: few.clone(), stock: 1, issued: 2 }],
        ),
        (
            "UPDATE coupon_issues SET rank = 1 WHERE coupon_id = 'many' AND rank = 3",
            "UPDATE coupon_issues SET rank = 3 WHERE user_id = 'u5'",
            vec![doubled(1), without_decision(5, 1), without_issue(5, 3)],
        ),
        (
            "UPDATE coupon_issues SET rank = 7 WHERE coupon_id = 'many' AND rank = 2",
            "UPDATE coupon_issues SET rank = 2 WHERE user_id = 'u3'",
            vec![gap(2, 2), gap(4, 6), without_decision(3, 7), without_issue(3, 2)],
        ),
        (
            "UPDATE coupon_requests SET rank = 2 WHERE coupon_id = 'many' AND rank = 3",
            "UPDATE coupon_requests SET rank = 3 WHERE user_id = 'u5'",
            vec![without_decision(5, 3), without_issue(5, 2)],
        ),
        (
            "UPDATE coupon_requests SET outcome = 'SOLD_OUT', rank = NULL WHERE coupon_id = 'many' AND rank = 3",
            "UPDATE coupon_requests SET outcome = 'ISSUED', rank = 3 WHERE user_id = 'u5'",
            vec![without_decision(5, 3)],
        ),
        (
            "UPDATE coupon_issues SET user_id = 'thief' WHERE user_id = 'u5'",
            "UPDATE coupon_issues SET user_id = 'u5' WHERE user_id = 'thief'",
            vec![
                Discrepancy::IssueWithoutDecision {
                    coupon_id: many.clone(),
                    user_id: "thief".to_owned(),
                    request_id: request(5),
                    rank: 3,
                },
                without_issue(5, 3),
            ],
        ),
    ];
    for (broken, mended, wanted) in cases {
        subject.sql(broken).await;
        assert_eq!(discrepancies(subject).await, wanted, "{broken}");
        subject.sql(mended).await;
        assert_eq!(discrepancies(subject).await, [], "{mended}");
    }
}

/// More than asked for: the number tells of all of them, whatever their kind.
pub async fn answers_are_cut(subject: &dyn Subject) {
    fill(subject).await;
    subject.sql("UPDATE like_counts SET count = count + 1").await;
    subject.sql("UPDATE coupons SET issued = issued - 1 WHERE issued > 0").await;
    for at_most in [0, 1, 3, 4, 5, 100] {
        let found = subject.store().discrepancies(at_most).await.expect("an answer");
        assert_eq!((found.total, found.first.len()), (5, at_most.min(5)), "{found:?}");
        let likes = found.first.iter().filter(|found| matches!(found, Discrepancy::LikeCount { .. })).count();
        assert_eq!(likes, at_most.min(3));
    }
}
