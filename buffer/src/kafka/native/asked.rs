//! Questions that rust-rdkafka does not ask: what there is of topics and what this client may do with them, and the events
//! of a client that nobody polls.

use std::ffi::{CString, c_char};
use std::ptr;
use std::time::Duration;

use rdkafka::client::{Client, ClientContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};
use rdkafka_sys as sys;

use super::super::cause::Asking;
use super::text_of;
use crate::PartitionDescription;

/// A topic as the cluster shows it to this client.
#[derive(Debug, Clone)]
pub(in crate::kafka) struct TopicThere {
    pub(in crate::kafka) name: String,
    /// In order; or the broker's word that it is missing, or not to be seen.
    pub(in crate::kafka) partitions: Result<Vec<PartitionDescription>, RDKafkaErrorCode>,
    /// Whether this client may write to it; `None` where the cluster does not say.
    pub(in crate::kafka) may_write: Option<bool>,
}

/// Freed when it goes, also where a function leaves early.
struct Owned<T>(*mut T, unsafe extern "C" fn(*mut T));

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: the pointer came from librdkafka's function that belongs to this one, and is released once.
            unsafe { (self.1)(self.0) }
        }
    }
}

/// How many brokers are asked, one after the other: one that is silent is no reason to know nothing.
const BROKERS_ASKED: usize = 3;

/// Asks for topics by name, which creates none of them, and with what this client may do there. What the client itself knows of
/// the cluster is renewed before, as for every question that needs any broker.
pub(in crate::kafka) fn describe_topics<C: ClientContext>(
    client: &Client<C>,
    names: &[String],
    timeout: Duration,
) -> KafkaResult<Vec<TopicThere>> {
    // all topics, not ours by name: naming a missing one may create it on a lenient cluster
    let metadata = client.fetch_metadata(None, timeout)?;
    // whoever has just answered does it again; left to itself librdkafka would ask the controller only
    let answered = Some(metadata.orig_broker_id()).filter(|broker| *broker >= 0);
    let others = metadata.brokers().iter().map(rdkafka::metadata::MetadataBroker::id);
    let brokers = answered.into_iter().chain(others.filter(|broker| Some(*broker) != answered));
    let mut asked = Err(KafkaError::MetadataFetch(RDKafkaErrorCode::AllBrokersDown));
    for broker in brokers.take(BROKERS_ASKED) {
        asked = ask_broker(client, broker, names, timeout);
        if asked.is_ok() {
            break;
        }
    }
    asked
}

fn ask_broker<C: ClientContext>(
    client: &Client<C>,
    broker: i32,
    names: &[String],
    timeout: Duration,
) -> KafkaResult<Vec<TopicThere>> {
    let names = names.iter().map(|name| CString::new(name.as_str())).collect::<Result<Vec<_>, _>>()?;
    let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    let rk = client.native_ptr();
    // SAFETY: the client is valid; names and pointers live until the end of the function, and librdkafka copies them; all
    // objects made here are released at its end, in the reverse order; nothing borrowed from the event leaves.
    unsafe {
        let collection = Owned(
            sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len()),
            sys::rd_kafka_TopicCollection_destroy,
        );
        let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        let options =
            Owned(sys::rd_kafka_AdminOptions_new(rk, operation), sys::rd_kafka_AdminOptions_destroy);
        sys::rd_kafka_AdminOptions_set_request_timeout(options.0, timeout_ms, ptr::null_mut(), 0);
        sys::rd_kafka_AdminOptions_set_broker(options.0, broker, ptr::null_mut(), 0);
        // null when it worked, and otherwise what may be done is not known
        drop(Owned(
            sys::rd_kafka_AdminOptions_set_include_authorized_operations(options.0, 1),
            sys::rd_kafka_error_destroy,
        ));
        let queue = Owned(sys::rd_kafka_queue_new(rk), sys::rd_kafka_queue_destroy);
        sys::rd_kafka_DescribeTopics(rk, collection.0, options.0, queue.0);
        // the request has its own limit; this is for a client that does not even end it
        let event = sys::rd_kafka_queue_poll(queue.0, timeout_ms.saturating_add(1000));
        let event = Owned(event, sys::rd_kafka_event_destroy);
        if event.0.is_null() {
            return Err(KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut));
        }
        let error = sys::rd_kafka_event_error(event.0);
        if error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(KafkaError::MetadataFetch(error.into()));
        }
        let result = sys::rd_kafka_event_DescribeTopics_result(event.0);
        let mut count = 0;
        let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        Ok(slice(topics, count).iter().map(|topic| topic_there(*topic)).collect())
    }
}

/// # Safety
/// `items` are `count` of librdkafka's, or null with none.
unsafe fn slice<'a, T>(items: *const T, count: usize) -> &'a [T] {
    if items.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(items, count) }
}

/// # Safety
/// The description belongs to an event that is still there.
unsafe fn topic_there(topic: *const sys::rd_kafka_TopicDescription_t) -> TopicThere {
    // SAFETY: the caller's promise; every array lives as long as the description.
    unsafe {
        let name = text_of(sys::rd_kafka_TopicDescription_name(topic));
        let error = sys::rd_kafka_TopicDescription_error(topic);
        let code = if error.is_null() {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR
        } else {
            sys::rd_kafka_error_code(error)
        };
        if code != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return TopicThere { name, partitions: Err(code.into()), may_write: None };
        }
        let mut count = 0;
        let operations = sys::rd_kafka_TopicDescription_authorized_operations(topic, &mut count);
        // not asked for, or not told by the broker, is null
        let may_write = (!operations.is_null()).then(|| {
            slice(operations, count).contains(&sys::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_WRITE)
        });
        let mut count = 0;
        let partitions = sys::rd_kafka_TopicDescription_partitions(topic, &mut count);
        let mut partitions: Vec<_> =
            slice(partitions, count).iter().map(|partition| partition_there(*partition)).collect();
        partitions.sort_by_key(|partition| partition.partition);
        TopicThere { name, partitions: Ok(partitions), may_write }
    }
}

/// # Safety
/// As [`topic_there`].
unsafe fn partition_there(partition: *const sys::rd_kafka_TopicPartitionInfo_t) -> PartitionDescription {
    let id = |node: *const sys::rd_kafka_Node_t| match node.is_null() {
        true => -1,
        // SAFETY: the caller's promise.
        false => unsafe { sys::rd_kafka_Node_id(node) },
    };
    // SAFETY: the caller's promise.
    unsafe {
        let (mut replicas, mut in_sync) = (0, 0);
        let replica = sys::rd_kafka_TopicPartitionInfo_replicas(partition, &mut replicas);
        let current = sys::rd_kafka_TopicPartitionInfo_isr(partition, &mut in_sync);
        PartitionDescription {
            partition: sys::rd_kafka_TopicPartitionInfo_partition(partition),
            leader: id(sys::rd_kafka_TopicPartitionInfo_leader(partition)),
            replicas: slice(replica, replicas).iter().map(|node| id(*node)).collect(),
            in_sync: slice(current, in_sync).iter().map(|node| id(*node)).collect(),
        }
    }
}

/// Gives its context what a client said that nobody polls: an admin client. Not for consumers, whose records would come as well.
pub(in crate::kafka) fn listen(client: &Client<Asking>) {
    // SAFETY: the client is valid; the queue reference and every event are released once.
    unsafe {
        let queue = Owned(sys::rd_kafka_queue_get_main(client.native_ptr()), sys::rd_kafka_queue_destroy);
        loop {
            let event = Owned(sys::rd_kafka_queue_poll(queue.0, 0), sys::rd_kafka_event_destroy);
            if event.0.is_null() {
                return;
            }
            match sys::rd_kafka_event_type(event.0) {
                sys::RD_KAFKA_EVENT_ERROR => {
                    let error = KafkaError::Global(sys::rd_kafka_event_error(event.0).into());
                    client.context().error(error, &text_of(sys::rd_kafka_event_error_string(event.0)));
                }
                sys::RD_KAFKA_EVENT_LOG => {
                    let (mut facility, mut text, mut level) = (ptr::null(), ptr::null(), 0);
                    if sys::rd_kafka_event_log(event.0, &mut facility, &mut text, &mut level) == 0 {
                        client.context().said(level, &text_of(facility), &text_of(text));
                    }
                }
                _ => {}
            }
        }
    }
}
