//! Publishing to Kafka: admission, and starting over after a fatal error. Delivery reports are in [`super::delivery`].
//!
//! librdkafka refuses records only when its queue overflows, which is too late for a bounded service; so
//! what is unacknowledged is counted here and refused at the configured cap.
//!
//! An idempotent producer can meet an error after which it can never send again without risking a doubled
//! or reordered record. It is then *retired*, and the others of its generation with it: new ones take their place for new
//! records, the old ones give up what they hold, and every record in them is reported as what it was, certainly not
//! stored or unknown.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode;
use tokio::net::unix::pipe::Receiver;

use super::client::ClientSettings;
use super::delivery::{Delivery, Replace};
use super::generation::{Generation, Way};
use super::linger::{Gathered, Linger};
use super::native::producer::InFlight;
#[cfg(test)]
use super::planted::Part;
use super::probe::Probe;
use super::producing::Producing;
use crate::counts::Counts;
use crate::{
    BoxFuture, Names, NotTaken, OpenError, Parts, Publish, Receipt, Record, Refused, Spill, Then, Topic,
    TopicFinding, TopicsConfig, Waiting,
};

pub(super) struct KafkaPublisher {
    pub(super) shared: Arc<Producing>,
    counts: Arc<Counts>,
    /// What takes records that are certainly not stored.
    spill: Arc<dyn Spill>,
    closed: AtomicBool,
    linger: Linger,
    /// What librdkafka refuses for its size, known before a record gathers: then nobody would be told.
    record_max_bytes: usize,
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
            shared: Arc::new(Producing::new(settings, names, topics, first, heard)),
            counts: Arc::default(),
            spill,
            closed: AtomicBool::new(false),
            linger: Linger::new(
                settings.kafka.linger_above_events,
                Duration::from_millis(settings.kafka.linger_ms),
            ),
            record_max_bytes: settings.record_max_bytes(),
        });
        let shared = &publisher.shared;
        publisher.spawn_delivery(Arc::clone(&shared.current.read()), announcements);
        let (weak, deliveries, mut probe) =
            (Arc::downgrade(shared), Arc::clone(&shared.deliveries), Probe::default());
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
            deliveries: Arc::clone(&self.shared.deliveries),
            spill: Arc::clone(&self.spill),
            replacing: Arc::downgrade(self) as Weak<dyn Replace>,
            #[cfg(test)]
            planted: Arc::clone(&self.shared.planted),
        };
        tokio::spawn(async move {
            let work = || delivery.work_until_retired();
            Parts::of_this_process().keep("kafka-delivery", Then::EndTheProcess, work).await;
            // librdkafka waits for its threads to end
            drop(tokio::task::spawn_blocking(move || drop(delivery)));
        });
    }

    /// Counts a record in; returns how many others are under way.
    fn admit(&self, bytes: usize, receipt: &mut Receipt) -> Result<usize, Refused> {
        let kafka = &self.shared.settings.kafka;
        let max = Waiting { events: kafka.queue_max_events, bytes: kafka.queue_max_bytes };
        let before = self.counts.add(bytes);
        let left = max.less(before);
        if left.events == 0 || bytes > left.bytes || !receipt.takes_place(bytes, max, before) {
            self.counts.release(bytes);
            return Err(Refused::Full);
        }
        Ok(before.events)
    }
}

impl Replace for KafkaPublisher {
    fn may_replace(&self) -> bool {
        self.shared.rebuilds.lock().is_due(Instant::now())
    }

    fn replace(self: Arc<Self>, broken: &Arc<Generation>, code: RDKafkaErrorCode, reason: &str) {
        if self.shared.rebuilds.lock().begin(Instant::now(), code, reason) {
            tracing::error!(reason, "a Kafka producer met a fatal error; new ones take the place of all");
        }
        self.shared.deliveries.look_now();
        let partitions = self.shared.topics.partitions as usize;
        match Generation::new(&self.shared.settings, &self.shared.names, partitions, &self.shared.heard) {
            Ok((fresh, announcements)) => {
                self.spawn_delivery(Arc::clone(&fresh), announcements);
                // once this is done no record can be offered to the broken producer any more
                *self.shared.current.write() = fresh;
                broken.retired.store(true, Ordering::Release);
                broken.purge();
            }
            Err(error) => tracing::error!(%error, "no new Kafka producers; trying again"),
        }
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
        let current = publisher.shared.current.read();
        // records that gather keep all others from being offered
        current.settle();
        handed_over_at = Instant::now();
        let (events, bytes) = gathered.size();
        let mut undone = Undone { counts: &publisher.counts, events, bytes };
        gathered.drain(|record, in_flight| {
            #[cfg(test)]
            publisher.shared.planted.meet(Part::Linger);
            undone.done(in_flight.bytes);
            if let Err((error, in_flight)) = current.produce(Way::Full, record, Box::new(in_flight)) {
                tracing::debug!(%error, "a record was not taken");
                give_back(&publisher.counts, &*publisher.spill, record, *in_flight);
            }
        });
        drop((undone, current));
        #[cfg(test)]
        publisher.shared.planted.meet(Part::HandingOver);
        publisher.linger.handed_over();
        #[cfg(test)]
        publisher.shared.planted.meet(Part::HandedOver);
        spare = gathered;
    }
}

impl Publish for KafkaPublisher {
    fn offer(&self, record: &Record<'_>, mut receipt: Receipt) -> Result<(), NotTaken> {
        let refuse = |reason, receipt| Err(NotTaken { reason, receipt });
        // dead letters come from consumers, which still finish their batches while the ingress is closed
        if self.closed.load(Ordering::Acquire) && record.topic != Topic::DeadLetters {
            return refuse(Refused::Closed, receipt);
        }
        if self.shared.refuses[record.topic.index()].load(Ordering::Relaxed) {
            let reason = "its topic does not keep what a 202 promises".to_owned();
            return refuse(Refused::Unavailable(reason), receipt);
        }
        let bytes = record.bytes();
        if let Err(reason) = self.may_take(record) {
            return refuse(reason, receipt);
        }
        let unacknowledged = match self.admit(bytes, &mut receipt) {
            Ok(unacknowledged) => unacknowledged,
            Err(reason) => return refuse(reason, receipt),
        };
        let in_flight = InFlight { receipt, bytes, route: 0 };
        if self.linger.applies(unacknowledged) {
            self.linger.keep(record, in_flight, unacknowledged);
            return Ok(());
        }
        let queued = self.shared.current.read().produce(Way::Quick, record, Box::new(in_flight));
        queued.map_err(|(error, in_flight)| {
            self.counts.release(bytes);
            let reason = match error {
                RDKafkaErrorCode::QueueFull => Refused::Full,
                RDKafkaErrorCode::MessageSizeTooLarge => Refused::TooLarge,
                RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownPartition => Refused::Unavailable(
                    "the topic is missing in Kafka; run `floodgate topics create`".to_owned(),
                ),
                other => Refused::Unavailable(format!("Kafka cannot take records now: {other}")),
            };
            NotTaken { reason, receipt: in_flight.receipt }
        })
    }

    fn may_take(&self, record: &Record<'_>) -> Result<(), Refused> {
        if record.bytes() > self.record_max_bytes { Err(Refused::TooLarge) } else { Ok(()) }
    }

    fn ready(&self) -> Result<(), String> {
        if self.closed.load(Ordering::Acquire) {
            return Err("shutting down".to_owned());
        }
        self.shared.health.lock().clone()
    }

    fn findings(&self) -> Vec<TopicFinding> {
        self.shared.findings.lock().clone()
    }

    fn waiting(&self) -> Waiting {
        self.counts.waiting()
    }

    fn room(&self) -> Option<Waiting> {
        let kafka = &self.shared.settings.kafka;
        Some(Waiting { events: kafka.queue_max_events, bytes: kafka.queue_max_bytes })
    }

    fn close(&self, deadline: Duration) -> BoxFuture<'_, usize> {
        self.closed.store(true, Ordering::Release);
        // reports go on meanwhile
        Box::pin(self.counts.emptied(deadline))
    }
}

#[cfg(test)]
mod tests;
