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

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use floodgate_schemas::EventType;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::{
    Batch, BatchLimits, BoxFuture, GroupLag, InMemoryConfig, LagError, LagSnapshot, Offset, OpenError,
    Outcome, Partition, PartitionDescription, PartitionLag, Publish, Receipt, Record, Refused, Strategy,
    SubscribeError, Subscription, Topic, TopicDescription, TopicReport, TopicState, TopicsConfig,
    TopicsError, Waiting,
};

/// See the [module's documentation](self).
pub(crate) struct InMemory {
    state: Arc<State>,
}

struct State {
    max: Waiting,
    dead_letters_max: usize,
    prefix: String,
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

#[derive(Default)]
struct PartitionLog {
    // the first record's offset: everything before it is committed and gone
    committed: i64,
    records: VecDeque<Kept>,
    claim: Option<Claim>,
}

struct Claim {
    member: usize,
    // how many records from the front are in the member's hands
    taken: usize,
}

struct Kept {
    appended_at_ms: i64,
    key: Option<Box<[u8]>>,
    value: Option<Box<[u8]>>,
    headers: Box<[KeptHeader]>,
}

type KeptHeader = (Box<[u8]>, Option<Box<[u8]>>);

impl Kept {
    fn bytes(&self) -> usize {
        let length = |part: &Option<Box<[u8]>>| part.as_ref().map_or(0, |part| part.len());
        length(&self.key) + length(&self.value)
    }
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
                prefix: topics.prefix.clone(),
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

    fn promise(&self) -> String {
        "a 202 means: held in this process's memory only; a crash or kill loses what is not yet applied"
            .into()
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn topic_name(&self, topic: Topic) -> String {
        self.state.topic_name(topic)
    }

    fn group_name(&self, of: EventType) -> String {
        self.state.group_name(of)
    }

    fn publisher(&self) -> Result<Arc<dyn Publish>, OpenError> {
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

    fn lag(&self) -> Result<LagSnapshot, LagError> {
        let groups = EventType::ALL.map(|of| self.state.group_lag(of));
        Ok(LagSnapshot { groups: groups.into() })
    }

    fn create_topics(&self) -> Result<Vec<TopicReport>, TopicsError> {
        let report = |topic| TopicReport { name: self.state.topic_name(topic), state: TopicState::NotNeeded };
        Ok(Topic::ALL.map(report).into())
    }

    fn describe_topics(&self) -> Result<Vec<TopicDescription>, TopicsError> {
        let describe = |topic: Topic| {
            let count = self.state.topics[topic.index()].lock().partitions.len();
            let partition = |partition| PartitionDescription {
                partition,
                leader: 0,
                replicas: vec![0],
                in_sync: vec![0],
            };
            let partitions = (0..i32::try_from(count).unwrap_or(i32::MAX)).map(partition).collect();
            TopicDescription { name: self.state.topic_name(topic), partitions: Some(partitions) }
        };
        Ok(Topic::ALL.map(describe).into())
    }
}

impl State {
    fn topic_name(&self, topic: Topic) -> String {
        format!("{}{}", self.prefix, topic.base_name())
    }

    fn group_name(&self, of: EventType) -> String {
        format!("{}{}", self.prefix, of.group())
    }

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
        let partitions = (0..).zip(&log.partitions).map(|(number, partition)| PartitionLag {
            partition: Partition(number),
            start: Offset(partition.committed),
            end: Offset(partition.committed + partition.records.len() as i64),
            committed: Some(Offset(partition.committed)),
            oldest_unapplied_ms: partition.records.front().map(|record| record.appended_at_ms),
        });
        GroupLag {
            of,
            group: self.group_name(of),
            topic: self.topic_name(topic),
            members: Some(log.members),
            partitions: partitions.collect(),
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

fn wake(waker: Option<std::task::Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl From<&Record<'_>> for Kept {
    fn from(record: &Record<'_>) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            appended_at_ms: i64::try_from(now.as_millis()).unwrap_or(i64::MAX),
            key: record.key.map(Box::from),
            value: record.value.map(Box::from),
            headers: record.headers.iter().map(|(n, v)| (Box::from(*n), v.map(Box::from))).collect(),
        }
    }
}

struct Member {
    state: Arc<State>,
    topic: Topic,
    id: usize,
    limits: BatchLimits,
    stopped: bool,
    // what is claimed for the next batch; kept here, so that a cancelled `next` loses nothing
    filling: Batch,
    hand_out_at: Option<Instant>,
}

impl Member {
    /// Claims what fits into the batch from partitions nobody else works on.
    fn claim(&mut self) {
        let mut log = self.state.topics[self.topic.index()].lock();
        let count = log.partitions.len();
        for step in 0..count {
            let number = (log.cursor + step) % count;
            log.partitions[number].claim_into(&mut self.filling, number, self.id, &self.limits);
            if is_full(&self.filling, &self.limits) {
                break;
            }
        }
        log.cursor = (log.cursor + 1) % count;
    }

    fn has_waiting(&self) -> bool {
        let log = self.state.topics[self.topic.index()].lock();
        log.partitions.iter().any(|partition| !partition.records.is_empty())
    }
}

fn is_full(batch: &Batch, limits: &BatchLimits) -> bool {
    batch.len() >= limits.events || batch.bytes() >= limits.bytes
}

impl PartitionLog {
    fn claim_into(&mut self, batch: &mut Batch, number: usize, member: usize, limits: &BatchLimits) {
        if self.claim.as_ref().is_some_and(|claim| claim.member != member) {
            return;
        }
        let mut taken = self.claim.as_ref().map_or(0, |claim| claim.taken);
        let before = taken;
        let partition = Partition(i32::try_from(number).unwrap_or(i32::MAX));
        for record in self.records.iter().skip(taken) {
            if is_full(batch, limits) {
                break;
            }
            let headers = record.headers.iter().map(|(name, value)| (&**name, value.as_deref()));
            let content = (record.key.as_deref(), record.value.as_deref());
            let offset = Offset(self.committed + taken as i64);
            batch.push(partition, offset, record.appended_at_ms, content, headers);
            taken += 1;
        }
        if taken > before {
            self.claim = Some(Claim { member, taken });
        }
    }

    /// Drops the records before `next`; returns how many and how large they were.
    fn commit(&mut self, next: Offset) -> Waiting {
        let mut done = Waiting::default();
        while self.committed < next.0 {
            let Some(record) = self.records.pop_front() else {
                break;
            };
            self.committed += 1;
            done.events += 1;
            done.bytes += record.bytes();
        }
        if let Some(claim) = &mut self.claim {
            claim.taken = claim.taken.saturating_sub(done.events);
            if claim.taken == 0 {
                self.claim = None;
            }
        }
        done
    }
}

impl Subscription for Member {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Batch>, SubscribeError>> {
        Box::pin(async move {
            let state = Arc::clone(&self.state);
            let news = &state.news[self.topic.index()];
            loop {
                // registered before looking, so that news between the look and the wait is not missed
                let notified = news.notified();
                self.claim();
                if is_full(&self.filling, &self.limits) {
                    break;
                }
                if self.filling.is_empty() {
                    if self.stopped && !self.has_waiting() {
                        // others of this group may be asleep waiting for what is no longer there
                        news.notify_one();
                        return Ok(None);
                    }
                    notified.await;
                    continue;
                }
                let wait = self.limits.wait;
                let until = *self.hand_out_at.get_or_insert_with(|| Instant::now() + wait);
                if self.stopped || timeout_at(until, notified).await.is_err() {
                    break;
                }
            }
            // one member was woken for what may be more than one batch
            news.notify_one();
            self.hand_out_at = None;
            Ok(Some(std::mem::replace(&mut self.filling, Batch::new(self.topic))))
        })
    }

    fn commit(&mut self, batch: Batch) {
        let done = {
            let mut log = self.state.topics[self.topic.index()].lock();
            let mut done = Waiting::default();
            for (partition, next) in batch.progress() {
                let Ok(number) = usize::try_from(partition.0) else {
                    continue;
                };
                let part = log.partitions[number].commit(next);
                done.events += part.events;
                done.bytes += part.bytes;
            }
            done
        };
        self.state.release(done.events, done.bytes);
        self.state.news[self.topic.index()].notify_one();
    }

    fn stop(&mut self) {
        self.stopped = true;
        self.state.news[self.topic.index()].notify_waiters();
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, Result<(), SubscribeError>> {
        // dropping gives the claims back
        Box::pin(async move {
            drop(self);
            Ok(())
        })
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut log = self.state.topics[self.topic.index()].lock();
        log.members -= 1;
        for partition in &mut log.partitions {
            if partition.claim.as_ref().is_some_and(|claim| claim.member == self.id) {
                partition.claim = None;
            }
        }
        drop(log);
        self.state.news[self.topic.index()].notify_waiters();
        self.state.news[self.topic.index()].notify_one();
    }
}

/// The partition Kafka's Java clients would choose for this key: murmur2, made positive, modulo.
fn murmur2_partition(key: &[u8], partitions: usize) -> usize {
    (murmur2(key) & 0x7fff_ffff) as usize % partitions
}

/// MurmurHash2, 32 bits, with the seed of Kafka's default partitioner.
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    const SEED: u32 = 0x9747_b28c;
    let mut hash = SEED ^ data.len() as u32;
    let chunks = data.chunks_exact(4);
    let rest = chunks.remainder();
    for chunk in chunks {
        let mut k = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    if !rest.is_empty() {
        for (index, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors of Kafka's own UtilsTest.
    #[test]
    fn murmur2_is_kafkas() {
        for (text, hash) in [
            ("21", -973_932_308_i32),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(text.as_bytes()) as i32, hash, "{text}");
        }
    }
}
