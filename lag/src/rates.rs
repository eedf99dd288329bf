//! What came to a partition and what was applied of it.

use crate::points::{Point, Points, Spot};

/// Shorter than this nothing is said of rates: commits come a few times a second.
const SPAN_MIN_SECONDS: f64 = 0.4;

/// What a partition's positions did since its course began, or within the window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Moved {
    pub(crate) seconds: f64,
    /// Records that came.
    pub(crate) came: f64,
    /// Records that were applied, dead letters among them.
    pub(crate) applied: f64,
}

impl Moved {
    pub(crate) fn of(points: &Points, now: &Point, partition: i32, spot: &Spot) -> Option<Self> {
        let (at, was) = points.from(now, partition, spot)?;
        let seconds = (now.at - at).as_secs_f64();
        if seconds < SPAN_MIN_SECONDS {
            return None;
        }
        let came = spot.end.saturating_sub(was.end) as f64;
        // what never had a commit was read from the start
        let applied = spot.next.saturating_sub(was.next) as f64;
        Some(Self { seconds, came, applied })
    }
}

/// A group's rates, records a second: the sums over the partitions of which they are known; `None` where of none.
pub(crate) fn of_group(points: &Points, now: &Point) -> Option<(f64, f64)> {
    let moved = now.partitions.iter().filter_map(|(number, spot)| Moved::of(points, now, *number, spot));
    moved.fold(None, |sum: Option<(f64, f64)>, moved| {
        let (came, applied) = sum.unwrap_or_default();
        Some((came + moved.came / moved.seconds, applied + moved.applied / moved.seconds))
    })
}
