//! Decides coupon requests: pure, in the order of the batch.
//!
//! The database supplies what stood before the batch, read after the coupons' rows were locked; so nobody
//! else takes from the same stock until the transaction ends. A request that was decided before keeps its
//! decision and gets no row. Everything else is decided here, once and for all, but for one thing.
//!
//! *Not open* says when a request was accepted, and not what became of it. Whoever sends it again under its key while the coupon is
//! open, perhaps without knowing that anybody sent it before, is decided then. Whether that is so follows from the coupon's hours,
//! which never change, and from the time of acceptance: a record that is delivered twice was accepted once, and stays what it was.

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
    /// Those of them that were not open.
    pub(crate) not_open: HashSet<EventId>,
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
    /// Whether there is a row, which says that it was not open.
    pub(crate) again: bool,
}

impl Before<'_> {
    /// Whether a request has its decision, whatever it may be.
    fn stands(&self, request: &CouponIssue) -> bool {
        let is_open = || {
            self.coupons
                .get(request.coupon_id.as_str())
                .is_some_and(|coupon| coupon.is_open(request.accepted_at))
        };
        let id = &request.event_id;
        self.decided.contains(id) && !(self.not_open.contains(id) && is_open())
    }
}

/// What to write and to answer.
#[derive(Debug)]
pub(crate) struct Decisions<'a> {
    /// New decisions, one for each request.
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
    let mut decided: Vec<Decided<'a>> = Vec::with_capacity(requests.len());
    // those of this batch, with their places among what is decided
    let mut not_open: HashMap<EventId, usize> = HashMap::new();
    let mut issued: HashMap<&'a str, i32> = HashMap::new();
    let outcomes = requests
        .iter()
        .map(|request| {
            if before.stands(request) {
                return ApplyOutcome::Duplicate;
            }
            let (status, rank) = decide_one(request, &mut before);
            if let Some(rank) = rank {
                issued.insert(request.coupon_id.as_str(), rank);
            }
            let id = request.event_id;
            let again = !before.decided.insert(id);
            if status == DecisionStatus::NotOpen {
                before.not_open.insert(id);
                not_open.insert(id, decided.len());
            } else if again {
                before.not_open.remove(&id);
            }
            match not_open.get(&id).and_then(|place| decided.get_mut(*place)).filter(|_| again) {
                Some(before) => *before = Decided { request, status, rank, again: before.again },
                None => decided.push(Decided { request, status, rank, again }),
            }
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
    fn who_comes_again_while_it_is_open_is_decided_then() {
        let hours = || one_coupon(Terms { opens_at: Some(at(10)), closes_at: Some(at(20)), ..terms(1, 0) });
        let sent = |accepted| CouponIssue { accepted_at: at(accepted), ..coupon_issue(1, "c", "u") };
        let before = |not_open: bool| {
            let mut before = hours();
            before.decided.insert(event_id(1));
            before.not_open.extend(not_open.then(|| event_id(1)));
            before
        };
        let (not_open, issued, again) =
            (ApplyOutcome::NotOpen, ApplyOutcome::Issued, ApplyOutcome::Duplicate);
        // in one batch there is one row in the end
        let requests = [sent(9), sent(9), sent(10), sent(9), sent(11)];
        let decisions = decide(&requests, hours());
        assert_eq!(decisions.outcomes, [not_open, again, issued, again, again]);
        let told = |decisions: &Decisions<'_>| {
            decisions.decided.iter().map(|d| (d.status, d.rank, d.again)).collect::<Vec<_>>()
        };
        assert_eq!(told(&decisions), [(DecisionStatus::Issued, Some(1), false)]);
        // and in another one the row is changed, once
        let requests = [sent(9), sent(20), sent(12), sent(13)];
        let decisions = decide(&requests, before(true));
        assert_eq!(decisions.outcomes, [again, again, issued, again]);
        assert_eq!(told(&decisions), [(DecisionStatus::Issued, Some(1), true)]);
        assert_eq!(decide(&requests, before(false)).outcomes, [again; 4], "what was decided stays");
        // what comes to be decided is decided as any
        let others = CouponIssue { accepted_at: at(11), ..coupon_issue(2, "c", "other") };
        let requests = [others, sent(12)];
        assert_eq!(decide(&requests, before(true)).outcomes, [issued, ApplyOutcome::SoldOut]);
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
        /// Never more than the stock, ranks without a gap, one coupon per user, however the batch is cut; and so whoever was not
        /// open comes again.
        #[test]
        fn cutting_a_batch_changes_nothing(
            asks in prop::collection::vec((0u64..20, 0usize..2, 0usize..6, 0i64..30), 0..40),
            cut in 0usize..40,
            stock in 0i32..5,
            hours in prop::array::uniform2((prop::option::of(0i64..20), prop::option::of(10i64..30))),
        ) {
            let request = |(id, c, u, accepted): &(u64, usize, usize, i64)| {
                let accepted_at = at(*accepted);
                CouponIssue { accepted_at, ..coupon_issue(*id, ["c", "d"][*c], &format!("u{u}")) }
            };
            let requests: Vec<_> = asks.iter().map(request).collect();
            let coupons = |issued: &[(&'static str, i32)]| -> HashMap<&'static str, Terms> {
                let of = |name| issued.iter().find(|(c, _)| *c == name).map_or(0, |(_, n)| *n);
                let hours = hours.map(|(opens, closes)| (opens.map(at), closes.map(at)));
                let terms = |name, (opens_at, closes_at)| {
                    (name, Terms { opens_at, closes_at, ..terms(stock, of(name)) })
                };
                [terms("c", hours[0]), terms("d", hours[1])].into()
            };
            // what stands of each request in the end
            let rows = |written: &[&Decisions<'_>]| -> HashMap<EventId, (DecisionStatus, Option<i32>)> {
                let decided = written.iter().flat_map(|decisions| &decisions.decided);
                decided.map(|d| (d.request.event_id, (d.status, d.rank))).collect()
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
                not_open: {
                    let not_open = head.decided.iter().filter(|d| d.status == DecisionStatus::NotOpen);
                    not_open.map(|d| d.request.event_id).collect()
                },
                holders: head.grants().map(|(r, _)| (r.coupon_id.as_str(), r.user_id.as_str())).collect(),
            });
            prop_assert_eq!(rows(&[&whole]), rows(&[&head, &tail]));
            prop_assert_eq!(&whole.outcomes, &[head.outcomes.clone(), tail.outcomes.clone()].concat());

            for coupon in ["c", "d"] {
                let grants = whole.grants().filter(|(r, _)| r.coupon_id.as_str() == coupon);
                let mut ranks: Vec<_> = grants.map(|(_, rank)| rank).collect();
                // who was not open before stands where it stood
                ranks.sort_unstable();
                prop_assert!(ranks.len() as i32 <= stock);
                prop_assert_eq!(&ranks, &(1..=ranks.len() as i32).collect::<Vec<_>>());
            }
        }
    }
}
