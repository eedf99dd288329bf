//! A consumer's events with all that librdkafka says of them. rust-rdkafka keeps back which partition and offset an error
//! is about, and the epoch of a record's leader.

use std::ffi::CStr;
use std::marker::PhantomData;
use std::ptr;
use std::time::Duration;

use rdkafka::client::{Client, ClientContext};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};
use rdkafka_sys as sys;

use super::raw::{QueueHandle, headers_of, part, tell_line, text_of};
use crate::kafka::checksum;
use crate::{Header, Offset, Partition};

/// What a consumer met.
pub(in crate::kafka) enum Polled<'c> {
    /// A record.
    Record(Record<'c>),
    /// The end of a partition, for now: the next record's offset. Where transactions are open it is where the first began.
    End(Partition, Offset),
    /// Trouble.
    Trouble(Trouble),
    /// Something that only its context was told: a rebalance, a commit's answer, a line of the log.
    Served,
}

/// What librdkafka says of an error.
#[derive(Debug, Clone)]
pub(in crate::kafka) struct Trouble {
    pub(in crate::kafka) code: RDKafkaErrorCode,
    /// Whether the client can never go on.
    pub(in crate::kafka) is_fatal: bool,
    /// In librdkafka's words.
    pub(in crate::kafka) reason: String,
    /// The partition, where it is about one, and the offset at which it stands, where that is known.
    pub(in crate::kafka) at: Option<(Partition, Option<Offset>)>,
}

/// A record, lent by its event.
pub(in crate::kafka) struct Record<'c> {
    event: *mut sys::rd_kafka_event_t,
    message: *const sys::rd_kafka_message_t,
    /// They live as long as the message, and are lent for as long as this record.
    headers: Vec<Header<'c>>,
    of: PhantomData<&'c ()>,
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        // SAFETY: the event came from the queue and is destroyed once, with its message.
        unsafe { sys::rd_kafka_event_destroy(self.event) }
    }
}

impl Record<'_> {
    fn message(&self) -> &sys::rd_kafka_message_t {
        // SAFETY: the message lives as long as its event.
        unsafe { &*self.message }
    }

    pub(in crate::kafka) fn partition(&self) -> Partition {
        Partition(self.message().partition)
    }

    pub(in crate::kafka) fn offset(&self) -> Offset {
        Offset(self.message().offset)
    }

    pub(in crate::kafka) fn key(&self) -> Option<&[u8]> {
        let message = self.message();
        // SAFETY: pointer and length describe the message's key.
        unsafe { part(message.key.cast(), message.key_len) }
    }

    pub(in crate::kafka) fn value(&self) -> Option<&[u8]> {
        let message = self.message();
        // SAFETY: pointer and length describe the message's value.
        unsafe { part(message.payload.cast(), message.len) }
    }

    /// When it was appended or made, in milliseconds since the Unix epoch; 0 where that is not known.
    pub(in crate::kafka) fn appended_at_ms(&self) -> i64 {
        // SAFETY: the message is valid; nobody asks for the kind of time.
        unsafe { sys::rd_kafka_message_timestamp(self.message, ptr::null_mut()) }.max(0)
    }

    /// The epoch of the leader that took it, if it is known: later leaders have greater ones.
    pub(in crate::kafka) fn leader_epoch(&self) -> Option<i32> {
        // SAFETY: the message is valid.
        let epoch = unsafe { sys::rd_kafka_message_leader_epoch(self.message) };
        (epoch >= 0).then_some(epoch)
    }

    /// Its headers without the checksum, byte for byte, also where names are no UTF-8.
    pub(in crate::kafka) fn headers(&self) -> &[Header<'_>] {
        &self.headers
    }

    /// Itself, if it is what was written, or damage as librdkafka tells it of a batch.
    fn checked(mut self) -> Result<Self, Trouble> {
        let mut headers = std::mem::take(&mut self.headers);
        let outcome = checksum::take(self.key(), self.value(), &mut headers);
        self.headers = headers;
        match outcome {
            Ok(()) => Ok(self),
            Err(reason) => Err(self.damage(reason)),
        }
    }

    fn damage(&self, reason: String) -> Trouble {
        Trouble {
            code: RDKafkaErrorCode::BadMessage,
            is_fatal: false,
            reason,
            at: Some((self.partition(), Some(self.offset()))),
        }
    }
}

/// The queue on which a consumer's events come.
pub(in crate::kafka) struct Events(QueueHandle);

impl Events {
    /// Of a consumer with a group. They must go before it does.
    pub(in crate::kafka) fn of<C: ConsumerContext>(consumer: &BaseConsumer<C>) -> KafkaResult<Self> {
        // SAFETY: the client is valid; the reference is released on drop.
        let queue = unsafe { sys::rd_kafka_queue_get_consumer(consumer.client().native_ptr()) };
        if queue.is_null() {
            return Err(KafkaError::ClientCreation("a consumer without a group has no queue".to_owned()));
        }
        Ok(Self(QueueHandle(queue)))
    }

    /// The next event, waiting for it at most so long. Rebalances, answers of commits, lines of the log and errors of the
    /// client go to the consumer's context, as they do when rust-rdkafka polls.
    pub(in crate::kafka) fn poll<'c, C: ConsumerContext>(
        &self,
        consumer: &'c BaseConsumer<C>,
        within: Duration,
    ) -> Option<Polled<'c>> {
        let within_ms = i32::try_from(within.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the queue is valid; every event is destroyed here, or by the record that owns it from then on.
        unsafe {
            let event = sys::rd_kafka_queue_poll(self.0.0, within_ms);
            if event.is_null() {
                return None;
            }
            if sys::rd_kafka_event_type(event) == sys::RD_KAFKA_EVENT_FETCH {
                let message = sys::rd_kafka_event_message_next(event);
                if !message.is_null() {
                    let headers = headers_of(message);
                    let read = headers.as_ref().err().copied();
                    let headers = headers.unwrap_or_default();
                    let record = Record { event, message, headers, of: PhantomData };
                    let checked = match read {
                        None => record.checked(),
                        Some(error) => Err(record.damage(format!("its headers cannot be read ({error:?})"))),
                    };
                    return Some(checked.map_or_else(Polled::Trouble, Polled::Record));
                }
            }
            let polled = serve(consumer, event);
            sys::rd_kafka_event_destroy(event);
            Some(polled)
        }
    }
}

/// # Safety
/// The event is valid, and not one that holds a record.
unsafe fn serve<'c, C: ConsumerContext>(
    consumer: &'c BaseConsumer<C>,
    event: *mut sys::rd_kafka_event_t,
) -> Polled<'c> {
    let context = consumer.context();
    // SAFETY: the caller's promise; what the event lends is copied before it goes.
    unsafe {
        let code = sys::rd_kafka_event_error(event);
        match sys::rd_kafka_event_type(event) {
            sys::RD_KAFKA_EVENT_REBALANCE => {
                let mut list = copied(sys::rd_kafka_event_topic_partition_list(event));
                context.rebalance(consumer, code, &mut list);
            }
            sys::RD_KAFKA_EVENT_OFFSET_COMMIT => {
                let list = copied(sys::rd_kafka_event_topic_partition_list(event));
                let outcome = match code {
                    RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
                    code => Err(KafkaError::ConsumerCommit(code.into())),
                };
                context.commit_callback(outcome, &list);
            }
            sys::RD_KAFKA_EVENT_LOG => tell_line(&**context, event),
            sys::RD_KAFKA_EVENT_ERROR if code != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => {
                let at = place(event);
                if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__PARTITION_EOF
                    && let Some((partition, Some(offset))) = at
                {
                    return Polled::End(partition, offset);
                }
                let is_fatal = sys::rd_kafka_event_error_is_fatal(event) != 0;
                let reason = text_of(sys::rd_kafka_event_error_string(event));
                if at.is_none() {
                    context.error(KafkaError::Global(code.into()), &reason);
                }
                return Polled::Trouble(Trouble { code: code.into(), is_fatal, reason, at });
            }
            _ => {}
        }
    }
    Polled::Served
}

/// Gives its context what a client said that nobody polls: an admin client. Not for consumers, whose records would come as well.
pub(in crate::kafka) fn listen<C: ClientContext>(client: &Client<C>) {
    // SAFETY: the client is valid; the queue reference and every event are released once.
    unsafe {
        let queue = QueueHandle(sys::rd_kafka_queue_get_main(client.native_ptr()));
        loop {
            let event = sys::rd_kafka_queue_poll(queue.0, 0);
            if event.is_null() {
                return;
            }
            match sys::rd_kafka_event_type(event) {
                sys::RD_KAFKA_EVENT_ERROR => {
                    let error = KafkaError::Global(sys::rd_kafka_event_error(event).into());
                    client.context().error(error, &text_of(sys::rd_kafka_event_error_string(event)));
                }
                sys::RD_KAFKA_EVENT_LOG => tell_line(&**client.context(), event),
                _ => {}
            }
            sys::rd_kafka_event_destroy(event);
        }
    }
}

/// # Safety
/// The event is valid.
unsafe fn place(event: *mut sys::rd_kafka_event_t) -> Option<(Partition, Option<Offset>)> {
    // SAFETY: the caller's promise; what it gives is ours to destroy.
    unsafe {
        let place = sys::rd_kafka_event_topic_partition(event);
        if place.is_null() {
            return None;
        }
        let found =
            (Partition((*place).partition), ((*place).offset >= 0).then_some(Offset((*place).offset)));
        sys::rd_kafka_topic_partition_destroy(place);
        Some(found)
    }
}

/// A list of one's own from one that an event lends.
///
/// # Safety
/// The list is null or valid.
unsafe fn copied(list: *mut sys::rd_kafka_topic_partition_list_t) -> TopicPartitionList {
    let own = TopicPartitionList::new();
    if list.is_null() {
        return own;
    }
    // SAFETY: the caller's promise; adding copies the topic's name.
    unsafe {
        for index in 0..usize::try_from((*list).cnt).unwrap_or(0) {
            let lent = &*(*list).elems.add(index);
            let added = &mut *sys::rd_kafka_topic_partition_list_add(own.ptr(), lent.topic, lent.partition);
            (added.offset, added.err) = (lent.offset, lent.err);
        }
    }
    own
}

/// What a list says of one partition.
#[derive(Debug, Clone)]
pub(in crate::kafka) struct Entry {
    pub(in crate::kafka) partition: Partition,
    /// `None` where there is none.
    pub(in crate::kafka) offset: Option<Offset>,
    pub(in crate::kafka) leader_epoch: Option<i32>,
    /// What whoever committed wrote beside it.
    pub(in crate::kafka) metadata: Vec<u8>,
    pub(in crate::kafka) error: Option<RDKafkaErrorCode>,
}

/// All that a list says.
pub(in crate::kafka) fn entries(list: &TopicPartitionList) -> Vec<Entry> {
    // SAFETY: the list is valid while borrowed; what it points to is copied.
    unsafe {
        let raw = &*list.ptr();
        let entry = |index| {
            let found = &*raw.elems.add(index);
            let epoch = sys::rd_kafka_topic_partition_get_leader_epoch(found);
            Entry {
                partition: Partition(found.partition),
                offset: (found.offset >= 0).then_some(Offset(found.offset)),
                leader_epoch: (epoch >= 0).then_some(epoch),
                metadata: part(found.metadata.cast(), found.metadata_size).unwrap_or_default().to_vec(),
                error: (found.err != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| found.err.into()),
            }
        };
        (0..list.count()).map(entry).collect()
    }
}

/// Adds a partition with an offset, the epoch of the leader that took the record before it where that is known, and what is
/// kept beside the offset when it is committed.
pub(in crate::kafka) fn add(
    list: &mut TopicPartitionList,
    topic: &str,
    partition: Partition,
    (offset, leader_epoch): (Offset, Option<i32>),
    metadata: &str,
) -> KafkaResult<()> {
    list.add_partition_offset(topic, partition.0, rdkafka::Offset::Offset(offset.0))?;
    // SAFETY: the list is valid and has the element that was just added, at its end.
    unsafe {
        let raw = &*list.ptr();
        let added = raw.elems.add(list.count() - 1);
        sys::rd_kafka_topic_partition_set_leader_epoch(added, leader_epoch.unwrap_or(-1));
    }
    if !metadata.is_empty()
        && let Some(mut added) = list.find_partition(topic, partition.0)
    {
        added.set_metadata(metadata);
    }
    Ok(())
}

/// Up to which offset a partition is written, as the last answer to a fetch said; what is not yet stable counts.
pub(in crate::kafka) fn known_end<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &CStr,
    partition: Partition,
) -> Option<Offset> {
    let (mut low, mut high) = (-1, -1);
    let client = consumer.client().native_ptr();
    // SAFETY: client and name are valid; nothing is asked of the network.
    let error = unsafe {
        sys::rd_kafka_get_watermark_offsets(client, topic.as_ptr(), partition.0, &mut low, &mut high)
    };
    (error == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some(Offset(high))
}
