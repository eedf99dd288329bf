//! The course of one group: its readings, and what they have taught about its members.

use std::time::Duration;

use floodgate_buffer::GroupLag;

use crate::points::{Points, WINDOW};
use crate::verdict::{Verdict, judge};

/// The readings of one group.
#[derive(Debug, Default)]
pub struct Course {
    points: Points,
    /// The most that a member was seen to apply in a second while records waited for it.
    capacity: Option<f64>,
}

impl Course {
    /// Of a group of which nothing was read yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a reading that was taken `at`, on a clock that never goes back; `now_ms` is the same moment in milliseconds
    /// since the Unix epoch, by which ages are told.
    pub fn add(&mut self, at: Duration, lag: &GroupLag, now_ms: i64) {
        self.points.add(at, lag, now_ms);
        self.learn();
    }

    /// What the readings mean; `None` before the first.
    pub fn verdict(&self) -> Option<Verdict> {
        let now = self.points.latest()?;
        Some(judge(&self.points, now, self.capacity))
    }

    /// Members that have records waiting for them the whole time show what they can do.
    fn learn(&mut self) {
        let Some(now) = self.points.latest() else { return };
        let busy = self.points.iter().all(|point| point.partitions.values().any(|spot| spot.lag > 0));
        let (true, Some(members), true) = (busy, now.members, self.points.span() >= WINDOW / 3) else {
            return;
        };
        let at_work = now.partitions.values().filter(|spot| spot.lag > 0 && !spot.is_held()).count();
        let working = members.min(at_work);
        let rates = judge(&self.points, now, self.capacity).rates_per_second.filter(|_| working > 0);
        let Some(rates) = rates else { return };
        let each = rates.applied / working as f64;
        self.capacity =
            Some(self.capacity.map_or(each, |before| before.max(each))).filter(|each| *each > 0.0);
    }
}
