//! What was sent, and what is known of it in the end.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::plan::Plan;

/// What is known of a write in the end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Verdict {
    /// Nobody sent it.
    #[default]
    Unsent,
    /// 202.
    Accepted,
    /// Only 503, or nobody to connect to.
    NotStored,
    /// 504 or a connection that broke: it may have happened or not.
    Unknown,
    /// An answer that no planned write should get.
    Refused(u16),
}

/// One write's record. Times count from the load's start, in microseconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fate {
    pub verdict: Verdict,
    pub attempts: u16,
    /// When it was to be sent first.
    pub due: u32,
    pub first_sent: u32,
    pub accepted: u32,
}

/// What was sent, and what came of it.
pub struct Recording {
    pub plan: Arc<Plan>,
    pub fates: Vec<Fate>,
    pub seconds: f64,
    pub answers: String,
    /// 202s, those to late retries included: each is a record that was taken.
    pub taken: usize,
    /// 504s and broken connections: each may be one more.
    pub unknown: usize,
    /// How long each 503 and 429 took from when its write was due, in ascending order.
    pub refusals: Vec<Duration>,
}

impl Recording {
    pub fn count(&self, verdict: Verdict) -> usize {
        self.fates.iter().filter(|fate| fate.verdict == verdict).count()
    }

    /// What is known of these writes is taken back: they may have an effect or not.
    pub fn excuse(&mut self, ids: &HashSet<Uuid>) {
        for (index, fate) in self.fates.iter_mut().enumerate() {
            if ids.contains(&self.plan.event_id(index)) {
                fate.verdict = Verdict::Unknown;
            }
        }
    }

    /// The same of those that were accepted between two moments, counted from the load's start.
    pub fn excuse_accepted(&mut self, from: Duration, to: Duration) {
        let between = from.as_micros()..=to.as_micros();
        for fate in &mut self.fates {
            if fate.verdict == Verdict::Accepted && between.contains(&u128::from(fate.accepted)) {
                fate.verdict = Verdict::Unknown;
            }
        }
    }

    /// The ids of all writes with this verdict.
    pub fn ids(&self, verdict: Verdict) -> HashSet<Uuid> {
        let fates = self.fates.iter().enumerate();
        fates
            .filter(|(_, fate)| fate.verdict == verdict)
            .map(|(index, _)| self.plan.event_id(index))
            .collect()
    }

    pub fn attempts(&self) -> usize {
        self.fates.iter().map(|fate| usize::from(fate.attempts)).sum()
    }
}
