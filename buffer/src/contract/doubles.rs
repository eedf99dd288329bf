//! What tests of other crates put in the place of a strategy or a part of one.

use std::sync::Arc;
use std::time::Duration;

use floodgate_schemas::{SystemChance, SystemClock};

use crate::memory::{InMemory, InMemoryConfig};
use crate::{BoxFuture, Given, NotTaken, Publish, Receipt, Record, Strategy, TopicsConfig, Waiting};

/// The system's time and randomness.
pub fn given() -> Given {
    Given { clock: Arc::new(SystemClock), chance: Arc::new(SystemChance) }
}

/// The in-memory strategy, for tests of what stands above it.
pub fn in_memory(partitions: u32, max_events: usize, prefix: &str) -> Arc<dyn Strategy> {
    let topics = TopicsConfig {
        partitions,
        replication_factor: 1,
        prefix: prefix.to_owned(),
        retention_hours: 1,
        dead_letter_retention_hours: 1,
    };
    let config = InMemoryConfig { max_events, max_bytes: 1 << 20, dead_letters_max: 10 };
    Arc::new(InMemory::new(&config, &topics, &given()))
}

/// A publisher that does with each record as it is told, is ready, and has nothing waiting.
pub struct PublishAs<F>(F);

impl<F: Fn(&Record<'_>, Receipt) -> Result<(), NotTaken> + Send + Sync> PublishAs<F> {
    /// Does this.
    pub fn new(offer: F) -> Self {
        Self(offer)
    }
}

impl<F: Fn(&Record<'_>, Receipt) -> Result<(), NotTaken> + Send + Sync> Publish for PublishAs<F> {
    fn offer(&self, record: &Record<'_>, receipt: Receipt) -> Result<(), NotTaken> {
        (self.0)(record, receipt)
    }

    fn ready(&self) -> Result<(), String> {
        Ok(())
    }

    fn waiting(&self) -> Waiting {
        Waiting::default()
    }

    fn close(&self, _: Duration) -> BoxFuture<'_, usize> {
        Box::pin(async { 0 })
    }
}
