//! The producer: records in, delivery reports out. What it is for stands in the folder's text.

use std::ffi::{CString, c_char, c_void};
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;
use std::sync::Arc;

use rdkafka::ClientConfig;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr, RDKafkaTopic, RDKafkaType};
use rdkafka_sys as sys;

use super::raw::{QueueHandle, headers_of, part, tell_line, text_of};
use crate::kafka::cause::{Heard, say};
use crate::kafka::checksum;
use crate::{Outcome, Receipt, Record, Topic};

/// What goes through librdkafka with a record and comes back in its delivery report.
pub(in crate::kafka) struct InFlight {
    pub(in crate::kafka) receipt: Receipt,
    pub(in crate::kafka) bytes: usize,
    /// Its topic's partition, as the generation counts them; known once it is given to a producer.
    pub(in crate::kafka) route: usize,
}

/// One record's delivery report.
pub(in crate::kafka) struct Report<'m> {
    pub(in crate::kafka) in_flight: Box<InFlight>,
    pub(in crate::kafka) outcome: Outcome,
    /// `None` for a record that librdkafka takes for stored.
    pub(in crate::kafka) error: Option<RDKafkaErrorCode>,
    message: &'m sys::rd_kafka_message_t,
}

impl Report<'_> {
    /// Gives the record back as it was handed over, headers and all, with what went through with it.
    pub(in crate::kafka) fn give_back<T>(
        self,
        topic: Topic,
        to: impl FnOnce(&Record<'_>, InFlight) -> T,
    ) -> T {
        let message = self.message;
        // SAFETY: the message is valid as long as the report borrows it.
        let (key, value, mut headers) = unsafe {
            (
                part(message.key.cast(), message.key_len),
                part(message.payload.cast(), message.len),
                // as they were handed over, and so readable
                headers_of(message).unwrap_or_default(),
            )
        };
        // a checksum that is wrong by now is not kept; it gets another where it goes
        let _ = checksum::take(key, value, &mut headers);
        to(&Record { topic, key, value, headers: &headers }, *self.in_flight)
    }
}

/// Lets the partitioner choose (`RD_KAFKA_PARTITION_UA`, a macro the bindings leave out).
const PARTITION_ANY: i32 = -1;

/// Logs what librdkafka says, through `tracing`; errors are remembered, for the readiness probe to tell.
pub(in crate::kafka) struct Context(pub(in crate::kafka) Arc<Heard>);

impl ClientContext for Context {
    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, facility: &str, message: &str) {
        say(level as i32, facility, message);
        self.0.note_log(facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, "{reason}");
        self.0.note(&error, reason);
    }
}

/// An idempotent producer with its topic handles and its event queue.
pub(in crate::kafka) struct Producer {
    // fields drop in this order: handles and queue before the client they belong to, and what its threads write to last
    topics: Vec<TopicHandle>,
    queue: QueueHandle,
    /// Whether records get one.
    checksums: bool,
    client: Client<Context>,
    _announcements: OwnedFd,
}

struct TopicHandle(*mut RDKafkaTopic);

// SAFETY: librdkafka's objects are thread-safe by its documentation; the handles are only freed on drop.
unsafe impl Send for TopicHandle {}
// SAFETY: as above.
unsafe impl Sync for TopicHandle {}

/// An event while it is worked off.
struct EventHandle {
    event: *mut sys::rd_kafka_event_t,
    is_reports: bool,
}

impl Drop for EventHandle {
    fn drop(&mut self) {
        // SAFETY: the event is valid and released once. Reports that a panic left in it are taken out by the rule for all:
        // each message once, and its box freed. A receipt that is dropped reads `Unknown`.
        unsafe {
            let next = || match self.is_reports {
                true => sys::rd_kafka_event_message_next(self.event),
                false => ptr::null(),
            };
            let mut message = next();
            while !message.is_null() {
                drop(report(&*message));
                message = next();
            }
            sys::rd_kafka_event_destroy(self.event);
        }
    }
}

impl Drop for TopicHandle {
    fn drop(&mut self) {
        // SAFETY: the handle came from rd_kafka_topic_new and is released once, before its client.
        unsafe { sys::rd_kafka_topic_destroy(self.0) }
    }
}

impl Producer {
    /// `topics` are the full names in the order of [`crate::Topic::ALL`]. A byte is written to `announcements`, which must
    /// not block, when there is an event for [`Producer::poll`], and no further one until it is called.
    pub(in crate::kafka) fn new(
        config: &ClientConfig,
        topics: &[&str],
        checksums: bool,
        announcements: OwnedFd,
        heard: Arc<Heard>,
    ) -> KafkaResult<Self> {
        let native_config = config.create_native_config()?;
        // SAFETY: the configuration object is valid and not yet given to a client.
        unsafe {
            sys::rd_kafka_conf_set_events(
                native_config.ptr(),
                sys::RD_KAFKA_EVENT_DR | sys::RD_KAFKA_EVENT_ERROR,
            );
        }
        let client = Client::new(config, native_config, RDKafkaType::RD_KAFKA_PRODUCER, Context(heard))?;
        let handles = topics.iter().map(|name| {
            let name = CString::new(*name)?;
            // SAFETY: client and name are valid; a null topic configuration means the client's own.
            let handle =
                unsafe { sys::rd_kafka_topic_new(client.native_ptr(), name.as_ptr(), ptr::null_mut()) };
            if handle.is_null() {
                return Err(KafkaError::ClientCreation(format!("no handle for topic {name:?}")));
            }
            Ok(TopicHandle(handle))
        });
        let topics = handles.collect::<KafkaResult<Vec<_>>>()?;
        // SAFETY: the client is valid; the queue reference is released in QueueHandle's drop.
        let queue = QueueHandle(unsafe { sys::rd_kafka_queue_get_main(client.native_ptr()) });
        // SAFETY: the queue is valid; the byte is copied; the descriptor stays open longer than the client.
        unsafe {
            let byte = [0_u8];
            let descriptor = announcements.as_raw_fd();
            sys::rd_kafka_queue_io_event_enable(queue.0, descriptor, byte.as_ptr().cast(), byte.len());
        }
        Ok(Self { topics, queue, checksums, client, _announcements: announcements })
    }

    pub(in crate::kafka) fn client(&self) -> &Client<Context> {
        &self.client
    }

    /// Queues one record. On error no report will come, and what was in flight is given back.
    pub(in crate::kafka) fn produce(
        &self,
        record: &Record<'_>,
        in_flight: Box<InFlight>,
    ) -> Result<(), (RDKafkaErrorCode, Box<InFlight>)> {
        let opaque = Box::into_raw(in_flight);
        let error = if record.headers.is_empty() && !self.checksums {
            self.produce_plain(record, opaque.cast())
        } else {
            self.produce_with_headers(record, opaque.cast())
        };
        if error == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Ok(());
        }
        // SAFETY: queuing failed, so librdkafka has not kept the pointer made above.
        Err((error.into(), unsafe { Box::from_raw(opaque) }))
    }

    fn produce_plain(&self, record: &Record<'_>, opaque: *mut c_void) -> RDKafkaRespErr {
        let (key, key_len) = raw(record.key);
        let (value, value_len) = raw(record.value);
        // SAFETY: handle and slices are valid for the call; F_COPY makes librdkafka copy the value, and it
        // always copies the key.
        let result = unsafe {
            sys::rd_kafka_produce(
                self.topics[record.topic.index()].0,
                PARTITION_ANY,
                sys::RD_KAFKA_MSG_F_COPY,
                value.cast_mut(),
                value_len,
                key,
                key_len,
                opaque,
            )
        };
        if result == 0 {
            return RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
        }
        // SAFETY: reads a thread-local value.
        unsafe { sys::rd_kafka_last_error() }
    }

    /// With headers, for which librdkafka allocates a list, the checksum behind the record's own. Without a partition, which lets
    /// the partitioner choose.
    fn produce_with_headers(&self, record: &Record<'_>, opaque: *mut c_void) -> RDKafkaRespErr {
        let checksum = self.checksums.then(|| checksum::of(record));
        let own = checksum.as_ref().map(|checksum| (checksum::NAME.as_bytes(), Some(&checksum[..])));
        // SAFETY: every pointer given stays valid for the call: F_COPY and the header list copy what they
        // are given. The header list is owned by librdkafka if, and only if, producing succeeds.
        unsafe {
            let headers = sys::rd_kafka_headers_new(record.headers.len() + 1);
            for (name, value) in record.headers.iter().chain(&own) {
                let (bytes, length) = raw(*value);
                let added = sys::rd_kafka_header_add(
                    headers,
                    name.as_ptr().cast::<c_char>(),
                    name.len() as isize,
                    bytes,
                    length as isize,
                );
                if added != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                    sys::rd_kafka_headers_destroy(headers);
                    return added;
                }
            }
            let (key, key_len) = raw(record.key);
            let (value, value_len) = raw(record.value);
            let vus = [
                vu(sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_RKT, |u| {
                    u.rkt = self.topics[record.topic.index()].0
                }),
                vu(sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_MSGFLAGS, |u| u.i = sys::RD_KAFKA_MSG_F_COPY),
                vu(sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_KEY, |u| {
                    u.mem =
                        sys::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 { ptr: key.cast_mut(), size: key_len };
                }),
                vu(sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_VALUE, |u| {
                    u.mem = sys::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 {
                        ptr: value.cast_mut(),
                        size: value_len,
                    };
                }),
                vu(sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_HEADERS, |u| u.headers = headers),
                vu(sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_OPAQUE, |u| u.ptr = opaque),
            ];
            let error = sys::rd_kafka_produceva(self.client.native_ptr(), vus.as_ptr(), vus.len());
            if error.is_null() {
                return RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
            }
            let code = sys::rd_kafka_error_code(error);
            sys::rd_kafka_error_destroy(error);
            sys::rd_kafka_headers_destroy(headers);
            code
        }
    }

    /// Takes one event, if there is one; gives every report in it to `reports`, logs anything else. Returns whether there
    /// was one.
    pub(in crate::kafka) fn poll(&self, mut reports: impl FnMut(Report<'_>)) -> bool {
        // SAFETY: the queue is valid; the event is freed at the end of this function, also if that is a panic, and
        // nothing borrowed from it leaves.
        unsafe {
            let event = sys::rd_kafka_queue_poll(self.queue.0, 0);
            if event.is_null() {
                return false;
            }
            let is_reports = sys::rd_kafka_event_type(event) == sys::RD_KAFKA_EVENT_DR;
            let _freed = EventHandle { event, is_reports };
            match sys::rd_kafka_event_type(event) {
                sys::RD_KAFKA_EVENT_DR => loop {
                    let message = sys::rd_kafka_event_message_next(event);
                    if message.is_null() {
                        break;
                    }
                    reports(report(&*message));
                },
                sys::RD_KAFKA_EVENT_ERROR => {
                    let code = sys::rd_kafka_event_error(event);
                    let reason = text_of(sys::rd_kafka_event_error_string(event));
                    self.client.context().error(KafkaError::Global(code.into()), &reason);
                }
                sys::RD_KAFKA_EVENT_LOG => tell_line(&**self.client.context(), event),
                _ => {}
            }
            true
        }
    }

    /// Why this producer can never send again, if so: its idempotent sequence is broken, or the cluster refuses it one.
    pub(in crate::kafka) fn fatal_error(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.client.fatal_error()
    }

    /// Records queued or sent and not yet reported.
    pub(in crate::kafka) fn unreported(&self) -> usize {
        // SAFETY: the client is valid.
        usize::try_from(unsafe { sys::rd_kafka_outq_len(self.client.native_ptr()) }).unwrap_or(0)
    }

    /// Gives up on everything queued or in flight; reports follow for all of it.
    pub(in crate::kafka) fn purge(&self) {
        // SAFETY: the client is valid.
        unsafe {
            sys::rd_kafka_purge(
                self.client.native_ptr(),
                sys::RD_KAFKA_PURGE_F_QUEUE | sys::RD_KAFKA_PURGE_F_INFLIGHT,
            );
        }
    }

    /// Puts the producer into the state a broken sequence would: for tests of the recovery.
    #[cfg(test)]
    pub(in crate::kafka) fn raise_fatal_error(&self) {
        // SAFETY: the client is valid and the text is a C string.
        unsafe {
            sys::rd_kafka_test_fatal_error(
                self.client.native_ptr(),
                RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
                c"raised by a test".as_ptr(),
            );
        }
    }
}

/// # Safety
/// The message is that of a delivery report, seen for the first time.
unsafe fn report(message: &sys::rd_kafka_message_t) -> Report<'_> {
    // SAFETY: every record was queued with a Box<InFlight> as its opaque, and is reported once.
    let in_flight = unsafe { Box::from_raw(message._private.cast::<InFlight>()) };
    let is_error = message.err != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
    // The status, not the error code, says whether the record may be in the log: a timed-out message can be
    // either. And a report without an error is proof only together with an offset (see the module's text).
    // SAFETY: the message is valid.
    let outcome = match unsafe { sys::rd_kafka_message_status(message) } {
        sys::rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_PERSISTED if !is_error && message.offset >= 0 => {
            Outcome::Stored
        }
        sys::rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_NOT_PERSISTED => Outcome::NotStored,
        _ => Outcome::Unknown,
    };
    let error = is_error.then(|| message.err.into());
    Report { in_flight, outcome, error, message }
}

fn raw(part: Option<&[u8]>) -> (*const c_void, usize) {
    part.map_or((ptr::null(), 0), |part| (part.as_ptr().cast(), part.len()))
}

/// # Safety
/// `set` writes the union member that belongs to `vtype`.
unsafe fn vu(
    vtype: sys::rd_kafka_vtype_t,
    set: impl FnOnce(&mut sys::rd_kafka_vu_s__bindgen_ty_1),
) -> sys::rd_kafka_vu_t {
    // SAFETY: all-zero bytes are a valid value of this plain C struct.
    let mut vu: sys::rd_kafka_vu_t = unsafe { std::mem::zeroed() };
    vu.vtype = vtype;
    set(&mut vu.u);
    vu
}
