//! The metrics of the dead letters that are there, whoever wrote them.

use prometheus::{GaugeVec, IntGaugeVec};

use crate::make::Make;

/// Those about which nothing was done yet.
#[derive(Debug, Clone)]
pub struct LetterGauges {
    /// `floodgate_dead_letters_open{group}`: without a value where they cannot be read.
    pub open: IntGaugeVec,
    /// `floodgate_dead_letters_oldest_open_seconds{group}`: since the one failed that failed first; 0 when none is open.
    pub oldest_open_seconds: GaugeVec,
}

impl LetterGauges {
    pub(crate) fn new(make: &Make<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            open: make.gauges(
                "floodgate_dead_letters_open",
                "Dead letters of the group that were neither replayed nor dismissed",
                &["group"],
            )?,
            oldest_open_seconds: make.float_gauges(
                "floodgate_dead_letters_oldest_open_seconds",
                "How long ago the dead letter failed that has been open for longest, in seconds; 0 where none is",
                &["group"],
            )?,
        })
    }
}
