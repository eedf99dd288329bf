//! What a checker is told: where events stand, and what contradicts what.

use floodgate_schemas::LikeAction::{Like as On, Unlike as Off};
use floodgate_schemas::examples::{at, coupon_issue, event_id, expectation, like};
use floodgate_schemas::{CouponIssue, Event, ExpectationWrite, Like};

use super::coupons::always_open;
use super::subject::Subject;
use crate::EventStatus::{Absent, Current, Decided, Superseded};
use crate::{Apply, Audit, Discrepancies, Discrepancy, EventStatus, Repair, Store};

async fn standing<E: Event>(subject: &dyn Subject, events: &[E]) -> Vec<EventStatus>
where
    dyn Store: Audit<E>,
{
    let audit: &dyn Store = subject.store().as_ref();
    audit.statuses(events).await.expect("an answer")
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

/// Event, column, expected and found of every difference.
async fn differences<E: Event>(
    subject: &dyn Subject,
    events: &[E],
) -> Vec<(usize, &'static str, String, String)>
where
    dyn Store: Audit<E>,
{
    let audit: &dyn Store = subject.store().as_ref();
    let found = audit.differences(events).await.expect("an answer");
    found.into_iter().map(|found| (found.event, found.column, found.expected, found.found)).collect()
}

async fn repair<E: Event>(subject: &dyn Subject, events: &[E]) -> u64
where
    dyn Store: Repair<E>,
{
    let store: &dyn Store = subject.store().as_ref();
    store.repair(events, at(9)).await.expect("a repair")
}

/// Whatever somebody changes on a row is told with what it should be, for the event that stands there and no other;
/// a repair sets exactly these rows, and applying the event again does not.
pub async fn values_are_compared_and_set(subject: &dyn Subject) {
    assert_eq!(differences::<Like>(subject, &[]).await, []);
    let writes = [
        expectation(1, 7, 1, 5),
        expectation(2, 7, 1, 6),
        expectation(3, 8, 3, 1_000_000),
        expectation(4, 9, 1, 0),
    ];
    apply(subject, &writes[..3]).await;
    assert_eq!(differences(subject, &writes).await, []);
    let difference =
        |event, column, expected: &str, found: &str| (event, column, expected.to_owned(), found.to_owned());
    let sum = writes[2].total_expected_cost.to_string();
    subject.sql("UPDATE expectations SET total_expected_cost = '999999.00'").await;
    let total = |event, expected: &str| difference(event, "total_expected_cost", expected, "999999.00");
    assert_eq!(differences(subject, &writes).await, [total(1, "600.00"), total(2, &sum)]);
    // the event stands there already: an upsert has nothing to do
    apply(subject, &writes[..3]).await;
    assert_eq!(differences(subject, &writes[1..2]).await, [total(0, "600.00")]);
    // who lost sets nothing
    assert_eq!(repair(subject, &writes[..1]).await + repair(subject, &writes[3..]).await, 0);
    assert_eq!(repair(subject, &writes[1..]).await, 2);
    assert_eq!(differences(subject, &writes).await, []);
    assert_eq!(standing(subject, &writes).await, [Superseded, Current, Current, Absent]);

    // a version that nobody wrote hides what comes later; times are told as events write them
    subject
        .sql("UPDATE expectations SET version = version + 7, calculated_at = updated_at WHERE preset_no = 1")
        .await;
    let expected = writes[1].calculated_at.to_string();
    let changed =
        [difference(1, "version", "6", "13"), difference(1, "calculated_at", &expected, &at(9).to_string())];
    assert_eq!(differences(subject, &writes).await, changed);
    assert_eq!(repair(subject, &writes[1..2]).await, 1);
    assert_eq!(differences(subject, &writes).await, []);
    for column in ["black_cube_cost", "red_cube_cost", "additional_cube_cost", "starforce_cost"] {
        subject.sql(&format!("UPDATE expectations SET {column} = '0.01' WHERE preset_no = 1")).await;
        let found = differences(subject, &writes).await;
        assert!(
            matches!(&found[..], [(1, name, _, found)] if *name == column && found == "0.01"),
            "{found:?}"
        );
        assert_eq!(repair(subject, &writes[1..2]).await, 1);
    }
    assert_eq!(differences(subject, &writes).await, []);
}

/// A like that is set right takes its counter along, whatever that was before.
pub async fn likes_are_set_right_with_their_counters(subject: &dyn Subject) {
    let likes = [
        like(1, "t", "a", On, 1),
        like(2, "t", "b", On, 1),
        like(3, "t", "c", Off, 1),
        like(4, "u", "a", On, 1),
    ];
    apply(subject, &likes).await;
    assert_eq!(differences(subject, &likes).await, []);
    subject.sql("UPDATE likes SET liked = NOT liked WHERE target_ocid = 't'").await;
    let found = differences(subject, &likes).await;
    let columns: Vec<_> = found
        .iter()
        .map(|(event, column, expected, found)| (*event, *column, &**expected, &**found))
        .collect();
    assert_eq!(
        columns,
        [(0, "liked", "true", "false"), (1, "liked", "true", "false"), (2, "liked", "false", "true")]
    );
    subject.sql("UPDATE like_counts SET count = 77").await;
    assert_eq!(repair(subject, &likes[..3]).await, 3);
    assert_eq!(differences(subject, &likes).await, []);
    let u = Discrepancy::LikeCount { target_ocid: "u".to_owned(), count: 77, recount: 1 };
    assert_eq!(discrepancies(subject).await, [u]);
    subject.sql("DELETE FROM like_counts").await;
    assert_eq!(repair(subject, &likes).await, 4);
    assert_eq!(discrepancies(subject).await, []);

    // a decision belongs to its request
    let requests = [coupon_issue(11, "none", "ann"), coupon_issue(12, "none", "ben")];
    apply(subject, &requests).await;
    assert_eq!(differences(subject, &requests).await, []);
    subject.sql("UPDATE coupon_requests SET user_id = 'thief' WHERE user_id = 'ben'").await;
    let found = differences(subject, &requests).await;
    assert_eq!(found, [(1, "user_id", "ben".to_owned(), "thief".to_owned())]);
    assert_eq!(repair(subject, &requests[1..]).await, 1);
    assert_eq!(differences(subject, &requests).await, []);
}

/// Whether a type has left rows.
pub async fn rows_are_there_or_not(subject: &dyn Subject) {
    let has_rows = async || -> [bool; 3] {
        let store = subject.store().as_ref();
        let expectations = Audit::<ExpectationWrite>::has_rows(store).await;
        let requests = Audit::<CouponIssue>::has_rows(store).await;
        let likes = Audit::<Like>::has_rows(store).await;
        [expectations, requests, likes].map(|has_rows| has_rows.expect("an answer"))
    };
    assert_eq!(has_rows().await, [false; 3]);
    apply(subject, &[like(1, "t", "a", On, 1)]).await;
    assert_eq!(has_rows().await, [false, false, true]);
    apply(subject, &[coupon_issue(1, "none", "ann")]).await;
    apply(subject, &[expectation(1, 7, 1, 5)]).await;
    assert_eq!(has_rows().await, [true; 3]);
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
