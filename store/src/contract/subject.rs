//! The database under test, and what must hold of it at any time.

use std::sync::Arc;

use crate::{BoxFuture, Config, Store};

/// A database under test, that nobody else uses.
pub trait Subject: Send + Sync {
    /// How to open it.
    fn config(&self) -> &Config;

    /// It, opened.
    fn store(&self) -> &Arc<dyn Store>;

    /// Runs one SQL statement behind the store's back and returns the first number of its answer, if any.
    fn sql<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Option<i64>>;
}

/// The events of this test, but with their own keys and ids per case: cases share a database.
pub(crate) fn event_number(case: u64, index: usize) -> u64 {
    case * 10_000 + index as u64
}

/// Counters, ranks and decisions that contradict the rows they are made from; 0 always.
const CONTRADICTIONS: [&str; 5] = [
    "SELECT count(*) FROM (
        SELECT target_ocid, count FROM like_counts WHERE count <> 0
        EXCEPT SELECT target_ocid, count(*) FROM likes WHERE liked GROUP BY target_ocid) AS c",
    "SELECT count(*) FROM (
        SELECT target_ocid, count(*) FROM likes WHERE liked GROUP BY target_ocid
        EXCEPT SELECT target_ocid, count FROM like_counts) AS c",
    // ranks are unique: if as many as the greatest, they have no gap
    "SELECT count(*) FROM coupons WHERE issued > stock
        OR issued <> (SELECT count(*) FROM coupon_issues i WHERE i.coupon_id = coupons.coupon_id)
        OR issued <> (SELECT coalesce(max(rank), 0) FROM coupon_issues i WHERE i.coupon_id = coupons.coupon_id)",
    "SELECT count(*) FROM (
        SELECT request_id, coupon_id, user_id, rank, issued_at FROM coupon_issues
        EXCEPT SELECT request_id, coupon_id, user_id, rank, decided_at FROM coupon_requests
            WHERE outcome = 'ISSUED') AS c",
    "SELECT count(*) FROM (
        SELECT request_id, coupon_id, user_id, rank, decided_at FROM coupon_requests WHERE outcome = 'ISSUED'
        EXCEPT SELECT request_id, coupon_id, user_id, rank, issued_at FROM coupon_issues) AS c",
];

/// Every counter, rank and decision agrees with the rows behind it.
pub async fn nothing_contradicts(subject: &dyn Subject) {
    for sql in CONTRADICTIONS {
        assert_eq!(subject.sql(sql).await, Some(0), "{sql}");
    }
}
