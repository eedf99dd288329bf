//! Decides coupon requests: pure, in the order of the batch.
//!
//! The database supplies what stood before the batch, read after the coupons' rows were locked; so nobody
//! else takes from the same stock until the transaction ends. A request that was decided before keeps its
//! decision and gets no row. Everything else is decided here, once and for all.

use std::collections::{HashMap, HashSet};

use floodgate_schemas::{CouponIssue, EventId, Timestamp};

use crate::{ApplyOutcome, DecisionStatus};

/// The row of a locked coupon.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    pub(crate) stock: i32,
    pub(crate) issued: i32,
    pub(crate) opens_at: Option<Timestamp>,
    pub(crate) closes_at: Option<Timestamp>,
}

impl Terms {
    /// From opening (inclusive) to closing (exclusive).
    fn is_open(&self, accepted_at: Timestamp) -> bool {
        self.opens_at.is_none_or(|opens| opens <= accepted_at)
            && self.closes_at.is_none_or(|closes| accepted_at < closes)
    }
}

/// What stood in the database before the batch.
#[derive(Debug, Default)]
pub(crate) struct Before<'a> {
    /// The coupons that exist, of those the batch names.
    pub(crate) coupons: HashMap<&'a str, Terms>,
    /// The requests of the batch that were decided before.
    pub(crate) decided: HashSet<EventId>,
    /// Who holds which coupon, of those the batch names: coupon and user.
    pub(crate) holders: HashSet<(&'a str, &'a str)>,
}

/// A new decision, to be written down.
#[derive(Debug, Clone)]
pub(crate) struct Decided<'a> {
    pub(crate) request: &'a CouponIssue,
    pub(crate) status: DecisionStatus,
    /// The place in line, if issued.
    pub(crate) rank: Option<i32>,
}

/// What to write and to answer.
#[derive(Debug)]
pub(crate) struct Decisions<'a> {
    /// New decisions, in the order of the batch.
    pub(crate) decided: Vec<Decided<'a>>,
    /// Coupons of which some were issued, with how many now are; sorted by coupon.
    pub(crate) issued: Vec<(&'a str, i32)>,
    /// One per event, in order.
    pub(crate) outcomes: Vec<ApplyOutcome>,
}

impl<'a> Decisions<'a> {
    /// The decisions that grant a coupon.
    pub(crate) fn grants(&self) -> impl Iterator<Item = (&'a CouponIssue, i32)> + Clone + '_ {
        self.decided.iter().filter_map(|decided| Some((decided.request, decided.rank?)))
    }
}

/// Decides `requests` one after the other.
pub(crate) fn decide<'a>(requests: &'a [CouponIssue], mut before: Before<'a>) -> Decisions<'a> {
    let mut decided = Vec::with_capacity(requests.len());
    let mut issued: HashMap<&'a str, i32> = HashMap::new();
    let outcomes = requests
        .iter()
        .map(|request| {
            if !before.decided.insert(request.event_id) {
                return ApplyOutcome::Duplicate;
            }
            let (status, rank) = decide_one(request, &mut before);
            if let Some(rank) = rank {
                issued.insert(request.coupon_id.as_str(), rank);
            }
            decided.push(Decided { request, status, rank });
            outcome(status)
        })
        .collect();
    let mut issued: Vec<_> = issued.into_iter().collect();
    issued.sort_unstable();
    Decisions { decided, issued, outcomes }
}

/// The order of the checks is the precedence that clients may rely on.
fn decide_one<'a>(request: &'a CouponIssue, before: &mut Before<'a>) -> (DecisionStatus, Option<i32>) {
    let coupon_id = request.coupon_id.as_str();
    let holder = (coupon_id, request.user_id.as_str());
    let Some(coupon) = before.coupons.get_mut(coupon_id) else {
        return (DecisionStatus::UnknownCoupon, None);
    };
    if before.holders.contains(&holder) {
        return (DecisionStatus::Duplicate, None);
    }
    if !coupon.is_open(request.accepted_at) {
        return (DecisionStatus::NotOpen, None);
    }
    if coupon.issued >= coupon.stock {
        return (DecisionStatus::SoldOut, None);
    }
    coupon.issued += 1;
    before.holders.insert(holder);
    (DecisionStatus::Issued, Some(coupon.issued))
}

fn outcome(status: DecisionStatus) -> ApplyOutcome {
    match status {
        DecisionStatus::Issued => ApplyOutcome::Issued,
        DecisionStatus::SoldOut => ApplyOutcome::SoldOut,
        DecisionStatus::Duplicate => ApplyOutcome::AlreadyIssued,
        DecisionStatus::NotOpen => ApplyOutcome::NotOpen,
        DecisionStatus::UnknownCoupon => ApplyOutcome::UnknownCoupon,
    }
}

#[cfg(test)]
mod tests {
    use floodgate_schemas::examples::{at, coupon_issue, event_id};
    use proptest::prelude::*;

    use super::*;

    fn terms(stock: i32, issued: i32) -> Terms {
        Terms { stock, issued, opens_at: None, closes_at: None }
    }

    fn one_coupon(terms: Terms) -> Before<'static> {
        Before { coupons: HashMap::from([("c", terms)]), ..Before::default() }
    }

    #[test]
    fn ranks_go_on_from_what_is_issued_and_stop_at_the_stock() {
        let requests = [1, 2, 3].map(|n| coupon_issue(n, "c", &format!("u{n}")));
        let decisions = decide(&requests, one_coupon(terms(5, 3)));
        assert_eq!(decisions.outcomes, [ApplyOutcome::Issued, ApplyOutcome::Issued, ApplyOutcome::SoldOut]);
        assert_eq!(decisions.grants().map(|(_, rank)| rank).collect::<Vec<_>>(), [4, 5]);
        assert_eq!(decisions.issued, [("c", 5)]);
    }

    #[test]
    fn a_decided_request_keeps_its_decision() {
        let requests = [coupon_issue(1, "c", "u"), coupon_issue(2, "c", "v"), coupon_issue(2, "c", "v")];
        let mut before = one_coupon(terms(5, 0));
        before.decided.insert(event_id(1));
        let decisions = decide(&requests, before);
        assert_eq!(
            decisions.outcomes,
            [ApplyOutcome::Duplicate, ApplyOutcome::Issued, ApplyOutcome::Duplicate]
        );
        assert_eq!(decisions.decided.len(), 1);
    }

    #[test]
    fn precedence() {
        let closed = Terms { opens_at: Some(at(1)), ..terms(0, 0) };
        let mut before = one_coupon(closed);
        before.holders.insert(("c", "holder"));
        before.holders.insert(("unknown", "holder"));
        let requests = [
            coupon_issue(1, "unknown", "holder"),
            coupon_issue(2, "c", "holder"),
            coupon_issue(3, "c", "other"),
        ];
        let decisions = decide(&requests, before);
        assert_eq!(
            decisions.outcomes,
            [ApplyOutcome::UnknownCoupon, ApplyOutcome::AlreadyIssued, ApplyOutcome::NotOpen]
        );
    }

    #[test]
    fn opening_counts_closing_does_not() {
        let hours = Terms { opens_at: Some(at(10)), closes_at: Some(at(20)), ..terms(9, 0) };
        let is_open = |micros| hours.is_open(at(micros));
        assert_eq!([9, 10, 19, 20].map(is_open), [false, true, true, false]);
    }

    proptest! {
        /// Never more than the stock, ranks without a gap, one coupon per user, however the batch is cut.
        #[test]
        fn cutting_a_batch_changes_nothing(
            asks in prop::collection::vec((0u64..20, 0usize..2, 0usize..6), 0..40),
            cut in 0usize..40,
            stock in 0i32..5,
        ) {
            let requests: Vec<_> =
                asks.iter().map(|(id, c, u)| coupon_issue(*id, ["c", "d"][*c], &format!("u{u}"))).collect();
            let coupons = |issued: &[(&'static str, i32)]| -> HashMap<&'static str, Terms> {
                let of = |name| issued.iter().find(|(c, _)| *c == name).map_or(0, |(_, n)| *n);
                ["c", "d"].map(|name| (name, terms(stock, of(name)))).into()
            };
            let whole = decide(&requests, Before { coupons: coupons(&[]), ..Before::default() });

            let (first, second) = requests.split_at(cut.min(requests.len()));
            let head = decide(first, Before { coupons: coupons(&[]), ..Before::default() });
            let so_far: Vec<_> = ["c", "d"]
                .into_iter()
                .map(|name| (name, head.issued.iter().find(|(c, _)| *c == name).map_or(0, |(_, n)| *n)))
                .collect();
            let tail = decide(second, Before {
                coupons: coupons(&so_far),
                decided: head.decided.iter().map(|d| d.request.event_id).collect(),
                holders: head.grants().map(|(r, _)| (r.coupon_id.as_str(), r.user_id.as_str())).collect(),
            });
            prop_assert_eq!(&whole.outcomes, &[head.outcomes.clone(), tail.outcomes.clone()].concat());

            for coupon in ["c", "d"] {
                let ranks: Vec<_> =
                    whole.grants().filter(|(r, _)| r.coupon_id.as_str() == coupon).map(|(_, rank)| rank).collect();
                prop_assert!(ranks.len() as i32 <= stock);
                prop_assert_eq!(&ranks, &(1..=ranks.len() as i32).collect::<Vec<_>>());
            }
        }
    }
}
