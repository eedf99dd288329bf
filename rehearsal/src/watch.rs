//! What consumer groups are behind while the load runs, by what operators' listener says.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Deserialize;

use crate::client::Client;

/// How often it is asked.
const PERIOD: Duration = Duration::from_millis(500);

/// What was seen.
#[derive(Debug, Clone, Default)]
pub struct Lags {
    /// By second of the load: the most that all groups together were behind.
    pub by_second: Vec<(u32, u64)>,
    /// The most that any group was behind.
    pub max: Option<u64>,
    /// The newest, of all groups together.
    pub now: Option<u64>,
    /// Why it could not be read, the last time it could not.
    pub trouble: Option<String>,
}

#[derive(Deserialize)]
struct Told {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    topics: Vec<Topic>,
}

#[derive(Deserialize)]
struct Topic {
    partitions: Vec<Partition>,
}

#[derive(Deserialize)]
struct Partition {
    lag: Option<u64>,
}

/// Watches until it is dropped, from `start` on.
pub async fn watch(operators: &Client, start: Instant, seen: &Arc<Mutex<Lags>>) {
    loop {
        match look(operators).await {
            Ok(groups) => {
                let second = u32::try_from(start.elapsed().as_secs()).unwrap_or(u32::MAX);
                seen.lock().saw(second, &groups);
            }
            Err(trouble) => seen.lock().trouble = Some(trouble),
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// What each group is behind, once.
///
/// # Errors
/// Why that cannot be read.
pub async fn look(operators: &Client) -> Result<Vec<u64>, String> {
    let answer = operators.ask("GET", "/lag", None, "").await;
    let answer = answer.map_err(|error| format!("{}: {error}", operators.url()))?;
    if answer.status != 200 {
        return Err(format!("{}lag answered {}", operators.url(), answer.status));
    }
    let told: Told = serde_json::from_slice(&answer.body)
        .map_err(|error| format!("{}lag is not what groups are behind: {error}", operators.url()))?;
    let behind = |group: &Group| {
        let partitions = group.topics.iter().flat_map(|topic| &topic.partitions);
        partitions.filter_map(|partition| partition.lag).sum()
    };
    Ok(told.groups.iter().map(behind).collect())
}

impl Lags {
    /// Second by second, from the beginning.
    pub fn seconds(&self) -> Vec<Option<u64>> {
        let last = self.by_second.last().map_or(0, |(second, _)| *second as usize + 1);
        let mut seconds = vec![None; last];
        for (second, lag) in &self.by_second {
            seconds[*second as usize] = Some(*lag);
        }
        seconds
    }

    fn saw(&mut self, second: u32, groups: &[u64]) {
        let all = groups.iter().sum();
        self.now = Some(all);
        self.max = self.max.max(groups.iter().copied().max());
        match self.by_second.last_mut() {
            Some((last, most)) if *last == second => *most = (*most).max(all),
            _ => self.by_second.push((second, all)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_of_a_second_stays() {
        let mut seen = Lags::default();
        for (second, groups) in [(0, [1, 2]), (0, [5, 0]), (0, [0, 0]), (2, [3, 4])] {
            seen.saw(second, &groups);
        }
        assert_eq!((seen.by_second, seen.max, seen.now), (vec![(0, 5), (2, 7)], Some(5), Some(7)));
    }
}
