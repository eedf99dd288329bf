//! Who is in a group, and what each member reads.
//!
//! The members and their assignments come with the list of groups, as bytes that this reads: librdkafka's other way to ask,
//! `DescribeConsumerGroups`, ends the process (an assertion in `rd_kafka_enq_once_del_source_return`, 2.12.1) when the group's
//! coordinator dies while it is asked. The list knows groups of the classic protocol, as this program's are.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaResult;

use crate::Partition;

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GroupMember {
    pub(super) client_id: String,
    /// What the cluster calls it.
    id: String,
    /// From where it is connected.
    host: String,
    /// Those of the topic asked for that are its.
    pub(super) partitions: Vec<Partition>,
}

impl GroupMember {
    /// As operators find it: from where it is connected, and the id that is in its log and in Kafka's own tools.
    pub(super) fn name(&self) -> String {
        format!("{} at {}", self.id, self.host.trim_start_matches('/'))
    }
}

/// The members of a group, none where there is no such group, with what they read of a topic.
pub(super) fn members<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    group: &str,
    topic: &str,
    timeout: Duration,
) -> KafkaResult<Vec<GroupMember>> {
    let groups = consumer.fetch_group_list(Some(group), timeout)?;
    let found = groups.groups().iter().find(|found| found.name() == group);
    let members = found.map_or(&[][..], |group| group.members()).iter();
    let member = members.map(|member| GroupMember {
        client_id: member.client_id().to_owned(),
        id: member.id().to_owned(),
        host: member.client_host().to_owned(),
        partitions: member.assignment().and_then(|bytes| assigned(bytes, topic)).unwrap_or_default(),
    });
    Ok(member.collect())
}

/// The partitions of a topic in an assignment, as members of the classic protocol hand it out
/// ([`ConsumerProtocolAssignment`](https://github.com/apache/kafka/blob/4.1.0/clients/src/main/resources/common/message/ConsumerProtocolAssignment.json)):
/// a version, then topics, each with its name and partitions; what follows is no business of ours. `None` where it is something
/// else.
fn assigned(mut rest: &[u8], topic: &str) -> Option<Vec<Partition>> {
    let mut partitions = Vec::new();
    let _version = i16::from_be_bytes(take(&mut rest)?);
    for _ in 0..i32::from_be_bytes(take(&mut rest)?) {
        let length = usize::try_from(i16::from_be_bytes(take(&mut rest)?)).ok()?;
        let (name, after) = rest.split_at_checked(length)?;
        rest = after;
        for _ in 0..i32::from_be_bytes(take(&mut rest)?) {
            let partition = Partition(i32::from_be_bytes(take(&mut rest)?));
            if name == topic.as_bytes() {
                partitions.push(partition);
            }
        }
    }
    Some(partitions)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_are_read() {
        let mut bytes = vec![0, 1];
        bytes.extend(2_i32.to_be_bytes());
        for (name, partitions) in [("t.other", &[7][..]), ("t.like", &[0, 3, 9])] {
            bytes.extend((name.len() as i16).to_be_bytes());
            bytes.extend(name.as_bytes());
            bytes.extend((partitions.len() as i32).to_be_bytes());
            partitions.iter().for_each(|partition: &i32| bytes.extend(partition.to_be_bytes()));
        }
        bytes.extend((-1_i32).to_be_bytes());
        assert_eq!(assigned(&bytes, "t.like"), Some([0, 3, 9].map(Partition).to_vec()));
        assert_eq!(assigned(&bytes, "t.coupon"), Some(Vec::new()));
        for cut in 0..bytes.len() - 4 {
            assert_eq!(assigned(&bytes[..cut], "t.like"), None, "{cut}");
        }
        assert_eq!(assigned(b"", "t.like"), None, "while the group is in the midst of a rebalance");
    }
}
