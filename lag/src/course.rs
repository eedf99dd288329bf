//! The course of one group: its readings, and what they have taught about its members.

use std::time::Duration;

use floodgate_buffer::GroupLag;

use crate::points::{Point, Points, WINDOW};
use crate::rates::Rates;
use crate::verdict::{Verdict, judge};

/// The readings of one group.
#[derive(Debug, Default)]
pub struct Course {
    points: Points,
    /// The most that a member was seen to apply in a second while records waited for it, in this part of the past and in the one
    /// before: a database that has become slower is believed in the end.
    lately: Option<f64>,
    before: Option<f64>,
    learns_until: Duration,
}

/// How long what a member was seen to do is remembered, twice a half of it.
const REMEMBERED: Duration = Duration::from_secs(1200);

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
        Some(judge(&self.points, now, self.capacity()))
    }

    /// Members that have records waiting for them the whole time show what they can do.
    fn learn(&mut self) {
        let Some(now) = self.points.latest() else { return };
        let is_busy = self.points.iter().all(|point| point.waiting() > 0);
        // what others applied before is not theirs
        let are_the_same = self.points.iter().all(|point| point.members == now.members);
        let (true, true, Some(members)) = (is_busy, are_the_same, now.members) else { return };
        if self.points.span() < WINDOW / 3 {
            return;
        }
        let rates = now
            .partitions
            .iter()
            .map(|(number, spot)| (*number, Rates::of(&self.points, now, *number, spot)));
        let rates: Vec<_> = rates.collect();
        let had_work = |(number, rates): &&(i32, Option<Rates>)| {
            let waited = |point: &Point| {
                point.partitions.get(number).is_some_and(|spot| spot.lag > 0 && !spot.is_held())
            };
            rates.is_some_and(|rates| rates.applied > 0.0) || self.points.iter().any(waited)
        };
        let working = members.min(rates.iter().filter(had_work).count());
        let sum = Rates::sum(rates.iter().map(|(_, rates)| *rates));
        let Some(rates) = sum.filter(|rates| working > 0 && rates.applied > 0.0) else { return };
        let each = rates.applied / working as f64;
        if now.at >= self.learns_until {
            self.before = std::mem::take(&mut self.lately);
            self.learns_until = now.at + REMEMBERED / 2;
        }
        self.lately = Some(self.lately.map_or(each, |most| most.max(each)));
    }

    /// How much a member applies in a second while records wait for it, as far as that was seen lately.
    fn capacity(&self) -> Option<f64> {
        self.lately.into_iter().chain(self.before).reduce(f64::max)
    }
}
