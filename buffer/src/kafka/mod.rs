//! The `kafka` strategy: topics on a Kafka cluster.
//!
//! * [`client`]: librdkafka's configuration, and which of its properties may not be touched.
//! * [`native`]: what rust-rdkafka does not offer of producers, consumers and questions; the only `unsafe`.
//! * [`publisher`]: admission, rebuilding after a fatal error; [`linger`] lets records gather, [`generation`] is the producers
//!   and which partition is whose, [`delivery`] their reports.
//! * [`probe`]: whether records can be stored; [`health`] concludes it from deliveries, [`cause`] puts errors into words.
//! * [`member`] and [`subscription`]: one group member, its thread and its handle; [`position`] is how far it is in one
//!   partition, [`watch`] what it looks after besides records, [`trouble`] what errors mean.
//! * [`offsets`]: what the cluster knows of positions, and where a member reads on.
//! * [`lag`], [`log`] and [`topics`]: what operators ask; `topics/promises.rs` is what a topic has to be.

mod cause;
mod client;
mod config;
mod counts;
mod delivery;
mod generation;
mod health;
mod lag;
mod linger;
mod log;
mod member;
mod native;
mod offsets;
#[cfg(test)]
mod planted;
mod position;
mod probe;
mod producing;
mod publisher;
mod rebalance;
mod shared;
mod subscription;
mod topics;
mod trouble;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use floodgate_config::Section;
use floodgate_schemas::{Clock, EventType};
use parking_lot::Mutex;

use crate::kind::{Kind, Opener, Surroundings};
use crate::{
    Absent, BatchLimits, GroupLag, Lag, LagError, Log, Logs, Names, OpenError, Publish, Reach, Spill,
    Strategy, Subscription, Topic, TopicDescription, TopicReport, Topics, TopicsConfig, TopicsError,
};
use client::ClientSettings;
use config::{CLIENT, KafkaConfig, mask};

pub(crate) const KIND: Kind = Kind {
    name: "kafka",
    section: "kafka",
    defaults: include_str!("default.toml"),
    passes_through: Some(CLIENT),
    configure,
    mask,
};

fn configure(section: &Section, around: &Surroundings<'_>, problems: &mut Vec<String>) -> Option<Opener> {
    let config: KafkaConfig = section.read(problems)?;
    problems.extend(config.problems(around.drain_ms));
    match ClientSettings::new(&config) {
        Ok(settings) => {
            let (settings, topics) = (Arc::new(settings), around.topics.clone());
            Some(Box::new(move |given| {
                let clock = Arc::clone(&given.clock);
                Ok(Arc::new(Kafka::new(Arc::clone(&settings), &topics, clock)))
            }))
        }
        Err(error) => {
            problems.push(error.0);
            None
        }
    }
}

/// See the [module's documentation](self).
pub(crate) struct Kafka {
    settings: Arc<ClientSettings>,
    names: Arc<Names>,
    topics: TopicsConfig,
    clock: Arc<dyn Clock>,
    publisher: Mutex<Option<Arc<publisher::KafkaPublisher>>>,
    /// By event type.
    onlookers: [Mutex<Option<lag::Onlooker>>; EventType::ALL.len()],
}

impl Kafka {
    fn new(settings: Arc<ClientSettings>, topics: &TopicsConfig, clock: Arc<dyn Clock>) -> Self {
        Self {
            settings,
            names: Arc::new(Names::new(&topics.prefix)),
            topics: topics.clone(),
            clock,
            publisher: Mutex::new(None),
            onlookers: Default::default(),
        }
    }
}

impl Strategy for Kafka {
    fn name(&self) -> &'static str {
        "kafka"
    }

    fn place(&self) -> String {
        self.settings.kafka.brokers.clone()
    }

    fn promise(&self) -> String {
        let copies = self.topics.replication_factor;
        let durable = match copies {
            0 | 1 => "on its only replica; at replication factor 1 the loss of that broker's disk loses it",
            2 => "on every in-sync replica; at replication factor 2 that may be a single one",
            _ => "on at least 2 replicas",
        };
        format!(
            "a 202 means: acknowledged by Kafka with acks=all from an idempotent producer, {durable} \
             (topics.replication_factor = {copies}; `floodgate topics describe` shows what the cluster has)"
        )
    }

    fn reach(&self) -> Reach {
        Reach { is_shared: true, outlives_process: true, is_readable_from_outside: true }
    }

    fn names(&self) -> &Names {
        &self.names
    }

    fn reports_within(&self) -> Option<Duration> {
        // librdkafka looks for expired messages once a second
        Some(Duration::from_millis(self.settings.kafka.message_timeout_ms.saturating_add(1000)))
    }

    fn publisher_with(&self, spill: Arc<dyn Spill>) -> Result<Arc<dyn Publish>, OpenError> {
        let mut slot = self.publisher.lock();
        if let Some(publisher) = &*slot {
            return Ok(Arc::clone(publisher) as Arc<dyn Publish>);
        }
        let publisher = publisher::KafkaPublisher::start(&self.settings, &self.names, &self.topics, spill)?;
        Ok(Arc::clone(slot.insert(publisher)) as Arc<dyn Publish>)
    }

    fn subscribe(&self, of: EventType, limits: BatchLimits) -> Result<Box<dyn Subscription>, OpenError> {
        let (topic, group) = (Topic::Events(of), self.names.group(of));
        let name = self.names.topic(topic).to_owned();
        let subscription =
            subscription::KafkaSubscription::start(&self.settings, topic, name, group, limits)?;
        Ok(Box::new(subscription))
    }

    fn logs(&self) -> Result<&dyn Logs, Absent> {
        Ok(self)
    }

    fn topics(&self) -> Result<&dyn Topics, Absent> {
        Ok(self)
    }
}

impl Lag for Kafka {
    fn lag(&self, of: EventType) -> Result<GroupLag, LagError> {
        let mut slot = self.onlookers[of as usize].lock();
        let onlooker = match &mut *slot {
            Some(onlooker) => onlooker,
            slot => slot.insert(lag::Onlooker::new(&self.settings, &self.names, of)?),
        };
        onlooker.look()
    }
}

impl Logs for Kafka {
    fn open(&self, topic: Topic) -> Result<Box<dyn Log>, OpenError> {
        let log = log::KafkaLog::open(&self.settings, &self.names, topic)
            .map_err(|error| OpenError(format!("no Kafka client to read with: {error}")))?;
        Ok(Box::new(log))
    }
}

impl Topics for Kafka {
    fn create(&self) -> Result<Vec<TopicReport>, TopicsError> {
        topics::create(&self.settings, &self.names, &self.topics)
    }

    fn describe(&self) -> Result<Vec<TopicDescription>, TopicsError> {
        let oldest_unapplied = |topic: Topic| match topic {
            Topic::Events(of) => self.oldest_unapplied(of),
            Topic::DeadLetters => None,
        };
        topics::describe(&self.settings, &self.names, &self.topics, &oldest_unapplied)
    }
}

impl Kafka {
    /// How old the oldest event is that its group has not applied, in milliseconds, as far as that is known.
    fn oldest_unapplied(&self, of: EventType) -> Option<i64> {
        let lag = self.lag(of).ok()?;
        let oldest_ms = lag.partitions.iter().filter_map(|partition| partition.oldest_unapplied_ms).min()?;
        Some((self.clock.now().as_micros() / 1000).saturating_sub(oldest_ms))
    }
}

/// What the unit tests of this folder share.
#[cfg(test)]
mod testing {
    use std::sync::Arc;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;

    use floodgate_schemas::SystemClock;
    use parking_lot::Mutex;

    use super::config::{KafkaConfig, Properties};
    use crate::{Topics, TopicsConfig};

    /// Two threads that meet: one comes and waits, the other does something meanwhile and lets it go on.
    pub(super) struct Meeting {
        come: Side,
        go: Side,
    }

    type Side = (Sender<()>, Mutex<Receiver<()>>);

    impl Default for Meeting {
        fn default() -> Self {
            let side = || {
                let (sender, receiver) = channel();
                (sender, Mutex::new(receiver))
            };
            Self { come: side(), go: side() }
        }
    }

    impl Meeting {
        /// Waits until the other let it go on.
        pub(super) fn come(&self) {
            self.come.0.send(()).unwrap();
            self.go.1.lock().recv_timeout(LATEST).expect("was not let go on");
        }

        /// Waits until the other has come, and lets it go on after `meanwhile`.
        pub(super) fn take_place<T>(&self, meanwhile: impl FnOnce() -> T) -> T {
            self.come.1.lock().recv_timeout(LATEST).expect("nobody came");
            let done = meanwhile();
            self.go.0.send(()).unwrap();
            done
        }
    }

    const LATEST: Duration = Duration::from_secs(30);

    pub(super) fn config(brokers: String) -> KafkaConfig {
        KafkaConfig {
            brokers,
            linger_ms: 2,
            linger_above_events: 200,
            producers: 2,
            requests_in_flight_max: 1,
            message_timeout_ms: 4000,
            queue_max_events: 1000,
            queue_max_bytes: 1 << 20,
            prefetch_max_kb: 1024,
            session_timeout_ms: 6000,
            max_poll_interval_ms: 30_000,
            commit_interval_ms: 20,
            client: Properties::default(),
        }
    }

    pub(super) fn strategy_with(config: &KafkaConfig) -> super::Kafka {
        let topics = TopicsConfig {
            partitions: 1,
            replication_factor: 1,
            prefix: String::new(),
            retention_hours: 1,
            dead_letter_retention_hours: 1,
        };
        let settings = Arc::new(super::ClientSettings::new(config).unwrap());
        super::Kafka::new(settings, &topics, Arc::new(SystemClock))
    }

    /// On a broker that has our topics then, with one partition each.
    pub(super) fn strategy(brokers: String) -> super::Kafka {
        let strategy = strategy_with(&config(brokers));
        strategy.create().unwrap();
        strategy
    }
}
