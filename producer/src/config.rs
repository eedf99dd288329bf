//! The `[http]` section.

use std::net::SocketAddr;
use std::time::Duration;

use floodgate_listener::{Linger, Silence};
use floodgate_schemas::Timestamp;
use serde::Deserialize;

use crate::holders::Common;
use crate::origins;
use crate::tls::TlsConfig;

/// `[http]`. Every key is required: the binary's compiled-in configuration supplies the defaults.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Whether it may be open to others than this machine though nobody has to say who they are.
    pub allow_open: bool,
    /// The largest request body, in bytes: what comes, and what it becomes if it is compressed.
    pub body_max_bytes: usize,
    /// Memory for all requests being read or worked on, in bytes.
    pub bodies_max_bytes: usize,
    /// The largest request head (line and fields), in bytes.
    pub head_max_bytes: usize,
    /// The longest request target (path and query), in bytes.
    pub target_max_bytes: usize,
    /// Events in one request to `/api/v6/events`.
    pub events_max: usize,
    /// How long a client may take to send its request's head, and then its body.
    pub send_timeout_ms: u64,
    /// How long a connection may be open without a request.
    pub idle_timeout_ms: u64,
    /// How much of a request that is answered before it was read is still read and thrown away, in bytes.
    pub linger_max_bytes: usize,
    /// And for how long.
    pub linger_ms: u64,
    /// How long a write waits for the buffer's acknowledgement before it is answered 504.
    pub request_deadline_ms: u64,
    /// How far ahead of our clock a client's times may lie.
    pub clock_ahead_max_ms: u64,
    /// Connections served at once; more wait for a place.
    pub connections_max: usize,
    /// Connections of one client; 0: its part of all.
    pub connections_per_client_max: usize,
    /// Requests at a time on one connection of HTTP/2.
    pub streams_per_connection_max: u32,
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
    /// Origins whose pages may use this API in browsers.
    pub allow_origins: Vec<String>,
    /// What connections are secured with.
    pub tls: TlsConfig,
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
    /// How the rest of a request that is answered already is read. The same for both listeners.
    pub fn linger(&self) -> Linger {
        Linger { max_bytes: self.linger_max_bytes, within: Duration::from_millis(self.linger_ms) }
    }

    pub(crate) fn silence(&self) -> Silence {
        Silence {
            send: Duration::from_millis(self.send_timeout_ms),
            idle: Duration::from_millis(self.idle_timeout_ms),
        }
    }

    /// The latest time that a client may name at `now`, and in microseconds the greatest version.
    pub fn latest(&self, now: Timestamp) -> Timestamp {
        now.saturating_add_micros(self.ahead_max_micros())
    }

    /// How far ahead of now that is.
    pub fn ahead_max_micros(&self) -> i64 {
        i64::try_from(self.clock_ahead_max_ms).unwrap_or(i64::MAX).saturating_mul(1000)
    }

    /// What is wrong with it by itself.
    pub fn problems(&self) -> Vec<String> {
        let rules = [
            (self.head_max_bytes >= 8192, "http.head_max_bytes must be at least 8192"),
            (
                self.target_max_bytes < self.head_max_bytes,
                "http.target_max_bytes must be less than http.head_max_bytes, of which the target is a part",
            ),
            (
                Common::bytes(self.bodies_max_bytes).may_ever_have(self.body_max_bytes),
                "http.body_max_bytes must be at most http.bodies_max_bytes, of 16 MiB and more three quarters of it, or the \
                 largest body never fits",
            ),
            (self.events_max >= 1, "http.events_max must be at least 1"),
            (
                (1..=1_000_000).contains(&self.connections_max),
                "http.connections_max must be between 1 and 1000000",
            ),
            (self.idle_timeout_ms >= 1000, "http.idle_timeout_ms must be at least 1000"),
            (
                (1..=10_000).contains(&self.streams_per_connection_max),
                "http.streams_per_connection_max must be between 1 and 10000",
            ),
            (
                self.waiters_max < self.connections_max,
                "http.waiters_max must be less than http.connections_max, or those that wait keep all others out",
            ),
            (self.cache_ms <= 86_400_000, "http.cache_ms must be at most 86400000, a day"),
            (self.wait_poll_ms >= 10, "http.wait_poll_ms must be at least 10"),
        ];
        let broken = rules.into_iter().filter(|(holds, _)| !holds).map(|(_, rule)| rule.to_owned());
        broken.chain(origins::problem(&self.allow_origins)).collect()
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            body_max_bytes: self.body_max_bytes,
            events_max: self.events_max,
            send_timeout: Duration::from_millis(self.send_timeout_ms),
            request_deadline: Duration::from_millis(self.request_deadline_ms),
            clock_ahead_max_micros: self.ahead_max_micros(),
        }
    }
}

#[cfg(test)]
mod tests {
    use floodgate_schemas::examples::at;

    use super::*;
    use crate::testing::config;

    #[test]
    fn times_may_lie_ahead_as_far_as_configured() {
        let ahead = |clock_ahead_max_ms| HttpConfig { clock_ahead_max_ms, ..config() };
        assert_eq!(ahead(2).latest(at(5)), at(2_005));
        assert_eq!(ahead(u64::MAX).ahead_max_micros(), i64::MAX);
        assert_eq!(ahead(3).limits().clock_ahead_max_micros, 3_000);
    }
}
