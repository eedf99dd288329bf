//! The producers that are in use at a time.
//!
//! librdkafka sends the records of one partition per request, and of a producer's requests to a broker only one is
//! unanswered at a time by default, so that nothing overtakes (decision 12). Thirty partitions with a few records each
//! would thus wait for thirty round trips, one after the other. So there are several producers, and what lies in different
//! partitions goes out side by side (decision 15).
//!
//! **A partition is one producer's as long as any of its records may still be written.** Only a partition of which nothing
//! is under way goes to another producer, the one with the least to do. So what holds of one producer and one request in
//! flight holds of each partition. A record whose fate is unknown keeps its partition where it is until a later one is
//! stored: a broker that has seen that later one refuses the earlier, but only if both are of one producer.
//!
//! One record at a time always goes through the first producer, whose connection and threads are then warm. So does what
//! has gathered (see [`super::linger`]), once the others have nothing under way: there is much of it, and requests that wait
//! for each other become fuller meanwhile.
//!
//! Partitions are told apart by the records' keys and the configured number of partitions, not by what is known of the
//! cluster: records of one key stay together, whatever is learned meanwhile. Where a topic has another number of partitions
//! than is configured, a partition may get records of different keys from several producers: in smaller requests, and in
//! another order than they came in one request. So may partitions with records that have no key; events have one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::client::Client;
use rdkafka::types::RDKafkaErrorCode;
use tokio::net::unix::pipe::{self, Receiver};
use tokio::runtime::Handle;

use super::ClientSettings;
use super::cause::Heard;
use super::native::producer::{Context, InFlight, Producer, Report};
use crate::murmur2::murmur2_partition;
use crate::{Names, OpenError, Outcome, Record, Topic};

/// How long what gathered waits for all producers but the first: some round trips. A broker in trouble is not waited for.
const SETTLE_MAX: Duration = Duration::from_millis(20);
const SETTLE_LOOK: Duration = Duration::from_micros(200);

/// Producers from their start to their retirement.
pub(super) struct Generation {
    // never empty
    producers: Vec<Producer>,
    routes: Routes,
    /// Of each topic.
    partitions: usize,
    pub(super) retired: AtomicBool,
}

impl Generation {
    /// Producers for topics of so many partitions, and where they announce their events.
    pub(super) fn new(
        settings: &ClientSettings,
        names: &Names,
        partitions: usize,
        heard: &Arc<Heard>,
    ) -> Result<(Arc<Self>, Receiver), OpenError> {
        Handle::try_current()
            .map_err(|_| OpenError("a publisher reports on a tokio runtime: there is none".to_owned()))?;
        let no_pipe = |error| OpenError(format!("no pipe for delivery reports: {error}"));
        let (sender, receiver) = pipe::pipe().map_err(no_pipe)?;
        let announcements = sender.into_nonblocking_fd().map_err(no_pipe)?;
        let config = settings.producer();
        let producer = |_| {
            let announcements = announcements.try_clone().map_err(no_pipe)?;
            let checksums = settings.kafka.checksums;
            Producer::new(&config, &names.all_topics(), checksums, announcements, Arc::clone(heard))
                .map_err(|error| OpenError(format!("no Kafka producer: {error}")))
        };
        let (count, partitions) = (usize::from(settings.kafka.producers.max(1)), partitions.max(1));
        let producers = (0..count).map(producer).collect::<Result<_, _>>()?;
        let routes = Routes::new(Topic::ALL.len() * partitions, count);
        Ok((Arc::new(Self { producers, routes, partitions, retired: AtomicBool::new(false) }), receiver))
    }

    /// Queues one record; `way` matters where its partition has nothing under way. On error no report will come, and what
    /// was in flight is given back.
    pub(super) fn produce(
        &self,
        way: Way,
        record: &Record<'_>,
        mut in_flight: Box<InFlight>,
    ) -> Result<(), (RDKafkaErrorCode, Box<InFlight>)> {
        let partition = record.key.map_or(0, |key| murmur2_partition(key, self.partitions));
        let route = record.topic.index() * self.partitions + partition;
        in_flight.route = route;
        let producer = &self.producers[self.routes.enter(route, way)];
        let queued = producer.produce(record, in_flight);
        if queued.is_err() {
            self.routes.leave(route);
        }
        queued
    }

    /// Waits a moment until all producers but the first have nothing under way, so that what gathered can go through that one.
    /// What requests give them meanwhile only makes this wait longer.
    pub(super) fn settle(&self) {
        let until = Instant::now() + SETTLE_MAX;
        while self.routes.others_are_busy() && Instant::now() < until {
            thread::sleep(SETTLE_LOOK);
        }
    }

    /// Takes one event of each producer and gives every report in it, with its record's topic, to `reports`. Returns whether there was any.
    pub(super) fn poll(&self, mut reports: impl FnMut(Topic, Report<'_>)) -> bool {
        let mut report = |report: Report<'_>| {
            let route = report.in_flight.route;
            self.routes.reported(route, report.outcome);
            reports(Topic::ALL[route / self.partitions], report);
        };
        let mut met_event = false;
        for producer in &self.producers {
            met_event |= producer.poll(&mut report);
        }
        met_event
    }

    /// To ask the cluster with, which keeps what each producer knows of it fresh.
    pub(super) fn clients(&self) -> impl Iterator<Item = &Client<Context>> {
        self.producers.iter().map(Producer::client)
    }

    /// Why one of them can never send again, if so.
    pub(super) fn fatal_error(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.producers.iter().find_map(Producer::fatal_error)
    }

    /// Records queued or sent and not yet reported.
    pub(super) fn unreported(&self) -> usize {
        self.producers.iter().map(Producer::unreported).sum()
    }

    /// Gives up on everything queued or in flight; reports follow for all of it.
    pub(super) fn purge(&self) {
        self.producers.iter().for_each(Producer::purge);
    }

    /// Puts one of them into the state a broken sequence would: for tests of the recovery.
    #[cfg(test)]
    pub(super) fn raise_fatal_error(&self) {
        // the first one has all the rest to itself
        self.producers[self.producers.len() - 1].raise_fatal_error();
    }
}

/// What is to be gained by the choice of a producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Time: the producer with the least to do.
    Quick,
    /// Full requests: the first one, as for all others that are many.
    Full,
}

/// Which producer serves each partition of each topic, and how many records are under way.
struct Routes {
    /// By partition: its producer in the upper 32 bits, whether it stays there ([`STAYS`]), its records in the lower 31.
    partitions: Vec<AtomicU64>,
    /// By producer.
    loads: Vec<AtomicUsize>,
}

/// An earlier record of the partition may still be written.
const STAYS: u64 = 1 << 31;

impl Routes {
    fn new(partitions: usize, producers: usize) -> Self {
        Self {
            partitions: (0..partitions).map(|_| AtomicU64::new(0)).collect(),
            loads: (0..producers).map(|_| AtomicUsize::new(0)).collect(),
        }
    }

    /// Counts a record in, and says which producer it goes to.
    fn enter(&self, partition: usize, way: Way) -> usize {
        let route = &self.partitions[partition];
        let mut found = route.load(Ordering::Acquire);
        loop {
            let is_free = found as u32 == 0;
            let producer = match way {
                _ if !is_free => found >> 32,
                Way::Quick => self.idlest() as u64,
                Way::Full => 0,
            };
            let entered = (producer << 32 | u64::from(found as u32)) + 1;
            match route.compare_exchange_weak(found, entered, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    self.loads[producer as usize].fetch_add(1, Ordering::Relaxed);
                    return producer as usize;
                }
                Err(changed) => found = changed,
            }
        }
    }

    /// What became of a record that entered.
    fn reported(&self, partition: usize, outcome: Outcome) {
        let route = &self.partitions[partition];
        match outcome {
            Outcome::Unknown => _ = route.fetch_or(STAYS, Ordering::AcqRel),
            Outcome::Stored if route.load(Ordering::Acquire) & STAYS != 0 => {
                route.fetch_and(!STAYS, Ordering::AcqRel);
            }
            Outcome::Stored | Outcome::NotStored | Outcome::Spilled => {}
        }
        self.leave(partition);
    }

    /// Counts a record out.
    fn leave(&self, partition: usize) {
        let before = self.partitions[partition].fetch_sub(1, Ordering::AcqRel);
        self.loads[(before >> 32) as usize].fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether any producer but the first has records under way.
    fn others_are_busy(&self) -> bool {
        self.loads.iter().skip(1).any(|load| load.load(Ordering::Relaxed) > 0)
    }

    /// The producer with the fewest records; the first of several.
    fn idlest(&self) -> usize {
        let loads = self.loads.iter().map(|load| load.load(Ordering::Relaxed)).enumerate();
        loads.min_by_key(|(_, load)| *load).map_or(0, |(producer, _)| producer)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use floodgate_schemas::EventType;

    use super::*;
    use crate::kafka::testing;
    use crate::{Receipts, Topic};

    #[test]
    fn a_partition_moves_only_when_nothing_of_it_is_under_way() {
        let routes = Routes::new(3, 2);
        let quick = |partition| routes.enter(partition, Way::Quick);
        assert_eq!(quick(0), 0, "all are idle: the first one");
        assert_eq!(quick(1), 1, "the first one is busy");
        assert_eq!([quick(0), quick(0)], [0, 0], "it stays where its records are");
        assert_eq!(quick(2), 1);
        (0..3).for_each(|_| routes.leave(0));
        assert_eq!([quick(1), quick(0)], [1, 0], "the other one has three");
        routes.leave(0);
        (0..2).for_each(|_| routes.leave(1));
        assert_eq!(quick(1), 0);
        assert_eq!(quick(2), 1);
        assert_eq!(routes.enter(2, Way::Full), 1, "also if it is one of many");
        (0..3).for_each(|_| routes.leave(2));
        assert_eq!(routes.enter(2, Way::Full), 0, "many go together");
    }

    #[test]
    fn a_partition_stays_while_an_earlier_record_may_still_be_written() {
        let routes = Routes::new(2, 2);
        let quick = |partition| routes.enter(partition, Way::Quick);
        assert_eq!([quick(0), quick(1)], [0, 1]);
        routes.reported(1, Outcome::Unknown);
        routes.reported(0, Outcome::Stored);
        assert_eq!(quick(1), 1, "though the first one is idle");
        routes.reported(1, Outcome::NotStored);
        assert_eq!(quick(1), 1);
        routes.reported(1, Outcome::Stored);
        assert_eq!(quick(1), 0);
    }

    /// A record that no producer takes leaves nothing behind that would keep its partition from moving.
    #[tokio::test]
    async fn a_refused_record_is_counted_out() {
        let strategy = testing::strategy_with(&testing::config("127.0.0.1:9".into()));
        let (generation, _announcements) =
            Generation::new(&strategy.settings, &strategy.names, 3, &Arc::default()).unwrap();
        let value = vec![0; 2 << 20];
        let record = Record {
            topic: Topic::Events(EventType::Like),
            key: Some(b"k"),
            value: Some(&value),
            headers: &[],
        };
        let in_flight = InFlight { receipt: Receipts::new(1).receipt(0), bytes: value.len(), route: 0 };
        let (error, _) = generation.produce(Way::Quick, &record, Box::new(in_flight)).err().unwrap();
        assert_eq!(error, RDKafkaErrorCode::MessageSizeTooLarge);
        let routes = &generation.routes;
        assert!(routes.partitions.iter().all(|route| route.load(Ordering::Relaxed) as u32 == 0));
        assert!(routes.loads.iter().all(|load| load.load(Ordering::Relaxed) == 0));
    }

    /// From several threads at once: all records of a partition that are under way at a time are with one producer.
    #[test]
    fn threads_agree_on_a_partitions_producer() {
        const PARTITIONS: usize = 3;
        let routes = Routes::new(PARTITIONS, 3);
        let under_way: [Mutex<Vec<usize>>; PARTITIONS] = Default::default();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (routes, under_way) = (&routes, &under_way);
                scope.spawn(move || {
                    for turn in 0..20_000 {
                        let partition = (turn * (thread + 1)) % PARTITIONS;
                        let producer =
                            routes.enter(partition, if turn % 2 == 0 { Way::Quick } else { Way::Full });
                        let mut here = under_way[partition].lock().unwrap();
                        here.push(producer);
                        assert!(here.iter().all(|other| *other == producer), "{here:?}");
                        drop(here);
                        let mut here = under_way[partition].lock().unwrap();
                        here.pop();
                        routes.leave(partition);
                    }
                });
            }
        });
        assert!(routes.loads.iter().all(|load| load.load(Ordering::Relaxed) == 0));
    }
}
