//! Topics of Kafka's, by a client of the tests' own.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use floodgate_testkit::wait;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::{Header, Headers, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::{ClientConfig, ClientContext, Message, Offset, TopicPartitionList};

use super::found::{DEADLINE, Found};

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

/// Puts records of one key on a topic and says where they are.
pub(super) fn put(
    brokers: &str,
    topic: &str,
    key: &[u8],
    values: &[impl AsRef<[u8]>],
    header: Option<(&str, &str)>,
) -> Result<Vec<(i32, i64)>> {
    let headers = header.map(|(key, value)| OwnedHeaders::new().insert(Header { key, value: Some(value) }));
    let producer: BaseProducer<Reports> = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        // as the product and Java clients place keys
        .set("partitioner", "murmur2_random")
        .create_with_context(Reports)?;
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
pub(super) fn read_all(brokers: &str, topic: &str) -> Result<Vec<Found>> {
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
