//! What is drained, the same for all that are compared.

use floodgate_schemas::examples::{coupon_issue, expectation, like};
use floodgate_schemas::{CouponIssue, ExpectationWrite, Like, LikeAction};

/// Of each kind.
const EVENTS: u64 = 1_000_000;
/// Members of the group, and connections of what it is compared with.
pub const CONNECTIONS: usize = 2;
/// What all requests ask for.
pub const COUPON: &str = "coupon";
/// A quarter of the users gets one.
pub const STOCK: u64 = EVENTS / 4;

/// Spread over so many targets.
pub fn likes_of(targets: u64) -> Vec<Like> {
    let one = |n: u64| {
        like(n, &format!("target-{}", n % targets), &format!("liker-{n}"), LikeAction::Like, n as i64)
    };
    (0..EVENTS).map(one).collect()
}

/// Each on a row of its own.
pub fn expectations() -> Vec<ExpectationWrite> {
    (0..EVENTS).map(|n| expectation(n, n as i64 / 3 + 1, n as i64 % 3 + 1, 1)).collect()
}

/// Every tenth user asks twice.
pub fn coupon_requests() -> Vec<CouponIssue> {
    let user = |n: u64| format!("user-{}", if n % 11 == 10 { n - 10 } else { n });
    (0..EVENTS).map(|n| coupon_issue(n, COUPON, &user(n))).collect()
}
