//! What publisher, members and readers of one strategy share.

use std::time::Duration;

use ::redis::{Client, Cmd, Value};

use super::config::{Ack, RedisConfig};
use super::keys::Keys;
use super::link::{Answer, Link, connection_info};
use crate::{LogId, Names, OpenError, Partition, Topic, TopicsConfig, Waiting};

/// How much earlier than the publisher gives up Redis stops waiting for its disk or its replicas, so that it is heard.
const WAIT_MARGIN: Duration = Duration::from_millis(500);

pub(super) struct Settings {
    client: Client,
    /// For people.
    pub(super) place: String,
    pub(super) names: Names,
    keys: [Keys; Topic::ALL.len()],
    partitions: u32,
    pub(super) max: Waiting,
    pub(super) dead_letters_max: usize,
    ack: Ack,
    replicas: u32,
    pub(super) answer_timeout: Duration,
    pub(super) lease: Duration,
    /// What a topic's log is called if it has no name yet.
    pub(super) new_log: LogId,
}

impl Settings {
    pub(super) fn new(
        config: &RedisConfig,
        topics: &TopicsConfig,
        new_log: LogId,
    ) -> Result<Self, OpenError> {
        let info = connection_info(&config.url);
        let client = info.and_then(Client::open);
        let client = client.map_err(|error| OpenError(format!("buffer.redis.url: {error}")))?;
        let names = Names::new(&topics.prefix);
        let keys = Topic::ALL.map(|topic| Keys::of(&names, topic));
        Ok(Self {
            client,
            place: config.place(),
            names,
            keys,
            partitions: topics.partitions.max(1),
            max: Waiting { events: config.max_events, bytes: config.max_bytes },
            dead_letters_max: config.dead_letters_max,
            ack: config.ack,
            replicas: config.replicas,
            answer_timeout: Duration::from_millis(config.answer_timeout_ms),
            lease: Duration::from_millis(config.lease_ms),
            new_log,
        })
    }

    pub(super) fn link(&self) -> Link {
        Link::new(self.client.clone(), &self.place, self.answer_timeout)
    }

    /// For those who may block.
    pub(super) fn connect(&self) -> Result<::redis::Connection, String> {
        let connected = self.client.get_connection_with_timeout(self.answer_timeout).and_then(|connection| {
            connection.set_read_timeout(Some(self.answer_timeout))?;
            connection.set_write_timeout(Some(self.answer_timeout))?;
            Ok(connection)
        });
        connected.map_err(|error| format!("Redis at {}: {error}", self.place))
    }

    pub(super) fn keys(&self, topic: Topic) -> &Keys {
        &self.keys[topic.index()]
    }

    pub(super) fn partitions_of(&self, topic: Topic) -> u32 {
        match topic {
            Topic::Events(_) => self.partitions,
            Topic::DeadLetters => 1,
        }
    }

    /// The partitions of a topic, in order.
    pub(super) fn partitions(&self, topic: Topic) -> impl Iterator<Item = Partition> {
        (0..self.partitions_of(topic)).filter_map(|number| i32::try_from(number).ok().map(Partition))
    }

    /// All lists of events.
    pub(super) fn lists(&self) -> impl Iterator<Item = (Topic, Partition)> {
        let events = Topic::ALL.into_iter().filter(|topic| *topic != Topic::DeadLetters);
        events.flat_map(|topic| self.partitions(topic).map(move |partition| (topic, partition)))
    }

    /// What a round waits for behind its records.
    pub(super) fn wait(&self) -> Option<Cmd> {
        let within = self.answer_timeout.saturating_sub(WAIT_MARGIN).max(self.answer_timeout / 2);
        let within = u64::try_from(within.as_millis()).unwrap_or(u64::MAX).max(1);
        match self.ack {
            Ack::Memory => None,
            Ack::Fsync => Some(::redis::cmd("WAITAOF").arg(1).arg(0).arg(within).to_owned()),
            Ack::Replica => Some(::redis::cmd("WAIT").arg(self.replicas).arg(within).to_owned()),
        }
    }

    /// By which a look finds out whether Redis can wait so at all.
    pub(super) fn trial_wait(&self) -> Option<Cmd> {
        match self.ack {
            Ack::Memory | Ack::Replica => None,
            Ack::Fsync => Some(::redis::cmd("WAITAOF").arg(1).arg(0).arg(1).to_owned()),
        }
    }

    /// Whether what was waited for came: Redis answers after its time with how many there were.
    pub(super) fn is_enough(&self, waited: &Answer) -> bool {
        match (self.ack, waited) {
            (Ack::Fsync, Ok(Value::Array(counts))) => matches!(counts.first(), Some(Value::Int(1..))),
            (Ack::Replica, Ok(Value::Int(count))) => *count >= i64::from(self.replicas),
            _ => false,
        }
    }

    /// In one sentence what a 202 means.
    pub(super) fn promise(&self) -> String {
        let place = &self.place;
        match self.ack {
            Ack::Memory => format!(
                "a 202 means: in the memory of Redis at {place}; what a crash of Redis keeps is its appendfsync (buffer.redis.ack)"
            ),
            Ack::Fsync => format!("a 202 means: on the disk of Redis at {place}, synced (WAITAOF)"),
            Ack::Replica => {
                format!(
                    "a 202 means: in the memory of Redis at {place} and of {} of its replicas (WAIT)",
                    self.replicas
                )
            }
        }
    }
}
