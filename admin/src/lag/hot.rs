//! Keys that are most of what waits: where one is, more consumers change nothing, since a key is one partition's.
//!
//! The first records that wait are read and counted by key, of the few partitions on which most wait, while a group has been
//! behind for a while. What is told is of those records and says of how many.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use floodgate_buffer::{Batch, GroupLag, Offset, Partition, Strategy, Topic};
use floodgate_schemas::EventType;
use floodgate_schemas::text::{escaped, shortened};
use parking_lot::Mutex;
use serde::Serialize;

/// How many records of a partition are counted: hence how many keys are in memory.
const RECORDS: usize = 500;

/// Fewer say nothing.
const RECORDS_MIN: usize = 50;

/// How many partitions of a group are looked at.
const PARTITIONS: usize = 3;

/// How long the oldest record must have waited, and how often it is looked.
const BEHIND: Duration = Duration::from_secs(3);
const INTERVAL: Duration = Duration::from_secs(10);

/// A key is told of when it is this share of the records.
const SHARE: f64 = 0.5;

/// How much of a key is told.
const KEY_CHARS: usize = 100;

/// A key that is most of what waits on its partition.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HotKey {
    /// The key, as text; control characters and what is no UTF-8 escaped.
    pub key: String,
    /// Which share of the records that were looked at is of it: more than a half, up to 1.
    pub share: f64,
    /// How many records were looked at, the first that wait.
    pub of: usize,
}

/// What was seen last, by event type.
#[derive(Default)]
pub struct HotKeys {
    seen: Mutex<[Seen; EventType::ALL.len()]>,
}

#[derive(Default, Clone)]
struct Seen {
    at: Option<Instant>,
    keys: Vec<(Partition, HotKey)>,
}

impl HotKeys {
    /// Those of a group that were seen last.
    pub(super) fn seen(&self, of: EventType) -> Vec<(Partition, HotKey)> {
        self.seen.lock()[of as usize].keys.clone()
    }

    /// Looks at what waits for a group that was read, if it is time to. Blocks on the network, longer than reading positions does.
    pub fn look(&self, strategy: &dyn Strategy, lag: &GroupLag, now_ms: i64) {
        let of = lag.of as usize;
        let behind = lag.oldest_ms().map_or(0, |oldest_ms| now_ms.saturating_sub(oldest_ms));
        if lag.waiting() < RECORDS_MIN as u64 || behind < BEHIND.as_millis() as i64 {
            self.seen.lock()[of] = Seen::default();
            return;
        }
        let seen = self.seen.lock()[of].clone();
        if seen.at.is_some_and(|at| at.elapsed() < INTERVAL) {
            return;
        }
        let keys = look(strategy, lag).unwrap_or_else(|reason| {
            tracing::debug!(group = lag.group, reason, "keys of what waits not read");
            seen.keys
        });
        self.seen.lock()[of] = Seen { at: Some(Instant::now()), keys };
    }
}

fn look(strategy: &dyn Strategy, lag: &GroupLag) -> Result<Vec<(Partition, HotKey)>, String> {
    let mut most: Vec<_> = lag.partitions.iter().filter(|lag| lag.lag() >= RECORDS_MIN as u64).collect();
    most.sort_by_key(|lag| std::cmp::Reverse(lag.lag()));
    most.truncate(PARTITIONS);
    let logs = strategy.logs().map_err(|error| error.to_string())?;
    let mut log = logs.open(Topic::Events(lag.of)).map_err(|error| error.to_string())?;
    let mut keys = Vec::new();
    for lag in most {
        let range = lag.next_unapplied()..Offset(lag.readable.0);
        let chunk = log.read(lag.partition, range, RECORDS).map_err(|error| error.to_string())?;
        keys.extend(hottest(&chunk.batch).map(|hot| (lag.partition, hot)));
    }
    Ok(keys)
}

fn hottest(batch: &Batch) -> Option<HotKey> {
    let mut counts: HashMap<&[u8], usize> = HashMap::new();
    let keys: Vec<_> = batch.iter().filter_map(|record| record.key).collect();
    for key in &keys {
        *counts.entry(key).or_default() += 1;
    }
    let (key, count) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    let share = count as f64 / batch.len() as f64;
    let is_told = batch.len() >= RECORDS_MIN && share > SHARE;
    is_told.then(|| HotKey {
        key: shortened(escaped(key), KEY_CHARS),
        share: (share * 100.0).round() / 100.0,
        of: batch.len(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use floodgate_buffer::{Receipts, Record, contract};

    use super::*;

    fn with_keys(keys: impl IntoIterator<Item = String>) -> Arc<dyn Strategy> {
        let strategy = contract::in_memory(1, 10_000, "w.");
        let publisher = strategy.publisher().unwrap();
        for key in keys {
            let receipts = Receipts::new(1);
            let topic = Topic::Events(EventType::Like);
            let record = Record { topic, key: Some(key.as_bytes()), value: Some(b"v"), headers: &[] };
            publisher.offer(&record, receipts.receipt(0)).unwrap();
        }
        strategy
    }

    fn seen(strategy: &dyn Strategy, behind_ms: i64) -> Vec<(Partition, HotKey)> {
        let lag = strategy.lag(EventType::Like).unwrap();
        let now_ms = lag.oldest_ms().unwrap_or(0) + behind_ms;
        let keys = HotKeys::default();
        keys.look(strategy, &lag, now_ms);
        keys.seen(EventType::Like)
    }

    #[tokio::test]
    async fn a_key_that_is_most_of_what_waits_is_told() {
        let mixed = |hot: usize| {
            (0..200).map(move |n| if n % 10 < hot { "star\x1f1".into() } else { format!("k{n}") })
        };
        let told = seen(&*with_keys(mixed(7)), 5_000);
        let hot = HotKey { key: "star\\x1f1".to_owned(), share: 0.7, of: 200 };
        assert_eq!(told, [(Partition(0), hot)]);
        assert_eq!(seen(&*with_keys(mixed(5)), 5_000), [], "a half is not most");
        assert_eq!(seen(&*with_keys(mixed(7)), 1_000), [], "only a moment");
        assert_eq!(seen(&*with_keys(mixed(10).take(49)), 5_000), [], "too few");
    }
}
