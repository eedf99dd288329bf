//! How a process is at the moment, beside what it may hold.

use prometheus::{IntGauge, IntGaugeVec};

use crate::make::Make;
use crate::reason::without_numbers;

/// What is looked at when somebody asks for the metrics.
#[derive(Debug, Clone)]
pub struct StateGauges {
    /// `floodgate_build_info{version,features}`: 1.
    pub build: IntGaugeVec,
    /// `floodgate_process_info{role,strategy,exports_lag}`: 1.
    pub process: IntGaugeVec,
    /// `floodgate_ready`: 1 while the process can do its work, else 0.
    pub ready: IntGauge,
    /// `floodgate_unready{reason}`: 1 for why it cannot; numbers in it are one sign.
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
    /// `floodgate_http_bodies_bytes_max`: how much memory requests may take together.
    pub bodies_bytes_max: IntGauge,
    /// `floodgate_http_clients_max`: how many clients `[rate_limit]` may tell apart.
    pub clients_max: IntGauge,
    /// `floodgate_operators_connections`: open ones on the operators' listener.
    pub operators_connections: IntGauge,
    /// `floodgate_operators_connections_max`: how many may be.
    pub operators_connections_max: IntGauge,
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
            build: make.gauges(
                "floodgate_build_info",
                "1: version and features of this build",
                &["version", "features"],
            )?,
            process: make.gauges(
                "floodgate_process_info",
                "1: role and strategy of this process, and whether it exports the groups' gauges",
                &["role", "strategy", "exports_lag"],
            )?,
            ready: make
                .gauge("floodgate_ready", "1 while this process can do its work (/readyz is 200), else 0")?,
            unready: make.gauges(
                "floodgate_unready",
                "1 for the reason why this process cannot do its work; numbers in it are #",
                &["reason"],
            )?,
            buffer_events: make.gauges(
                "floodgate_buffer_events",
                "Events waiting in this process's publisher",
                buffer,
            )?,
            buffer_events_max: make.gauges(
                "floodgate_buffer_events_max",
                "How many events may wait in this process's publisher",
                buffer,
            )?,
            buffer_bytes: make.gauges(
                "floodgate_buffer_bytes",
                "Memory of the events waiting in this process's publisher, in bytes, as its limit counts it",
                buffer,
            )?,
            buffer_bytes_max: make.gauges(
                "floodgate_buffer_bytes_max",
                "Memory that the events waiting in this process's publisher may take, in bytes",
                buffer,
            )?,
            connections_max: make
                .gauge("floodgate_http_connections_max", "How many connections of clients may be open")?,
            bodies_bytes_max: make.gauge(
                "floodgate_http_bodies_bytes_max",
                "Memory that clients' requests may take together, in bytes",
            )?,
            clients_max: make
                .gauge("floodgate_http_clients_max", "How many clients rate limits may tell apart")?,
            operators_connections: make
                .gauge("floodgate_operators_connections", "Open connections on the operators' listener")?,
            operators_connections_max: make.gauge(
                "floodgate_operators_connections_max",
                "How many connections may be open on the operators' listener",
            )?,
            waiters_max: make.gauge(
                "floodgate_waiters_max",
                "How many requests may be held until their coupon is decided",
            )?,
            database_connections: make.gauges(
                "floodgate_database_connections",
                "Connections of this process to the database, in use and idle",
                &["pool", "state"],
            )?,
            database_connections_max: make.gauges(
                "floodgate_database_connections_max",
                "How many connections to the database a pool of this process may have",
                pool,
            )?,
            database_waiting: make.gauges(
                "floodgate_database_waiting",
                "How many requests or batches wait for a connection to the database",
                pool,
            )?,
        })
    }

    /// Whether the process can do its work, and if not why.
    pub fn set_ready(&self, ready: &Result<(), String>) {
        self.ready.set(i64::from(ready.is_ok()));
        self.unready.reset();
        if let Err(reason) = ready {
            self.unready.with_label_values(&[&without_numbers(reason)]).set(1);
        }
    }
}
