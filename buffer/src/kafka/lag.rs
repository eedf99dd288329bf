//! Offsets and ages of every group, read by consumers that never join one.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::{Duration, Instant};

use floodgate_schemas::EventType;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaErrorCode;

use super::client::ClientSettings;
use super::offsets::{Bound, bounds, committed, partitions};
use super::{ASK_TIMEOUT, Names};
use crate::{GroupLag, LagError, Offset, Partition, PartitionLag, Topic};

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
    consumer: BaseConsumer,
    /// The age's record of each partition, so that it is read once per position.
    oldest: HashMap<Partition, (Offset, i64)>,
}

impl Onlooker {
    pub(super) fn new(settings: &ClientSettings, names: &Names, of: EventType) -> Result<Self, LagError> {
        let group = names.group(of);
        let consumer = settings
            .onlooker(&group)
            .create()
            .map_err(|error| LagError(format!("no Kafka client for group {group}: {error}")))?;
        let topic = names.topic(Topic::Events(of)).to_owned();
        Ok(Self { of, group, topic, consumer, oldest: HashMap::new() })
    }

    pub(super) fn look(&mut self) -> Result<GroupLag, LagError> {
        let until = Instant::now() + RETRY_FOR;
        let (members, mut lags) = loop {
            let partitions = self.partitions()?;
            let asked = self.members().and_then(|members| Ok((members, self.positions(&partitions)?)));
            match asked {
                Ok(found) => break found,
                Err(error) if passes(&error) && Instant::now() < until => std::thread::sleep(RETRY_PAUSE),
                Err(error) => {
                    return Err(LagError(format!("Kafka does not tell about {}: {error}", self.topic)));
                }
            }
        };
        if let Err(error) = self.read_ages(&mut lags) {
            tracing::debug!(group = self.group, %error, "ages of the oldest records not read");
        }
        let (group, topic) = (self.group.clone(), self.topic.clone());
        Ok(GroupLag { of: self.of, group, topic, members: Some(members), partitions: lags })
    }

    fn positions(&self, partitions: &[Partition]) -> KafkaResult<Vec<PartitionLag>> {
        // committed first, then start, then end: what moves meanwhile never makes the lag negative
        let committed = committed(&self.consumer, &self.topic, partitions)?;
        let starts = bounds(&self.consumer, &self.topic, partitions, Bound::Start)?;
        let ends = bounds(&self.consumer, &self.topic, partitions, Bound::End)?;
        let lag = |partition: &Partition| {
            let start = starts.get(partition).copied().unwrap_or(Offset(0));
            PartitionLag {
                partition: *partition,
                start,
                end: ends.get(partition).copied().unwrap_or(start),
                committed: committed.get(partition).copied(),
                oldest_unapplied_ms: None,
            }
        };
        Ok(partitions.iter().map(lag).collect())
    }

    fn partitions(&self) -> Result<Vec<Partition>, LagError> {
        partitions(&self.consumer, &self.topic).map_err(|error| match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::UnknownTopicOrPartition) => {
                LagError(format!("topic {} is missing in Kafka; run `floodgate topics create`", self.topic))
            }
            _ => LagError(format!("Kafka does not answer: {error}")),
        })
    }

    fn members(&self) -> KafkaResult<usize> {
        let groups = self.consumer.fetch_group_list(Some(&self.group), ASK_TIMEOUT)?;
        let found = groups.groups().iter().find(|group| group.name() == self.group);
        Ok(found.map_or(0, |group| group.members().len()))
    }

    /// Reads one record per lagging partition whose position moved since the last look.
    fn read_ages(&mut self, lags: &mut [PartitionLag]) -> KafkaResult<()> {
        self.oldest.retain(|partition, (offset, _)| {
            lags.iter()
                .any(|lag| lag.partition == *partition && lag.lag() > 0 && next_unapplied(lag) == *offset)
        });
        let mut wanted = TopicPartitionList::new();
        for lag in lags.iter().filter(|lag| lag.lag() > 0 && !self.oldest.contains_key(&lag.partition)) {
            let from = rdkafka::Offset::Offset(next_unapplied(lag).0);
            wanted.add_partition_offset(&self.topic, lag.partition.0, from)?;
        }
        if wanted.count() > 0 {
            self.consumer.assign(&wanted)?;
            self.read_first_of_each(wanted.count(), lags);
            self.consumer.unassign()?;
        }
        for lag in lags {
            lag.oldest_unapplied_ms =
                self.oldest.get(&lag.partition).map(|(_, appended_at_ms)| *appended_at_ms);
        }
        Ok(())
    }

    fn read_first_of_each(&mut self, mut wanted: usize, lags: &[PartitionLag]) {
        let until = Instant::now() + READ_TIMEOUT;
        while wanted > 0 && Instant::now() < until {
            // ends of partitions and brokers that come and go are told here too; others may still answer
            let Some(Ok(message)) = self.consumer.poll(Duration::from_millis(100)) else { continue };
            let partition = Partition(message.partition());
            let Some(lag) = lags.iter().find(|lag| lag.partition == partition) else { continue };
            let appended_at_ms = message.timestamp().to_millis().unwrap_or(0);
            // later records of a partition that was answered already come as well
            if let Entry::Vacant(first) = self.oldest.entry(partition) {
                first.insert((next_unapplied(lag), appended_at_ms));
                wanted -= 1;
            }
        }
    }
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

/// The first offset that counts as lag.
fn next_unapplied(lag: &PartitionLag) -> Offset {
    lag.committed.map_or(lag.start, |committed| committed.max(lag.start))
}
