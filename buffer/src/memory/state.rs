//! What publisher and members share: the partitions, and how much waits in them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use floodgate_schemas::{Clock, EventType};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::config::InMemoryConfig;
use super::partition::{Kept, PartitionLog};
use crate::murmur2::murmur2_partition;
use crate::{
    BoxFuture, Given, GroupLag, LogId, Names, NotTaken, Offset, Outcome, Partition, PartitionLag, Publish,
    Receipt, Record, Refused, Topic, TopicsConfig, Waiting, Wake,
};

pub(super) struct State {
    pub(super) max: Waiting,
    pub(super) dead_letters_max: usize,
    pub(super) names: Names,
    /// Nothing outlives the process, so that what is written down of it is never taken for another's.
    pub(super) id: LogId,
    clock: Arc<dyn Clock>,
    pub(super) topics: [Mutex<TopicLog>; Topic::ALL.len()],
    // woken when records come to partitions that nobody has claimed, or claims are given back, one per topic
    pub(super) news: [Notify; Topic::ALL.len()],
    pub(super) waiting: Mutex<Waiting>,
    pub(super) closed: AtomicBool,
    pub(super) members: AtomicUsize,
}

pub(super) struct TopicLog {
    pub(super) partitions: Vec<PartitionLog>,
    // where the next search for claimable partitions begins, so that none is starved
    pub(super) cursor: usize,
    // records without a key go to partitions in turn
    pub(super) unkeyed: usize,
    pub(super) members: usize,
}

impl State {
    pub(super) fn new(config: &InMemoryConfig, topics: &TopicsConfig, given: &Given) -> Self {
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
            max: Waiting { events: config.max_events, bytes: config.max_bytes },
            dead_letters_max: config.dead_letters_max,
            clock: Arc::clone(&given.clock),
            names: Names::new(&topics.prefix),
            id: LogId::new(&format!("{:016x}{:016x}", given.chance.bits(), given.chance.bits())),
            topics: Topic::ALL.map(log),
            news: Topic::ALL.map(|_| Notify::new()),
            waiting: Mutex::default(),
            closed: AtomicBool::new(false),
            members: AtomicUsize::new(0),
        }
    }

    fn admit(&self, bytes: usize, receipt: &mut Receipt) -> Result<(), Refused> {
        let mut waiting = self.waiting.lock();
        let left = self.max.less(*waiting);
        if left.events == 0 || bytes > left.bytes || !receipt.takes_place(bytes, self.max, *waiting) {
            return Err(Refused::Full);
        }
        waiting.events += 1;
        waiting.bytes += bytes;
        Ok(())
    }

    pub(super) fn release(&self, events: usize, bytes: usize) {
        let mut waiting = self.waiting.lock();
        waiting.events -= events;
        waiting.bytes -= bytes;
    }

    /// Dead letters are for a person to look at: the newest are kept, each was logged when it came.
    fn keep_dead_letter(&self, record: &Record<'_>) {
        let mut log = self.topics[Topic::DeadLetters.index()].lock();
        let partition = &mut log.partitions[0];
        partition.records.push_back(Kept::new(record, None, self.clock.now()));
        if partition.records.len() > self.dead_letters_max {
            partition.records.pop_front();
            partition.committed += 1;
        }
    }

    pub(super) fn group_lag(&self, of: EventType) -> GroupLag {
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
            // it is whoever's has time for it
            member: None,
            word: partition.word.as_ref().map(|(_, word)| word.clone()),
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
    fn offer(&self, record: &Record<'_>, mut receipt: Receipt) -> Result<(), NotTaken> {
        let Topic::Events(_) = record.topic else {
            self.keep_dead_letter(record);
            wake(receipt.complete(Outcome::Stored));
            return Ok(());
        };
        let bytes = Kept::bytes_of(record);
        let admitted = if self.closed.load(Ordering::Acquire) {
            Err(Refused::Closed)
        } else if bytes > self.max.bytes {
            Err(Refused::TooLarge)
        } else {
            self.admit(bytes, &mut receipt)
        };
        if let Err(reason) = admitted {
            return Err(NotTaken { reason, receipt });
        }
        let claimant = {
            let mut log = self.topics[record.topic.index()].lock();
            let count = log.partitions.len();
            let number = match record.key {
                Some(key) => murmur2_partition(key, count),
                None => {
                    log.unkeyed = (log.unkeyed + 1) % count;
                    log.unkeyed
                }
            };
            let place = receipt.keep_place();
            let partition = &mut log.partitions[number];
            partition.records.push_back(Kept::new(record, place, self.clock.now()));
            partition.claim.as_ref().map(|claim| Arc::clone(&claim.news))
        };
        wake(receipt.complete(Outcome::Stored));
        claimant.as_deref().unwrap_or(&self.news[record.topic.index()]).notify_one();
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

    fn room(&self) -> Option<Waiting> {
        Some(self.max)
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
