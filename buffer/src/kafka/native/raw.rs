//! What all of this folder needs of librdkafka's raw interface.

use std::ffi::{CStr, c_char};
use std::{ptr, slice};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::types::RDKafkaRespErr;
use rdkafka_sys as sys;

use crate::Header;

/// A queue of events. It must go before the client it belongs to.
pub(super) struct QueueHandle(pub(super) *mut sys::rd_kafka_queue_t);

// SAFETY: librdkafka's queues are thread-safe by its documentation; the handle is only freed on drop.
unsafe impl Send for QueueHandle {}
// SAFETY: as above.
unsafe impl Sync for QueueHandle {}

impl Drop for QueueHandle {
    fn drop(&mut self) {
        // SAFETY: the reference came from rd_kafka_queue_get_main and is released once, before its client.
        unsafe { sys::rd_kafka_queue_destroy(self.0) }
    }
}

/// # Safety
/// A pointer that is not null is one to so many bytes.
pub(super) unsafe fn part<'b>(bytes: *const u8, length: usize) -> Option<&'b [u8]> {
    // SAFETY: the caller's promise.
    (!bytes.is_null()).then(|| unsafe { slice::from_raw_parts(bytes, length) })
}

/// The headers of a message, byte for byte, also where names are no UTF-8. `Err` where they are nothing that can be read.
///
/// # Safety
/// The message is valid, and stays so as long as what is returned: its headers live as long as it does.
pub(super) unsafe fn headers_of<'m>(
    message: *const sys::rd_kafka_message_t,
) -> Result<Vec<Header<'m>>, RDKafkaRespErr> {
    let mut found = Vec::new();
    let mut headers = ptr::null_mut();
    // SAFETY: the caller's promise.
    unsafe {
        let error = sys::rd_kafka_message_headers(message, &mut headers);
        match error {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => {}
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__NOENT => return Ok(found),
            error => return Err(error),
        }
        loop {
            let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
            let error = sys::rd_kafka_header_get_all(headers, found.len(), &mut name, &mut value, &mut size);
            if error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                return Ok(found);
            }
            found.push((CStr::from_ptr(name).to_bytes(), part(value.cast(), size)));
        }
    }
}

/// # Safety
/// `text` is null or a C string.
pub(super) unsafe fn text_of(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().trim().to_owned()
}

/// Gives a context a line of its client's log.
///
/// # Safety
/// The event is one of the log.
pub(super) unsafe fn tell_line(context: &impl ClientContext, event: *mut sys::rd_kafka_event_t) {
    let (mut facility, mut text, mut level) = (ptr::null(), ptr::null(), 0);
    // SAFETY: the caller's promise; what the event lends is copied.
    unsafe {
        if sys::rd_kafka_event_log(event, &mut facility, &mut text, &mut level) == 0 {
            context.log(level_of(level), &text_of(facility), &text_of(text));
        }
    }
}

/// syslog's levels.
fn level_of(level: i32) -> RDKafkaLogLevel {
    match level {
        ..=0 => RDKafkaLogLevel::Emerg,
        1 => RDKafkaLogLevel::Alert,
        2 => RDKafkaLogLevel::Critical,
        3 => RDKafkaLogLevel::Error,
        4 => RDKafkaLogLevel::Warning,
        5 => RDKafkaLogLevel::Notice,
        6 => RDKafkaLogLevel::Info,
        7.. => RDKafkaLogLevel::Debug,
    }
}
