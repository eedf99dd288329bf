//! How a process is at the moment, beside what it may hold.

use prometheus::{IntGauge, IntGaugeVec};

use crate::make::Make;

/// What is looked at when somebody asks for the metrics.
#[derive(Debug, Clone)]
pub struct StateGauges {
    /// `floodgate_build_info{version,features}`: 1.
    pub build: IntGaugeVec,
    /// `floodgate_process_info{role,strategy,exports_lag}`: 1.
    pub process: IntGaugeVec,
    /// `floodgate_ready`: 1 while the process can do its work, else 0.
    pub ready: IntGauge,
    /// `floodgate_unready{reason}`: 1 for why it cannot, without the numbers in it.
    pub unready: IntGaugeVec,
    /// `floodgate_buffer_events{buffer}`: events waiting in this process's publisher.
    pub buffer_events: IntGaugeVec,
    /// `floodgate_buffer_events_max{buffer}`: how many may.
    pub buffer_events_max: IntGaugeVec,
    /// `floodgate_buffer_bytes{buffer}`: the same in bytes.
    pub buffer_bytes: IntGaugeVec,
    /// `floodgate_buffer_bytes_max{buffer}`.
    pub buffer_bytes_max: IntGaugeVec,
    /// `floodgate_http_connections_max`: how many clients' connections may be open.
    pub connections_max: IntGauge,
    /// `floodgate_waiters_max`: how many requests may be held until their coupon is decided.
    pub waiters_max: IntGauge,
    /// `floodgate_database_connections{pool,state}`: those that are `in-use` or `idle`.
    pub database_connections: IntGaugeVec,
    /// `floodgate_database_connections_max{pool}`: how many there may be.
    pub database_connections_max: IntGaugeVec,
    /// `floodgate_database_waiting{pool}`: who waits for one to be free.
    pub database_waiting: IntGaugeVec,
}

impl StateGauges {
    pub(crate) fn new(make: &Make<'_>) -> prometheus::Result<Self> {
        let (buffer, pool) = (&["buffer"], &["pool"]);
        Ok(Self {
            build: make.gauges("floodgate_build_info", "What was built", &["version", "features"])?,
            process: make.gauges(
                "floodgate_process_info",
                "What runs here",
                &["role", "strategy", "exports_lag"],
            )?,
            ready: make.gauge("floodgate_ready", "Whether this process can do its work")?,
            unready: make.gauges("floodgate_unready", "Why it cannot", &["reason"])?,
            buffer_events: make.gauges(
                "floodgate_buffer_events",
                "Events waiting in this process",
                buffer,
            )?,
            buffer_events_max: make.gauges(
                "floodgate_buffer_events_max",
                "How many events may wait",
                buffer,
            )?,
            buffer_bytes: make.gauges("floodgate_buffer_bytes", "Their keys and values, in bytes", buffer)?,
            buffer_bytes_max: make.gauges(
                "floodgate_buffer_bytes_max",
                "How large all that waits may be",
                buffer,
            )?,
            connections_max: make
                .gauge("floodgate_http_connections_max", "How many connections of clients may be open")?,
            waiters_max: make.gauge(
                "floodgate_waiters_max",
                "How many requests may be held until their coupon is decided",
            )?,
            database_connections: make.gauges(
                "floodgate_database_connections",
                "Connections to the database",
                &["pool", "state"],
            )?,
            database_connections_max: make.gauges(
                "floodgate_database_connections_max",
                "How many there may be",
                pool,
            )?,
            database_waiting: make.gauges(
                "floodgate_database_waiting",
                "Who waits for one to be free",
                pool,
            )?,
        })
    }

    /// Whether the process can do its work, and if not why. Numbers in a reason would make a series of each.
    pub fn set_ready(&self, ready: &Result<(), String>) {
        const CHARS: usize = 160;
        self.ready.set(i64::from(ready.is_ok()));
        self.unready.reset();
        if let Err(reason) = ready {
            let reason: String = reason.chars().filter(|c| !c.is_ascii_digit()).take(CHARS).collect();
            self.unready.with_label_values(&[&reason]).set(1);
        }
    }
}
