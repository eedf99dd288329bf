//! Expectation reads from memory.
//!
//! A popular character is read by many at once. An entry serves all reads for a short time, and while it is read
//! anew everybody who asks waits for that one read (*single flight*). What is served is never older than the
//! configured time and the read itself; instances of the ingress agree within it.

use std::sync::Arc;
use std::time::Duration;

use floodgate_observe::HttpMetrics;
use floodgate_schemas::CharacterId;
use floodgate_store::{ExpectationRow, ReadError, Reads};
use moka::future::Cache;

pub(crate) struct ExpectationCache {
    reads: Arc<dyn Reads>,
    /// `None` where every read goes to the database.
    entries: Option<Cache<CharacterId, Arc<Vec<ExpectationRow>>>>,
    metrics: HttpMetrics,
}

/// A character's presets, and whether they were in memory.
pub(crate) struct Found {
    pub(crate) rows: Arc<Vec<ExpectationRow>>,
    pub(crate) from_cache: bool,
}

impl ExpectationCache {
    /// Keeps at most `max` characters, each for `time`; keeps nothing when that is zero.
    pub(crate) fn new(reads: Arc<dyn Reads>, time: Duration, max: u64, metrics: HttpMetrics) -> Self {
        let entries = (!time.is_zero() && max > 0)
            .then(|| Cache::builder().max_capacity(max).time_to_live(time).build());
        Self { reads, entries, metrics }
    }

    /// # Errors
    /// The database's; errors are not kept.
    pub(crate) async fn expectations(&self, character: CharacterId) -> Result<Found, ReadError> {
        let Some(entries) = &self.entries else {
            return Ok(Found { rows: read(&*self.reads, character).await?, from_cache: false });
        };
        if let Some(rows) = entries.get(&character).await {
            self.metrics.cache_reads.with_label_values(&["hit"]).inc();
            return Ok(Found { rows, from_cache: true });
        }
        // on a task of its own: the read many wait for must not end with the connection of the one who came first
        let (entries, reads) = (entries.clone(), Arc::clone(&self.reads));
        let reading = tokio::spawn(async move {
            entries.entry(character).or_try_insert_with(read(&*reads, character)).await
        });
        let entry = reading.await.map_err(|error| ReadError::Unavailable(error.to_string()))?;
        let entry = entry.map_err(|error| ReadError::clone(&error))?;
        // those who waited for another's read did not find it in memory either, but cost no read
        let from_cache = !entry.is_fresh();
        self.metrics.cache_reads.with_label_values(&[if from_cache { "hit" } else { "miss" }]).inc();
        Ok(Found { rows: entry.into_value(), from_cache })
    }
}

async fn read(reads: &dyn Reads, character: CharacterId) -> Result<Arc<Vec<ExpectationRow>>, ReadError> {
    reads.expectations(character).await.map(Arc::new)
}
