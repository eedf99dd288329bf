//! Offsets of one partition, as reports and progress files write them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Offsets of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OffsetRange {
    /// The partition.
    pub partition: i32,
    /// The first of them.
    pub from_offset: i64,
    /// The one after the last.
    pub until_offset: i64,
}

impl OffsetRange {
    /// How many offsets these are.
    pub fn offsets(&self) -> u64 {
        u64::try_from(self.until_offset - self.from_offset).unwrap_or(0)
    }
}

impl fmt::Display for OffsetRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partition, from_offset, until_offset } = self;
        match until_offset - from_offset {
            1 => write!(f, "partition {partition} offset {from_offset}"),
            _ => write!(f, "partition {partition} offsets {from_offset} to {}", until_offset - 1),
        }
    }
}
