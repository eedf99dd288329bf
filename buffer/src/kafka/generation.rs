//! The producers that are in use at a time.
//!
//! librdkafka sends the records of one partition per request, and of a producer's requests to a broker only one is
//! unanswered at a time by default, so that nothing overtakes (decision 12). Thirty partitions with a few records each
//! would thus wait for thirty round trips, one after the other. So there are several producers, and what lies in different
//! partitions goes out side by side (decision 15).
//!
//! **A partition is one producer's as long as any of its records is unacknowledged.** Only a partition of which nothing is
//! under way goes to another producer, the one with the least to do. So what holds of one producer and one request in
//! flight holds of each partition. With little to do everything goes through the first producer, whose connection and
//! threads are then warm. So does what has gathered (see [`super::linger`]): there is much of it, and requests that wait for
//! each other become fuller meanwhile.
//!
//! Partitions are told apart by the records' keys and the configured number of partitions, not by what is known of the
//! cluster: records of one key stay together, whatever is learned meanwhile. Where a topic has another number of partitions
//! than is configured, one may get records from several producers, in smaller requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use rdkafka::client::Client;
use rdkafka::types::RDKafkaErrorCode;
use tokio::net::unix::pipe::{self, Receiver};
use tokio::runtime::Handle;

use super::native::{Context, InFlight, Producer, Report};
use super::{ClientSettings, Names};
use crate::murmur2::murmur2_partition;
use crate::{OpenError, Record};

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
    ) -> Result<(Arc<Self>, Receiver), OpenError> {
        Handle::try_current()
            .map_err(|_| OpenError("a publisher reports on a tokio runtime: there is none".to_owned()))?;
        let no_pipe = |error| OpenError(format!("no pipe for delivery reports: {error}"));
        let (sender, receiver) = pipe::pipe().map_err(no_pipe)?;
        let announcements = sender.into_nonblocking_fd().map_err(no_pipe)?;
        let config = settings.producer();
        let producer = |_| {
            Producer::new(&config, &names.topics, announcements.try_clone().map_err(no_pipe)?)
                .map_err(|error| OpenError(format!("no Kafka producer: {error}")))
        };
        let count = usize::from(settings.kafka.producers.max(1));
        let producers = (0..count).map(producer).collect::<Result<_, _>>()?;
        let routes = Routes::new(names.topics.len() * partitions, count);
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

    /// Takes one event of each producer and gives every report in it to `reports`. Returns whether there was any.
    pub(super) fn poll(&self, mut reports: impl FnMut(Report)) -> bool {
        let mut report = |report: Report| {
            self.routes.leave(report.in_flight.route);
            reports(report);
        };
        let mut met_event = false;
        for producer in &self.producers {
            met_event |= producer.poll(&mut report);
        }
        met_event
    }

    /// To ask the cluster with.
    pub(super) fn client(&self) -> &Client<Context> {
        self.producers[0].client()
    }

    /// Why one of them can never send again, if so.
    pub(super) fn fatal_error(&self) -> Option<String> {
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
        self.producers[0].raise_fatal_error();
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
    /// By partition: its producer and its records, in 32 bits each.
    partitions: Vec<AtomicU64>,
    /// By producer.
    loads: Vec<AtomicUsize>,
}

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
            let (producer, records) = (found >> 32, found as u32);
            let producer = match way {
                _ if records > 0 => producer,
                Way::Quick => self.idlest() as u64,
                Way::Full => 0,
            };
            let entered = producer << 32 | u64::from(records + 1);
            match route.compare_exchange_weak(found, entered, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    self.loads[producer as usize].fetch_add(1, Ordering::Relaxed);
                    return producer as usize;
                }
                Err(changed) => found = changed,
            }
        }
    }

    /// A record that entered was reported.
    fn leave(&self, partition: usize) {
        let before = self.partitions[partition].fetch_sub(1, Ordering::AcqRel);
        self.loads[(before >> 32) as usize].fetch_sub(1, Ordering::Relaxed);
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

    use super::*;

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
