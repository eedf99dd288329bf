//! What was read of each group, and what it means.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use floodgate_buffer::Names;
use floodgate_lag::{Course, Desired, Verdict};
use floodgate_schemas::{EventType, Timestamp};
use serde::Serialize;

use super::hot::HotKeys;
use super::reading::Reading;

/// The readings of all groups.
pub struct Courses {
    /// From which moments are counted.
    began: Instant,
    /// By event type.
    groups: [Known; EventType::ALL.len()],
}

#[derive(Default)]
struct Known {
    course: Course,
    desired: Desired,
    desired_members: Option<usize>,
    latest: Option<Arc<Latest>>,
    /// Why the last try to read it was in vain, if it was.
    failed: Option<String>,
    history: VecDeque<HistoryPoint>,
}

/// How far back the course is kept for whoever comes to look, and how close its points lie at least.
const HISTORY: Duration = Duration::from_secs(600);
const HISTORY_STEP: Duration = Duration::from_secs(2);

/// A group at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct HistoryPoint {
    /// In milliseconds since the Unix epoch.
    at: i64,
    /// Records waiting; `None` where that is not known.
    lag: Option<u64>,
    /// The age of the oldest of them, in seconds.
    seconds: Option<f64>,
    /// Records that came in a second, and that were applied.
    r#in: Option<f64>,
    applied: Option<f64>,
}

impl Known {
    /// A gap where it could not be read is a gap in the course.
    fn remember(&mut self, now_ms: i64) {
        let too_early = |last: &HistoryPoint| now_ms < last.at + HISTORY_STEP.as_millis() as i64;
        if self.history.back().is_some_and(too_early) {
            return;
        }
        let Some(latest) = &self.latest else { return };
        let (lag, rates) = (&latest.reading.lag, latest.verdict.rates_per_second);
        let is_known = latest.failed.is_none() && lag.unknown.is_empty();
        let read_ms = latest.reading.as_of.as_micros() / 1000;
        self.history.push_back(HistoryPoint {
            at: now_ms,
            lag: is_known.then(|| lag.waiting()),
            seconds: lag.oldest_seconds(read_ms).filter(|_| is_known),
            r#in: rates.filter(|_| is_known).map(|rates| rates.came),
            applied: rates.filter(|_| is_known).map(|rates| rates.applied),
        });
        let oldest = now_ms - HISTORY.as_millis() as i64;
        while self.history.front().is_some_and(|point| point.at < oldest) {
            self.history.pop_front();
        }
    }
}

/// The latest reading of a group.
#[derive(Debug, Clone)]
pub struct Latest {
    pub(super) reading: Reading,
    pub(super) verdict: Verdict,
    /// Why the last try to read it again was in vain, if it was.
    pub(super) failed: Option<String>,
}

impl Default for Courses {
    fn default() -> Self {
        Self { began: Instant::now(), groups: Default::default() }
    }
}

impl Courses {
    /// Adds a reading. Returns the one before it.
    pub fn add(&mut self, reading: Reading) -> Option<Arc<Latest>> {
        let at = reading.at.saturating_duration_since(self.began);
        let known = &mut self.groups[reading.lag.of as usize];
        known.course.add(at, &reading.lag, reading.as_of.as_micros() / 1000);
        let verdict = known.course.verdict()?;
        known.desired_members = known.desired.after(at, verdict.useful_members);
        let now_ms = reading.as_of.as_micros() / 1000;
        known.failed = None;
        let before = known.latest.replace(Arc::new(Latest { reading, verdict, failed: None }));
        known.remember(now_ms);
        before
    }

    /// A group could not be read. Whether that is news: it could be read before, and no other group cannot for the same reason.
    pub fn fail(&mut self, of: EventType, error: &str, now: Timestamp) -> bool {
        let is_news =
            self.failed(of).is_none() && EventType::ALL.iter().all(|of| self.failed(*of) != Some(error));
        let known = &mut self.groups[of as usize];
        known.failed = Some(error.to_owned());
        if let Some(latest) = &mut known.latest {
            Arc::make_mut(latest).failed = Some(error.to_owned());
        }
        known.remember(now.as_micros() / 1000);
        is_news
    }

    /// Why the last try to read a group was in vain, if it was.
    pub(super) fn failed(&self, of: EventType) -> Option<&str> {
        self.groups[of as usize].failed.as_deref()
    }

    /// Keys were looked for since a group was read.
    pub fn see(&mut self, of: EventType, hot_keys: &HotKeys) {
        if let Some(latest) = &mut self.groups[of as usize].latest {
            let latest = Arc::make_mut(latest);
            latest.reading = latest.reading.clone().with_hot_keys(hot_keys);
        }
    }

    /// The course of the last minutes, by group.
    pub(crate) fn history(&self, names: &Names) -> BTreeMap<String, Vec<HistoryPoint>> {
        let course = |of: EventType| {
            let points = self.groups[of as usize].history.iter().copied().collect();
            (names.group(of).to_owned(), points)
        };
        EventType::ALL.into_iter().map(course).collect()
    }

    /// The latest reading of a group.
    pub fn reading(&self, of: EventType) -> Option<&Reading> {
        self.latest(of).map(|latest| &latest.reading)
    }

    /// The latest of a group.
    pub(super) fn latest(&self, of: EventType) -> Option<&Latest> {
        self.groups[of as usize].latest.as_deref()
    }

    /// How many members a group should have, steadily.
    pub(super) fn desired(&self, of: EventType) -> Option<usize> {
        self.groups[of as usize].desired_members
    }

    /// Whether everything that waits has been seen to be applied, so that looking longer says little more.
    pub fn is_settled(&self) -> bool {
        self.groups.iter().filter_map(|known| known.latest.as_ref()).all(|latest| {
            let partitions = latest.reading.lag.partitions.iter().filter(|lag| lag.lag() > 0);
            let moves = |number: i32| latest.verdict.partitions.get(&number)?.rates_per_second;
            partitions.into_iter().all(|lag| moves(lag.partition.0).is_some_and(|rates| rates.applied > 0.0))
        })
    }
}
