//! Every metric, by the name dashboards query.

use std::sync::LazyLock;

use prometheus::{
    Encoder, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, TextEncoder,
};

use crate::lag::LagGauges;
use crate::letters::LetterGauges;
use crate::level::Level;
use crate::make::Make;
use crate::requests::RequestMetrics;
use crate::state::StateGauges;

/// Seconds from a tenth of a millisecond to a minute: publishing, applying. From one millisecond to a hundred the bounds
/// lie close, since quantiles are interpolated between them: with one bucket from 20 to 50 ms a p99 of 25 reads as 45.
const SECONDS: [f64; 26] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0015, 0.002, 0.003, 0.004, 0.005, 0.007, 0.01, 0.015, 0.02, 0.03, 0.04,
    0.05, 0.07, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

/// Seconds from acceptance to the database, backlogs of an hour included; close from 2 to 200 ms, see [`SECONDS`].
const ACCEPT_TO_APPLY: [f64; 24] = [
    0.002, 0.003, 0.005, 0.007, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.07, 0.1, 0.15, 0.2, 0.5, 1.0, 2.0,
    5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0,
];

/// Events in one batch.
const BATCH_EVENTS: [f64; 11] = [1.0, 5.0, 10.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10_000.0];

/// `floodgate_log_lines_left_out_total`. A process has one log, however many sets of metrics.
pub(crate) static LOG_LINES_LEFT_OUT: LazyLock<Option<IntCounter>> = LazyLock::new(|| {
    let help = "Lines of this process's log that were not written, as stderr did not take them";
    IntCounter::new("floodgate_log_lines_left_out_total", help).ok()
});

/// The metrics of one process.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    /// `floodgate_events_accepted_total{type}`: answered 202.
    pub events_accepted: IntCounterVec,
    /// `floodgate_events_spilled_total{type}`: those of them that the fallback took.
    pub events_spilled: IntCounterVec,
    /// `floodgate_events_refused_total{type,reason}`: answered otherwise; the reason is the problem's name.
    pub events_refused: IntCounterVec,
    /// `floodgate_publish_seconds`: from offering a request's events to the strategy's report on all of them.
    pub publish_seconds: Histogram,
    /// `floodgate_events_applied_total{type,outcome}`.
    pub events_applied: IntCounterVec,
    /// `floodgate_batch_events{type}`: events in one database transaction.
    pub batch_events: HistogramVec,
    /// `floodgate_apply_seconds{type}`: one database transaction.
    pub apply_seconds: HistogramVec,
    /// `floodgate_accept_to_apply_seconds{type}`: from `acceptedAt` to the database commit.
    pub accept_to_apply_seconds: HistogramVec,
    /// `floodgate_events_ahead_total{type}`: applied though their version or time lies further ahead than clients may send.
    pub events_ahead: IntCounterVec,
    /// `floodgate_apply_retries_total{type}`: transactions that failed and were tried again.
    pub apply_retries: IntCounterVec,
    /// `floodgate_dead_letters_total{group,reason}`.
    pub dead_letters: IntCounterVec,
    /// `floodgate_partition_held{group,partition,reason}`: 1 while this process holds a partition for its bad records
    /// (`bad-records`), for one that only a newer build can read (`unknown-schema`), or since it cannot be read (`unreadable`).
    pub partitions_held: IntGaugeVec,
    /// `floodgate_position_incidents_total{group,kind}`: positions that were not simply where the group had been: `another-log`,
    /// `expired-unread`, `offset-set-by-others`. The log has partitions and ranges.
    pub position_incidents: IntCounterVec,
    /// `floodgate_topic_findings{topic,property,kind}`: 1 for what is wrong with a topic; `kind` is `breaks` or `told`.
    pub topic_findings: IntGaugeVec,
    /// `floodgate_part_panics_total{part}`: how often a background part of this process met a bug.
    pub part_panics: IntCounterVec,
    /// `buffer_size{buffer}`: events waiting in this process's publisher.
    pub buffer_size: IntGaugeVec,
    /// `buffer_size_bytes{buffer}`: the same in bytes.
    pub buffer_size_bytes: IntGaugeVec,
    /// `processed_tasks_total`: events applied, whatever their outcome.
    pub processed_tasks: IntCounter,
    /// `processed_tasks_failed_total`: events dead-lettered.
    pub processed_tasks_failed: IntCounter,
    /// `floodgate_decisions_deleted_total`: decisions on coupon requests that were older than they are kept.
    pub decisions_deleted: IntCounter,
    /// `floodgate_group_rebalances_total{group}`: how often partitions came to members of this process, or left them.
    pub rebalances: IntCounterVec,
    /// `floodgate_operators_refused_total`: requests and sign-ins on the operators' listener without the right token.
    pub operators_refused: IntCounter,
    /// The clients' listener.
    pub http: HttpMetrics,
    /// What it is asked for.
    pub requests: RequestMetrics,
    /// How the process is.
    pub state: StateGauges,
    /// What is asked before coupon requests are accepted.
    pub door: DoorMetrics,
    /// Spans; nothing where nothing is traced.
    pub traces: TraceMetrics,
    /// The schema registry; nothing where there is none.
    pub schema_registry: RegistryMetrics,
    /// The groups' positions.
    pub lag: LagGauges,
    /// Dead letters that are open.
    pub letters: LetterGauges,
}

/// What the clients' listener does, and what its limits refuse.
#[derive(Debug, Clone)]
pub struct HttpMetrics {
    /// `floodgate_http_problems_total{problem}`: answers that tell a problem, by its name; those of limits are
    /// `body-too-large`, `too-many-events`, `target-too-long`, `head-too-large`, `body-timeout`, `busy`, `queue-full`.
    pub problems: IntCounterVec,
    /// `floodgate_http_connections`: open.
    pub connections: IntGauge,
    /// `floodgate_http_connections_full_total`: how often there were as many as allowed, so that more have to wait.
    pub connections_full: IntCounter,
    /// `floodgate_http_connections_taken_back_total`: idle ones of who has most that made room for who has few.
    pub connections_taken_back: IntCounter,
    /// `floodgate_http_bodies_bytes`: memory that requests take now, as `http.bodies_max_bytes` counts it.
    pub bodies_bytes: Level,
    /// `floodgate_http_clients`: clients that `[rate_limit]` tells apart now, at most `rate_limit.clients_max`, beside those
    /// whose keys stand in the configuration.
    pub clients: IntGauge,
    /// `floodgate_http_connections_refused_total{reason}`: closed before a request: `client` has as many as one may have, `tls`
    /// did not come about.
    pub connections_refused: IntCounterVec,
    /// `floodgate_tls_reloads_total{result}`: how often the certificate was read again, `ok` or `failed`.
    pub tls_reloads: IntCounterVec,
    /// `floodgate_tls_certificate_expires_timestamp_seconds`: when the certificate expires, in Unix time; without a value where
    /// there is none.
    pub tls_expires: IntGaugeVec,
    /// `floodgate_waiters`: requests held until their coupon is decided.
    pub waiters: IntGauge,
    /// `floodgate_waiters_refused_total`: those answered at once because too many waited.
    pub waiters_refused: IntCounter,
    /// `floodgate_wait_lookups_total`: queries for the decisions they wait for, however many they are.
    pub wait_lookups: IntCounter,
    /// `floodgate_cache_reads_total{result}`: expectation reads from memory (`hit`) and the database (`miss`).
    pub cache_reads: IntCounterVec,
}

/// What the database is asked before coupon requests are accepted.
#[derive(Debug, Clone)]
pub struct DoorMetrics {
    /// `floodgate_door_queries_total{part}`: queries, however many requests share them; `part` is `coupon-lookups` (whether
    /// there are these coupons), `request-lookups` (whether these requests are decided) or `coupon-watch` (whether the coupons
    /// that are asked for are sold out).
    pub queries: IntCounterVec,
    /// `floodgate_door_unanswered_total{part}`: requests, or bodies of many, that were let in because the database did not
    /// answer in time, or too much was asked of it.
    pub unanswered: IntCounterVec,
}

/// What becomes of spans.
#[derive(Debug, Clone)]
pub struct TraceMetrics {
    /// `floodgate_spans_total{result="sent"}`: taken by the receiver.
    pub sent: IntCounter,
    /// `floodgate_spans_total{result="failed"}`: those it did not take, or not in time.
    pub failed: IntCounter,
    /// `floodgate_spans_total{result="dropped"}`: those the queue had no room for.
    pub dropped: IntCounter,
    /// `floodgate_span_links_dropped_total`: sampled requests with events in a batch beyond `otel.links_max`, of which nothing
    /// is told there.
    pub links_dropped: IntCounter,
}

/// What the schema registry is asked, and what came of it.
#[derive(Debug, Clone)]
pub struct RegistryMetrics {
    /// `floodgate_registry_requests_total{call,outcome}`: `call` is `schema`, `reference`, `register`, `look-up`, `versions`,
    /// `version` or `compatibility`; `outcome` is `ok`, `not-found`, `refused` or `unavailable`.
    pub requests: IntCounterVec,
    /// `floodgate_registry_schemas{state}`: schemas of others that this process learnt, `readable` or `unreadable` by it.
    pub schemas: IntGaugeVec,
    /// `floodgate_registry_conflicts_total`: how often the registry was found to have another schema under an id than when its
    /// events were first read.
    pub conflicts: IntCounter,
}

impl Metrics {
    /// All metrics, at zero.
    ///
    /// # Errors
    /// A name or label the library does not take, or the same name twice: a bug, found by any test.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let make = Make(&registry);
        let lag = LagGauges::new(&make)?;
        let letters = LetterGauges::new(&make)?;
        let http = HttpMetrics {
            problems: make.counters(
                "floodgate_http_problems_total",
                "Answers to clients that tell a problem, by its name",
                &["problem"],
            )?,
            connections: make.gauge("floodgate_http_connections", "Open connections of clients")?,
            connections_full: make.counter(
                "floodgate_http_connections_full_total",
                "How often as many connections of clients were open as allowed",
            )?,
            connections_taken_back: make.counter(
                "floodgate_http_connections_taken_back_total",
                "Idle connections of who has most that made room for who has few",
            )?,
            bodies_bytes: make.level(
                "floodgate_http_bodies_bytes",
                "Memory that clients' requests take now, in bytes, as its limit counts it",
            )?,
            clients: make.gauge("floodgate_http_clients", "Clients that rate limits tell apart now")?,
            connections_refused: make.counters(
                "floodgate_http_connections_refused_total",
                "Connections of clients that were closed before a request, by reason",
                &["reason"],
            )?,
            tls_reloads: make.counters(
                "floodgate_tls_reloads_total",
                "How often the certificate of the clients' listener was read again",
                &["result"],
            )?,
            tls_expires: make.gauges(
                "floodgate_tls_certificate_expires_timestamp_seconds",
                "When the certificate of the clients' listener expires, in Unix time",
                &[],
            )?,
            waiters: make.gauge("floodgate_waiters", "Requests held now until their coupon is decided")?,
            waiters_refused: make.counter(
                "floodgate_waiters_refused_total",
                "Requests not held until their coupon is decided, because too many were held",
            )?,
            wait_lookups: make.counter(
                "floodgate_wait_lookups_total",
                "Queries to the database for coupon decisions that requests wait for",
            )?,
            cache_reads: make.counters(
                "floodgate_cache_reads_total",
                "Expectation reads from memory and from the database",
                &["result"],
            )?,
        };
        let door = DoorMetrics {
            queries: make.counters(
                "floodgate_door_queries_total",
                "Queries to the database before coupon requests are accepted",
                &["part"],
            )?,
            unanswered: make.counters(
                "floodgate_door_unanswered_total",
                "Coupon requests let in because the database did not answer in time, or too much was asked of it",
                &["part"],
            )?,
        };
        let spans =
            make.counters("floodgate_spans_total", "Spans of traces, by what became of them", &["result"])?;
        let traces = TraceMetrics {
            sent: spans.with_label_values(&["sent"]),
            failed: spans.with_label_values(&["failed"]),
            dropped: spans.with_label_values(&["dropped"]),
            links_dropped: make.counter(
                "floodgate_span_links_dropped_total",
                "Sampled requests with events in a batch beyond those that its span links to",
            )?,
        };
        let schema_registry = RegistryMetrics {
            requests: make.counters(
                "floodgate_registry_requests_total",
                "Requests to the schema registry",
                &["call", "outcome"],
            )?,
            schemas: make.gauges(
                "floodgate_registry_schemas",
                "Schemas of the registry that this process learnt, readable or unreadable by it",
                &["state"],
            )?,
            conflicts: make.counter(
                "floodgate_registry_conflicts_total",
                "Schemas of the registry that are others than when their events were first read",
            )?,
        };
        let metrics = Self {
            events_accepted: make.counters(
                "floodgate_events_accepted_total",
                "Events answered 202",
                &["type"],
            )?,
            events_spilled: make.counters(
                "floodgate_events_spilled_total",
                "Events answered 202 that the fallback took",
                &["type"],
            )?,
            events_refused: make.counters(
                "floodgate_events_refused_total",
                "Events not answered 202, by problem",
                &["type", "reason"],
            )?,
            publish_seconds: make.histogram(
                "floodgate_publish_seconds",
                "Seconds from offering a request's events to the buffer until it reported on all of them",
                &SECONDS,
            )?,
            events_applied: make.counters(
                "floodgate_events_applied_total",
                "Events whose database transaction is committed, by outcome",
                &["type", "outcome"],
            )?,
            batch_events: make.histograms(
                "floodgate_batch_events",
                "Events in one database transaction",
                &BATCH_EVENTS,
            )?,
            apply_seconds: make.histograms(
                "floodgate_apply_seconds",
                "Seconds of one database transaction",
                &SECONDS,
            )?,
            accept_to_apply_seconds: make.histograms(
                "floodgate_accept_to_apply_seconds",
                "Seconds from accepting an event to the database commit that holds it",
                &ACCEPT_TO_APPLY,
            )?,
            events_ahead: make.counters(
                "floodgate_events_ahead_total",
                "Events read whose version or time lies further ahead than clients may send",
                &["type"],
            )?,
            apply_retries: make.counters(
                "floodgate_apply_retries_total",
                "Database transactions that failed and were tried again",
                &["type"],
            )?,
            dead_letters: make.counters(
                "floodgate_dead_letters_total",
                "Events that went to the dead letters, by group and reason",
                &["group", "reason"],
            )?,
            position_incidents: make.counters(
                "floodgate_position_incidents_total",
                "How often a group's position was not simply where the group had been, by kind",
                &["group", "kind"],
            )?,
            partitions_held: make.gauges(
                "floodgate_partition_held",
                "1 while this process holds a partition, by reason: it is not read on",
                &["group", "partition", "reason"],
            )?,
            topic_findings: make.gauges(
                "floodgate_topic_findings",
                "1 for each thing that is wrong with a topic",
                &["topic", "property", "kind"],
            )?,
            part_panics: make.counters(
                "floodgate_part_panics_total",
                "How often a background part of this process met a bug",
                &["part"],
            )?,
            buffer_size: make.gauges(
                "buffer_size",
                "Events waiting in this process's publisher",
                &["buffer"],
            )?,
            buffer_size_bytes: make.gauges(
                "buffer_size_bytes",
                "Memory of the events waiting in this process's publisher, in bytes",
                &["buffer"],
            )?,
            processed_tasks: make
                .counter("processed_tasks_total", "Events applied, whatever their outcome")?,
            processed_tasks_failed: make.counter("processed_tasks_failed_total", "Events dead-lettered")?,
            decisions_deleted: make.counter(
                "floodgate_decisions_deleted_total",
                "Decisions on coupon requests that were older than they are kept",
            )?,
            operators_refused: make.counter(
                "floodgate_operators_refused_total",
                "Requests and sign-ins on the operators' listener without the right token",
            )?,
            rebalances: make.counters(
                "floodgate_group_rebalances_total",
                "How often partitions came to members of this process, or left them",
                &["group"],
            )?,
            http,
            requests: RequestMetrics::new(&make)?,
            state: StateGauges::new(&make)?,
            door,
            traces,
            schema_registry,
            lag,
            letters,
            registry: registry.clone(),
        };
        if let Some(left_out) = &*LOG_LINES_LEFT_OUT {
            registry.register(Box::new(left_out.clone()))?;
        }
        let process = prometheus::process_collector::ProcessCollector::for_self();
        registry.register(Box::new(process))?;
        Ok(metrics)
    }

    /// All values in Prometheus' text format.
    pub fn render(&self) -> Vec<u8> {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics could not be written");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_registers_and_renders() {
        let metrics = Metrics::new().unwrap_or_else(|error| unreachable!("{error}"));
        metrics.events_accepted.with_label_values(&["like"]).inc();
        metrics.lag.kafka_lag.with_label_values(&["g", "t", "0"]).set(3);
        let text = String::from_utf8_lossy(&metrics.render()).into_owned();
        assert!(text.contains("floodgate_events_accepted_total{type=\"like\"} 1"), "{text}");
        assert!(text.contains("kafka_consumergroup_lag{consumergroup=\"g\",partition=\"0\",topic=\"t\"} 3"));
        assert!(text.contains("floodgate_log_lines_left_out_total "));
        assert!(text.contains("process_resident_memory_bytes"));
    }
}
