//! What consumer groups are behind while the load runs, by what operators' listener says.
//!
//! It reads the positions every few seconds, and says when it did last (`asOf`): an answer that says the same time again is the same
//! reading, and tells nothing of the time since. So only new readings count, each as of when it was first seen, since clocks may differ. Where
//! a group or a partition is not known nothing is known of the whole.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Deserialize;

use crate::client::Client;

/// How often it is asked.
const PERIOD: Duration = Duration::from_millis(500);
/// How long after its start a server may take to know anything.
const FIRST: Duration = Duration::from_secs(10);

/// What was seen since the load began.
#[derive(Debug, Clone, Default)]
pub struct Lags {
    /// By second of the load: the most that all groups together were behind, where there was a new reading.
    pub by_second: Vec<(u32, u64)>,
    /// The most that any group was behind.
    pub max: Option<u64>,
    /// New readings.
    pub readings: u64,
    /// The newest, of all groups together.
    pub now: Option<u64>,
    /// Why nothing was known, the last time nothing was.
    pub trouble: Option<String>,
    /// Which reading was the last, by the time that it says.
    pub as_of: Option<String>,
}

/// A reading.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reading {
    as_of: String,
    /// What each group is behind.
    groups: Vec<u64>,
    /// What waits in a fallback, of whatever group it is.
    spilled: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    as_of: Option<String>,
    groups: Vec<Group>,
    spill: Option<Spill>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    group: String,
    as_of: Option<String>,
    status: String,
    reason: Option<String>,
    /// Instead of partitions, where nothing is numbered.
    queue: Option<Queue>,
    topics: Vec<Topic>,
}

#[derive(Deserialize)]
struct Queue {
    lag: u64,
}

#[derive(Deserialize)]
struct Topic {
    topic: String,
    partitions: Vec<Partition>,
}

#[derive(Deserialize)]
struct Partition {
    partition: i64,
    lag: Option<u64>,
}

#[derive(Deserialize)]
struct Spill {
    waiting: u64,
}

/// Watches until it is dropped, from `start` on.
pub async fn watch(operators: &Client, start: Instant, seen: &Arc<Mutex<Lags>>) {
    loop {
        let looked = look(operators).await.and_then(Told::reading);
        let since = Instant::now().checked_duration_since(start);
        match looked {
            Ok(reading) => seen.lock().saw(since, reading),
            Err(trouble) => seen.lock().trouble = Some(trouble),
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// Waits until something is known, as it soon is after a server's start.
///
/// # Errors
/// Why nothing is.
pub async fn ready(operators: &Client) -> Result<(), String> {
    let deadline = Instant::now() + FIRST;
    loop {
        match look(operators).await?.reading() {
            Err(trouble) if Instant::now() >= deadline => {
                return Err(format!("{}lag: {trouble}", operators.url()));
            }
            Err(_) => tokio::time::sleep(PERIOD).await,
            Ok(_) => return Ok(()),
        }
    }
}

/// Waits for a reading since the load began, as long as one may take: a load may be shorter than what lies between two.
pub async fn first_reading(seen: &Arc<Mutex<Lags>>) {
    let deadline = Instant::now() + FIRST;
    while seen.lock().readings == 0 && Instant::now() < deadline {
        tokio::time::sleep(PERIOD / 5).await;
    }
}

async fn look(operators: &Client) -> Result<Told, String> {
    let answer = operators.ask("GET", "/lag", None, "").await;
    let answer = answer.map_err(|error| format!("{}: {error}", operators.url()))?;
    if answer.status != 200 {
        return Err(format!("{}lag answered {}", operators.url(), answer.status));
    }
    serde_json::from_slice(&answer.body)
        .map_err(|error| format!("{}lag is not what groups are behind: {error}", operators.url()))
}

impl Told {
    fn reading(self) -> Result<Reading, String> {
        let groups = self.groups.iter().map(Group::behind).collect::<Result<_, _>>()?;
        let as_of = self.as_of.ok_or("nothing was read yet")?;
        Ok(Reading { as_of, groups, spilled: self.spill.map_or(0, |spill| spill.waiting) })
    }
}

impl Group {
    fn behind(&self) -> Result<u64, String> {
        let Self { group, status, reason, .. } = self;
        if self.as_of.is_none() || status == "UNKNOWN" {
            let reason = reason.as_deref().unwrap_or("nothing was read yet");
            return Err(format!("what {group} is behind is not known: {reason}"));
        }
        let mut behind = self.queue.as_ref().map_or(0, |queue| queue.lag);
        for Topic { topic, partitions } in &self.topics {
            for Partition { partition, lag } in partitions {
                behind += lag.ok_or_else(|| {
                    format!("what {group} is behind is not known of partition {partition} of {topic}")
                })?;
            }
        }
        Ok(behind)
    }
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

    /// For how many seconds on end of a load of so many there was no new reading.
    pub fn silence(&self, load_seconds: u32) -> u32 {
        let read = self.by_second.iter().map(|(second, _)| (*second).min(load_seconds)).chain([load_seconds]);
        let mut before = 0;
        read.map(|second| second - std::mem::replace(&mut before, second)).max().unwrap_or_default()
    }

    /// A reading seen so long after the load began, if it has.
    fn saw(&mut self, since: Option<Duration>, reading: Reading) {
        let Reading { as_of, groups, spilled } = reading;
        if self.as_of.as_ref() == Some(&as_of) {
            return;
        }
        self.as_of = Some(as_of);
        let all = groups.iter().sum::<u64>() + spilled;
        self.now = Some(all);
        let Some(since) = since else { return };
        self.readings += 1;
        // all that is spilled may be of the one that is furthest behind
        self.max = self.max.max(groups.into_iter().max().map(|most| most + spilled));
        let second = u32::try_from(since.as_secs()).unwrap_or(u32::MAX);
        match self.by_second.last_mut() {
            Some((last, most)) if *last == second => *most = (*most).max(all),
            _ => self.by_second.push((second, all)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn reading(told: &Value) -> Result<Reading, String> {
        serde_json::from_value::<Told>(told.clone()).unwrap().reading()
    }

    fn told() -> Value {
        let partitions = json!([{ "partition": 0, "lag": 3 }, { "partition": 1, "lag": 4 }]);
        json!({ "asOf": "now", "groups": [
            { "group": "one", "asOf": "now", "status": "LAGGING", "reason": "", "topics": [{ "topic": "t", "partitions": partitions }] },
            { "group": "two", "asOf": "now", "status": "OK", "reason": "", "topics": [], "queue": { "lag": 5 } },
        ] })
    }

    #[test]
    fn what_waits_is_counted_wherever_it_is() {
        let mut told = told();
        let known =
            |groups: [u64; 2], spilled| Reading { as_of: "now".to_owned(), groups: groups.into(), spilled };
        assert_eq!(reading(&told), Ok(known([7, 5], 0)));
        told["spill"] = json!({ "strategy": "redis", "waiting": 20 });
        assert_eq!(reading(&told), Ok(known([7, 5], 20)));
        let mut seen = Lags::default();
        seen.saw(Some(Duration::ZERO), reading(&told).unwrap());
        assert_eq!((seen.max, seen.now), (Some(27), Some(32)));
    }

    #[test]
    fn what_is_not_known_is_no_zero() {
        let unknown: [(&str, Value); 4] = [
            ("/asOf", Value::Null),
            ("/groups/1/asOf", Value::Null),
            ("/groups/0/status", "UNKNOWN".into()),
            ("/groups/0/topics/0/partitions/1/lag", Value::Null),
        ];
        for (place, value) in unknown {
            let mut told = told();
            *told.pointer_mut(place).unwrap() = value;
            assert!(reading(&told).is_err(), "{place}");
        }
    }

    #[test]
    fn only_new_readings_count_and_the_most_of_a_second_stays() {
        let mut seen = Lags::default();
        // the first is of before the load
        for (as_of, ms, groups) in [
            (0, None, [90, 0]),
            (0, Some(100), [90, 0]),
            (1, Some(200), [1, 2]),
            (2, Some(700), [5, 0]),
            (2, Some(1200), [5, 0]),
            (3, Some(2100), [3, 4]),
        ] {
            let reading = Reading { as_of: as_of.to_string(), groups: groups.into(), spilled: 0 };
            seen.saw(ms.map(Duration::from_millis), reading);
        }
        assert_eq!((seen.readings, seen.max, seen.now), (3, Some(5), Some(7)));
        assert_eq!(seen.by_second, [(0, 5), (2, 7)]);
        assert_eq!(seen.seconds(), [Some(5), None, Some(7)]);
    }

    #[test]
    fn the_longest_silence_may_be_at_either_end() {
        let of = |seconds: &[u32]| Lags {
            by_second: seconds.iter().map(|second| (*second, 0)).collect(),
            ..Lags::default()
        };
        let silent = [&[][..], &[1, 3, 9], &[7, 9], &[1, 2], &[0, 4, 8, 30]].map(|read| of(read).silence(10));
        assert_eq!(silent, [10, 6, 7, 8, 4]);
    }
}
