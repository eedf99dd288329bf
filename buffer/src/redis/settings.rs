//! What publisher, members and readers of one strategy share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ::redis::{Client, Cmd, ConnectionInfo, Value};
use floodgate_config::address::Address;
use floodgate_schemas::text::in_one_line;
use secrecy::ExposeSecret;
use tokio::runtime::Handle;

use super::config::{Ack, RedisConfig};
use super::keys::Keys;
use super::link::{Answer, CONNECT_RETRY, CONNECT_TIMEOUT, Silence, connection_info};
use super::nodes::Nodes;
use crate::{LogId, Names, OpenError, Partition, Topic, TopicsConfig, Waiting};

/// How much earlier than the publisher gives up Redis stops waiting for its disk or its replicas, so that it is heard.
const WAIT_MARGIN: Duration = Duration::from_millis(500);

pub(super) struct Settings {
    /// One server, or nodes of a cluster that know the others.
    seeds: Vec<ConnectionInfo>,
    /// For people.
    pub(super) place: String,
    /// What goes there in the clear that should not.
    pub(super) in_the_clear: Option<String>,
    pub(super) names: Names,
    keys: [Keys; Topic::ALL.len()],
    partitions: u32,
    pub(super) max: Waiting,
    pub(super) dead_letters_max: usize,
    /// For how long they are kept.
    pub(super) dead_letters_kept: Duration,
    pub(super) ack: Ack,
    replicas: u32,
    pub(super) answer_timeout: Duration,
    pub(super) lease: Duration,
    /// What logs are called that have no name yet: this, and a number.
    new_logs: String,
    new_log: AtomicU64,
    /// For readers, who may block and need not be of it.
    pub(super) runtime: Handle,
}

impl Settings {
    pub(super) fn new(
        config: &RedisConfig,
        topics: &TopicsConfig,
        new_logs: String,
        runtime: &Handle,
    ) -> Result<Self, OpenError> {
        let seed = |address: &Address| {
            let info = connection_info(address.encoded().expose_secret())?;
            // whether it can be talked with at all: TLS may not be built in
            Client::open(info.clone()).map(|_| info)
        };
        let wrong = |why: String| OpenError(format!("buffer.redis.url {why}"));
        let seeds = config.addresses().map_err(wrong)?.iter().map(seed).collect::<Result<Vec<_>, _>>();
        let seeds = seeds.map_err(|error| OpenError(format!("buffer.redis.url: {}", in_one_line(error))))?;
        let names = Names::new(&topics.prefix);
        let keys = Topic::ALL.map(|topic| Keys::of(&names, topic));
        Ok(Self {
            seeds,
            place: config.place(),
            in_the_clear: config.in_the_clear(),
            names,
            keys,
            partitions: topics.partitions.max(1),
            max: Waiting { events: config.max_events, bytes: config.max_bytes },
            dead_letters_max: config.dead_letters_max,
            dead_letters_kept: Duration::from_secs(topics.dead_letter_retention_hours.saturating_mul(3600)),
            ack: config.ack,
            replicas: config.replicas,
            answer_timeout: Duration::from_millis(config.answer_timeout_ms),
            lease: Duration::from_millis(config.lease_ms),
            new_logs,
            runtime: runtime.clone(),
            new_log: AtomicU64::new(0),
        })
    }

    /// What says of a topic which log it is and how many partitions it has, and makes both up if nobody did.
    pub(super) fn found(&self, topic: Topic) -> [Cmd; 4] {
        let keys = self.keys(topic);
        let name = format!("{}-{}", self.new_logs, self.new_log.fetch_add(1, Ordering::Relaxed));
        let set = |key: String, value: String| ::redis::cmd("SET").arg(key).arg(value).arg("NX").to_owned();
        let [id, partitions] = self.known(topic);
        [set(keys.id(), name), set(keys.partitions(), self.partitions_of(topic).to_string()), id, partitions]
    }

    /// The same for those who change nothing.
    pub(super) fn known(&self, topic: Topic) -> [Cmd; 2] {
        let keys = self.keys(topic);
        [keys.id(), keys.partitions()].map(|key| ::redis::cmd("GET").arg(key).to_owned())
    }

    /// Which log a topic is, by the last two answers to [`Settings::found`], or those to [`Settings::known`].
    ///
    /// # Errors
    /// One sentence when it has another number of partitions than is configured: some would be read by nobody.
    pub(super) fn log_found(&self, topic: Topic, answers: &[Answer]) -> Result<Option<LogId>, String> {
        let text = |answer: Option<&Answer>| match answer {
            Some(Ok(Value::BulkString(text))) => Some(String::from_utf8_lossy(text).into_owned()),
            _ => None,
        };
        let (name, wanted) = (self.names.topic(topic), self.partitions_of(topic));
        let mut answers = answers.iter().rev();
        let (partitions, id) = (text(answers.next()), text(answers.next()));
        match partitions {
            Some(found) if found != wanted.to_string() => Err(format!(
                "{name} has {found} partitions in Redis at {}, and topics.partitions is {wanted}: some would be read by nobody; \
                 configure {found} everywhere, or another topics.prefix",
                self.place
            )),
            _ => Ok(id.map(|id| LogId::new(&id))),
        }
    }

    /// What a call comes to that Redis refused.
    pub(super) fn refused(&self, error: &str) -> Silence {
        Silence::Unknown(format!("Redis at {}: {error}", self.place))
    }

    pub(super) fn nodes(&self) -> Nodes {
        Nodes::new(&self.seeds, self.answer_timeout)
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

    /// How long something that is sent may take.
    pub(super) fn answers_within(&self) -> Duration {
        CONNECT_TIMEOUT + self.answer_timeout
    }

    /// Whether it is certainly a cluster.
    pub(super) fn is_cluster(&self) -> bool {
        self.seeds.len() > 1
    }

    /// How long after an offer its outcome is known: what gathers waits for what is under way, at most so long, and for its own
    /// round.
    pub(super) fn reports_within(&self) -> Duration {
        self.answers_within() * 2 + CONNECT_RETRY
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
            Ack::Memory => None,
            Ack::Fsync => Some(::redis::cmd("WAITAOF").arg(1).arg(0).arg(1).to_owned()),
            Ack::Replica => Some(::redis::cmd("WAIT").arg(self.replicas).arg(1).to_owned()),
        }
    }

    /// Why what was tried cannot be waited for.
    pub(super) fn trial_failed(&self, waited: &Answer) -> Option<String> {
        let place = &self.place;
        match (self.ack, waited) {
            (Ack::Fsync, Err(error)) => Some(format!(
                "Redis at {place} cannot wait for its disk ({error}): buffer.redis.ack = \"fsync\" needs Redis 7.2 and appendonly yes"
            )),
            (Ack::Replica, Ok(Value::Int(count))) if *count < i64::from(self.replicas) => Some(format!(
                "Redis at {place} has {count} replicas that are up to date, and buffer.redis.replicas wants {}",
                self.replicas
            )),
            (_, Err(error)) => Some(format!("Redis at {place}: {error}")),
            _ => None,
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
