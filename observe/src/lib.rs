//! What operators see: the names of all metrics, and how logs are written.
//!
//! A leaf that knows nothing of events or strategies. Metrics live in one [`Metrics`] value that is made at
//! start and handed down; there is no global registry, so tests and several instances do not mix.

mod lines;
pub mod logs;
mod metrics;

pub use metrics::{HttpMetrics, LagGauges, Metrics, TraceMetrics};
