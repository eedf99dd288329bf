//! Coupons against a model, and by example.

use std::collections::{BTreeMap, BTreeSet};

use floodgate_schemas::examples::{at, coupon_issue, event_id};
use floodgate_schemas::{CouponId, CouponIssue, EventId, Timestamp};
use proptest::prelude::*;
use tokio::runtime::Handle;

use super::delivery::{Delivery, any_delivery, for_all};
use super::subject::{Subject, event_number, nothing_contradicts};
use crate::{Apply, ApplyOutcome, Coupon, CouponCreated, Decision, DecisionStatus, NewCoupon, Stock};

/// Coupons and decisions as they ought to be.
#[derive(Default)]
struct Model {
    coupons: BTreeMap<String, Coupon>,
    holders: BTreeSet<(String, String)>,
    decisions: BTreeMap<EventId, Decision>,
}

impl Model {
    fn apply(&mut self, request: &CouponIssue, now: Timestamp) -> ApplyOutcome {
        // not open says when it was accepted, and another time may come
        let before = self.decisions.get(&request.event_id);
        if before.is_some_and(|before| before.status != DecisionStatus::NotOpen || !self.is_open(request)) {
            return ApplyOutcome::Duplicate;
        }
        let (status, rank) = self.decide(request);
        let decision = Decision {
            request_id: request.event_id,
            coupon_id: request.coupon_id.clone(),
            user_id: request.user_id.clone(),
            status,
            rank,
            decided_at: now,
        };
        self.decisions.insert(request.event_id, decision);
        match status {
            DecisionStatus::Issued => ApplyOutcome::Issued,
            DecisionStatus::SoldOut => ApplyOutcome::SoldOut,
            DecisionStatus::Duplicate => ApplyOutcome::AlreadyIssued,
            DecisionStatus::NotOpen => ApplyOutcome::NotOpen,
            DecisionStatus::UnknownCoupon => ApplyOutcome::UnknownCoupon,
        }
    }

    fn is_open(&self, request: &CouponIssue) -> bool {
        self.coupons.get(request.coupon_id.as_str()).is_some_and(|coupon| {
            let early = coupon.terms.opens_at.is_some_and(|opens| request.accepted_at < opens);
            let late = coupon.terms.closes_at.is_some_and(|closes| request.accepted_at >= closes);
            !early && !late
        })
    }

    fn decide(&mut self, request: &CouponIssue) -> (DecisionStatus, Option<i32>) {
        let holder = (request.coupon_id.to_string(), request.user_id.to_string());
        let is_open = self.is_open(request);
        let Some(coupon) = self.coupons.get_mut(request.coupon_id.as_str()) else {
            return (DecisionStatus::UnknownCoupon, None);
        };
        if self.holders.contains(&holder) {
            (DecisionStatus::Duplicate, None)
        } else if !is_open {
            (DecisionStatus::NotOpen, None)
        } else if coupon.remaining() == 0 {
            (DecisionStatus::SoldOut, None)
        } else {
            let rank = coupon.issued.get() + 1;
            coupon.issued = stock(rank);
            self.holders.insert(holder);
            (DecisionStatus::Issued, Some(rank))
        }
    }
}

fn stock(number: i32) -> Stock {
    Stock::try_from(i64::from(number)).expect("a stock")
}

pub(crate) fn coupon_id(text: &str) -> CouponId {
    CouponId::try_from(text.to_owned()).expect("a coupon id")
}

/// A coupon without opening hours.
pub(crate) fn always_open(id: &str, number: i32) -> NewCoupon {
    NewCoupon { coupon_id: coupon_id(id), stock: stock(number), opens_at: None, closes_at: None }
}

/// Stock and, each perhaps, opening and closing time.
type AnyTerms = (i32, Option<i64>, Option<i64>);
/// Coupon (of three, one unknown), user, time of acceptance, and whether it is the one before it, sent again.
type AnyRequest = (u8, u8, i64, bool);

fn any_coupons() -> impl Strategy<Value = ([AnyTerms; 2], Vec<AnyRequest>)> {
    let hour = || prop_oneof![2 => Just(None), 1 => (-2i64..5).prop_map(Some)];
    let terms = || (0i32..5, hour(), hour());
    let requests = prop::collection::vec((0u8..3, 0u8..5, -2i64..5, any::<bool>()), 1..20);
    ([terms(), terms()], requests)
}

/// Whatever is asked, delivered and repeated: outcomes, decisions, ranks and stocks equal the model's.
pub fn follow_the_model(runtime: &Handle, subject: &dyn Subject, cases: u32) {
    for_all(cases, &(any_coupons(), any_delivery()), |case, ((coupons, requests), delivery)| {
        let coupons = coupons.iter().enumerate().map(|(n, (number, opens, closes))| NewCoupon {
            opens_at: opens.map(at),
            closes_at: closes.map(at),
            ..always_open(&format!("{case}-{n}"), *number)
        });
        let mut events: Vec<CouponIssue> = Vec::new();
        for (i, (coupon, user, accepted, is_again)) in requests.iter().enumerate() {
            let event = coupon_issue(event_number(case, i), &format!("{case}-{coupon}"), &format!("u{user}"));
            let event = events.last().filter(|_| *is_again).cloned().unwrap_or(event);
            events.push(CouponIssue { accepted_at: at(*accepted), ..event });
        }
        let coupons: Vec<_> = coupons.collect();
        runtime.block_on(compare(subject, coupons, &events, &delivery));
    });
    runtime.block_on(nothing_contradicts(subject));
}

async fn compare(
    subject: &dyn Subject,
    coupons: Vec<NewCoupon>,
    events: &[CouponIssue],
    delivery: &Delivery,
) {
    let store = subject.store();
    let mut model = Model::default();
    for terms in coupons {
        assert_eq!(store.create_coupon(&terms).await, Ok(CouponCreated::Created));
        model.coupons.insert(terms.coupon_id.to_string(), Coupon { terms, issued: stock(0) });
    }
    let log = delivery.in_order(events);
    for (batch_no, range) in delivery.batches().into_iter().enumerate() {
        let now = at(1_000_000 * batch_no as i64);
        let outcomes = store.apply(&log[range.clone()], now).await.expect("a good batch");
        let expected: Vec<_> = log[range].iter().map(|request| model.apply(request, now)).collect();
        assert_eq!(outcomes, expected);
    }
    let ids: BTreeSet<EventId> = events.iter().map(|event| event.event_id).collect();
    let ids: Vec<EventId> = ids.into_iter().collect();
    let mut decisions = store.decisions(&ids).await.expect("an answer");
    decisions.sort_by_key(|decision| decision.request_id);
    assert_eq!(decisions, model.decisions.into_values().collect::<Vec<_>>());
    for (id, coupon) in model.coupons {
        assert_eq!(store.coupon(&coupon_id(&id)).await, Ok(Some(coupon)));
    }
}

/// Creating a coupon again is told apart from creating another of its id.
pub async fn creating_twice(subject: &dyn Subject) {
    let store = subject.store();
    let hours = NewCoupon { opens_at: Some(at(0)), closes_at: Some(at(9)), ..always_open("summer", 3) };
    assert_eq!(store.coupon(&hours.coupon_id).await, Ok(None));
    assert_eq!(store.create_coupon(&hours).await, Ok(CouponCreated::Created));
    let issue = store.apply(&[coupon_issue(1, "summer", "ann")], at(5)).await;
    assert_eq!(issue, Ok(vec![ApplyOutcome::Issued]));
    // what has been issued does not make it another coupon
    assert_eq!(store.create_coupon(&hours).await, Ok(CouponCreated::SameExists));
    for other in [
        always_open("summer", 3),
        NewCoupon { stock: stock(4), ..hours.clone() },
        NewCoupon { closes_at: Some(at(10)), ..hours.clone() },
        NewCoupon { opens_at: None, ..hours.clone() },
    ] {
        assert_eq!(store.create_coupon(&other).await, Ok(CouponCreated::DifferentExists));
    }
    let standing = store.coupon(&hours.coupon_id).await.expect("an answer").expect("a coupon");
    assert_eq!((&standing.terms, standing.issued, standing.remaining()), (&hours, stock(1), 2));

    // those of which some are left come first, and of these those of which most are issued
    for other in [always_open("autumn", 0), always_open("spring", 5)] {
        assert_eq!(store.create_coupon(&other).await, Ok(CouponCreated::Created));
    }
    let listed = async |at_most| {
        let coupons = store.coupons(at_most).await.expect("an answer");
        coupons.iter().map(|coupon| coupon.terms.coupon_id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(listed(10).await, ["summer", "spring", "autumn"]);
    assert_eq!(listed(1).await, ["summer"]);
    assert_eq!(store.coupons(1).await, Ok(vec![standing.clone()]));

    // by name, those that there are
    let named = store.coupons_named(&["winter", "summer"].map(coupon_id)).await;
    assert_eq!(named, Ok(vec![standing]));
    assert_eq!(store.coupons_named(&[]).await, Ok(vec![]));
}

/// A request for a coupon that appears only later stays refused; a new request is granted.
pub async fn the_first_decision_is_final(subject: &dyn Subject) {
    let store = subject.store();
    let requests: &dyn Apply<CouponIssue> = store.as_ref();
    let early = [coupon_issue(1, "late", "ann")];
    assert_eq!(requests.apply(&early, at(1)).await, Ok(vec![ApplyOutcome::UnknownCoupon]));
    assert_eq!(store.create_coupon(&always_open("late", 1)).await, Ok(CouponCreated::Created));
    let again = [early[0].clone(), coupon_issue(2, "late", "ann"), coupon_issue(3, "late", "bob")];
    let outcomes = requests.apply(&again, at(2)).await;
    assert_eq!(outcomes, Ok(vec![ApplyOutcome::Duplicate, ApplyOutcome::Issued, ApplyOutcome::SoldOut]));
    let decided = store.decisions(&[event_id(1), event_id(2), event_id(99)]).await.expect("an answer");
    let status = |id| decided.iter().find(|d| d.request_id == event_id(id)).map(|d| (d.status, d.decided_at));
    assert_eq!(status(1), Some((DecisionStatus::UnknownCoupon, at(1))));
    assert_eq!(status(2), Some((DecisionStatus::Issued, at(2))));
    assert_eq!(status(99), None);
    nothing_contradicts(subject).await;
}

/// Old decisions that gave nothing go, step by step; what they were about is decided anew, and nobody gets a second piece.
pub async fn old_decisions_are_forgotten(subject: &dyn Subject) {
    const STEP: u32 = 3;
    let store = subject.store();
    let requests: &dyn Apply<CouponIssue> = store.as_ref();
    for (id, number) in [("few", 2), ("none", 0)] {
        store.create_coupon(&always_open(id, number)).await.expect("a coupon");
    }
    let ask = |number: u64, coupon: &str, user: &str| coupon_issue(number, coupon, user);
    let old = [
        ask(1, "few", "ann"),
        ask(2, "few", "ann"),
        ask(3, "few", "ben"),
        ask(4, "few", "cid"),
        ask(5, "none", "ann"),
        ask(6, "nothing", "ann"),
    ];
    let new = [ask(7, "few", "dan"), ask(8, "none", "dan")];
    requests.apply(&old, at(10)).await.expect("a batch");
    requests.apply(&new, at(20)).await.expect("a batch");
    let walked = async || {
        let (mut behind, mut deleted) = (None, Vec::new());
        loop {
            let step = store.forget_decisions(behind, STEP, at(20)).await.expect("a step");
            deleted.push(step.deleted);
            behind = step.last;
            if behind.is_none() {
                return deleted;
            }
        }
    };
    let left = async || {
        let ids: Vec<_> = (1..=8).map(event_id).collect();
        let decided = store.decisions(&ids).await.expect("an answer").into_iter();
        let mut left: Vec<_> = decided.map(|decision| (decision.request_id, decision.status)).collect();
        left.sort_by_key(|(id, _)| *id);
        left
    };
    let (issued, sold_out) = (DecisionStatus::Issued, DecisionStatus::SoldOut);
    let stay = [(1, issued), (3, issued), (7, sold_out), (8, sold_out)];
    let stay = stay.map(|(number, status)| (event_id(number), status));
    assert_eq!(walked().await, [1, 3, 0]);
    assert_eq!(left().await, stay);
    assert_eq!(walked().await, [0, 0], "nothing goes twice");
    nothing_contradicts(subject).await;

    // read again from somewhere: what is known is known, and the others get nothing either
    let outcomes = requests.apply(&old, at(30)).await.expect("a batch");
    let wanted = [
        ApplyOutcome::Duplicate,
        ApplyOutcome::AlreadyIssued,
        ApplyOutcome::Duplicate,
        ApplyOutcome::SoldOut,
        ApplyOutcome::SoldOut,
        ApplyOutcome::UnknownCoupon,
    ];
    assert_eq!(outcomes, wanted);
    nothing_contradicts(subject).await;
}
