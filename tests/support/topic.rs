//! The topics themselves, seen past the product: records nobody could send through it, and dead letters.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use floodgate_schemas::codec::Codecs;
use floodgate_schemas::{CouponIssue, Event, EventType, ExpectationWrite, Like};
use floodgate_testkit::wait;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::{Header, Headers, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::{ClientConfig, ClientContext, Message, Offset, TopicPartitionList};
use uuid::Uuid;

use super::node::PROBED;
use super::toggles::TOGGLED;
use super::world::World;

const DEADLINE: Duration = Duration::from_secs(120);

/// A record as it stands on a topic.
#[derive(Debug, Clone)]
pub struct Found {
    pub partition: i32,
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Found {
    /// The last header of this name, as text.
    pub fn header(&self, name: &str) -> Option<String> {
        let (_, value) = self.headers.iter().rev().find(|(found, _)| found == name)?;
        value.as_ref().map(|value| String::from_utf8_lossy(value).into_owned())
    }
}

struct Reports;

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    /// Where the record's partition and offset go.
    type DeliveryOpaque = Box<std::sync::mpsc::Sender<Result<(i32, i64), String>>>;

    fn delivery(&self, result: &DeliveryResult<'_>, to: Self::DeliveryOpaque) {
        let report = match result {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, _)) => Err(error.to_string()),
        };
        let _ = to.send(report);
    }
}

/// Puts a record on a topic and says where it is.
pub fn put(brokers: &str, topic: &str, key: &[u8], value: &[u8], header: (&str, &str)) -> Result<(i32, i64)> {
    let headers = OwnedHeaders::new().insert(Header { key: header.0, value: Some(header.1) });
    put_with(brokers, topic, key, &[value], Some(headers))?.pop().context("no report")
}

/// Puts records of one key on a topic and says where they are.
pub fn put_all(
    brokers: &str,
    topic: &str,
    key: &[u8],
    values: &[impl AsRef<[u8]>],
) -> Result<Vec<(i32, i64)>> {
    put_with(brokers, topic, key, values, None)
}

fn put_with(
    brokers: &str,
    topic: &str,
    key: &[u8],
    values: &[impl AsRef<[u8]>],
    headers: Option<OwnedHeaders>,
) -> Result<Vec<(i32, i64)>> {
    let producer: BaseProducer<Reports> =
        ClientConfig::new().set("bootstrap.servers", brokers).create_with_context(Reports)?;
    let (to, reports) = std::sync::mpsc::channel();
    for value in values {
        let record = BaseRecord::with_opaque_to(topic, Box::new(to.clone())).key(key).payload(value.as_ref());
        let record = match &headers {
            Some(headers) => record.headers(headers.clone()),
            None => record,
        };
        producer.send(record).map_err(|(error, _)| error)?;
    }
    producer.flush(DEADLINE)?;
    let reported =
        || reports.recv_timeout(DEADLINE)?.map_err(anyhow::Error::msg).context("the record was not stored");
    values.iter().map(|_| reported()).collect()
}

/// Sets committed offsets of a group without members, as an operator's tool would.
pub fn commit(brokers: &str, group: &str, topic: &str, offsets: &[(i32, i64)]) -> Result<()> {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", brokers).set("group.id", group).create()?;
    let mut list = TopicPartitionList::new();
    for (partition, offset) in offsets {
        list.add_partition_offset(topic, *partition, Offset::Offset(*offset))?;
    }
    Ok(consumer.commit(&list, CommitMode::Sync)?)
}

/// All records of a topic, from its beginning to where it ends now.
pub fn read_all(brokers: &str, topic: &str) -> Result<Vec<Found>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "onlooker")
        .set("enable.auto.commit", "false")
        .create()?;
    let metadata = consumer.fetch_metadata(Some(topic), DEADLINE)?;
    let partitions = metadata.topics().first().context("no such topic")?.partitions();
    let mut ends = BTreeMap::new();
    let mut assignment = TopicPartitionList::new();
    for partition in partitions {
        let (start, end) = consumer.fetch_watermarks(topic, partition.id(), DEADLINE)?;
        if start < end {
            ends.insert(partition.id(), end);
            assignment.add_partition_offset(topic, partition.id(), Offset::Beginning)?;
        }
    }
    consumer.assign(&assignment)?;
    let mut found = Vec::new();
    wait::until(&format!("all of {topic}"), DEADLINE, || {
        while !ends.is_empty() {
            let message = consumer.poll(Duration::from_millis(100))?;
            let Ok(message) = message else { continue };
            if ends.get(&message.partition()).is_some_and(|end| message.offset() + 1 >= *end) {
                ends.remove(&message.partition());
            }
            let headers =
                message.headers().map(|headers| headers.iter().collect::<Vec<_>>()).unwrap_or_default();
            found.push(Found {
                partition: message.partition(),
                offset: message.offset(),
                key: message.key().map(<[u8]>::to_vec),
                value: message.payload().map(<[u8]>::to_vec),
                headers: headers
                    .into_iter()
                    .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
                    .collect(),
            });
        }
        Some(())
    })?;
    Ok(found)
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

/// How often each event stands on the topics of a world, probes and toggles left out.
pub fn event_ids(brokers: &str, world: &World) -> Result<HashMap<Uuid, usize>> {
    let mut ids = HashMap::new();
    for of in EventType::ALL {
        for record in read_all(brokers, &world.named(of.topic()))? {
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
pub fn dead_letters(brokers: &str, topic: &str, from: &str) -> Result<BTreeMap<(i32, i64), Found>> {
    let mut letters = BTreeMap::new();
    for letter in read_all(brokers, topic)? {
        let header = |name: &str| letter.header(name).with_context(|| format!("no {name}: {letter:?}"));
        if header("floodgate-dlq-topic")? != from {
            continue;
        }
        let origin = (header("floodgate-dlq-partition")?.parse()?, header("floodgate-dlq-offset")?.parse()?);
        if let Some(twice) = letters.insert(origin, letter) {
            bail!("two dead letters from {origin:?}, one is {twice:?}");
        }
    }
    Ok(letters)
}
