//! Offsets as the cluster knows them, asked for without joining a group, and where a member reads on.
//!
//! **A number alone names no record.** A topic that was deleted and made anew, a log that lost its end with a broker's disk, a
//! cluster set up again under the same address: all count from 0, and an offset committed for what was there before
//! means nothing in what is there now, or worse, seems to mean something. So a commit of ours carries which log it is of:
//! the topic's id in its metadata, and the epoch of the leader that wrote the last record before it, by which librdkafka
//! finds out whether the log was cut since ([KIP-320](https://cwiki.apache.org/confluence/x/fYlvBQ)). A commit of another
//! log is no position: reading begins at the log's start, which repeats change nothing.

use std::collections::HashMap;
use std::ffi::CString;
use std::ops::Range;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaErrorCode;

use super::client::ASK_TIMEOUT;
use super::native::ask::{Bound, Question, TopicThere, describe_topics, log_of};
use super::native::poll::entries;
use crate::{LogId, Offset, Partition, PartitionDescription};

/// How much longer than its request an answer may take: for finding the leaders.
const ANSWER_MARGIN: Duration = Duration::from_secs(1);

/// Before the topic's id in a commit's metadata.
const METADATA_PREFIX: &str = "floodgate:";

/// Who committed an offset, and of which log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CommitMark {
    /// This program, of the topic of this id; `None` where the cluster gives none.
    Ours(Option<LogId>),
    /// Another program, or a build before commits were marked.
    Foreign,
}

/// What a commit of ours carries.
pub(super) fn metadata(topic: Option<&LogId>) -> String {
    format!("{METADATA_PREFIX}{}", topic.map_or(String::new(), LogId::to_string))
}

fn mark(metadata: &[u8]) -> CommitMark {
    let id = std::str::from_utf8(metadata).ok().and_then(|text| text.strip_prefix(METADATA_PREFIX));
    id.map_or(CommitMark::Foreign, |id| CommitMark::Ours(log_of(id)))
}

/// A committed offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Committed {
    pub(super) offset: Offset,
    /// The epoch of the leader that took the last record before it, where that is known.
    pub(super) leader_epoch: Option<i32>,
    pub(super) mark: CommitMark,
}

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
            let (leader_epoch, mark) = (entry.leader_epoch, mark(&entry.metadata));
            offsets.insert(entry.partition, Committed { offset, leader_epoch, mark });
        }
    }
    Ok(offsets)
}

/// What a position was found to be, when it is not simply where the group was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Finding {
    /// Nothing is committed: reading begins at the log's start.
    NeverCommitted,
    /// Records expired before they were read.
    ExpiredUnread(Range<Offset>),
    /// The position is of a log that is there no more: this one is read from its start, with these numbers.
    AnotherLog { position: Offset, log: Range<Offset> },
    /// Another program set the offset.
    SetByOthers,
}

/// Where reading goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) offset: Offset,
    /// By which librdkafka checks that the log before it is still the same.
    pub(super) leader_epoch: Option<i32>,
    pub(super) finding: Option<Finding>,
}

/// Where a member reads on, given what the group committed and where the log lies.
pub(super) fn place(committed: Option<&Committed>, topic: Option<&LogId>, log: Range<Offset>) -> Place {
    let from_start = |finding| Place { offset: log.start, leader_epoch: None, finding: Some(finding) };
    let Some(Committed { offset: next, leader_epoch, mark }) = committed else {
        return from_start(Finding::NeverCommitted);
    };
    let is_another = match mark {
        CommitMark::Ours(Some(of)) => topic.is_some_and(|topic| topic != of),
        CommitMark::Ours(None) | CommitMark::Foreign => false,
    };
    if is_another || *next > log.end {
        return from_start(Finding::AnotherLog { position: *next, log: log.clone() });
    }
    if *next < log.start {
        return from_start(Finding::ExpiredUnread(*next..log.start));
    }
    let finding = (*mark == CommitMark::Foreign).then_some(Finding::SetByOthers);
    Place { offset: *next, leader_epoch: *leader_epoch, finding }
}

/// Tells operators what was found.
pub(super) fn tell(group: &str, topic: &str, partition: Partition, place: &Place) {
    let from = place.offset;
    match &place.finding {
        None => {}
        Some(Finding::NeverCommitted) if from > Offset(0) => tracing::warn!(
            %group, %topic, %partition, %from,
            "nothing committed yet, and the log no longer has what stood before {from}: reading from there"
        ),
        Some(Finding::NeverCommitted) => tracing::info!(
            %group, %topic, %partition, %from, "nothing committed yet: reading from the log's start"
        ),
        Some(Finding::ExpiredUnread(Range { start, end })) => tracing::error!(
            %group, %topic, %partition, missing_from = %start, missing_until = %end, missing = end.0 - start.0,
            "records expired before they were read: offsets {start} up to {end} are missing"
        ),
        Some(Finding::AnotherLog { position, log: Range { start, end } }) => tracing::error!(
            %group, %topic, %partition, %position, %start, %end,
            "the position {position} is of a log that is there no more (the topic was made anew, or its end was lost): reading \
             this one, which ends at {end}, from its start, {start}; what was there before and not applied is lost"
        ),
        Some(Finding::SetByOthers) => tracing::warn!(
            %group, %topic, %partition, %from,
            "the committed offset {from} was set by another program, or by a build that did not mark its commits: what lies \
             before it and was not applied is skipped; `floodgate verify` tells"
        ),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> Option<LogId> {
        log_of(text)
    }

    fn another(position: i64) -> Option<Finding> {
        Some(Finding::AnotherLog { position: Offset(position), log: Offset(10)..Offset(20) })
    }

    fn found(offset: i64, mark: CommitMark) -> (i64, Option<Finding>) {
        let committed = Committed { offset: Offset(offset), leader_epoch: Some(3), mark };
        let place = place(Some(&committed), id("now").as_ref(), Offset(10)..Offset(20));
        assert!(
            place.leader_epoch.is_none() || place.offset == Offset(offset),
            "an epoch belongs to its offset"
        );
        (place.offset.0, place.finding)
    }

    #[test]
    fn a_position_outside_the_log_goes_to_its_start() {
        let ours = || CommitMark::Ours(id("now"));
        let none = place(None, None, Offset(10)..Offset(20));
        assert_eq!((none.offset, none.finding), (Offset(10), Some(Finding::NeverCommitted)));
        assert_eq!(found(9, ours()), (10, Some(Finding::ExpiredUnread(Offset(9)..Offset(10)))));
        for inside in [10, 15, 20] {
            assert_eq!(found(inside, ours()), (inside, None));
        }
        assert_eq!(found(21, ours()), (10, another(21)));
    }

    #[test]
    fn a_position_of_another_log_is_none() {
        assert_eq!(found(15, CommitMark::Ours(id("before"))), (10, another(15)));
        assert_eq!(found(15, CommitMark::Foreign), (15, Some(Finding::SetByOthers)));
        assert_eq!(found(15, CommitMark::Ours(None)), (15, None), "a cluster without ids");
    }

    #[test]
    fn commits_are_marked() {
        assert_eq!(mark(metadata(id("Zm9v").as_ref()).as_bytes()), CommitMark::Ours(id("Zm9v")));
        assert_eq!(mark(metadata(None).as_bytes()), CommitMark::Ours(None));
        for foreign in [&b""[..], b"flood", b"\xff\xfe", b"NULL"] {
            assert_eq!(mark(foreign), CommitMark::Foreign);
        }
        assert_eq!(id("AAAAAAAAAAAAAAAAAAAAAA"), None, "what clusters give topics that have none");
    }
}
