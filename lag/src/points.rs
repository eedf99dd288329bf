//! The readings of one group, as far back as a verdict needs them.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use floodgate_buffer::{GroupLag, PartitionLag, Word};

/// How far back readings are kept.
pub(crate) const WINDOW: Duration = Duration::from_secs(30);

/// Over how much of it rates are taken.
const LATELY: Duration = Duration::from_secs(10);

/// Readings kept at most; those that come faster take the place of the one before.
const POINTS_MAX: u32 = 60;

/// The readings of one group.
#[derive(Debug, Default)]
pub(crate) struct Points(VecDeque<Point>);

/// One reading.
#[derive(Debug, Clone)]
pub(crate) struct Point {
    pub(crate) at: Duration,
    pub(crate) members: Option<usize>,
    /// By number; of a queue, which has no partitions, none.
    pub(crate) partitions: BTreeMap<i32, Spot>,
    /// Why others are not known.
    pub(crate) unknown: BTreeMap<i32, String>,
    pub(crate) queue: Option<u64>,
    /// The age of the oldest record that waits, in seconds; `None` where it is not known.
    pub(crate) oldest_seconds: Option<f64>,
}

/// One partition at one reading.
#[derive(Debug, Clone)]
pub(crate) struct Spot {
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) committed: Option<i64>,
    /// Where the group reads on.
    pub(crate) next: i64,
    pub(crate) lag: u64,
    pub(crate) oldest_seconds: Option<f64>,
    pub(crate) member: Option<String>,
    pub(crate) word: Option<Word>,
    set_by_others: bool,
    /// Since when its positions have moved by nothing but records that came and were applied.
    since: Duration,
    /// Since when `next` has been where it is, although a record waited there.
    pub(crate) stands_since: Option<Duration>,
}

impl Points {
    /// Adds a reading that was taken `at`, on a clock that never goes back; `now_ms` is the same moment in milliseconds
    /// since the Unix epoch, by which ages are told.
    pub(crate) fn add(&mut self, at: Duration, lag: &GroupLag, now_ms: i64) {
        let before = self.0.back();
        if before.is_some_and(|before| before.at >= at) {
            return;
        }
        let spot = |lag: &PartitionLag| (lag.partition.0, Spot::new(lag, at, now_ms).after(lag, before));
        let point = Point {
            at,
            members: lag.members,
            partitions: lag.partitions.iter().map(spot).collect(),
            unknown: lag.unknown.iter().map(|(partition, why)| (partition.0, why.clone())).collect(),
            queue: lag.queue.map(|queue| queue.waiting),
            oldest_seconds: lag.oldest_seconds(now_ms),
        };
        // one that came right behind the one before takes its place, but the first of all stays
        if let [.., second_last, last] = self.0.make_contiguous()
            && last.at.saturating_sub(second_last.at) < WINDOW / POINTS_MAX
        {
            self.0.pop_back();
        }
        self.0.push_back(point);
        while self.0.len() > 2 && self.0[1].at + WINDOW <= at {
            self.0.pop_front();
        }
    }

    /// The latest.
    pub(crate) fn latest(&self) -> Option<&Point> {
        self.0.back()
    }

    /// All of them, the oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Point> {
        self.0.iter()
    }

    /// The reading from which rates of a partition are taken: about [`LATELY`] ago, and since when its positions have moved only as
    /// they should.
    pub(crate) fn from(&self, now: &Point, partition: i32, spot: &Spot) -> Option<(Duration, &Spot)> {
        let lately = now.at.saturating_sub(LATELY);
        let fits = self.0.iter().filter_map(|point| Some((point.at, point.partitions.get(&partition)?)));
        let mut fits = fits.filter(|(at, _)| *at >= spot.since).peekable();
        loop {
            let found = fits.next()?;
            if fits.peek().is_none_or(|(next, _)| *next > lately) {
                return Some(found);
            }
        }
    }

    /// Those from which rates are taken, the oldest first.
    pub(crate) fn lately(&self) -> impl Iterator<Item = &Point> {
        let from = self.0.back().map_or(Duration::ZERO, |last| last.at.saturating_sub(LATELY));
        self.0.iter().filter(move |point| point.at >= from)
    }

    /// How much of the past is known.
    pub(crate) fn span(&self) -> Duration {
        match (self.0.front(), self.0.back()) {
            (Some(first), Some(last)) => last.at - first.at,
            _ => Duration::ZERO,
        }
    }
}

impl Point {
    /// Records that wait, as far as that is known.
    pub(crate) fn waiting(&self) -> u64 {
        self.partitions.values().map(|spot| spot.lag).sum::<u64>() + self.queue.unwrap_or(0)
    }
}

impl Spot {
    /// Whether whoever reads it takes nothing more for now.
    pub(crate) fn is_held(&self) -> bool {
        self.word.as_ref().is_some_and(|word| word.is_held)
    }

    fn new(lag: &PartitionLag, at: Duration, now_ms: i64) -> Self {
        Self {
            start: lag.start.0,
            end: lag.end.0,
            committed: lag.committed.map(|committed| committed.0),
            next: lag.next_unapplied().0,
            lag: lag.lag(),
            oldest_seconds: lag.lag_seconds(now_ms),
            member: lag.member.clone(),
            word: lag.word.clone(),
            set_by_others: lag.set_by_others,
            since: at,
            stands_since: (lag.lag() > 0).then_some(at),
        }
    }

    /// The same, with what the reading before it tells.
    fn after(mut self, lag: &PartitionLag, before: Option<&Point>) -> Self {
        let Some(was) = before.and_then(|before| before.partitions.get(&lag.partition.0)) else {
            return self;
        };
        if self.goes_on_from(was) {
            self.since = was.since;
        }
        if self.next == was.next && self.lag > 0 && was.lag > 0 {
            self.stands_since = was.stands_since;
        }
        self
    }

    /// Whether all that happened since is that records came and were applied: nobody set the offset, nothing expired unread, and
    /// the topic is the same as far as that shows.
    fn goes_on_from(&self, was: &Spot) -> bool {
        let is_kept = self.end >= was.end && self.start >= was.start;
        let is_read = match (was.committed, self.committed) {
            (None, None) => self.start == was.start,
            (None, Some(_)) => true,
            (Some(_), None) => false,
            // what expired before it was read was not applied
            (Some(behind), Some(now)) => now >= behind && (self.start <= now || self.start == was.start),
        };
        is_kept && is_read && !(self.set_by_others && self.committed != was.committed)
    }
}
