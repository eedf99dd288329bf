//! Trying again: how long a member waits between two tries, when it may leave something undone, and what readiness hears.

use std::sync::Arc;
use std::time::Duration;

use floodgate_buffer::Strategy;
use floodgate_schemas::{Chance, EventType};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::config::ConsumersConfig;
use crate::health::MemberHealth;

/// Stopped in the middle of something that does not get done: the batch is not committed, and comes again.
pub(crate) struct GaveUp;

/// How one member waits. Its parts share it.
#[derive(Clone)]
pub(crate) struct Patience {
    group: String,
    config: ConsumersConfig,
    /// Whether somebody else can do what this member leaves.
    outlives_process: bool,
    health: MemberHealth,
    stop: CancellationToken,
    chance: Arc<dyn Chance>,
}

impl Patience {
    pub(crate) fn new(
        strategy: &dyn Strategy,
        of: EventType,
        config: &ConsumersConfig,
        health: &MemberHealth,
        stop: &CancellationToken,
        chance: &Arc<dyn Chance>,
    ) -> Self {
        Self {
            group: strategy.names().group(of).to_owned(),
            config: config.clone(),
            outlives_process: strategy.reach().outlives_process,
            health: health.clone(),
            stop: stop.clone(),
            chance: Arc::clone(chance),
        }
    }

    /// Whose member waits.
    pub(crate) fn group(&self) -> &str {
        &self.group
    }

    /// Pauses for something that is tried again, from the shortest on.
    pub(crate) fn backoff(&self) -> Backoff {
        Backoff::new(&self.config, &self.chance)
    }

    /// Waits, unless the process is told to stop and somebody else can do the work.
    pub(crate) async fn pause(&self, pause: Duration) -> Result<(), GaveUp> {
        if !self.outlives_process {
            // what only this process holds is tried until the process itself is out of time
            tokio::time::sleep(pause).await;
            return Ok(());
        }
        tokio::select! {
            () = self.stop.cancelled() => Err(GaveUp),
            () = tokio::time::sleep(pause) => Ok(()),
        }
    }

    /// Whether work that takes its time is somebody else's now.
    pub(crate) fn is_over(&self) -> bool {
        self.stop.is_cancelled() && self.outlives_process
    }

    /// Whether records may be left for later: what only this process holds goes with it, and is better dead-lettered, and
    /// logged, than lost without a word.
    pub(crate) fn may_hold(&self) -> bool {
        !self.stop.is_cancelled() || self.outlives_process
    }

    /// What keeps the member from working now.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.health.trouble()
    }

    /// Something keeps the member from working. Returns whether that is new.
    pub(crate) fn troubled(&self, trouble: String) -> bool {
        self.health.troubled(trouble)
    }

    /// Something went well that may have been in trouble before.
    pub(crate) fn recovered(&self) {
        if self.health.well() {
            tracing::info!(group = self.group, "working again");
        }
    }
}
