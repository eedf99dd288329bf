//! What a checker asks of a database: where events stand, which values are not theirs, and which rows contradict each
//! other.

use std::cmp::Ordering;
use std::fmt;

use floodgate_schemas::{CouponIssue, Event, ExpectationWrite, Like, Timestamp};
use serde::Serialize;

use crate::{ApplyError, BoxFuture, ReadError};

/// Where one event stands, seen from the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventStatus {
    /// Its row carries it.
    Current,
    /// Its row carries a greater pair of version or time and event id.
    Superseded,
    /// Coupon request: it is decided.
    Decided,
    /// Nothing in the database shows that it was ever applied: there is no row, or one with a lesser pair.
    Absent,
}

impl EventStatus {
    /// Of an event of the rank `asked`, whose row carries the rank `standing`.
    pub(crate) fn of<R: Ord>(standing: &R, asked: &R) -> Self {
        match standing.cmp(asked) {
            Ordering::Equal => EventStatus::Current,
            Ordering::Greater => EventStatus::Superseded,
            Ordering::Less => EventStatus::Absent,
        }
    }
}

/// Looks events of one type up, by the keys of their rows.
pub trait Audit<E: Event>: Send + Sync {
    /// Where each of the events stands, in their order. An event is looked up as it is: what its batch may yet
    /// do is no part of the answer. Ends within `connect_timeout_ms + statement_timeout_ms`.
    fn statuses<'a>(&'a self, events: &'a [E]) -> BoxFuture<'a, Result<Vec<EventStatus>, ReadError>>;

    /// Where rows that carry these very events, or decisions on them, say something else than the events, in the order
    /// of events and columns. Events that another one stands for, or nothing, are not compared. Ends like
    /// [`Audit::statuses`].
    fn differences<'a>(&'a self, events: &'a [E]) -> BoxFuture<'a, Result<Vec<Difference>, ReadError>>;

    /// Whether any event of this type has left a row, whoever wrote it. Ends like [`Audit::statuses`].
    fn has_rows(&self) -> BoxFuture<'_, Result<bool, ReadError>>;
}

/// Sets rows right whose values somebody changed: what applying an event again never does, as the row says that the
/// event stands on it already.
pub trait Repair<E: Event>: Send + Sync {
    /// Gives every row that carries one of these very events the values of the event, and recounts the counters that
    /// these rows are counted in; rows that carry another event are left alone. Returns how many rows were set. One
    /// transaction, like a batch of [`crate::Apply`]; ends within `apply_timeout_ms`.
    fn repair<'a>(&'a self, events: &'a [E], now: Timestamp) -> BoxFuture<'a, Result<u64, ApplyError>>;
}

/// A value on a row that is not the event's whose row it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The place of the event among those asked about.
    pub event: usize,
    /// The column's name.
    pub column: &'static str,
    /// What the event says, as text.
    pub expected: String,
    /// What the row says, as text.
    pub found: String,
}

/// The values that an event leaves on its row, besides those that the row is found by.
pub(crate) trait Valued: Event {
    /// Columns and texts, in the order in which databases bring what they found.
    fn values(&self) -> Vec<(&'static str, String)>;
}

impl Valued for ExpectationWrite {
    fn values(&self) -> Vec<(&'static str, String)> {
        vec![
            ("version", self.version.to_string()),
            ("total_expected_cost", self.total_expected_cost.to_string()),
            ("black_cube_cost", self.black_cube_cost.to_string()),
            ("red_cube_cost", self.red_cube_cost.to_string()),
            ("additional_cube_cost", self.additional_cube_cost.to_string()),
            ("starforce_cost", self.starforce_cost.to_string()),
            ("calculated_at", self.calculated_at.to_string()),
        ]
    }
}

impl Valued for Like {
    fn values(&self) -> Vec<(&'static str, String)> {
        // all fields, so that none is forgotten
        let Self { event_id: _, accepted_at: _, target_ocid: _, liker_account_id: _, action: _, occurred_at } =
            self;
        vec![("liked", self.liked().to_string()), ("occurred_at", occurred_at.to_string())]
    }
}

impl Valued for CouponIssue {
    fn values(&self) -> Vec<(&'static str, String)> {
        vec![("coupon_id", self.coupon_id.as_str().to_owned()), ("user_id", self.user_id.as_str().to_owned())]
    }
}

/// What differs, of the rows that were `found` for some of the events, by their places.
pub(crate) fn differences<E: Valued>(events: &[E], found: Vec<(usize, Vec<String>)>) -> Vec<Difference> {
    let of_row = |(event, texts): (usize, Vec<String>)| {
        let values = events.get(event).map(Valued::values).unwrap_or_default();
        debug_assert_eq!(values.len(), texts.len(), "columns and values");
        let pairs = values.into_iter().zip(texts).filter(|((_, expected), found)| expected != found);
        pairs.map(move |((column, expected), found)| Difference { event, column, expected, found })
    };
    let mut differences: Vec<_> = found.into_iter().flat_map(of_row).collect();
    differences.sort_by_key(|difference| difference.event);
    differences
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

/// One violation among the rows. Ids are plain text: whoever made it may have written anything.
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

impl Discrepancy {
    /// What mends it, as a sentence for operators. Nothing in the log decides these, so it is done by hand.
    pub fn mend(&self) -> String {
        match self {
            Self::LikeCount { recount, .. } => {
                format!("set `count` of its row in like_counts to {recount} while no consumer of likes runs")
            }
            Self::CouponIssued { issued: None, .. } => {
                "restore the coupon's row from a backup, `issued` being the number of its rows in coupon_issues".to_owned()
            }
            Self::CouponIssued { rows, .. } => format!(
                "restore its rows in coupon_issues (coupon_requests names who was granted which rank), or set `issued` to \
                 {rows}, while no consumer of coupons runs"
            ),
            Self::CouponOversold { issued, .. } => {
                format!("raise its `stock` to {issued}, or take issues back by hand")
            }
            Self::RankDoubled { .. } | Self::RankGap { .. } => {
                "give its rows in coupon_issues the ranks that coupon_requests tells of their requests".to_owned()
            }
            Self::IssueWithoutDecision { .. } => {
                "make the request's row in coupon_requests say ISSUED to this user with this rank, or delete the issue"
                    .to_owned()
            }
            Self::DecisionWithoutIssue { .. } => {
                "restore the issue in coupon_issues with this request and rank".to_owned()
            }
        }
    }
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
