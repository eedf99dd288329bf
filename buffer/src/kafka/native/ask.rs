//! Questions that rust-rdkafka does not ask: which log a topic is, and where its partitions begin and end, each with an
//! answer or an error of its own. One partition without a leader, or one broker that is silent, takes nothing from the
//! answers of the others.

use std::ffi::{CStr, CString};
use std::ptr;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::{RDKafka, RDKafkaErrorCode, RDKafkaRespErr};
use rdkafka_sys as sys;

use super::QueueHandle;
use crate::Partition;
use crate::kafka::offsets::{Bound, TopicId};

/// What a cluster says of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::kafka) struct TopicFacts {
    /// Another one once the topic was deleted and made anew; `None` from brokers before Kafka 2.8.
    pub(in crate::kafka) id: Option<TopicId>,
    /// Every partition, in order, and the broker that leads it, if one does now.
    pub(in crate::kafka) partitions: Vec<(Partition, Option<i32>)>,
}

/// What one bound of each partition is, or why that is not known.
pub(in crate::kafka) type Offsets = Vec<(Partition, KafkaResult<i64>)>;

/// A question on its way. Dropping it forgets the answer; it must go before its consumer does.
pub(in crate::kafka) struct Question {
    queue: QueueHandle,
    /// What came already, when several answers are waited for.
    kept: Option<Offsets>,
}

/// The event of an answer.
struct Answer(*mut sys::rd_kafka_event_t);

impl Drop for Answer {
    fn drop(&mut self) {
        // SAFETY: the event came from a queue and is destroyed once.
        unsafe { sys::rd_kafka_event_destroy(self.0) }
    }
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
    pub(in crate::kafka) fn bounds<C: ConsumerContext>(
        consumer: &BaseConsumer<C>,
        topic: &str,
        partitions: &[Partition],
        bound: Bound,
        within: Duration,
    ) -> KafkaResult<Self> {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            list.add_partition(topic, partition.0);
        }
        let client = consumer.client().native_ptr();
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
            let error = sys::rd_kafka_AdminOptions_set_isolation_level(options, isolation);
            if !error.is_null() {
                sys::rd_kafka_error_destroy(error);
            }
            let queue = QueueHandle(sys::rd_kafka_queue_new(client));
            sys::rd_kafka_ListOffsets(client, list.ptr(), options, queue.0);
            sys::rd_kafka_AdminOptions_destroy(options);
            Ok(Self { queue, kept: None })
        }
    }

    /// Asks a broker what there is of a topic; left to itself librdkafka would ask the controller only. Asking never creates it.
    pub(in crate::kafka) fn topic<C: ConsumerContext>(
        consumer: &BaseConsumer<C>,
        topic: &str,
        broker: Option<i32>,
        within: Duration,
    ) -> KafkaResult<Self> {
        let name = CString::new(topic)?;
        let mut names = [name.as_ptr()];
        let client = consumer.client().native_ptr();
        // SAFETY: the client is valid; names and options are valid and copied.
        unsafe {
            let topics = sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
            let options = options(client, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, within);
            if let Some(broker) = broker {
                let _ = sys::rd_kafka_AdminOptions_set_broker(options, broker, ptr::null_mut(), 0);
            }
            let queue = QueueHandle(sys::rd_kafka_queue_new(client));
            sys::rd_kafka_DescribeTopics(client, topics, options, queue.0);
            sys::rd_kafka_AdminOptions_destroy(options);
            sys::rd_kafka_TopicCollection_destroy(topics);
            Ok(Self { queue, kept: None })
        }
    }

    /// The answer, if it comes within this time.
    fn answer(&self, within: Duration) -> KafkaResult<Option<Answer>> {
        let within_ms = i32::try_from(within.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the queue is valid; the event is owned by the answer.
        unsafe {
            let event = sys::rd_kafka_queue_poll(self.queue.0, within_ms);
            if event.is_null() {
                return Ok(None);
            }
            let answer = Answer(event);
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

    /// The topic asked for; `None` if no answer came within this time.
    ///
    /// # Errors
    /// [`RDKafkaErrorCode::UnknownTopicOrPartition`] when it is missing.
    pub(in crate::kafka) fn facts(&self, within: Duration) -> KafkaResult<Option<TopicFacts>> {
        let Some(answer) = self.answer(within)? else { return Ok(None) };
        // SAFETY: the event is one of DescribeTopics, as the question was; what it lends lives as long as it does.
        unsafe {
            let result = sys::rd_kafka_event_DescribeTopics_result(answer.0);
            if result.is_null() {
                return Err(KafkaError::AdminOp(RDKafkaErrorCode::BadMessage));
            }
            let mut count = 0;
            let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &mut count);
            if count != 1 {
                return Err(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition));
            }
            let topic = *topics;
            let error = sys::rd_kafka_TopicDescription_error(topic);
            if !error.is_null() {
                match sys::rd_kafka_error_code(error) {
                    RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => {}
                    code => return Err(KafkaError::MetadataFetch(code.into())),
                }
            }
            let id =
                CStr::from_ptr(sys::rd_kafka_Uuid_base64str(sys::rd_kafka_TopicDescription_topic_id(topic)));
            let mut count = 0;
            let infos = sys::rd_kafka_TopicDescription_partitions(topic, &mut count);
            let mut partitions: Vec<_> = (0..count)
                .map(|index| {
                    let info = *infos.add(index);
                    let number = sys::rd_kafka_TopicPartitionInfo_partition(info);
                    let leader = sys::rd_kafka_TopicPartitionInfo_leader(info);
                    let leader =
                        (!leader.is_null()).then(|| sys::rd_kafka_Node_id(leader)).filter(|id| *id >= 0);
                    (Partition(number), leader)
                })
                .collect();
            partitions.sort();
            Ok(Some(TopicFacts { id: TopicId::new(&id.to_string_lossy()), partitions }))
        }
    }
}

/// # Safety
/// The client is valid.
unsafe fn options(
    client: *mut RDKafka,
    of: sys::rd_kafka_admin_op_t,
    within: Duration,
) -> *mut sys::rd_kafka_AdminOptions_t {
    let within_ms = i32::try_from(within.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the caller's promise; a time that librdkafka does not take leaves its default.
    unsafe {
        let options = sys::rd_kafka_AdminOptions_new(client, of);
        let _ = sys::rd_kafka_AdminOptions_set_request_timeout(options, within_ms, ptr::null_mut(), 0);
        options
    }
}
