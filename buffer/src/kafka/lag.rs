//! Offsets and ages of every group, read by consumers that never join one.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use floodgate_schemas::EventType;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaErrorCode;

use super::cause::{Asking, explain_to};
use super::client::ASK_TIMEOUT;
use super::client::ClientSettings;
use super::group::members;
use super::native::ask::Bound;
use super::native::poll::{Events, Polled, Trouble};
use super::offsets::{Bounds, bounds, committed, topic_facts};
use super::trouble::is_damage;
use crate::share::place::{CommitMark, Committed};
use crate::{GroupLag, LagError, Names, Offset, Partition, PartitionLag};

/// How long the oldest records may take to arrive before their age is left unknown.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// How long passing troubles (a coordinator or leader that is just moving) are waited out before they are told.
const RETRY_FOR: Duration = Duration::from_secs(3);

/// Between two such tries.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Looks into one group.
pub(super) struct Onlooker {
    of: EventType,
    group: String,
    topic: String,
    /// By which our members are known.
    client_id: String,
    // the queue before the client it belongs to
    events: Events,
    consumer: BaseConsumer<Asking>,
    /// What stands first behind each position, so that it is read once.
    first: HashMap<Partition, First>,
}

/// What stands first behind a position.
#[derive(Debug, Clone, Copy)]
struct First {
    /// The position.
    from: Offset,
    /// Where the first record stands, or, without one, how far there is none.
    at: Offset,
    /// When it was appended; `None` where there is no record.
    appended_at_ms: Option<i64>,
}

/// A partition whose position is not known.
struct Unknown {
    partition: Partition,
    leader: Option<i32>,
    error: KafkaError,
}

impl Onlooker {
    pub(super) fn new(settings: &ClientSettings, names: &Names, of: EventType) -> Result<Self, LagError> {
        let group = names.group(of).to_owned();
        let (events, consumer) = settings
            .onlooker(&group)
            .create_with_context(Asking::new(&settings.kafka.brokers))
            .and_then(|consumer: BaseConsumer<Asking>| Ok((Events::of(&consumer)?, consumer)))
            .map_err(|error| LagError(format!("no Kafka client for group {group}: {error}")))?;
        let topic = names.events(of).to_owned();
        let client_id = settings.client_id().to_owned();
        Ok(Self { of, group, topic, client_id, events, consumer, first: HashMap::new() })
    }

    pub(super) fn look(&mut self) -> Result<GroupLag, LagError> {
        let until = Instant::now() + RETRY_FOR;
        let (partitions, unknown) = loop {
            match self.positions() {
                // what is just moving is known after a few tries
                Ok((_, unknown))
                    if unknown.iter().any(|unknown| passes(&unknown.error)) && Instant::now() < until => {}
                Ok(found) => break found,
                Err(error) if passes(&error) && Instant::now() < until => {}
                Err(error) => return Err(self.explain(&error)),
            }
            std::thread::sleep(RETRY_PAUSE);
        };
        if let ([], [Unknown { error, .. }, ..]) = (&partitions[..], &unknown[..]) {
            return Err(self.explain(error));
        }
        let context = self.consumer.context();
        let why = |Unknown { partition, leader, error }: &Unknown| {
            (*partition, context.explain_partition(*leader, error))
        };
        let unknown = unknown.iter().map(why).collect();
        context.answered();
        let mut lag = GroupLag {
            of: self.of,
            group: self.group.clone(),
            topic: self.topic.clone(),
            members: None,
            foreign_members: Vec::new(),
            queue: None,
            partitions,
            unknown,
        };
        match members(&self.consumer, &self.group, &self.topic, ASK_TIMEOUT) {
            Ok(members) => {
                lag.members = Some(members.len());
                for member in &members {
                    let theirs =
                        lag.partitions.iter_mut().filter(|of| member.partitions.contains(&of.partition));
                    theirs.for_each(|of| of.member = Some(member.name()));
                }
                let foreign =
                    members.into_iter().map(|member| member.client_id).filter(|id| *id != self.client_id);
                lag.foreign_members = foreign.collect();
            }
            Err(error) => tracing::debug!(group = self.group, %error, "members not told"),
        }
        if let Err(error) = self.read_first(&mut lag.partitions) {
            tracing::debug!(group = self.group, %error, "ages of the oldest records not read");
        }
        Ok(lag)
    }

    /// Every partition's position, or why it is not known.
    fn positions(&self) -> KafkaResult<(Vec<PartitionLag>, Vec<Unknown>)> {
        let facts = topic_facts(&self.consumer, &self.topic)?;
        let partitions: Vec<Partition> = facts.partitions.iter().map(|(partition, _)| *partition).collect();
        // committed first, then the bounds: what moves meanwhile never makes the lag negative
        let committed = committed(&self.consumer, &self.topic, &partitions)?;
        let wanted = [Bound::Start, Bound::End, Bound::Stable];
        let mut bounds = bounds(&self.consumer, &self.topic, &facts, wanted)?;
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        for partition in partitions {
            match position(partition, committed.get(&partition), &mut bounds) {
                Ok(lag) => known.push(lag),
                Err(error) => unknown.push(Unknown { partition, leader: facts.leader(partition), error }),
            }
        }
        Ok((known, unknown))
    }

    fn explain(&self, error: &KafkaError) -> LagError {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::UnknownTopicOrPartition) => {
                LagError(format!("topic {} is missing in Kafka; run `floodgate topics create`", self.topic))
            }
            _ => LagError(format!(
                "where group {} is on {} cannot be told: {}",
                self.group,
                self.topic,
                explain_to(&self.consumer, &self.events, error)
            )),
        }
    }

    /// Reads one record per lagging partition whose position moved since the last look.
    fn read_first(&mut self, lags: &mut [PartitionLag]) -> KafkaResult<()> {
        self.first.retain(|partition, first| {
            let lag = lags.iter().find(|lag| lag.partition == *partition);
            // where there was no record, there may be one now
            let fits = |lag: &PartitionLag| first.appended_at_ms.is_some() || first.at >= lag.end;
            lag.is_some_and(|lag| lag.lag() > 0 && lag.next_unapplied() == first.from && fits(lag))
        });
        let mut wanted = TopicPartitionList::new();
        for lag in lags.iter().filter(|lag| lag.lag() > 0 && !self.first.contains_key(&lag.partition)) {
            let from = rdkafka::Offset::Offset(lag.next_unapplied().0);
            wanted.add_partition_offset(&self.topic, lag.partition.0, from)?;
        }
        if wanted.count() > 0 {
            self.consumer.assign(&wanted)?;
            self.read_first_of_each(wanted.count(), lags);
            self.consumer.unassign()?;
        }
        for lag in lags {
            if let Some(First { at, appended_at_ms, .. }) = self.first.get(&lag.partition) {
                lag.oldest_unapplied_ms = *appended_at_ms;
                lag.nothing_until = Some(*at);
            }
        }
        Ok(())
    }

    fn read_first_of_each(&mut self, mut wanted: usize, lags: &[PartitionLag]) {
        let until = Instant::now() + READ_TIMEOUT;
        while wanted > 0 && Instant::now() < until {
            // brokers that come and go are told here too; others may still answer
            let (partition, at, appended_at_ms) =
                match self.events.poll(&self.consumer, Duration::from_millis(100)) {
                    Some(Polled::Record(record)) => {
                        (record.partition(), record.offset(), Some(record.appended_at_ms()))
                    }
                    Some(Polled::End(partition, offset)) => (partition, offset, None),
                    // there is something, though nobody can read it
                    Some(Polled::Trouble(Trouble { code, at: Some((partition, Some(offset))), .. }))
                        if is_damage(code) =>
                    {
                        (partition, offset, None)
                    }
                    _ => continue,
                };
            let Some(lag) = lags.iter().find(|lag| lag.partition == partition) else { continue };
            let from = lag.next_unapplied();
            // of an earlier look, or later records of a partition that was answered already
            if at < from || self.first.contains_key(&partition) {
                continue;
            }
            self.first.insert(partition, First { from, at, appended_at_ms });
            wanted -= 1;
        }
    }
}

fn position(
    partition: Partition,
    committed: Option<&Committed>,
    [starts, ends, stable]: &mut [Bounds; 3],
) -> KafkaResult<PartitionLag> {
    let missing = || Err(KafkaError::OffsetFetch(RDKafkaErrorCode::UnknownPartition));
    let start = starts.remove(&partition).unwrap_or_else(missing)?;
    let end = ends.remove(&partition).unwrap_or_else(missing)?;
    let readable = stable.remove(&partition).unwrap_or_else(missing)?;
    Ok(PartitionLag {
        partition,
        start,
        end,
        // asked for at the same time, and answered a moment later perhaps
        readable: readable.min(end),
        committed: committed.map(|committed| committed.offset),
        set_by_others: committed.is_some_and(|committed| committed.mark == CommitMark::Foreign),
        nothing_until: None,
        oldest_unapplied_ms: None,
        member: None,
        word: committed.and_then(|committed| committed.word.clone()),
    })
}

/// Whether a question failed only because whoever knows the answer is just moving.
fn passes(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{
        CoordinatorLoadInProgress, CoordinatorNotAvailable, LeaderNotAvailable, NotCoordinator,
        NotLeaderForPartition, UnknownTopicOrPartition,
    };
    let passing = [
        CoordinatorLoadInProgress,
        CoordinatorNotAvailable,
        NotCoordinator,
        LeaderNotAvailable,
        NotLeaderForPartition,
        // metadata comes from one broker, and offsets from another that may not know the topic yet
        UnknownTopicOrPartition,
    ];
    error.rdkafka_error_code().is_some_and(|code| passing.contains(&code))
}
