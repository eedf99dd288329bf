//! Who is in a group, and what each member reads: of groups of both protocols, the classic one and KIP-848's.

use std::ffi::CString;
use std::time::Duration;

use rdkafka::client::{Client, ClientContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};
use rdkafka_sys as sys;

use super::ask::{ANSWER_MARGIN, Question, options};
use super::raw::{QueueHandle, text_of};
use crate::Partition;

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::kafka) struct GroupMember {
    pub(in crate::kafka) client_id: String,
    /// What the cluster calls it.
    id: String,
    /// From where it is connected.
    host: String,
    /// Those of the topic asked for that are its.
    pub(in crate::kafka) partitions: Vec<Partition>,
}

impl GroupMember {
    /// As operators find it: from where it is connected, and the id that is in its log and in Kafka's own tools.
    pub(in crate::kafka) fn name(&self) -> String {
        format!("{} at {}", self.id, self.host.trim_start_matches('/'))
    }
}

/// The members of a group, none where there is no such group, with what they read of a topic.
pub(in crate::kafka) fn describe_group<C: ClientContext>(
    client: &Client<C>,
    group: &str,
    topic: &str,
    timeout: Duration,
) -> KafkaResult<Vec<GroupMember>> {
    let name = CString::new(group)?;
    let mut names = [name.as_ptr()];
    let native = client.native_ptr();
    // SAFETY: client, options and queue are valid, and the name lives until the end of the function; librdkafka copies name and
    // options.
    let question = unsafe {
        let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS;
        let options = options(native, operation, timeout);
        let queue = QueueHandle(sys::rd_kafka_queue_new(native));
        sys::rd_kafka_DescribeConsumerGroups(native, names.as_mut_ptr(), names.len(), options.0, queue.0);
        Question::on(queue)
    };
    let answer = question.answer(timeout + ANSWER_MARGIN)?;
    let answer = answer.ok_or(KafkaError::AdminOp(RDKafkaErrorCode::OperationTimedOut))?;
    // SAFETY: the event is one of DescribeConsumerGroups, as the question was; what it lends lives as long as it does.
    unsafe {
        let result = sys::rd_kafka_event_DescribeConsumerGroups_result(answer.0);
        if result.is_null() {
            return Err(KafkaError::AdminOp(RDKafkaErrorCode::BadMessage));
        }
        let mut count = 0;
        let groups = sys::rd_kafka_DescribeConsumerGroups_result_groups(result, &mut count);
        if groups.is_null() || count == 0 {
            return Err(KafkaError::AdminOp(RDKafkaErrorCode::BadMessage));
        }
        members_of(*groups, topic)
    }
}

/// # Safety
/// The description belongs to an event that is still there.
unsafe fn members_of(
    group: *const sys::rd_kafka_ConsumerGroupDescription_t,
    topic: &str,
) -> KafkaResult<Vec<GroupMember>> {
    // SAFETY: the caller's promise; members and lists live as long as the description.
    unsafe {
        let error = sys::rd_kafka_ConsumerGroupDescription_error(group);
        match if error.is_null() {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR
        } else {
            sys::rd_kafka_error_code(error)
        } {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => {}
            // as brokers since Kafka 4.0 say of a group that never was
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_ID_NOT_FOUND => return Ok(Vec::new()),
            error => return Err(KafkaError::AdminOp(error.into())),
        }
        let mut members = Vec::new();
        for index in 0..sys::rd_kafka_ConsumerGroupDescription_member_count(group) {
            let member = sys::rd_kafka_ConsumerGroupDescription_member(group, index);
            if member.is_null() {
                continue;
            }
            members.push(GroupMember {
                client_id: text_of(sys::rd_kafka_MemberDescription_client_id(member)),
                id: text_of(sys::rd_kafka_MemberDescription_consumer_id(member)),
                host: text_of(sys::rd_kafka_MemberDescription_host(member)),
                partitions: partitions_of(sys::rd_kafka_MemberDescription_assignment(member), topic),
            });
        }
        Ok(members)
    }
}

/// # Safety
/// The assignment belongs to an event that is still there, or is null.
unsafe fn partitions_of(assignment: *const sys::rd_kafka_MemberAssignment_t, topic: &str) -> Vec<Partition> {
    if assignment.is_null() {
        return Vec::new();
    }
    // SAFETY: the caller's promise; the list lives as long as the assignment.
    unsafe {
        let list = sys::rd_kafka_MemberAssignment_partitions(assignment);
        let Some(list) = list.as_ref().filter(|list| !list.elems.is_null()) else { return Vec::new() };
        let places = (0..usize::try_from(list.cnt).unwrap_or(0)).map(|index| &*list.elems.add(index));
        let of_topic = places.filter(|place| text_of(place.topic) == topic);
        of_topic.map(|place| Partition(place.partition)).collect()
    }
}

/// What the cluster calls this member; empty before it has joined.
pub(in crate::kafka) fn member_id<C: ClientContext>(client: &Client<C>) -> String {
    // SAFETY: the client is valid; the text is ours, and is released once.
    unsafe {
        let id = sys::rd_kafka_memberid(client.native_ptr());
        let text = text_of(id);
        if !id.is_null() {
            sys::rd_kafka_mem_free(client.native_ptr(), id.cast());
        }
        text
    }
}
