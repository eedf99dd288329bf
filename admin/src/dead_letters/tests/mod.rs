//! Letters over the in-memory strategy.

mod reading;
mod replaying;
mod settling;
mod watching;

use std::sync::Arc;
use std::time::Duration;

use floodgate_buffer::{Batch, Header, Publish, Receipts, Record, Strategy, Topic};
use floodgate_schemas::examples::{HandClock, at};
use floodgate_schemas::{Codecs, EventType};

use super::*;

const LIKES: &str = "w.floodgate.like.v1";

/// Most letters here are no events.
const REPLAY: Deed = Deed::Replay { attempts_max: 5, undecodable: true };

/// A letter to be written; the like at offset 0 unless something else is said.
#[derive(Clone)]
struct Write<'a> {
    topic: &'a str,
    offset: i64,
    log: Option<&'a str>,
    reason: &'a str,
    attempts: &'a str,
    /// Seconds after ten o'clock.
    failed_at: i64,
    key: &'a [u8],
    value: &'a [u8],
    headers: Vec<Header<'a>>,
    behind: Vec<Header<'a>>,
}

impl Default for Write<'_> {
    fn default() -> Self {
        let (headers, behind) = (Vec::new(), Vec::new());
        let (key, value) = (b"target\x1fliker", b"no event");
        Self {
            topic: LIKES,
            offset: 0,
            log: None,
            reason: "bad-row",
            attempts: "1",
            failed_at: 0,
            key,
            value,
            headers,
            behind,
        }
    }
}

/// A record as it stands on a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stands {
    key: Vec<u8>,
    value: Vec<u8>,
    headers: Vec<(String, String)>,
}

struct World {
    strategy: Arc<dyn Strategy>,
    topic: DeadLetterTopic,
}

impl World {
    fn new() -> Self {
        let strategy = floodgate_buffer::contract::in_memory(1, 100, "w.");
        let clock = Arc::new(HandClock::new(at(3_600_000_000)));
        Self {
            strategy: Arc::clone(&strategy),
            topic: DeadLetterTopic { strategy, clock, codecs: Codecs::builtin() },
        }
    }

    fn publisher(&self) -> Arc<dyn Publish> {
        self.strategy.publisher().unwrap()
    }

    fn put(&self, letter: &Write<'_>) {
        let (offset, failed_at) = (letter.offset.to_string(), at(letter.failed_at * 1_000_000).to_string());
        let ours = [
            ("topic", letter.topic),
            ("partition", "0"),
            ("offset", &offset),
            ("group", "w.floodgate.like"),
            ("reason", letter.reason),
            ("message", "not today"),
            ("attempts", letter.attempts),
            ("failed-at", &failed_at),
        ];
        let mut ours = ours.to_vec();
        letter.log.into_iter().for_each(|log| ours.insert(3, ("log", log)));
        let ours: Vec<_> =
            ours.into_iter().map(|(name, value)| (format!("floodgate-dlq-{name}"), value)).collect();
        let ours = ours.iter().map(|(name, value)| (name.as_bytes(), Some(value.as_bytes())));
        let headers = letter.headers.iter().copied().chain(ours).chain(letter.behind.iter().copied());
        let headers: Vec<_> = headers.collect();
        self.put_raw(Some(letter.key), letter.value, &headers);
    }

    fn put_raw(&self, key: Option<&[u8]>, value: &[u8], headers: &[Header<'_>]) {
        let record = Record { topic: Topic::DeadLetters, key, value: Some(value), headers };
        self.publisher().offer(&record, Receipts::new(1).receipt(0)).unwrap();
    }

    fn batch(&self, topic: Topic) -> Batch {
        let mut log = self.strategy.logs().unwrap().open(topic).unwrap();
        let (partition, range) = log.bounds().unwrap().known.remove(0);
        log.read(partition, range, 1000).unwrap().batch
    }

    fn stands(&self, topic: Topic) -> Vec<Stands> {
        let text = |part: &[u8]| String::from_utf8_lossy(part).into_owned();
        let batch = self.batch(topic);
        let records = batch.iter().map(|record| Stands {
            key: record.key.unwrap_or_default().to_vec(),
            value: record.value.unwrap_or_default().to_vec(),
            headers: record.headers.iter().map(|(n, v)| (text(n), text(v.unwrap_or_default()))).collect(),
        });
        records.collect()
    }

    fn likes(&self) -> Vec<Stands> {
        self.stands(Topic::Events(EventType::Like))
    }

    fn filter(&self, set: &[(&str, &str)]) -> Filter {
        let (mut filter, topics) = (Filter::default(), self.strategy.names().clone());
        set.iter().for_each(|(field, text)| filter.set(field, text, &topics).unwrap());
        filter
    }

    fn survey(&self, set: &[(&str, &str)], limit: usize) -> Survey {
        Survey::take(&self.topic, &self.filter(set), limit, &ScanLimits::NONE).unwrap()
    }

    /// The offsets of the letters that a filter means.
    fn offsets(&self, set: &[(&str, &str)]) -> Vec<i64> {
        self.survey(set, 100).letters.iter().map(|letter| letter.origin.offset).collect()
    }

    fn plan(&self, set: &[(&str, &str)]) -> Settle {
        self.plan_to(REPLAY, set)
    }

    fn plan_to(&self, deed: Deed, set: &[(&str, &str)]) -> Settle {
        let patience = Duration::from_millis(20);
        let plan =
            SettlePlan { filter: self.filter(set), deed, rate: None, patience, limits: ScanLimits::NONE };
        Settle::plan(&self.topic, plan).unwrap()
    }

    fn dismiss(&self, because: &str, set: &[(&str, &str)]) -> u64 {
        let deed = Deed::dismiss(because).unwrap();
        self.plan_to(deed, set).run(&*self.publisher(), |_| {}).unwrap().done
    }

    fn replay(&self, set: &[(&str, &str)]) -> u64 {
        self.plan(set).run(&*self.publisher(), |_| {}).unwrap().done
    }
}
