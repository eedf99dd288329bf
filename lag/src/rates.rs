//! What came to a partition and what was applied of it.

use crate::points::{Point, Points, Spot};

/// Shorter than this nothing is said of rates: commits come a few times a second.
const SPAN_MIN_SECONDS: f64 = 0.4;

/// Records a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// Those that came.
    pub came: f64,
    /// Those that were applied, dead letters among them.
    pub applied: f64,
}

impl Rates {
    /// What a partition's positions did lately, as long as its course goes.
    pub(crate) fn of(points: &Points, now: &Point, partition: i32, spot: &Spot) -> Option<Self> {
        let (at, was) = points.from(now, partition, spot)?;
        let seconds = (now.at - at).as_secs_f64();
        if seconds < SPAN_MIN_SECONDS {
            return None;
        }
        let came = spot.end.saturating_sub(was.end) as f64;
        // what never had a commit was read from the start
        let applied = spot.next.saturating_sub(was.next) as f64;
        Some(Self { came: came / seconds, applied: applied / seconds })
    }

    /// The sums over those of which they are known; `None` where of none.
    pub(crate) fn sum(of: impl Iterator<Item = Option<Self>>) -> Option<Self> {
        of.flatten()
            .reduce(|sum, rates| Self { came: sum.came + rates.came, applied: sum.applied + rates.applied })
    }
}
