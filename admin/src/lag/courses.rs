//! What was read of each group, and what it means.

use std::sync::Arc;
use std::time::Instant;

use floodgate_buffer::LagError;
use floodgate_lag::{Course, Desired, Verdict};
use floodgate_schemas::EventType;

use super::report::Reading;

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
        known.latest.replace(Arc::new(Latest { reading, verdict, failed: None }))
    }

    /// A group could not be read.
    pub(super) fn fail(&mut self, of: EventType, error: &LagError) {
        if let Some(latest) = &mut self.groups[of as usize].latest {
            Arc::make_mut(latest).failed = Some(error.to_string());
        }
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
