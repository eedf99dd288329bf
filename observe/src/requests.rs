//! The metrics of requests.

use prometheus::{HistogramVec, IntCounterVec};

use crate::make::Make;

/// Seconds from half a millisecond to half a minute, which requests may wait for a decision.
const SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

/// What became of requests to the clients' listener, by operation.
#[derive(Debug, Clone)]
pub struct RequestMetrics {
    /// `floodgate_http_requests_total{method,route,status}`: requests that were answered.
    pub answered: IntCounterVec,
    /// `floodgate_http_request_seconds{method,route,status}`: from a request's head to its answer's, a body and a wait included.
    pub seconds: HistogramVec,
}

impl RequestMetrics {
    pub(crate) fn new(make: &Make<'_>) -> prometheus::Result<Self> {
        let labels = &["method", "route", "status"];
        Ok(Self {
            answered: make.counters(
                "floodgate_http_requests_total",
                "Requests of clients that were answered",
                labels,
            )?,
            seconds: make.histograms_by(
                "floodgate_http_request_seconds",
                "Seconds from the head of a client's request to its answer's",
                &SECONDS,
                labels,
            )?,
        })
    }
}
