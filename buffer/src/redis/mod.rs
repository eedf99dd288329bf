//! The `redis` strategy: a list for each partition, on a Redis or a cluster of them.
//!
//! * [`config`]: the strategy's section; [`settings`] what it means to all parts; [`keys`] what keys are called.
//! * [`server`]: which of the server's settings break the promise.
//! * [`element`]: a record as an element of a list; [`scripts`] what Redis does in one step; [`link`] a connection, and what is
//!   known when an answer does not come; [`nodes`] one server, or those of a cluster.
//! * [`publisher`]: rounds of records; [`room`] counts what is under way and what the lists hold.
//! * [`member`]: one group member, a [`crate::share`] that a task drives; [`shares`] which partitions are whose.
//! * [`log`] and [`reader`]: what operators ask.
//!
//! **Peek, apply, trim.** A partition is a list whose head is the oldest record. Its records keep their numbers for life: beside
//! the list stands the offset of its head, and every record's is that and its place. Members read without taking anything away,
//! and what is done is trimmed off the head, in one step with the question whether the partition is still the member's. So a
//! crash at any moment leads to the same head being read again, nothing has to be looked for afterwards, and how far a group is
//! behind is how long its lists are.

mod config;
mod element;
mod keys;
mod link;
mod log;
mod member;
mod nodes;
mod publisher;
mod reader;
mod room;
mod scripts;
mod server;
mod settings;
mod shares;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use floodgate_config::Section;
use floodgate_schemas::{Chance, Clock, EventType};
use parking_lot::Mutex;

use crate::kind::{Given, Kind, Opener, Surroundings};
use crate::{
    Absent, BatchLimits, GroupLag, Lag, LagError, Log, Logs, Names, OpenError, PartitionLag, Publish, Reach,
    Reserve, Spill, Strategy, Subscription, Topic, Topics, TopicsConfig,
};
use config::RedisConfig;
use log::RedisLog;
use publisher::Publisher;
use reader::{Looked, Reader};
use settings::Settings;

pub(crate) const KIND: Kind = Kind {
    name: "redis",
    with_fallback: false,
    as_fallback: true,
    section: "redis",
    defaults: include_str!("default.toml"),
    passes_through: None,
    configure,
    mask: config::mask,
    copies: false,
    idle: config::idle,
};

fn configure(section: &Section, around: &Surroundings<'_>, problems: &mut Vec<String>) -> Option<Opener> {
    let config: RedisConfig = section.read(problems)?;
    problems.extend(config.problems(around.drain_ms));
    let topics = around.topics.clone();
    Some(Box::new(move |given| Ok(Arc::new(Redis::new(&config, &topics, given)?))))
}

/// See the [module's documentation](self).
struct Redis {
    settings: Arc<Settings>,
    clock: Arc<dyn Clock>,
    chance: Arc<dyn Chance>,
    publisher: Mutex<Option<Arc<Publisher>>>,
    members: AtomicU64,
}

impl Redis {
    fn new(config: &RedisConfig, topics: &TopicsConfig, given: &Given) -> Result<Self, OpenError> {
        let new_logs = name(&*given.chance);
        Ok(Self {
            settings: Arc::new(Settings::new(config, topics, new_logs, &given.runtime)?),
            clock: Arc::clone(&given.clock),
            chance: Arc::clone(&given.chance),
            publisher: Mutex::default(),
            members: AtomicU64::new(0),
        })
    }
}

/// That nobody else has.
fn name(chance: &dyn Chance) -> String {
    format!("{:016x}{:016x}", chance.bits(), chance.bits())
}

impl Strategy for Redis {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn place(&self) -> String {
        format!("Redis at {}", self.settings.place)
    }

    fn promise(&self) -> String {
        self.settings.promise()
    }

    fn warnings(&self) -> Vec<String> {
        self.settings.in_the_clear.iter().cloned().collect()
    }

    fn reach(&self) -> Reach {
        Reach { is_shared: true, outlives_process: true, is_readable_from_outside: true }
    }

    fn names(&self) -> &Names {
        &self.settings.names
    }

    fn reports_within(&self) -> Option<Duration> {
        Some(self.settings.reports_within())
    }

    fn known_within(&self) -> Duration {
        publisher::OTHERS_KNOW_AFTER
    }

    fn publisher_with(&self, spill: Arc<dyn Spill>) -> Result<Arc<dyn Publish>, OpenError> {
        Ok(self.publisher_as(spill, false))
    }

    fn reserve(&self, spill: Arc<dyn Spill>) -> Result<Arc<dyn Reserve>, OpenError> {
        if self.settings.is_cluster() {
            // what others know of is known list by list there, and an event may go past one that a node away holds
            return Err(OpenError(
                "buffer.redis.url names several nodes: a fallback must be one Redis, or order per key is not kept".to_owned(),
            ));
        }
        Ok(self.publisher_as(spill, true))
    }

    fn subscribe(&self, of: EventType, limits: BatchLimits) -> Result<Box<dyn Subscription>, OpenError> {
        let number = self.members.fetch_add(1, Ordering::Relaxed);
        let me = format!("{}-{number}", name(&*self.chance));
        let group = self.settings.names.group(of);
        Ok(Box::new(member::start(&self.settings, Topic::Events(of), group, me, limits)))
    }

    fn logs(&self) -> Result<&dyn Logs, Absent> {
        Ok(self)
    }

    fn topics(&self) -> Result<&dyn Topics, Absent> {
        let reason = "the redis strategy makes a list when its first record comes: there is nothing to create, and `floodgate lag` \
                      says what is in them";
        Err(Absent(reason.to_owned()))
    }
}

impl Redis {
    fn publisher_as(&self, spill: Arc<dyn Spill>, is_reserve: bool) -> Arc<Publisher> {
        let start = || Publisher::start(&self.settings, &self.clock, spill, is_reserve);
        Arc::clone(self.publisher.lock().get_or_insert_with(start))
    }
}

impl Lag for Redis {
    fn lag(&self, of: EventType) -> Result<GroupLag, LagError> {
        let (settings, topic) = (&*self.settings, Topic::Events(of));
        let mut reader = Reader::new(&self.settings);
        // which may be on a node that is away, and the lists not
        let _ = reader.log_of(topic).map_err(LagError)?;
        let members = reader.members(topic).ok();
        let (mut partitions, mut unknown) = (Vec::new(), Vec::new());
        for (partition, looked) in reader.look(topic) {
            match looked {
                Ok(Looked { records, oldest_ms, member, word }) => partitions.push(PartitionLag {
                    partition,
                    start: records.start,
                    end: records.end,
                    readable: records.end,
                    committed: Some(records.start),
                    set_by_others: false,
                    nothing_until: None,
                    oldest_unapplied_ms: oldest_ms,
                    member,
                    word,
                }),
                Err(reason) => unknown.push((partition, reason)),
            }
        }
        match unknown.first() {
            Some((_, reason)) if partitions.is_empty() => Err(LagError(reason.clone())),
            _ => Ok(GroupLag {
                of,
                group: settings.names.group(of).to_owned(),
                topic: settings.names.topic(topic).to_owned(),
                members,
                foreign_members: Vec::new(),
                partitions,
                unknown,
                queue: None,
            }),
        }
    }
}

impl Logs for Redis {
    fn open(&self, topic: Topic) -> Result<Box<dyn Log>, OpenError> {
        Ok(Box::new(RedisLog::new(&self.settings, topic)))
    }

    fn drops_what_is_applied(&self) -> bool {
        true
    }
}
