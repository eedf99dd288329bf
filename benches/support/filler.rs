//! Fills topics past the ingress, as fast as a plain producer can.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use floodgate_schemas::codec::encode;
use floodgate_schemas::{Event, Keying};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, ClientContext};

const FLUSHED: Duration = Duration::from_secs(600);

/// Counts what was not acknowledged.
#[derive(Default)]
struct Failures(AtomicUsize);

impl ClientContext for Failures {}

impl ProducerContext for Failures {
    type DeliveryOpaque = ();
    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_err() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A plain idempotent producer that waits for all replicas, everything else as librdkafka has it.
pub struct Filler {
    producer: ThreadedProducer<Failures>,
    key: String,
    value: Vec<u8>,
}

impl Filler {
    pub fn new(brokers: &str) -> Result<Filler> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers).set("enable.idempotence", "true").set("acks", "all");
        let producer = config.set("partitioner", "murmur2_random").create_with_context(Failures::default())?;
        Ok(Filler { producer, key: String::new(), value: Vec::new() })
    }

    /// As the ingress would.
    pub fn put<E: Event>(&mut self, topic: &str, event: &E) -> Result<()> {
        self.key.clear();
        self.value.clear();
        event.write_partition_key(Keying::default(), &mut self.key);
        encode(event, &mut self.value);
        self.send(topic, &self.key, &self.value)
    }

    /// Any record. Waits while the producer's queue is full.
    pub fn send(&self, topic: &str, key: &str, value: &[u8]) -> Result<()> {
        let mut record = BaseRecord::to(topic).key(key).payload(value);
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) => {
                    thread::sleep(Duration::from_millis(1));
                    record = again;
                }
                Err((error, _)) => bail!(error),
            }
        }
    }

    /// Until all is acknowledged.
    pub fn flush(&self) -> Result<()> {
        self.producer.flush(FLUSHED)?;
        let failed = self.producer.context().0.load(Ordering::Relaxed);
        ensure!(failed == 0, "{failed} records were not acknowledged");
        Ok(())
    }
}
