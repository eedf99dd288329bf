//! Publishing to Kafka: admission, and starting over after a fatal error. Delivery reports are in [`super::delivery`].
//!
//! librdkafka refuses records only when its queue overflows, which is too late for a bounded service; so
//! what is unacknowledged is counted here and refused at the configured cap.
//!
//! An idempotent producer can meet an error after which it can never send again without risking a doubled
//! or reordered record. It is then *retired*, and the others of its generation with it: new ones take their place for new
//! records, the old ones give up what they hold, and every record in them is reported as what it was, certainly not
//! stored or unknown.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use rdkafka::client::Client;
use rdkafka::types::RDKafkaErrorCode;
use tokio::net::unix::pipe::Receiver;

use super::delivery::deliver_until_retired;
use super::generation::{Generation, Way};
use super::linger::{Gathered, Linger};
use super::native::{Context, InFlight};
use super::{ASK_TIMEOUT, ClientSettings, Names};
use crate::{BoxFuture, OpenError, Outcome, Publish, Receipt, Record, Refused, Topic, Waiting};

/// How often readiness is asked of the cluster while it is good, and while it is not.
const PROBE_INTERVAL_READY: Duration = Duration::from_secs(5);
const PROBE_INTERVAL_UNREADY: Duration = Duration::from_millis(500);

pub(super) struct KafkaPublisher {
    settings: Arc<ClientSettings>,
    names: Arc<Names>,
    partitions: usize,
    current: RwLock<Arc<Generation>>,
    counts: Arc<Counts>,
    health: Mutex<Result<(), String>>,
    closed: AtomicBool,
    linger: Linger,
    /// What librdkafka refuses for its size, known before a record gathers: then nobody would be told.
    record_max_bytes: usize,
}

impl Drop for KafkaPublisher {
    fn drop(&mut self) {
        self.linger.abandon().drain(|_, in_flight| drop_unsent(&self.counts, in_flight));
    }
}

/// A record that librdkafka never had.
fn drop_unsent(counts: &Counts, in_flight: InFlight) {
    counts.release(in_flight.bytes);
    if let Some(wake) = in_flight.receipt.complete(Outcome::NotStored) {
        wake.wake();
    }
}

/// What is unacknowledged.
#[derive(Default)]
pub(super) struct Counts {
    events: AtomicUsize,
    bytes: AtomicUsize,
}

impl Counts {
    pub(super) fn release(&self, bytes: usize) {
        self.events.fetch_sub(1, Ordering::AcqRel);
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
    }
}

impl KafkaPublisher {
    /// `partitions` is how many each event topic has.
    pub(super) fn start(
        settings: &Arc<ClientSettings>,
        names: &Arc<Names>,
        partitions: usize,
    ) -> Result<Arc<Self>, OpenError> {
        let (first, announcements) = Generation::new(settings, names, partitions)?;
        let publisher = Arc::new(Self {
            settings: Arc::clone(settings),
            names: Arc::clone(names),
            partitions,
            current: RwLock::new(first),
            counts: Arc::default(),
            health: Mutex::new(Err(format!("not yet connected to Kafka at {}", settings.kafka.brokers))),
            closed: AtomicBool::new(false),
            linger: Linger::new(
                settings.kafka.linger_above_events,
                Duration::from_millis(settings.kafka.linger_ms),
            ),
            record_max_bytes: settings.record_max_bytes(),
        });
        publisher.spawn_delivery(Arc::clone(&publisher.current.read()), announcements);
        let weak = Arc::downgrade(&publisher);
        spawn("kafka-probe", move || probe_while_alive(&weak))?;
        let weak = Arc::downgrade(&publisher);
        spawn("kafka-linger", move || hand_over_while_alive(&weak))?;
        Ok(publisher)
    }

    fn spawn_delivery(self: &Arc<Self>, generation: Arc<Generation>, announcements: Receiver) {
        let (counts, publisher) = (Arc::clone(&self.counts), Arc::downgrade(self));
        tokio::spawn(deliver_until_retired(generation, announcements, counts, publisher));
    }

    /// Replaces producers one of which can never send again.
    pub(super) fn replace(self: &Arc<Self>, broken: &Arc<Generation>, reason: &str) {
        tracing::error!(reason, "a Kafka producer met a fatal error; new ones take the place of all");
        match Generation::new(&self.settings, &self.names, self.partitions) {
            Ok((fresh, announcements)) => {
                self.spawn_delivery(Arc::clone(&fresh), announcements);
                // once this is done no record can be offered to the broken producer any more
                *self.current.write() = fresh;
                broken.retired.store(true, Ordering::Release);
                broken.purge();
            }
            Err(error) => tracing::error!(%error, "no new Kafka producers; trying again"),
        }
    }

    /// Counts a record in; returns how many others are under way.
    fn admit(&self, bytes: usize) -> Result<usize, Refused> {
        let (max_events, max_bytes) =
            (self.settings.kafka.queue_max_events, self.settings.kafka.queue_max_bytes);
        let events = self.counts.events.fetch_add(1, Ordering::AcqRel);
        let queued = self.counts.bytes.fetch_add(bytes, Ordering::AcqRel);
        if events >= max_events || queued + bytes > max_bytes {
            self.counts.release(bytes);
            return Err(Refused::Full);
        }
        Ok(events)
    }

    fn probe(&self) -> Result<(), String> {
        let current = Arc::clone(&self.current.read());
        current.clients().try_for_each(|client| self.probe_with(client))
    }

    fn probe_with(&self, client: &Client<Context>) -> Result<(), String> {
        let brokers = &self.settings.kafka.brokers;
        // all topics, not ours by name: naming a missing topic may create it on a lenient cluster
        let metadata = client
            .fetch_metadata(None, ASK_TIMEOUT)
            .map_err(|error| format!("Kafka at {brokers} does not answer: {error}"))?;
        let is_there = |name: &String| {
            metadata.topics().iter().any(|topic| topic.name() == name && topic.error().is_none())
        };
        let missing: Vec<_> = self.names.topics.iter().filter(|name| !is_there(name)).cloned().collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(format!("topics missing in Kafka: {}; run `floodgate topics create`", missing.join(", ")))
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), OpenError> {
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(body);
    spawned.map(drop).map_err(|error| OpenError(format!("no thread {name}: {error}")))
}

/// Hands to librdkafka what has gathered.
fn hand_over_while_alive(publisher: &Weak<KafkaPublisher>) {
    let mut spare = Gathered::default();
    let mut handed_over_at = Instant::now();
    while let Some(publisher) = publisher.upgrade() {
        let mut gathered = match publisher.linger.next(handed_over_at, spare) {
            Ok(gathered) => gathered,
            Err(unused) => {
                spare = unused;
                continue;
            }
        };
        // kept until all are handed over: a broken producer is replaced when nothing can be offered to it any more
        let current = publisher.current.read();
        // records that gather keep all others from being offered
        current.settle();
        handed_over_at = Instant::now();
        gathered.drain(|record, in_flight| {
            if let Err((error, in_flight)) = current.produce(Way::Full, record, Box::new(in_flight)) {
                tracing::debug!(%error, "a record was not taken");
                drop_unsent(&publisher.counts, *in_flight);
            }
        });
        drop(current);
        publisher.linger.handed_over();
        spare = gathered;
    }
}

fn probe_while_alive(publisher: &Weak<KafkaPublisher>) {
    loop {
        let Some(alive) = publisher.upgrade() else {
            return;
        };
        let found = alive.probe();
        let mut health = alive.health.lock();
        if *health != found {
            match &found {
                Ok(()) => {
                    tracing::info!(brokers = %alive.settings.kafka.brokers, "Kafka can take events")
                }
                Err(reason) => tracing::warn!("cannot take events: {reason}"),
            }
        }
        let interval = if found.is_ok() { PROBE_INTERVAL_READY } else { PROBE_INTERVAL_UNREADY };
        *health = found;
        drop(health);
        drop(alive);
        thread::sleep(interval);
    }
}

impl Publish for KafkaPublisher {
    fn offer(&self, record: &Record<'_>, receipt: Receipt) -> Result<(), Refused> {
        // dead letters come from consumers, which still finish their batches while the ingress is closed
        if self.closed.load(Ordering::Acquire) && record.topic != Topic::DeadLetters {
            return Err(Refused::Closed);
        }
        let bytes = record.bytes();
        if bytes > self.record_max_bytes {
            return Err(Refused::TooLarge);
        }
        let unacknowledged = self.admit(bytes)?;
        let in_flight = InFlight { receipt, bytes, route: 0 };
        if self.linger.applies(unacknowledged) {
            self.linger.keep(record, in_flight, unacknowledged);
            return Ok(());
        }
        let queued = self.current.read().produce(Way::Quick, record, Box::new(in_flight));
        queued.map_err(|(error, _)| {
            self.counts.release(bytes);
            match error {
                RDKafkaErrorCode::QueueFull => Refused::Full,
                RDKafkaErrorCode::MessageSizeTooLarge => Refused::TooLarge,
                RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownPartition => Refused::Unavailable(
                    "the topic is missing in Kafka; run `floodgate topics create`".to_owned(),
                ),
                other => Refused::Unavailable(format!("Kafka cannot take records now: {other}")),
            }
        })
    }

    fn ready(&self) -> Result<(), String> {
        if self.closed.load(Ordering::Acquire) {
            return Err("shutting down".to_owned());
        }
        self.health.lock().clone()
    }

    fn waiting(&self) -> Waiting {
        Waiting {
            events: self.counts.events.load(Ordering::Acquire),
            bytes: self.counts.bytes.load(Ordering::Acquire),
        }
    }

    fn close(&self, deadline: Duration) -> BoxFuture<'_, usize> {
        self.closed.store(true, Ordering::Release);
        Box::pin(async move {
            let until = Instant::now() + deadline;
            // reports go on meanwhile; there is no call that waits for them without blocking
            while self.waiting().events > 0 && Instant::now() < until {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            self.waiting().events
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use floodgate_schemas::EventType;
    use floodgate_testkit::{Kafka, KafkaOptions, faults, wait};
    use rdkafka::mocking::MockCluster;
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

    use super::*;
    use crate::kafka::testing;
    use crate::{KafkaConfig, Outcome, Receipts, Strategy};

    fn outcome_of_one(publisher: &KafkaPublisher) -> Result<Outcome, Refused> {
        let receipts = Receipts::new(1);
        let topic = Topic::Events(EventType::Like);
        let record = Record { topic, key: Some(b"k"), value: Some(b"v"), headers: &[] };
        publisher.offer(&record, receipts.receipt(0))?;
        futures_executor::block_on(receipts.all());
        Ok(receipts.outcome(0))
    }

    /// The broker refuses a producer's first batch and takes its second, which was under way: librdkafka then
    /// reports both as delivered. Only the second one is in the log.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_record_acknowledged_by_implication_is_not_stored() {
        let cluster = MockCluster::new(1).unwrap();
        let config = KafkaConfig {
            requests_in_flight_max: 5,
            // every record is a batch
            client: toml::toml! { "batch.num.messages" = 1 },
            ..testing::config(cluster.bootstrap_servers())
        };
        let strategy = testing::strategy_with(&config);
        strategy.names.topics.iter().for_each(|name| cluster.create_topic(name, 1, 1).unwrap());
        let publisher = KafkaPublisher::start(&strategy.settings, &strategy.names, 1).unwrap();
        wait::until("readiness", Duration::from_secs(30), || publisher.ready().ok()).unwrap();

        cluster.broker_round_trip_time(1, Duration::from_millis(500)).unwrap();
        cluster.request_errors(
            RDKafkaApiKey::Produce,
            &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION],
        );
        let receipts = Receipts::new(2);
        let topic = Topic::Events(EventType::Like);
        for index in 0..2 {
            let record = Record { topic, key: Some(b"k"), value: Some(b"v"), headers: &[] };
            publisher.offer(&record, receipts.receipt(index)).unwrap();
        }
        futures_executor::block_on(receipts.all());
        assert_eq!([receipts.outcome(0), receipts.outcome(1)], [Outcome::Unknown, Outcome::Stored]);
    }

    /// A record that was sent and not answered for in time may be in the log: nobody may say that it is not.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_record_that_timed_out_on_the_way_is_unknown() {
        let cluster = MockCluster::new(1).unwrap();
        let config = KafkaConfig { message_timeout_ms: 1000, ..testing::config(cluster.bootstrap_servers()) };
        let strategy = testing::strategy_with(&config);
        strategy.names.topics.iter().for_each(|name| cluster.create_topic(name, 1, 1).unwrap());
        let publisher = KafkaPublisher::start(&strategy.settings, &strategy.names, 1).unwrap();
        wait::until("readiness", Duration::from_secs(30), || publisher.ready().ok()).unwrap();
        assert_eq!(outcome_of_one(&publisher), Ok(Outcome::Stored));
        cluster.broker_round_trip_time(1, Duration::from_secs(8)).unwrap();
        assert_eq!(outcome_of_one(&publisher), Ok(Outcome::Unknown));
    }

    /// Scenario 8 of the fault suite: in the middle of a stream of records the idempotent producer meets a fatal error,
    /// which only librdkafka itself can raise at will. A new producer takes over; what was acknowledged is in the log,
    /// what was refused or reported as not stored is not.
    #[tokio::test(flavor = "multi_thread")]
    async fn fatal_error_of_the_producer() {
        let kafka = Kafka::start(KafkaOptions::default()).unwrap();
        let mut strategy = testing::strategy_with(&testing::config(kafka.bootstrap()));
        // so that each producer has some
        strategy.topics.partitions = 4;
        strategy.create_topics().unwrap();
        let publisher = KafkaPublisher::start(&strategy.settings, &strategy.names, 4).unwrap();
        wait::until("readiness", Duration::from_secs(30), || publisher.ready().ok()).unwrap();
        for seed in faults::seeds("fatal_error_of_the_producer") {
            let began = Instant::now();
            let broken = Arc::clone(&publisher.current.read());
            let receipts = Receipts::new(RECORDS);
            // the seed decides how far the stream is by then
            let raise_at = (seed as usize * 7919) % (RECORDS - 200);
            let mut refused = Vec::new();
            let mut raised = began;
            for index in 0..RECORDS {
                if index == raise_at {
                    raised = Instant::now();
                    broken.raise_fatal_error();
                }
                let (key, value) = (index.to_string(), format!("{seed}:{index}"));
                let topic = Topic::Events(EventType::Like);
                let record =
                    Record { topic, key: Some(key.as_bytes()), value: Some(value.as_bytes()), headers: &[] };
                if publisher.offer(&record, receipts.receipt(index)).is_err() {
                    refused.push(index);
                }
            }
            futures_executor::block_on(receipts.all());
            wait::until("new producers", Duration::from_secs(30), || {
                (!Arc::ptr_eq(&broken, &publisher.current.read())).then_some(())
            })
            .unwrap();
            assert_eq!(outcome_of_one(&publisher), Ok(Outcome::Stored));
            let recovered = raised.elapsed();
            assert_eq!(publisher.waiting(), Waiting::default());

            let there = values(&strategy, seed);
            for index in 0..RECORDS {
                let times = there.iter().filter(|found| **found == index).count();
                let fits = match receipts.outcome(index) {
                    _ if refused.contains(&index) => times == 0,
                    Outcome::Stored => times == 1,
                    Outcome::NotStored => times == 0,
                    Outcome::Unknown => times <= 1,
                };
                assert!(fits, "seed {seed}: {index} is there {times} times: {:?}", receipts.outcome(index));
            }
            faults::note("8", "fatal_error_of_the_producer", seed, began.elapsed(), recovered);
        }
    }

    /// As many as are on their way at once.
    const RECORDS: usize = 900;

    /// The numbers of this seed's records in the log.
    fn values(strategy: &crate::kafka::Kafka, seed: u64) -> Vec<usize> {
        let mut log = strategy.log(Topic::Events(EventType::Like)).unwrap();
        let mut found = Vec::new();
        for (partition, mut range) in log.bounds().unwrap() {
            while range.start < range.end {
                let chunk = log.read(partition, range.clone(), 1000).unwrap();
                let values = chunk.batch.iter().filter_map(|record| {
                    let (of, index) = std::str::from_utf8(record.value?).ok()?.split_once(':')?;
                    (of == seed.to_string()).then(|| index.parse::<usize>().ok())?
                });
                found.extend(values);
                range.start = chunk.next;
            }
        }
        found
    }
}
