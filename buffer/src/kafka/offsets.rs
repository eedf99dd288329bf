//! Offsets as the cluster knows them, asked for without joining a group, and where a member reads on.

use std::collections::HashMap;
use std::ops::Range;

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::{TopicPartitionList, TopicPartitionListElem};
use rdkafka::types::RDKafkaErrorCode;

use super::ASK_TIMEOUT;
use crate::{Offset, Partition};

/// One end of a partition.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bound {
    /// The oldest record's offset.
    Start,
    /// The next record's offset.
    End,
}

/// A topic's partitions, in order; [`RDKafkaErrorCode::UnknownTopicOrPartition`] when it is missing. Asking by name
/// never creates it: a consumer's metadata request does not allow that.
pub(super) fn partitions<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
) -> KafkaResult<Vec<Partition>> {
    let metadata = consumer.fetch_metadata(Some(topic), ASK_TIMEOUT)?;
    let found = metadata.topics().iter().find(|found| found.name() == topic && found.error().is_none());
    let found = found.ok_or(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition))?;
    let mut partitions: Vec<_> = found.partitions().iter().map(|p| Partition(p.id())).collect();
    partitions.sort();
    Ok(partitions)
}

/// One bound of many partitions, with one request per broker.
pub(super) fn bounds<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partitions: &[Partition],
    bound: Bound,
) -> KafkaResult<HashMap<Partition, Offset>> {
    // the protocol's two special timestamps, which rust-rdkafka writes for these offsets
    let timestamp = match bound {
        Bound::Start => rdkafka::Offset::Beginning,
        Bound::End => rdkafka::Offset::End,
    };
    let mut asked = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        asked.add_partition_offset(topic, partition.0, timestamp)?;
    }
    let found = consumer.offsets_for_times(asked, ASK_TIMEOUT)?;
    let offset = |element: &TopicPartitionListElem<'_>| {
        element.error()?;
        match element.offset() {
            rdkafka::Offset::Offset(offset) => Ok((Partition(element.partition()), Offset(offset))),
            _ => Err(KafkaError::SetPartitionOffset(RDKafkaErrorCode::NoOffset)),
        }
    };
    found.elements().iter().map(offset).collect()
}

/// The group's committed offsets, of the partitions that have one.
pub(super) fn committed<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partitions: &[Partition],
) -> KafkaResult<HashMap<Partition, Offset>> {
    let mut asked = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        asked.add_partition(topic, partition.0);
    }
    let found = consumer.committed_offsets(asked, ASK_TIMEOUT)?;
    let mut offsets = HashMap::new();
    for element in found.elements() {
        // a partition that could not be asked about must not pass for one that was never committed
        element.error()?;
        if let rdkafka::Offset::Offset(offset) = element.offset() {
            offsets.insert(Partition(element.partition()), Offset(offset));
        }
    }
    Ok(offsets)
}

/// Where a member of `group` reads on in each partition.
pub(super) fn positions<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    group: &str,
    topic: &str,
    partitions: &[Partition],
) -> KafkaResult<Vec<(Partition, Offset)>> {
    let committed = committed(consumer, topic, partitions)?;
    let starts = bounds(consumer, topic, partitions, Bound::Start)?;
    let ends = bounds(consumer, topic, partitions, Bound::End)?;
    let position = |partition: &Partition| {
        let start = starts.get(partition).copied().unwrap_or(Offset(0));
        let end = ends.get(partition).copied().unwrap_or(start);
        let committed = committed.get(partition).copied();
        (*partition, position(group, topic, *partition, committed, start..end))
    };
    Ok(partitions.iter().map(position).collect())
}

fn position(
    group: &str,
    topic: &str,
    partition: Partition,
    committed: Option<Offset>,
    log: Range<Offset>,
) -> Offset {
    let Range { start, end } = log;
    match committed {
        None if start > Offset(0) => {
            tracing::warn!(
                %group, %topic, %partition, from = %start,
                "nothing committed yet, and the log no longer has what stood before {start}: reading from there"
            );
            start
        }
        None => {
            tracing::info!(%group, %topic, %partition, from = %start, "nothing committed yet: reading from the log's start");
            start
        }
        Some(next) if next < start => {
            tracing::error!(
                %group, %topic, %partition, missing_from = %next, missing_until = %start, missing = start.0 - next.0,
                "records expired before they were read: offsets {next} up to {start} are missing"
            );
            start
        }
        Some(next) if next > end => {
            tracing::error!(
                %group, %topic, %partition, committed = %next, %end,
                "the committed offset lies beyond the log's end (was the topic made anew?): reading from its start, {start}"
            );
            start
        }
        Some(next) => next,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_outside_the_log_goes_to_its_start() {
        let from = |committed: Option<i64>| {
            position("g", "t", Partition(0), committed.map(Offset), Offset(10)..Offset(20)).0
        };
        assert_eq!(from(None), 10, "never committed");
        assert_eq!(from(Some(9)), 10, "expired unread");
        assert_eq!([from(Some(10)), from(Some(15)), from(Some(20))], [10, 15, 20]);
        assert_eq!(from(Some(21)), 10, "the topic was made anew");
    }
}
