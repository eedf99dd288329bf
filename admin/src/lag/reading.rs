//! One reading of a group.

use std::time::Instant;

use floodgate_buffer::{GroupLag, Lag, LagError, Partition, Strategy};
use floodgate_schemas::{Clock, EventType, Timestamp};

use super::hot::{HotKey, HotKeys};

/// One group's positions and when they were read.
#[derive(Debug, Clone)]
pub struct Reading {
    pub(super) as_of: Timestamp,
    /// The same on a clock that never goes back.
    pub(super) at: Instant,
    pub(super) lag: GroupLag,
    /// Keys that are most of what waits on their partitions.
    pub(super) hot_keys: Vec<(Partition, HotKey)>,
}

impl Reading {
    /// Reads one group now. Blocks on the network.
    ///
    /// # Errors
    /// [`LagError`] when it cannot be read now.
    pub fn take(strategy: &dyn Lag, of: EventType, clock: &dyn Clock) -> Result<Self, LagError> {
        // before, not after: nothing that is told is older than it says
        let (as_of, at) = (clock.now(), Instant::now());
        Ok(Self { as_of, at, lag: strategy.lag(of)?, hot_keys: Vec::new() })
    }

    /// The same with the keys that were seen to be most of what waits.
    pub fn with_hot_keys(mut self, hot_keys: &HotKeys) -> Self {
        self.hot_keys = hot_keys.seen(self.lag.of);
        self
    }

    /// Looks for keys that are most of what waits. Blocks on the network, longer than reading positions does.
    pub fn look_for_hot_keys(&self, strategy: &dyn Strategy, hot_keys: &HotKeys) {
        hot_keys.look(strategy, &self.lag, self.as_of.as_micros() / 1000);
    }

    /// The events its group applies.
    pub fn of(&self) -> EventType {
        self.lag.of
    }
}
