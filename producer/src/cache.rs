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
use moka::ops::compute::Op;
use tokio::time::Instant;

pub(crate) struct ExpectationCache {
    reads: Arc<dyn Reads>,
    /// `None` where every read goes to the database.
    entries: Option<Cache<CharacterId, Kept>>,
    time: Duration,
    metrics: HttpMetrics,
}

/// What was read, and until when it is served.
#[derive(Clone)]
struct Kept {
    rows: Arc<Vec<ExpectationRow>>,
    until: Instant,
}

impl Kept {
    fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }
}

/// A character's presets, and whether they were in memory.
pub(crate) struct Found {
    pub(crate) rows: Arc<Vec<ExpectationRow>>,
    pub(crate) from_cache: bool,
}

impl ExpectationCache {
    /// Keeps at most `max` characters, each for `time`; keeps nothing when that is zero.
    pub(crate) fn new(reads: Arc<dyn Reads>, time: Duration, max: u64, metrics: HttpMetrics) -> Self {
        // how long an entry is served is ours to say; the library's own clock only frees what nobody asks for any more
        let entries = (!time.is_zero() && max > 0)
            .then(|| Cache::builder().max_capacity(max).time_to_live(time).build());
        let _ = ["hit", "miss"].map(|result| metrics.cache_reads.with_label_values(&[result]));
        Self { reads, entries, time, metrics }
    }

    /// # Errors
    /// The database's; errors are not kept.
    pub(crate) async fn expectations(&self, character: CharacterId) -> Result<Found, ReadError> {
        let Some(entries) = &self.entries else {
            return Ok(Found { rows: read(&*self.reads, character).await?, from_cache: false });
        };
        match entries.get(&character).await {
            Some(kept) if kept.is_over() => forget(entries, character).await,
            Some(Kept { rows, .. }) => {
                self.metrics.cache_reads.with_label_values(&["hit"]).inc();
                return Ok(Found { rows, from_cache: true });
            }
            None => {}
        }
        // on a task of its own: the read many wait for must not end with the connection of the one who came first
        let (entries, reads, time) = (entries.clone(), Arc::clone(&self.reads), self.time);
        let reading = tokio::spawn(async move {
            let reading = async {
                let rows = read(&*reads, character).await?;
                Ok(Kept { rows, until: Instant::now() + time })
            };
            entries.entry(character).or_try_insert_with(reading).await
        });
        let entry = reading.await.map_err(|error| ReadError::Unavailable(error.to_string()))?;
        let entry = entry.map_err(|error: Arc<ReadError>| ReadError::clone(&error))?;
        // those who waited for another's read did not find it in memory either, but cost no read
        let from_cache = !entry.is_fresh();
        self.metrics.cache_reads.with_label_values(&[if from_cache { "hit" } else { "miss" }]).inc();
        Ok(Found { rows: entry.into_value().rows, from_cache })
    }
}

/// Makes room for a new read, unless somebody else's has taken the place meanwhile.
async fn forget(entries: &Cache<CharacterId, Kept>, character: CharacterId) {
    let removes = |entry: Option<moka::Entry<CharacterId, Kept>>| {
        let is_over = entry.is_some_and(|entry| entry.value().is_over());
        std::future::ready(if is_over { Op::Remove } else { Op::Nop })
    };
    entries.entry(character).and_compute_with(removes).await;
}

async fn read(reads: &dyn Reads, character: CharacterId) -> Result<Arc<Vec<ExpectationRow>>, ReadError> {
    reads.expectations(character).await.map(Arc::new)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use floodgate_observe::Metrics;

    use super::*;
    use crate::testing::Database;

    const TIME: Duration = Duration::from_secs(60);

    fn cache(time: Duration, max: u64) -> (Arc<Database>, ExpectationCache) {
        let database = Arc::new(Database::default());
        let http = Metrics::new().unwrap().http;
        let cache = ExpectationCache::new(Arc::clone(&database) as _, time, max, http);
        (database, cache)
    }

    /// Whether a read came from memory, and how many reads the database has seen.
    async fn read(database: &Database, cache: &ExpectationCache) -> (bool, usize) {
        let found = cache.expectations(7.try_into().unwrap()).await.unwrap();
        (found.from_cache, database.reads.load(Ordering::Relaxed))
    }

    /// To the instant, and from the read on: a read that is served does not make an entry last longer.
    #[tokio::test(start_paused = true)]
    async fn an_entry_is_served_for_its_time_and_no_longer() {
        let (database, cache) = cache(TIME, 10);
        assert_eq!(read(&database, &cache).await, (false, 1));
        tokio::time::advance(TIME - Duration::from_millis(1)).await;
        assert_eq!(read(&database, &cache).await, (true, 1));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(read(&database, &cache).await, (false, 2));
        assert_eq!(read(&database, &cache).await, (true, 2));
    }

    /// The one who finds an entry over may be late: what was read anew meanwhile stays.
    #[tokio::test(start_paused = true)]
    async fn only_what_is_over_is_forgotten() {
        let (database, cache) = cache(TIME, 10);
        assert_eq!(read(&database, &cache).await, (false, 1));
        let (entries, character) = (cache.entries.as_ref().unwrap(), 7.try_into().unwrap());
        forget(entries, character).await;
        assert_eq!(read(&database, &cache).await, (true, 1));
        tokio::time::advance(TIME).await;
        forget(entries, character).await;
        assert!(!entries.contains_key(&character));
    }

    #[tokio::test]
    async fn nothing_is_kept_for_no_time_or_no_room() {
        for (time, max) in [(Duration::ZERO, 10), (TIME, 0)] {
            let (database, cache) = cache(time, max);
            assert_eq!(read(&database, &cache).await, (false, 1));
            assert_eq!(read(&database, &cache).await, (false, 2));
        }
    }
}
