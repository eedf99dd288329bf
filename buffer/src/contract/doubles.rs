//! What tests of other crates put in the place of a strategy or a part of one.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use floodgate_config::Section;
use floodgate_schemas::{SystemChance, SystemClock};
use tokio::runtime::{Handle, Runtime};

use crate::choice::section_of;
use crate::memory::{InMemory, InMemoryConfig};
use crate::{
    BoxFuture, Given, NotTaken, Publish, Receipt, Record, Strategy, Surroundings, TopicsConfig, Waiting,
    configure, defaults,
};

/// The system's time and randomness, and the runtime of the test, or one for all tests that have none.
pub fn given() -> Given {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime starts"));
    let runtime = Handle::try_current().unwrap_or_else(|_| RUNTIME.handle().clone());
    Given { clock: Arc::new(SystemClock), chance: Arc::new(SystemChance), runtime }
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
    let config = InMemoryConfig { max_events, max_bytes: 1 << 24, dead_letters_max: 10 };
    Arc::new(InMemory::new(&config, &topics, &given()))
}

/// A strategy by its name, with ten partitions, whose section of the default configuration is changed so. Its topics' and
/// groups' names begin with `prefix`.
pub fn opened(strategy: &str, changes: toml::Table, prefix: &str) -> Arc<dyn Strategy> {
    opened_with(&[(strategy, changes)], prefix)
}

/// The same of a strategy, with another one as its fallback.
pub fn opened_with_fallback(
    strategy: (&str, toml::Table),
    fallback: (&str, toml::Table),
    prefix: &str,
) -> Arc<dyn Strategy> {
    opened_with(&[strategy, fallback], prefix)
}

/// The first one; the second is its fallback.
fn opened_with(strategies: &[(&str, toml::Table)], prefix: &str) -> Arc<dyn Strategy> {
    let default: toml::Table = defaults().parse().expect("the defaults are TOML");
    let mut table = default.clone();
    let buffer = table["buffer"].as_table_mut().expect("a section");
    buffer.insert("fallback".to_owned(), "none".into());
    for (key, (name, changes)) in ["strategy", "fallback"].into_iter().zip(strategies) {
        buffer.insert(key.to_owned(), (*name).into());
        let section = section_of(name).expect("a strategy");
        buffer[section].as_table_mut().expect("a section of the strategy").extend(changes.clone());
    }
    let topics = TopicsConfig {
        partitions: 10,
        replication_factor: 1,
        prefix: prefix.to_owned(),
        retention_hours: 24,
        dead_letter_retention_hours: 24,
    };
    let mut problems = Vec::new();
    let around = Surroundings { topics: &topics, drain_ms: 1000 };
    let configured = configure(&Section::new("", table, default), &around, &mut problems);
    assert!(problems.is_empty(), "{problems:?}");
    configured.expect("a strategy").open(&given()).expect("a configuration that works")
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
