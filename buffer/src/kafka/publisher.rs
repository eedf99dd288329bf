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
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use tokio::net::unix::pipe::Receiver;

use super::ClientSettings;
use super::cause::Heard;
use super::delivery::Delivery;
use super::generation::{Generation, Way};
use super::health::{Deliveries, Rebuilds};
use super::linger::{Gathered, Linger};
use super::native::InFlight;
use super::probe::Probe;
use crate::{
    BoxFuture, Names, OpenError, Parts, Publish, Receipt, Record, Refused, Spill, Then, Topic, TopicFinding,
    TopicsConfig, Waiting,
};

pub(super) struct KafkaPublisher {
    pub(super) settings: Arc<ClientSettings>,
    pub(super) names: Arc<Names>,
    pub(super) topics: TopicsConfig,
    pub(super) current: RwLock<Arc<Generation>>,
    counts: Arc<Counts>,
    /// What takes records that are certainly not stored.
    spill: Arc<dyn Spill>,
    /// What the clients of all generations said.
    pub(super) heard: Arc<Heard>,
    pub(super) deliveries: Arc<Deliveries>,
    pub(super) rebuilds: Mutex<Rebuilds>,
    pub(super) health: Mutex<Result<(), String>>,
    pub(super) findings: Mutex<Vec<TopicFinding>>,
    /// Topics that do not keep what a 202 promises, in the order of [`Topic::ALL`].
    pub(super) refuses: [AtomicBool; Topic::ALL.len()],
    closed: AtomicBool,
    linger: Linger,
    /// What librdkafka refuses for its size, known before a record gathers: then nobody would be told.
    record_max_bytes: usize,
    #[cfg(test)]
    pub(super) planted: Planted,
}

/// What a test plants in the parts, such as a panic: each happens once.
#[cfg(test)]
#[derive(Default)]
pub(super) struct Planted(Mutex<Vec<(Part, PlantedAct)>>);

#[cfg(test)]
type PlantedAct = Box<dyn FnOnce() + Send>;

#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Probe,
    Linger,
    /// All that gathered is with librdkafka, and is not said to be.
    HandingOver,
    /// It is said to be.
    HandedOver,
    Delivery,
}

#[cfg(test)]
impl Planted {
    fn plant(&self, part: Part, act: impl FnOnce() + Send + 'static) {
        self.0.lock().push((part, Box::new(act)));
    }

    /// Does what is planted here.
    pub(super) fn meet(&self, part: Part) {
        let mut planted = self.0.lock();
        let here = planted.iter().position(|(at, _)| *at == part).map(|index| planted.remove(index));
        drop(planted);
        if let Some((_, act)) = here {
            act();
        }
    }
}

impl Drop for KafkaPublisher {
    fn drop(&mut self) {
        self.linger.abandon().drain(|record, in_flight| {
            give_back(&self.counts, &*self.spill, record, in_flight);
        });
    }
}

/// A record that librdkafka never had.
fn give_back(counts: &Counts, spill: &dyn Spill, record: &Record<'_>, in_flight: InFlight) {
    counts.release(in_flight.bytes);
    if let Some(wake) = spill.spill(record, in_flight.receipt) {
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
        self.release_all(1, bytes);
    }

    fn release_all(&self, events: usize, bytes: usize) {
        self.events.fetch_sub(events, Ordering::AcqRel);
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
    }
}

impl KafkaPublisher {
    pub(super) fn start(
        settings: &Arc<ClientSettings>,
        names: &Arc<Names>,
        topics: &TopicsConfig,
        spill: Arc<dyn Spill>,
    ) -> Result<Arc<Self>, OpenError> {
        let heard = Arc::default();
        let (first, announcements) = Generation::new(settings, names, topics.partitions as usize, &heard)?;
        let publisher = Arc::new(Self {
            settings: Arc::clone(settings),
            names: Arc::clone(names),
            topics: topics.clone(),
            current: RwLock::new(first),
            counts: Arc::default(),
            spill,
            heard,
            deliveries: Arc::default(),
            rebuilds: Mutex::default(),
            health: Mutex::new(Err(format!("not yet connected to Kafka at {}", settings.kafka.brokers))),
            findings: Mutex::default(),
            refuses: Default::default(),
            closed: AtomicBool::new(false),
            linger: Linger::new(
                settings.kafka.linger_above_events,
                Duration::from_millis(settings.kafka.linger_ms),
            ),
            record_max_bytes: settings.record_max_bytes(),
            #[cfg(test)]
            planted: Planted::default(),
        });
        publisher.spawn_delivery(Arc::clone(&publisher.current.read()), announcements);
        let (weak, deliveries, mut probe) =
            (Arc::downgrade(&publisher), Arc::clone(&publisher.deliveries), Probe::default());
        spawn("kafka-probe", move || probe.run(&weak, &deliveries))?;
        let weak = Arc::downgrade(&publisher);
        spawn("kafka-linger", move || hand_over_while_alive(&weak))?;
        Ok(publisher)
    }

    /// Reports that a panic leaves undone are never worked off, so the process ends; the others are until then.
    fn spawn_delivery(self: &Arc<Self>, generation: Arc<Generation>, announcements: Receiver) {
        let delivery = Delivery {
            generation,
            announcements,
            counts: Arc::clone(&self.counts),
            deliveries: Arc::clone(&self.deliveries),
            spill: Arc::clone(&self.spill),
            publisher: Arc::downgrade(self),
        };
        tokio::spawn(async move {
            let work = || delivery.work_until_retired();
            Parts::of_this_process().keep("kafka-delivery", Then::EndTheProcess, work).await;
            // librdkafka waits for its threads to end
            drop(tokio::task::spawn_blocking(move || drop(delivery)));
        });
    }

    /// Whether producers may be made anew, which the cluster is not asked for all the time.
    pub(super) fn may_replace(&self) -> bool {
        self.rebuilds.lock().is_due(Instant::now())
    }

    /// Replaces producers one of which can never send again.
    pub(super) fn replace(self: &Arc<Self>, broken: &Arc<Generation>, code: RDKafkaErrorCode, reason: &str) {
        if self.rebuilds.lock().begin(Instant::now(), code, reason) {
            tracing::error!(reason, "a Kafka producer met a fatal error; new ones take the place of all");
        }
        self.deliveries.look_now();
        let partitions = self.topics.partitions as usize;
        match Generation::new(&self.settings, &self.names, partitions, &self.heard) {
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

    /// An error in words, with what the clients heard.
    pub(super) fn explain(&self, error: &KafkaError) -> String {
        self.heard.explain(&self.settings.kafka.brokers, error)
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
}

/// Runs again after a panic: what is not handed over then reads as unknown.
fn spawn(name: &str, body: impl FnMut() + Send + 'static) -> Result<(), OpenError> {
    let spawned = Parts::of_this_process().thread(name, Then::GoOn, body);
    spawned.map_err(|error| OpenError(format!("no thread {name}: {error}")))
}

/// What gathered and is not handed over yet: counted out also by a panic, which drops the receipts.
struct Undone<'p> {
    counts: &'p Counts,
    events: usize,
    bytes: usize,
}

impl Undone<'_> {
    fn done(&mut self, bytes: usize) {
        (self.events, self.bytes) = (self.events - 1, self.bytes - bytes);
    }
}

impl Drop for Undone<'_> {
    fn drop(&mut self) {
        self.counts.release_all(self.events, self.bytes);
    }
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
        let (events, bytes) = gathered.size();
        let mut undone = Undone { counts: &publisher.counts, events, bytes };
        gathered.drain(|record, in_flight| {
            #[cfg(test)]
            publisher.planted.meet(Part::Linger);
            undone.done(in_flight.bytes);
            if let Err((error, in_flight)) = current.produce(Way::Full, record, Box::new(in_flight)) {
                tracing::debug!(%error, "a record was not taken");
                give_back(&publisher.counts, &*publisher.spill, record, *in_flight);
            }
        });
        drop((undone, current));
        #[cfg(test)]
        publisher.planted.meet(Part::HandingOver);
        publisher.linger.handed_over();
        #[cfg(test)]
        publisher.planted.meet(Part::HandedOver);
        spare = gathered;
    }
}

impl Publish for KafkaPublisher {
    fn offer(&self, record: &Record<'_>, receipt: Receipt) -> Result<(), Refused> {
        // dead letters come from consumers, which still finish their batches while the ingress is closed
        if self.closed.load(Ordering::Acquire) && record.topic != Topic::DeadLetters {
            return Err(Refused::Closed);
        }
        if self.refuses[record.topic.index()].load(Ordering::Relaxed) {
            return Err(Refused::Unavailable("its topic does not keep what a 202 promises".to_owned()));
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

    fn findings(&self) -> Vec<TopicFinding> {
        self.findings.lock().clone()
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
mod tests;
