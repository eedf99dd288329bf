//! Offsets as the cluster knows them, asked for without joining a group. What they mean is in [`crate::share::place`].

use std::collections::HashMap;
use std::ffi::CString;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaErrorCode;

use super::client::ASK_TIMEOUT;
use super::mark::mark;
use super::native::ask::{Bound, Question, TopicThere, describe_topics};
use super::native::poll::entries;
use crate::share::place::{Committed, Place, place};
use crate::{LogId, Offset, Partition, PartitionDescription};

/// How much longer than its request an answer may take: for finding the leaders.
const ANSWER_MARGIN: Duration = Duration::from_secs(1);

/// What a cluster says of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TopicFacts {
    /// Another one once the topic was deleted and made anew; `None` from brokers before Kafka 2.8.
    pub(super) id: Option<LogId>,
    /// Every partition, in order, and the broker that leads it, if one does now.
    pub(super) partitions: Vec<(Partition, Option<i32>)>,
}

impl TryFrom<TopicThere> for TopicFacts {
    type Error = KafkaError;

    fn try_from(there: TopicThere) -> KafkaResult<Self> {
        let partitions = there.partitions.map_err(KafkaError::MetadataFetch)?;
        let leader = |leader: i32| (leader >= 0).then_some(leader);
        let partition = |found: &PartitionDescription| (Partition(found.partition), leader(found.leader));
        Ok(Self { id: there.id, partitions: partitions.iter().map(partition).collect() })
    }
}

impl TopicFacts {
    /// Who leads a partition.
    pub(super) fn leader(&self, partition: Partition) -> Option<i32> {
        self.partitions.iter().find(|(found, _)| *found == partition).and_then(|(_, leader)| *leader)
    }
}

/// The one topic that was asked for; [`RDKafkaErrorCode::UnknownTopicOrPartition`] when it is missing.
pub(super) fn facts(there: Vec<TopicThere>) -> KafkaResult<TopicFacts> {
    let missing = KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition);
    there.into_iter().next().ok_or(missing)?.try_into()
}

/// What there is of a topic; [`RDKafkaErrorCode::UnknownTopicOrPartition`] when it is missing. Asking never creates it.
pub(super) fn topic_facts<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
) -> KafkaResult<TopicFacts> {
    facts(describe_topics(consumer.client(), &[topic], ASK_TIMEOUT)?)
}

/// What one bound of each partition is, or why that is not known.
pub(super) type Bounds = HashMap<Partition, KafkaResult<Offset>>;

/// Several bounds of many partitions, all asked for at once, in the order of `wanted`. Each partition has an answer or an
/// error of its own: those without a leader are not asked about, and a broker that is silent spoils only its own.
pub(super) fn bounds<C: ConsumerContext, const N: usize>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    facts: &TopicFacts,
    wanted: [Bound; N],
) -> KafkaResult<[Bounds; N]> {
    let led: Vec<Partition> = facts
        .partitions
        .iter()
        .filter(|(_, leader)| leader.is_some())
        .map(|(partition, _)| *partition)
        .collect();
    let mut found = wanted.map(|_| Bounds::new());
    for (partition, leader) in &facts.partitions {
        let missing = match leader {
            Some(_) => RDKafkaErrorCode::OperationTimedOut,
            None => RDKafkaErrorCode::LeaderNotAvailable,
        };
        found.iter_mut().for_each(|of| drop(of.insert(*partition, Err(KafkaError::OffsetFetch(missing)))));
    }
    if led.is_empty() {
        return Ok(found);
    }
    let questions = wanted.map(|bound| Question::bounds(consumer.client(), topic, &led, bound, ASK_TIMEOUT));
    let until = Instant::now() + ASK_TIMEOUT + ANSWER_MARGIN;
    for (of, question) in found.iter_mut().zip(questions) {
        let left = until.saturating_duration_since(Instant::now());
        for (partition, offset) in question?.offsets(left)?.unwrap_or_default() {
            of.insert(partition, offset.map(Offset));
        }
    }
    Ok(found)
}

/// The group's committed offsets, of the partitions that have one.
pub(super) fn committed<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partitions: &[Partition],
) -> KafkaResult<HashMap<Partition, Committed>> {
    let mut asked = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        asked.add_partition(topic, partition.0);
    }
    let found = consumer.committed_offsets(asked, ASK_TIMEOUT)?;
    let mut offsets = HashMap::new();
    for entry in entries(&found) {
        // a partition that could not be asked about must not pass for one that was never committed
        if let Some(error) = entry.error {
            return Err(KafkaError::OffsetFetch(error));
        }
        if let Some(offset) = entry.offset {
            let (mark, word) = mark(&entry.metadata);
            let leader_epoch = entry.leader_epoch;
            offsets.insert(entry.partition, Committed { offset, leader_epoch, mark, word });
        }
    }
    Ok(offsets)
}

/// Where a member reads on in the partitions of which that is known now, and why it is not for the others.
pub(super) struct Places {
    pub(super) topic: Option<LogId>,
    pub(super) known: Vec<(Partition, Place)>,
    /// With who leads them, and what is committed.
    pub(super) unknown: Vec<(Partition, Option<i32>, KafkaError, Option<Committed>)>,
}

/// Where a member of `group` reads on in each partition.
pub(super) fn places<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partitions: &[Partition],
) -> KafkaResult<Places> {
    // the log's id first: were it another one by the time of the other answers, whoever watches it will notice
    let mut facts = topic_facts(consumer, topic)?;
    facts.partitions.retain(|(partition, _)| partitions.contains(partition));
    let committed = self::committed(consumer, topic, partitions)?;
    let [mut starts, mut ends] = bounds(consumer, topic, &facts, [Bound::Start, Bound::End])?;
    let mut places = Places { topic: facts.id.clone(), known: Vec::new(), unknown: Vec::new() };
    for partition in partitions {
        let missing = || Err(KafkaError::OffsetFetch(RDKafkaErrorCode::UnknownPartition));
        let start = starts.remove(partition).unwrap_or_else(missing);
        let end = ends.remove(partition).unwrap_or_else(missing);
        match start.and_then(|start| Ok(start..end?)) {
            Ok(log) => {
                let place = place(committed.get(partition), places.topic.as_ref(), log);
                places.known.push((*partition, place));
            }
            Err(error) => {
                let (leader, committed) = (facts.leader(*partition), committed.get(partition).cloned());
                places.unknown.push((*partition, leader, error, committed));
            }
        }
    }
    Ok(places)
}

/// A topic's name as librdkafka takes it.
pub(super) fn c_name(topic: &str) -> CString {
    // Kafka allows letters, digits, dots, underscores and hyphens
    CString::new(topic).unwrap_or_default()
}
