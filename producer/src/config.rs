//! The `[http]` section.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

/// `[http]`. Every key is required: the binary's compiled-in configuration supplies the defaults.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// The largest request body, in bytes.
    pub body_max_bytes: usize,
    /// All request bodies being read or worked on, in bytes.
    pub bodies_max_bytes: usize,
    /// The largest request head (line and fields), in bytes.
    pub head_max_bytes: usize,
    /// The longest request target (path and query), in bytes.
    pub target_max_bytes: usize,
    /// Events in one request to `/api/v6/events`.
    pub events_max: usize,
    /// How long a client may take to send its request's head, and then its body.
    pub send_timeout_ms: u64,
    /// How long a write waits for the buffer's acknowledgement before it is answered 504.
    pub request_deadline_ms: u64,
    /// How far ahead of our clock a client's times may lie.
    pub clock_ahead_max_ms: u64,
    /// Connections served at once; more wait to be accepted.
    pub connections_max: usize,
    /// Requests with `waitMs` that are held at once; more are answered at once.
    pub waiters_max: usize,
    /// How often the decisions that requests wait for are looked up.
    pub wait_poll_ms: u64,
    /// How long an expectation read is served from memory; 0 reads the database every time.
    pub cache_ms: u64,
    /// Characters kept in that memory.
    pub cache_entries_max: u64,
    /// Idempotency keys whose words are remembered, to refuse others under the same key; 0: none.
    pub idempotency_keys_max: u64,
}

/// What the routes need of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) body_max_bytes: usize,
    pub(crate) events_max: usize,
    pub(crate) send_timeout: Duration,
    pub(crate) request_deadline: Duration,
    pub(crate) clock_ahead_max_micros: i64,
}

impl HttpConfig {
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            body_max_bytes: self.body_max_bytes,
            events_max: self.events_max,
            send_timeout: Duration::from_millis(self.send_timeout_ms),
            request_deadline: Duration::from_millis(self.request_deadline_ms),
            clock_ahead_max_micros: i64::try_from(self.clock_ahead_max_ms)
                .unwrap_or(i64::MAX)
                .saturating_mul(1000),
        }
    }
}
