//! What a checker asks of a database: where events stand, and which rows contradict each other.

use std::cmp::Ordering;
use std::fmt;

use floodgate_schemas::Event;
use serde::Serialize;

use crate::{BoxFuture, ReadError};

/// Where one event stands, seen from the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// Its row carries it.
    Current,
    /// Its row carries a greater pair of version or time and event id.
    Superseded,
    /// Coupon request: it is decided.
    Decided,
    /// Nothing in the database shows that it was ever applied: there is no row, or one with a lesser pair.
    Absent,
}

impl Standing {
    /// Of an event of the rank `asked`, whose row carries the rank `standing`.
    pub(crate) fn of<R: Ord>(standing: &R, asked: &R) -> Self {
        match standing.cmp(asked) {
            Ordering::Equal => Standing::Current,
            Ordering::Greater => Standing::Superseded,
            Ordering::Less => Standing::Absent,
        }
    }
}

/// Looks events of one type up, by the keys of their rows.
pub trait Audit<E: Event>: Send + Sync {
    /// Where each of the events stands, in their order. An event is looked up as it is: what its batch may yet
    /// do is no part of the answer. Ends within `connect_timeout_ms + statement_timeout_ms`.
    fn standing<'a>(&'a self, events: &'a [E]) -> BoxFuture<'a, Result<Vec<Standing>, ReadError>>;
}

/// Recounts what is kept twice.
pub trait Recount: Send + Sync {
    /// Rows that contradict each other, each kind as it is at one moment, also while consumers write. The database does
    /// the counting, over whole tables: this may take minutes, and ends after an hour at the latest. Brings the
    /// first `at_most`, and the number of all.
    fn discrepancies(&self, at_most: usize) -> BoxFuture<'_, Result<Discrepancies, ReadError>>;
}

/// Rows that contradict each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Discrepancies {
    /// How many there are.
    pub total: u64,
    /// The first of them, sorted by kind and then by id.
    pub first: Vec<Discrepancy>,
}

/// One contradiction. Ids are plain text: whoever made the contradiction may have written anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Discrepancy {
    /// A counter is not the number of accounts that like the character.
    LikeCount {
        /// The character.
        target_ocid: String,
        /// The counter; 0 where there is none.
        count: i64,
        /// The rows that say liked.
        recount: i64,
    },
    /// A coupon's number of issues is not the number of its issue rows.
    CouponIssued {
        /// The coupon.
        coupon_id: String,
        /// The number that the coupon's row tells; `None` where there is no such coupon.
        issued: Option<i64>,
        /// Its rows of issues.
        rows: i64,
    },
    /// More were issued than there are.
    CouponOversold {
        /// The coupon.
        coupon_id: String,
        /// How many there are to give out.
        stock: i64,
        /// How many its row tells were given.
        issued: i64,
    },
    /// Several users hold one rank.
    RankDoubled {
        /// The coupon.
        coupon_id: String,
        /// The rank.
        rank: i64,
        /// How many hold it.
        holders: i64,
    },
    /// Nobody holds these ranks, and somebody a later one.
    RankGap {
        /// The coupon.
        coupon_id: String,
        /// The first rank that is missing.
        from_rank: i64,
        /// The last of them.
        to_rank: i64,
    },
    /// An issue that no decision of the same user and rank stands behind.
    IssueWithoutDecision {
        /// The coupon.
        coupon_id: String,
        /// Who holds it.
        user_id: String,
        /// The request that the issue names.
        request_id: String,
        /// The rank.
        rank: i64,
    },
    /// A request that was granted, without an issue of the same user and rank.
    DecisionWithoutIssue {
        /// The coupon.
        coupon_id: String,
        /// Who asked.
        user_id: String,
        /// The request.
        request_id: String,
        /// The rank, if the decision has one.
        rank: Option<i64>,
    },
}

impl fmt::Display for Discrepancy {
    /// One sentence for operators. Ids are quoted, since they may hold anything.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LikeCount { target_ocid, count, recount } => {
                write!(f, "likes of {target_ocid:?}: the counter is {count}, the rows are {recount}")
            }
            Self::CouponIssued { coupon_id, issued: Some(issued), rows } => {
                write!(f, "coupon {coupon_id:?}: issued is {issued}, the rows are {rows}")
            }
            Self::CouponIssued { coupon_id, issued: None, rows } => {
                write!(f, "coupon {coupon_id:?}: there is no such coupon, and {rows} were issued")
            }
            Self::CouponOversold { coupon_id, stock, issued } => {
                write!(f, "coupon {coupon_id:?}: {issued} of {stock} were issued")
            }
            Self::RankDoubled { coupon_id, rank, holders } => {
                write!(f, "coupon {coupon_id:?}: {holders} users hold rank {rank}")
            }
            Self::RankGap { coupon_id, from_rank, to_rank } if from_rank == to_rank => {
                write!(f, "coupon {coupon_id:?}: nobody holds rank {from_rank}")
            }
            Self::RankGap { coupon_id, from_rank, to_rank } => {
                write!(f, "coupon {coupon_id:?}: nobody holds ranks {from_rank} to {to_rank}")
            }
            Self::IssueWithoutDecision { coupon_id, user_id, request_id, rank } => {
                write!(
                    f,
                    "coupon {coupon_id:?}: user {user_id:?} holds rank {rank}, and request {request_id} does not say so"
                )
            }
            Self::DecisionWithoutIssue { coupon_id, user_id, request_id, rank } => {
                let rank = rank.map_or("no rank".to_owned(), |rank| format!("rank {rank}"));
                write!(
                    f,
                    "coupon {coupon_id:?}: request {request_id} gives user {user_id:?} {rank}, and there is no such issue"
                )
            }
        }
    }
}
