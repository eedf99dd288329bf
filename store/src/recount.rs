//! The recount: what the tables keep twice, compared where it lies.
//!
//! Counting is the database's work, and only rows that differ leave it, a limited number of them; so a recount
//! takes no more memory here than its answer. Each database has its own SQL ([`Queries`]), which is the same text for those that
//! have `FULL JOIN` and casts to `text` and `bigint` ([`STANDARD`]). Every query answers with the
//! same columns, three texts, three numbers and the number of all rows it found. Each is one statement, hence sees one
//! moment: counters and rows that change together are seen together, whoever writes meanwhile.

use crate::{Discrepancies, Discrepancy};

/// One row of an answer.
pub(crate) type Found =
    (Option<String>, Option<String>, Option<String>, Option<i64>, Option<i64>, Option<i64>, i64);

/// Something that must hold.
pub(crate) struct Check {
    /// Finds what contradicts it.
    pub(crate) sql: &'static str,
    /// What a row of the answer says.
    reads: fn(Found) -> Discrepancy,
}

/// The statements of one database, each with one parameter: the number of rows to bring.
pub(crate) struct Queries {
    /// Targets whose counter is not the number of their likes: target; counter, number.
    pub(crate) like_counts: &'static str,
    /// Coupons whose number of issues is not that of their rows, or rows without a coupon: coupon; number or nothing, rows.
    pub(crate) issued: &'static str,
    /// Coupons of which more was issued than there were: coupon; stock, number.
    pub(crate) oversold: &'static str,
    /// Ranks that several have: coupon; rank, number.
    pub(crate) doubled: &'static str,
    /// Ranks that nobody has before one that somebody has: coupon; first, last.
    pub(crate) gaps: &'static str,
    /// Issues that no decision says: coupon, user, request; rank.
    pub(crate) issues: &'static str,
    /// Decisions of which there is no issue: coupon, user, request; rank.
    pub(crate) decisions: &'static str,
}

impl Queries {
    /// All that must hold, with these statements.
    pub(crate) const fn checks(self) -> [Check; 7] {
        [
            Check {
                sql: self.like_counts,
                reads: |(target, _, _, count, recount, _, _)| Discrepancy::LikeCount {
                    target_ocid: target.unwrap_or_default(),
                    count: count.unwrap_or_default(),
                    recount: recount.unwrap_or_default(),
                },
            },
            Check {
                sql: self.issued,
                reads: |(coupon, _, _, issued, rows, _, _)| Discrepancy::CouponIssued {
                    coupon_id: coupon.unwrap_or_default(),
                    issued,
                    rows: rows.unwrap_or_default(),
                },
            },
            Check {
                sql: self.oversold,
                reads: |(coupon, _, _, stock, issued, _, _)| Discrepancy::CouponOversold {
                    coupon_id: coupon.unwrap_or_default(),
                    stock: stock.unwrap_or_default(),
                    issued: issued.unwrap_or_default(),
                },
            },
            Check {
                sql: self.doubled,
                reads: |(coupon, _, _, rank, holders, _, _)| Discrepancy::RankDoubled {
                    coupon_id: coupon.unwrap_or_default(),
                    rank: rank.unwrap_or_default(),
                    holders: holders.unwrap_or_default(),
                },
            },
            Check {
                sql: self.gaps,
                reads: |(coupon, _, _, from, to, _, _)| Discrepancy::RankGap {
                    coupon_id: coupon.unwrap_or_default(),
                    from_rank: from.unwrap_or_default(),
                    to_rank: to.unwrap_or_default(),
                },
            },
            Check {
                sql: self.issues,
                reads: |(coupon, user, request, rank, _, _, _)| Discrepancy::IssueWithoutDecision {
                    coupon_id: coupon.unwrap_or_default(),
                    user_id: user.unwrap_or_default(),
                    request_id: request.unwrap_or_default(),
                    rank: rank.unwrap_or_default(),
                },
            },
            Check {
                sql: self.decisions,
                reads: |(coupon, user, request, rank, _, _, _)| Discrepancy::DecisionWithoutIssue {
                    coupon_id: coupon.unwrap_or_default(),
                    user_id: user.unwrap_or_default(),
                    request_id: request.unwrap_or_default(),
                    rank,
                },
            },
        ]
    }
}

/// The columns of every answer.
macro_rules! answer {
    ($text:literal, $numbers:literal, $from:literal) => {
        concat!(
            "SELECT ",
            $text,
            ", ",
            $numbers,
            ", count(*) OVER () AS total FROM ",
            $from,
            " ORDER BY 1, 2, 4 LIMIT $1"
        )
    };
}

/// For databases that have `FULL JOIN`, window functions and `$1`.
pub(crate) const STANDARD: Queries = Queries {
    like_counts: answer!(
        "target_ocid, CAST(NULL AS text), CAST(NULL AS text)",
        "CAST(kept AS bigint), CAST(counted AS bigint), CAST(NULL AS bigint)",
        "(SELECT coalesce(counter.target_ocid, liked.target_ocid) AS target_ocid,
                coalesce(counter.count, 0) AS kept, coalesce(liked.counted, 0) AS counted
              FROM like_counts AS counter
              FULL JOIN (SELECT target_ocid, count(*) AS counted FROM likes WHERE liked GROUP BY target_ocid)
                AS liked ON counter.target_ocid = liked.target_ocid) AS compared
            WHERE kept <> counted"
    ),
    issued: answer!(
        "coupon_id, CAST(NULL AS text), CAST(NULL AS text)",
        "CAST(issued AS bigint), CAST(counted AS bigint), CAST(NULL AS bigint)",
        "(SELECT coalesce(coupon.coupon_id, issue.coupon_id) AS coupon_id, coupon.issued AS issued,
                coalesce(issue.counted, 0) AS counted
              FROM coupons AS coupon
              FULL JOIN (SELECT coupon_id, count(*) AS counted FROM coupon_issues GROUP BY coupon_id)
                AS issue ON coupon.coupon_id = issue.coupon_id) AS compared
            WHERE issued IS NULL OR issued <> counted"
    ),
    oversold: answer!(
        "coupon_id, CAST(NULL AS text), CAST(NULL AS text)",
        "CAST(stock AS bigint), CAST(issued AS bigint), CAST(NULL AS bigint)",
        "coupons WHERE issued > stock"
    ),
    doubled: answer!(
        "coupon_id, CAST(NULL AS text), CAST(NULL AS text)",
        "CAST(rank AS bigint), CAST(holders AS bigint), CAST(NULL AS bigint)",
        "(SELECT coupon_id, rank, count(*) AS holders FROM coupon_issues GROUP BY coupon_id, rank
              HAVING count(*) > 1) AS doubled"
    ),
    gaps: answer!(
        "coupon_id, CAST(NULL AS text), CAST(NULL AS text)",
        "CAST(previous + 1 AS bigint), CAST(rank - 1 AS bigint), CAST(NULL AS bigint)",
        "(SELECT coupon_id, rank, lag(rank, 1, 0) OVER (PARTITION BY coupon_id ORDER BY rank) AS previous
              FROM coupon_issues) AS ranked
            WHERE rank > previous + 1"
    ),
    issues: answer!(
        "issue.coupon_id, issue.user_id, CAST(issue.request_id AS text)",
        "CAST(issue.rank AS bigint), CAST(NULL AS bigint), CAST(NULL AS bigint)",
        "coupon_issues AS issue
            LEFT JOIN coupon_requests AS request ON request.request_id = issue.request_id
                AND request.coupon_id = issue.coupon_id AND request.user_id = issue.user_id
                AND request.rank = issue.rank AND request.outcome = 'ISSUED'
            WHERE request.request_id IS NULL"
    ),
    decisions: answer!(
        "request.coupon_id, request.user_id, CAST(request.request_id AS text)",
        "CAST(request.rank AS bigint), CAST(NULL AS bigint), CAST(NULL AS bigint)",
        "coupon_requests AS request
            LEFT JOIN coupon_issues AS issue ON issue.coupon_id = request.coupon_id
                AND issue.user_id = request.user_id AND issue.request_id = request.request_id
                AND issue.rank = request.rank
            WHERE request.outcome = 'ISSUED' AND issue.request_id IS NULL"
    ),
};

impl Discrepancies {
    /// How many rows the next answer may bring: one at least, since every row tells the number of all.
    pub(crate) fn room(&self, at_most: usize) -> i64 {
        i64::try_from(at_most.saturating_sub(self.first.len()).max(1)).unwrap_or(i64::MAX)
    }

    /// Takes in an answer.
    pub(crate) fn note(&mut self, check: &Check, rows: Vec<Found>, at_most: usize) {
        self.total += rows.first().map_or(0, |row| u64::try_from(row.6).unwrap_or(0));
        self.first.extend(rows.into_iter().map(check.reads));
        self.first.truncate(at_most);
    }
}
