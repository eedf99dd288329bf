//! The topics themselves, seen past the product: records nobody could send through it, and dead letters.

mod found;
pub mod kafka;
mod lists;

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result, bail};
use floodgate_buffer::murmur2_partition;
use floodgate_schemas::codec::Codecs;
use floodgate_schemas::{CouponIssue, Event, EventType, ExpectationWrite, Like};
use uuid::Uuid;

pub use self::found::Found;
use super::node::PROBED;
use super::toggles::TOGGLED;
use super::world::World;

/// The topics, where events wait.
#[derive(Debug, Clone)]
pub enum Topics {
    /// Kafka, by the addresses of its brokers.
    Kafka(String),
    /// Redis lists, by its URL and how many partitions the topics of events have. What is applied is no longer there.
    Redis(String, usize),
}

impl Topics {
    /// Those of a world.
    pub fn of(world: &World) -> Topics {
        match world.setting("buffer.strategy").as_str() {
            "redis" => {
                let partitions = world.setting("topics.partitions").parse().unwrap_or(10);
                Topics::Redis(world.setting("buffer.redis.url"), partitions)
            }
            _ => Topics::Kafka(world.setting("buffer.kafka.brokers")),
        }
    }

    /// Puts a record on a topic and says where it is.
    pub fn put(&self, topic: &str, key: &[u8], value: &[u8], header: (&str, &str)) -> Result<(i32, i64)> {
        self.put_with(topic, key, &[value], Some(header))?.pop().context("no report")
    }

    /// Puts records of one key on a topic and says where they are.
    pub fn put_all(&self, topic: &str, key: &[u8], values: &[impl AsRef<[u8]>]) -> Result<Vec<(i32, i64)>> {
        self.put_with(topic, key, values, None)
    }

    fn put_with(
        &self,
        topic: &str,
        key: &[u8],
        values: &[impl AsRef<[u8]>],
        header: Option<(&str, &str)>,
    ) -> Result<Vec<(i32, i64)>> {
        match self {
            Topics::Kafka(brokers) => kafka::put(brokers, topic, key, values, header),
            Topics::Redis(url, partitions) => {
                let partitions = if topic.ends_with("floodgate.dlq.v1") { 1 } else { *partitions };
                let partition = murmur2_partition(key, partitions);
                lists::put(url, topic, i32::try_from(partition)?, key, values, header)
            }
        }
    }

    /// All records of a topic, from its beginning to where it ends now.
    pub fn read_all(&self, topic: &str) -> Result<Vec<Found>> {
        match self {
            Topics::Kafka(brokers) => kafka::read_all(brokers, topic),
            Topics::Redis(url, _) => lists::read_all(url, topic),
        }
    }

    /// How often each event stands on the topics of a world, probes and toggles left out.
    pub fn event_ids(&self, world: &World) -> Result<HashMap<Uuid, usize>> {
        let mut ids = HashMap::new();
        for of in EventType::ALL {
            for record in self.read_all(&world.named(of.topic()))? {
                let key = record.key.as_deref().unwrap_or_default();
                if [PROBED, TOGGLED].iter().any(|prefix| key.starts_with(prefix.as_bytes())) {
                    continue;
                }
                let id = event_id(of, &record).with_context(|| format!("no event: {record:?}"))?;
                *ids.entry(id).or_default() += 1;
            }
        }
        Ok(ids)
    }

    /// The dead letters from one topic, by partition and offset. Fails when one origin is there twice.
    pub fn dead_letters(&self, topic: &str, from: &str) -> Result<BTreeMap<(i32, i64), Found>> {
        let mut letters = BTreeMap::new();
        for letter in self.read_all(topic)? {
            let header = |name: &str| letter.header(name).with_context(|| format!("no {name}: {letter:?}"));
            if header("floodgate-dlq-topic")? != from {
                continue;
            }
            let origin =
                (header("floodgate-dlq-partition")?.parse()?, header("floodgate-dlq-offset")?.parse()?);
            if let Some(twice) = letters.insert(origin, letter) {
                bail!("two dead letters from {origin:?}, one is {twice:?}");
            }
        }
        Ok(letters)
    }
}

/// The id of an event as it stands on a topic; `None` when it is none.
pub fn event_id(of: EventType, record: &Found) -> Option<Uuid> {
    fn id<E: Event>(value: &[u8]) -> Option<Uuid> {
        Codecs::builtin().decode::<E>(value).ok().map(|event| event.event_id().as_uuid())
    }
    let value = record.value.as_deref()?;
    match of {
        EventType::Expectation => id::<ExpectationWrite>(value),
        EventType::Coupon => id::<CouponIssue>(value),
        EventType::Like => id::<Like>(value),
    }
}
