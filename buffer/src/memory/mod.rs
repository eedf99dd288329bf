//! The `in-memory` strategy: partitions in this process, gone with it.
//!
//! Every partition is a queue with Kafka's vocabulary: records keep their offsets for life, a group's
//! committed offset moves forward, and what is committed is dropped, as each topic has a single group.
//!
//! Members of a group do not own partitions, they *claim* them: a member that asks for a batch takes
//! records from partitions that nobody else has records in work of, and keeps such a partition until all of
//! its records are committed. One partition is thus never in two members' hands, its order holds, and a
//! member that leaves simply gives its claims back: what it had not committed is read again by others. No
//! rebalance is needed, and all members work as long as there are more claimable partitions than members.

mod config;
mod log;
mod member;
mod partition;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use floodgate_schemas::EventType;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::murmur2::murmur2_partition;
use crate::{
    Absent, Batch, BatchLimits, BoxFuture, GroupLag, Lag, LagError, Log, LogId, Logs, Names, Offset,
    OpenError, Outcome, Partition, PartitionLag, Publish, Reach, Receipt, Record, Refused, Spill, Strategy,
    Subscription, Topic, Topics, TopicsConfig, Waiting, Wake,
};
pub(crate) use config::{InMemoryConfig, KIND};
use log::MemoryLog;
use member::Member;
use partition::{Kept, PartitionLog};

/// See the [module's documentation](self).
pub(crate) struct InMemory {
    state: Arc<State>,
}

struct State {
    max: Waiting,
    dead_letters_max: usize,
    names: Names,
    /// Nothing outlives the process, so that what is written down of it is never taken for another's.
    id: LogId,
    topics: [Mutex<TopicLog>; Topic::ALL.len()],
    // woken when records come or claims are given back, one per topic
    news: [Notify; Topic::ALL.len()],
    waiting: Mutex<Waiting>,
    closed: AtomicBool,
    members: AtomicUsize,
}

struct TopicLog {
    partitions: Vec<PartitionLog>,
    // where the next search for claimable partitions begins, so that none is starved
    cursor: usize,
    // records without a key go to partitions in turn
    unkeyed: usize,
    members: usize,
}

impl InMemory {
    pub(crate) fn new(config: &InMemoryConfig, topics: &TopicsConfig) -> Self {
        let log = |topic: Topic| {
            let partitions = match topic {
                Topic::Events(_) => topics.partitions.max(1) as usize,
                Topic::DeadLetters => 1,
            };
            Mutex::new(TopicLog {
                partitions: (0..partitions).map(|_| PartitionLog::default()).collect(),
                cursor: 0,
                unkeyed: 0,
                members: 0,
            })
        };
        Self {
            state: Arc::new(State {
                max: Waiting { events: config.max_events, bytes: config.max_bytes },
                dead_letters_max: config.dead_letters_max,
                names: Names::new(&topics.prefix),
                id: LogId::new(&format!("{:032x}", rand::random::<u128>())),
                topics: Topic::ALL.map(log),
                news: Topic::ALL.map(|_| Notify::new()),
                waiting: Mutex::default(),
                closed: AtomicBool::new(false),
                members: AtomicUsize::new(0),
            }),
        }
    }
}

impl Strategy for InMemory {
    fn name(&self) -> &'static str {
        "in-memory"
    }

    fn place(&self) -> String {
        "this process".into()
    }

    fn promise(&self) -> String {
        "a 202 means: held in this process's memory only; a crash or kill loses what is not yet applied"
            .into()
    }

    fn reach(&self) -> Reach {
        Reach { is_shared: false, outlives_process: false, is_readable_from_outside: false }
    }

    fn names(&self) -> &Names {
        &self.state.names
    }

    fn reports_within(&self) -> Option<Duration> {
        None
    }

    fn publisher_with(&self, _: Arc<dyn Spill>) -> Result<Arc<dyn Publish>, OpenError> {
        // what is taken is stored

        Ok(Arc::clone(&self.state) as Arc<dyn Publish>)
    }

    fn subscribe(&self, of: EventType, limits: BatchLimits) -> Result<Box<dyn Subscription>, OpenError> {
        let topic = Topic::Events(of);
        self.state.topics[topic.index()].lock().members += 1;
        let id = self.state.members.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(Member {
            state: Arc::clone(&self.state),
            topic,
            id,
            limits,
            stopped: false,
            filling: Batch::new(topic),
            hand_out_at: None,
        }))
    }

    fn logs(&self) -> Result<&dyn Logs, Absent> {
        Ok(self)
    }

    fn topics(&self) -> Result<&dyn Topics, Absent> {
        let reason = "the in-memory strategy keeps its topics inside the process: there are none to create or to describe";
        Err(Absent(reason.to_owned()))
    }
}

impl Lag for InMemory {
    fn lag(&self, of: EventType) -> Result<GroupLag, LagError> {
        Ok(self.state.group_lag(of))
    }
}

impl Logs for InMemory {
    fn open(&self, topic: Topic) -> Result<Box<dyn Log>, OpenError> {
        Ok(Box::new(MemoryLog { state: Arc::clone(&self.state), topic }))
    }
}

impl State {
    fn admit(&self, bytes: usize) -> Result<(), Refused> {
        let mut waiting = self.waiting.lock();
        if waiting.events >= self.max.events || waiting.bytes + bytes > self.max.bytes {
            return Err(Refused::Full);
        }
        waiting.events += 1;
        waiting.bytes += bytes;
        Ok(())
    }

    fn release(&self, events: usize, bytes: usize) {
        let mut waiting = self.waiting.lock();
        waiting.events -= events;
        waiting.bytes -= bytes;
    }

    /// Dead letters are for a person to look at: the newest are kept, each was logged when it came.
    fn keep_dead_letter(&self, record: &Record<'_>) {
        let mut log = self.topics[Topic::DeadLetters.index()].lock();
        let partition = &mut log.partitions[0];
        partition.records.push_back(Kept::from(record));
        if partition.records.len() > self.dead_letters_max {
            partition.records.pop_front();
            partition.committed += 1;
        }
    }

    fn group_lag(&self, of: EventType) -> GroupLag {
        let topic = Topic::Events(of);
        let log = self.topics[topic.index()].lock();
        let end = |partition: &PartitionLog| Offset(partition.committed + partition.records.len() as i64);
        let partitions = (0..).zip(&log.partitions).map(|(number, partition)| PartitionLag {
            partition: Partition(number),
            start: Offset(partition.committed),
            end: end(partition),
            readable: end(partition),
            committed: Some(Offset(partition.committed)),
            set_by_others: false,
            nothing_until: None,
            oldest_unapplied_ms: partition.records.front().map(|record| record.appended_at_ms),
        });
        GroupLag {
            of,
            group: self.names.group(of).to_owned(),
            topic: self.names.topic(topic).to_owned(),
            members: Some(log.members),
            foreign_members: Vec::new(),
            partitions: partitions.collect(),
            unknown: Vec::new(),
            queue: None,
        }
    }
}

impl Publish for State {
    fn offer(&self, record: &Record<'_>, receipt: Receipt) -> Result<(), Refused> {
        let Topic::Events(_) = record.topic else {
            self.keep_dead_letter(record);
            wake(receipt.complete(Outcome::Stored));
            return Ok(());
        };
        if self.closed.load(Ordering::Acquire) {
            return Err(Refused::Closed);
        }
        if record.bytes() > self.max.bytes {
            return Err(Refused::TooLarge);
        }
        self.admit(record.bytes())?;
        {
            let mut log = self.topics[record.topic.index()].lock();
            let count = log.partitions.len();
            let number = match record.key {
                Some(key) => murmur2_partition(key, count),
                None => {
                    log.unkeyed = (log.unkeyed + 1) % count;
                    log.unkeyed
                }
            };
            log.partitions[number].records.push_back(Kept::from(record));
        }
        wake(receipt.complete(Outcome::Stored));
        self.news[record.topic.index()].notify_one();
        Ok(())
    }

    fn ready(&self) -> Result<(), String> {
        if self.closed.load(Ordering::Acquire) {
            return Err("shutting down".into());
        }
        let waiting = self.waiting();
        if waiting.events >= self.max.events || waiting.bytes >= self.max.bytes {
            return Err(format!("the queue is full: {} events, {} bytes", waiting.events, waiting.bytes));
        }
        Ok(())
    }

    fn waiting(&self) -> Waiting {
        *self.waiting.lock()
    }

    fn close(&self, _: Duration) -> BoxFuture<'_, usize> {
        // every record was acknowledged when it was taken: nothing is outstanding
        self.closed.store(true, Ordering::Release);
        Box::pin(async { 0 })
    }
}

fn wake(request: Option<Wake>) {
    if let Some(request) = request {
        request.wake();
    }
}
