//! What was found by asking after a load, as values: what is judged.

use std::collections::BTreeMap;
use std::time::Duration;

/// Everything that was found. Requests go by their number in the plan.
#[derive(Debug, Clone, Default)]
pub struct Settled {
    /// Of requests for the coupon, those of other processes among them.
    pub requests: BTreeMap<u32, Found>,
    /// The coupon; nothing if it could not be read, or the load does not ask for it.
    pub coupon: Option<Coupon>,
    /// Of every target that was liked.
    pub counters: Vec<Counter>,
    /// Of expectations and likes.
    pub effects: BTreeMap<u32, Effect>,
    /// From the last 202 until everything that was accepted had taken effect; nothing if it did not in time.
    pub drained: Option<Duration>,
    /// Why something could not be read, the last time.
    pub trouble: Option<String>,
}

impl Settled {
    /// Decisions, by the number of their request.
    pub fn decisions(&self) -> impl Iterator<Item = (u32, &Decision)> {
        self.requests.iter().filter_map(|(number, found)| Some((*number, found.decision()?)))
    }

    /// The decision on a request.
    pub fn decision(&self, number: u32) -> Option<&Decision> {
        self.requests.get(&number)?.decision()
    }

    /// Requests for the coupon that could not be asked for.
    pub fn unread(&self) -> usize {
        self.requests.values().filter(|found| **found == Found::Unread).count()
    }
}

/// What there is of a request for the coupon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// A decision.
    Decided(Decision),
    /// None, when it was asked for last.
    Open,
    /// Nobody could be asked.
    Unread,
}

impl Found {
    /// The decision, if there is one.
    pub fn decision(&self) -> Option<&Decision> {
        match self {
            Self::Decided(decision) => Some(decision),
            Self::Open | Self::Unread => None,
        }
    }
}

/// A decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// What it says.
    pub status: Status,
    /// The place in line, if it says one.
    pub rank: Option<i64>,
    /// When it was made, by the server's clock: microseconds since 1970.
    pub decided_us: i64,
}

/// What a decision says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// A piece was given.
    Issued,
    /// None was left.
    SoldOut,
    /// The user has one.
    Duplicate,
    /// The coupon cannot be had now.
    NotOpen,
    /// There is no such coupon.
    UnknownCoupon,
}

impl Status {
    /// By the name that answers have.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "ISSUED" => Self::Issued,
            "SOLD_OUT" => Self::SoldOut,
            "DUPLICATE" => Self::Duplicate,
            "NOT_OPEN" => Self::NotOpen,
            "UNKNOWN_COUPON" => Self::UnknownCoupon,
            _ => return None,
        })
    }
}

/// What the coupon says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coupon {
    /// Pieces there were.
    pub stock: u64,
    /// Of those, given out.
    pub issued: u64,
}

/// Likes of one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counter {
    /// Whose.
    pub target: String,
    /// Likes that were accepted.
    pub accepted: u64,
    /// Likes that other processes sent, of which nothing is known.
    pub others: u64,
    /// What was read last; nothing if nobody could be asked.
    pub count: Option<u64>,
}

/// What there is of a like or an expectation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// It took effect as it was asked for.
    There,
    /// An expectation has this cost instead.
    Altered(Box<str>),
    /// It did not, when it was asked for last.
    Absent,
    /// Nobody could be asked.
    Unread,
}
