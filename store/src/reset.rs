//! Setting a row back that no later event can exceed.
//!
//! A row keeps the rank of the event that wrote it, and only a greater one counts. A single event of a rank that nobody
//! reaches, a version near 2⁶³ say, therefore keeps all later ones from counting, and nothing that clients send mends it.
//! Lowering the rank is the one write that goes against "ranks only grow", so it is for operators, one row at a time, and
//! whoever does it accounts for the event that stood there (`floodgate_ledger::reset`).

use std::fmt;

use floodgate_schemas::{CharacterId, EventId, LikerAccountId, PresetNo, TargetOcid, Timestamp};

use crate::{BoxFuture, ReadError};

/// Names one row that keeps a rank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowKey {
    /// The expectation on a character's preset.
    Expectation(CharacterId, PresetNo),
    /// What an account says of a character.
    Like(TargetOcid, LikerAccountId),
}

impl fmt::Display for RowKey {
    /// As the command line takes it. Ids are quoted, since they may hold spaces.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expectation(character, preset) => write!(f, "expectation {character} {}", preset.get()),
            Self::Like(target, liker) => write!(f, "like {:?} {:?}", target.as_str(), liker.as_str()),
        }
    }
}

impl RowKey {
    /// The lowest rank its row can have: every event counts after it.
    pub const fn lowest(&self) -> i64 {
        match self {
            Self::Expectation(..) => i64::MIN,
            Self::Like(..) => Timestamp::MIN.as_micros(),
        }
    }
}

/// The rank that a row keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowRank {
    /// The version, or the time in microseconds since 1970.
    pub micros: i64,
    /// The event that wrote the row.
    pub event_id: EventId,
}

/// Shows and lowers ranks. Every call ends within `connect_timeout_ms + statement_timeout_ms`.
pub trait Reset: Send + Sync {
    /// The rank of a row, if there is one.
    fn rank<'a>(&'a self, row: &'a RowKey) -> BoxFuture<'a, Result<Option<RowRank>, ReadError>>;

    /// Lowers the rank of a row to [`RowKey::lowest`] if it is greater than `above`, at one moment. What else the row
    /// says stays, and so do counters. Returns whether it did.
    fn lower<'a>(&'a self, row: &'a RowKey, above: i64) -> BoxFuture<'a, Result<bool, ReadError>>;
}
