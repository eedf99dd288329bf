//! The `[otel]` section.

use secrecy::SecretString;
use serde::Deserialize;

/// `[otel]`. Its defaults, and what each means to operators, stand in the compiled-in configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtelConfig {
    /// Where spans are sent; empty: nothing is traced.
    pub endpoint: String,
    /// Header fields of what is sent, as `OTEL_EXPORTER_OTLP_HEADERS` has them.
    pub headers: SecretString,
    /// The process's name among others.
    pub service_name: String,
    /// Of requests that do not say themselves, the share that is sampled: 0 to 1.
    pub sample_ratio: f64,
    /// Whether requests say themselves whether they are.
    pub follow_parent: bool,
    /// Of how many sampled requests a batch tells.
    pub links_max: usize,
    /// How many spans wait to be sent.
    pub queue_max_spans: usize,
    /// How long sending some may take, in milliseconds.
    pub timeout_ms: u64,
}
