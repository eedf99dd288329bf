//! Questions that rust-rdkafka does not ask: what there is of topics, which log each is and what this client may do with
//! it; and where partitions begin and end, each with an answer or an error of its own. One partition without a leader, or
//! one broker that is silent, takes nothing from the answers of the others.

use std::ffi::{CString, c_char};
use std::ptr;
use std::time::Duration;

use rdkafka::client::{Client, ClientContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::metadata::MetadataBroker;
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::{RDKafka, RDKafkaErrorCode, RDKafkaRespErr};
use rdkafka_sys as sys;

use super::raw::{QueueHandle, text_of};
use crate::kafka::mark::log_of;
use crate::{LogId, Partition, PartitionDescription};

/// One end of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kafka) enum Bound {
    /// The oldest record's offset.
    Start,
    /// The next record's offset.
    End,
    /// Up to where records can be read now: where the first transaction that is still open began, or else the end.
    Stable,
}

/// How many brokers are asked, one after the other: one that is silent is no reason to know nothing.
const BROKERS_ASKED: usize = 3;

/// How much longer than its request an answer may take before the client itself counts as stuck.
const ANSWER_MARGIN: Duration = Duration::from_secs(1);

/// A topic as the cluster shows it to this client.
#[derive(Debug, Clone)]
pub(in crate::kafka) struct TopicThere {
    pub(in crate::kafka) name: String,
    /// Another one once the topic was deleted and made anew; `None` from brokers before Kafka 2.8.
    pub(in crate::kafka) id: Option<LogId>,
    /// In order; or the broker's word that it is missing, or not to be seen.
    pub(in crate::kafka) partitions: Result<Vec<PartitionDescription>, RDKafkaErrorCode>,
    /// Whether this client may write to it; `None` where the cluster does not say.
    pub(in crate::kafka) may_write: Option<bool>,
}

/// What one bound of each partition is, or why that is not known.
pub(in crate::kafka) type Offsets = Vec<(Partition, KafkaResult<i64>)>;

/// A question on its way. Dropping it forgets the answer; it must go before its client does.
pub(in crate::kafka) struct Question {
    queue: QueueHandle,
    /// What came already, when several answers are waited for.
    kept: Option<Offsets>,
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

/// Asks for topics by name, which creates none of them, and with what this client may do there. What the client itself knows of
/// the cluster is renewed before, as for every question that needs any broker.
pub(in crate::kafka) fn describe_topics<C: ClientContext>(
    client: &Client<C>,
    names: &[&str],
    timeout: Duration,
) -> KafkaResult<Vec<TopicThere>> {
    // all topics, not ours by name: naming a missing one may create it on a lenient cluster
    let metadata = client.fetch_metadata(None, timeout)?;
    // whoever has just answered does it again; left to itself librdkafka would ask the controller only
    let answered = Some(metadata.orig_broker_id()).filter(|broker| *broker >= 0);
    let others = metadata.brokers().iter().map(MetadataBroker::id);
    let brokers = answered.into_iter().chain(others.filter(|broker| Some(*broker) != answered));
    let mut asked = Err(KafkaError::MetadataFetch(RDKafkaErrorCode::AllBrokersDown));
    for broker in brokers.take(BROKERS_ASKED) {
        let question = Question::topics(client, names, Some(broker), timeout)?;
        // the request has its own limit; the margin is for a client that does not even end it
        let told = question.there(timeout + ANSWER_MARGIN);
        let told =
            told.and_then(|told| told.ok_or(KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut)));
        asked = told;
        if asked.is_ok() {
            break;
        }
    }
    asked
}

/// Where a partition's log has the bound, by librdkafka's numbers.
fn spec(bound: Bound) -> i64 {
    match bound {
        Bound::Start => i64::from(sys::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_EARLIEST as i32),
        Bound::End | Bound::Stable => {
            i64::from(sys::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_LATEST as i32)
        }
    }
}

impl Question {
    /// Asks for one bound of many partitions, the request itself answered `within` the time.
    pub(in crate::kafka) fn bounds<C: ClientContext>(
        client: &Client<C>,
        topic: &str,
        partitions: &[Partition],
        bound: Bound,
        within: Duration,
    ) -> KafkaResult<Self> {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            list.add_partition(topic, partition.0);
        }
        let client = client.native_ptr();
        // SAFETY: client, list, options and queue are valid, and list and options are copied.
        unsafe {
            let raw = &*list.ptr();
            for index in 0..list.count() {
                (*raw.elems.add(index)).offset = spec(bound);
            }
            let options = options(client, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS, within);
            let isolation = match bound {
                Bound::Stable => sys::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED,
                _ => sys::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED,
            };
            drop(Owned(
                sys::rd_kafka_AdminOptions_set_isolation_level(options.0, isolation),
                sys::rd_kafka_error_destroy,
            ));
            let queue = QueueHandle(sys::rd_kafka_queue_new(client));
            sys::rd_kafka_ListOffsets(client, list.ptr(), options.0, queue.0);
            Ok(Self { queue, kept: None })
        }
    }

    /// Asks a broker what there is of topics, and what this client may do with them. Asking never creates one.
    pub(in crate::kafka) fn topics<C: ClientContext>(
        client: &Client<C>,
        names: &[&str],
        broker: Option<i32>,
        within: Duration,
    ) -> KafkaResult<Self> {
        let names = names.iter().map(|name| CString::new(*name)).collect::<Result<Vec<_>, _>>()?;
        let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
        let client = client.native_ptr();
        // SAFETY: the client is valid; names and pointers live until the end of the function, and librdkafka copies them and
        // the options.
        unsafe {
            let topics = Owned(
                sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len()),
                sys::rd_kafka_TopicCollection_destroy,
            );
            let options = options(client, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, within);
            if let Some(broker) = broker {
                let _ = sys::rd_kafka_AdminOptions_set_broker(options.0, broker, ptr::null_mut(), 0);
            }
            // null when it worked, and otherwise what may be done is not known
            drop(Owned(
                sys::rd_kafka_AdminOptions_set_include_authorized_operations(options.0, 1),
                sys::rd_kafka_error_destroy,
            ));
            let queue = QueueHandle(sys::rd_kafka_queue_new(client));
            sys::rd_kafka_DescribeTopics(client, topics.0, options.0, queue.0);
            Ok(Self { queue, kept: None })
        }
    }

    /// The answer, if it comes within this time.
    fn answer(&self, within: Duration) -> KafkaResult<Option<Owned<sys::rd_kafka_event_t>>> {
        let within_ms = i32::try_from(within.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the queue is valid; the event is owned by the answer.
        unsafe {
            let event = sys::rd_kafka_queue_poll(self.queue.0, within_ms);
            if event.is_null() {
                return Ok(None);
            }
            let answer = Owned(event, sys::rd_kafka_event_destroy);
            match sys::rd_kafka_event_error(event) {
                RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(Some(answer)),
                error => Err(KafkaError::AdminOp(error.into())),
            }
        }
    }

    /// The offsets asked for, without waiting, and again until they are taken with those of other questions.
    pub(in crate::kafka) fn keep_offsets(&mut self) -> KafkaResult<Option<Offsets>> {
        if self.kept.is_none() {
            self.kept = self.offsets(Duration::ZERO)?;
        }
        Ok(self.kept.clone())
    }

    /// The offsets asked for; `None` if no answer came within this time.
    pub(in crate::kafka) fn offsets(&self, within: Duration) -> KafkaResult<Option<Offsets>> {
        let Some(answer) = self.answer(within)? else { return Ok(None) };
        let mut found = Vec::new();
        // SAFETY: the event is one of ListOffsets, as the question was; what it lends lives as long as it does.
        unsafe {
            let result = sys::rd_kafka_event_ListOffsets_result(answer.0);
            if result.is_null() {
                return Err(KafkaError::AdminOp(RDKafkaErrorCode::BadMessage));
            }
            let mut count = 0;
            let infos = sys::rd_kafka_ListOffsets_result_infos(result, &mut count);
            for index in 0..count {
                let place = &*sys::rd_kafka_ListOffsetsResultInfo_topic_partition(*infos.add(index));
                let offset = match place.err {
                    RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR if place.offset >= 0 => Ok(place.offset),
                    RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => {
                        Err(KafkaError::OffsetFetch(RDKafkaErrorCode::NoOffset))
                    }
                    error => Err(KafkaError::OffsetFetch(error.into())),
                };
                found.push((Partition(place.partition), offset));
            }
        }
        Ok(Some(found))
    }

    /// The topics asked for; `None` if no answer came within this time.
    pub(in crate::kafka) fn there(&self, within: Duration) -> KafkaResult<Option<Vec<TopicThere>>> {
        let Some(answer) = self.answer(within)? else { return Ok(None) };
        // SAFETY: the event is one of DescribeTopics, as the question was; what it lends lives as long as it does.
        unsafe {
            let result = sys::rd_kafka_event_DescribeTopics_result(answer.0);
            if result.is_null() {
                return Err(KafkaError::AdminOp(RDKafkaErrorCode::BadMessage));
            }
            let mut count = 0;
            let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &mut count);
            Ok(Some(slice(topics, count).iter().map(|topic| topic_there(*topic)).collect()))
        }
    }
}

/// # Safety
/// The client is valid.
unsafe fn options(
    client: *mut RDKafka,
    of: sys::rd_kafka_admin_op_t,
    within: Duration,
) -> Owned<sys::rd_kafka_AdminOptions_t> {
    let within_ms = i32::try_from(within.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the caller's promise; a time that librdkafka does not take leaves its default.
    unsafe {
        let options = Owned(sys::rd_kafka_AdminOptions_new(client, of), sys::rd_kafka_AdminOptions_destroy);
        let _ = sys::rd_kafka_AdminOptions_set_request_timeout(options.0, within_ms, ptr::null_mut(), 0);
        options
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
            return TopicThere { name, id: None, partitions: Err(code.into()), may_write: None };
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
        let id = sys::rd_kafka_Uuid_base64str(sys::rd_kafka_TopicDescription_topic_id(topic));
        TopicThere { name, id: log_of(&text_of(id)), partitions: Ok(partitions), may_write }
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
