//! `buffer.fallback`: a strategy of two others. What the *primary* certainly did not store goes to the *reserve*, and from there to
//! the primary when it takes records again. Neither knows of the other, and everybody above sees one strategy, the primary.
//!
//! * [`way`]: which way the events of a partition go, as a value; [`ways`] all of them, what waits at them and the reserve.
//! * [`publisher`]: offers records to the ways, looks how the two strategies are, and moves what waits ([`crate::drain`]).
//!
//! Four things make it keep what each of the two promises. *Only what is certainly not stored is spilled*: an unknown outcome
//! stays unknown, for the record may be in the log. *A partition with records in the reserve sends new ones there too*, by what
//! all processes see there, so that order per key holds. *What moves is a member of the reserve's groups*, so one process
//! moves each partition, and another takes it over. *What moves stays where it is offered*: a record that the primary gives back while it is
//! moved is still in the reserve, and must not be stored there once more.

mod publisher;
#[cfg(test)]
mod tests;
mod way;
mod ways;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use floodgate_schemas::EventType;
use parking_lot::Mutex;

use self::publisher::FallbackPublisher;
use self::ways::Ways;
use crate::{
    Absent, BatchLimits, GroupLag, Lag, LagError, Logs, Names, OpenError, Publish, Reach, Spill, SpillLag,
    Strategy, Subscription, Topics,
};

/// How long a reserve that is well takes for a record that the primary gave back.
const HANDED_ON_WITHIN: Duration = Duration::from_millis(100);

/// See the [module's documentation](self).
pub(crate) struct Fallback {
    primary: Arc<dyn Strategy>,
    reserve: Arc<dyn Strategy>,
    partitions: u32,
    publisher: Mutex<Option<Arc<FallbackPublisher>>>,
}

impl Fallback {
    /// Of two strategies; topics have so many partitions in both.
    pub(crate) fn new(primary: Arc<dyn Strategy>, reserve: Arc<dyn Strategy>, partitions: u32) -> Self {
        Self { primary, reserve, partitions, publisher: Mutex::default() }
    }
}

impl Strategy for Fallback {
    fn name(&self) -> &'static str {
        self.primary.name()
    }

    fn place(&self) -> String {
        self.primary.place()
    }

    fn promise(&self) -> String {
        let (primary, name, reserve) = (self.primary.promise(), self.reserve.name(), self.reserve.promise());
        format!("{primary}; what it certainly did not take goes to {name}, and there {reserve}")
    }

    fn warnings(&self) -> Vec<String> {
        [self.primary.warnings(), self.reserve.warnings()].concat()
    }

    fn private_files(&self) -> Vec<PathBuf> {
        [self.primary.private_files(), self.reserve.private_files()].concat()
    }

    fn reach(&self) -> Reach {
        self.primary.reach()
    }

    fn names(&self) -> &Names {
        self.primary.names()
    }

    fn reports_within(&self) -> Option<Duration> {
        // one that waits first, or goes from one to the other where that is slow, may take longer; its outcome is unknown then
        let both = self.primary.reports_within().max(self.reserve.reports_within());
        both.map(|within| within + HANDED_ON_WITHIN + self.reserve.known_within())
    }

    fn publisher_with(&self, spill: Arc<dyn Spill>) -> Result<Arc<dyn Publish>, OpenError> {
        let mut slot = self.publisher.lock();
        if let Some(publisher) = &*slot {
            return Ok(Arc::clone(publisher) as Arc<dyn Publish>);
        }
        let reserve = self.reserve.reserve(Arc::clone(&spill))?;
        let ways = Arc::new(Ways::new(reserve, self.reserve.name(), spill, self.partitions));
        let primary = self.primary.publisher_with(Arc::clone(&ways) as Arc<dyn Spill>)?;
        let publisher = FallbackPublisher::start(primary, ways, &self.reserve);
        Ok(Arc::clone(slot.insert(publisher)) as Arc<dyn Publish>)
    }

    fn subscribe(&self, of: EventType, limits: BatchLimits) -> Result<Box<dyn Subscription>, OpenError> {
        self.primary.subscribe(of, limits)
    }

    fn logs(&self) -> Result<&dyn Logs, Absent> {
        self.primary.logs()
    }

    fn topics(&self) -> Result<&dyn Topics, Absent> {
        self.primary.topics()
    }
}

impl Lag for Fallback {
    fn lag(&self, of: EventType) -> Result<GroupLag, LagError> {
        self.primary.lag(of)
    }

    fn spill(&self) -> Option<Result<SpillLag, LagError>> {
        let groups: Result<Vec<GroupLag>, LagError> =
            EventType::ALL.into_iter().map(|of| self.reserve.lag(of)).collect();
        Some(groups.map(|groups| {
            let publisher = self.publisher.lock().clone();
            let waiting = groups.iter().map(GroupLag::waiting).sum();
            SpillLag {
                strategy: self.reserve.name(),
                waiting,
                room: publisher
                    .as_ref()
                    .and_then(|publisher| publisher.ways.reserve().room())
                    .map(|room| room.events),
                oldest_ms: groups.iter().filter_map(GroupLag::oldest_ms).min(),
                // whoever does not publish concludes it from what else cannot be asked
                is_filling: match publisher {
                    Some(publisher) => !publisher.ways.primary_is_well(),
                    None => waiting > 0 && self.primary.lag(EventType::Like).is_err(),
                },
            }
        }))
    }
}
