//! The `kafka` strategy: topics on a Kafka cluster.
//!
//! * [`config`]: the strategy's section; [`client`]: librdkafka's configuration, and which of its properties may not be
//!   touched; [`properties`] knows all of them by name.
//! * [`native`]: what rust-rdkafka does not offer of producers, consumers and questions; the only `unsafe`.
//! * [`publisher`]: admission, rebuilding after a fatal error; [`linger`] lets records gather, [`generation`] is the producers
//!   and which partition is whose, [`delivery`] their reports. [`producing`] is what
//!   publisher and probe share.
//! * [`checksum`]: what is added to every record that is published, and looked at in every one that is read.
//! * [`probe`]: whether records can be stored; [`health`] concludes it from deliveries, [`cause`] puts errors into words.
//! * [`member`] and [`subscription`]: one group member, a [`crate::share`] that a thread drives; [`rebalance`] is what happens when partitions come and go, [`watch`] what is looked after besides records, [`trouble`]
//!   what errors mean, [`offsets`] what the cluster knows of positions, [`mark`] which log a commit is of.
//! * [`lag`], [`log`] and [`topics`]: what operators ask; `topics/promises.rs` is what a topic has to be.

mod cause;
mod checksum;
mod client;
mod config;
mod delivery;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod generation;
mod group;
mod health;
mod lag;
mod linger;
mod log;
mod mark;
mod member;
mod native;
mod offsets;
#[cfg(test)]
mod planted;
mod probe;
mod producing;
mod properties;
mod publisher;
mod rebalance;
mod subscription;
#[cfg(test)]
mod testing;
mod topics;
mod trouble;
mod watch;

use std::path::PathBuf;
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
    with_fallback: true,
    as_fallback: false,
    section: "kafka",
    defaults: include_str!("default.toml"),
    passes_through: Some(CLIENT),
    configure,
    mask,
    copies: true,
    idle: |_| Vec::new(),
};

fn configure(section: &Section, around: &Surroundings<'_>, problems: &mut Vec<String>) -> Option<Opener> {
    let config: KafkaConfig = section.read(problems)?;
    problems.extend(config.problems(around.drain_ms));
    let topics = around.topics.clone();
    // what the client library refuses is told with all that is wrong elsewhere
    let settings = ClientSettings::new(&config).map(Arc::new).map_err(|error| error.0);
    problems.extend(settings.as_ref().err().cloned());
    Some(Box::new(move |given| {
        let settings = settings.clone().map_err(OpenError)?;
        Ok(Arc::new(Kafka::new(settings, &topics, Arc::clone(&given.clock))))
    }))
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

    fn warnings(&self) -> Vec<String> {
        self.settings.in_the_clear().into_iter().collect()
    }

    fn private_files(&self) -> Vec<PathBuf> {
        self.settings.kafka.client.private_files()
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
        let subscription = subscription::start(&self.settings, topic, name, group, limits)?;
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
