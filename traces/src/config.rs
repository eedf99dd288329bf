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
    /// How many sampled events of a batch are told of.
    pub links_max: usize,
    /// How many spans wait to be sent.
    pub queue_max_spans: usize,
    /// How long sending some may take, in milliseconds.
    pub timeout_ms: u64,
}

impl OtelConfig {
    /// What is wrong with it.
    pub fn problems(&self) -> Vec<String> {
        let is_url = ["http://", "https://"].iter().any(|scheme| self.endpoint.starts_with(scheme));
        let rules = [
            (
                self.endpoint.is_empty() || is_url,
                "otel.endpoint must be an OTLP/HTTP URL such as http://127.0.0.1:4318, or empty",
            ),
            (
                self.endpoint.is_empty() || cfg!(feature = "otlp"),
                "otel.endpoint is set, and this build cannot send traces: build with `--features otel`, or leave it empty",
            ),
            ((0.0..=1.0).contains(&self.sample_ratio), "otel.sample_ratio must be between 0 and 1"),
            ((1..=100_000).contains(&self.links_max), "otel.links_max must be between 1 and 100000"),
            (
                (1..=10_000_000).contains(&self.queue_max_spans),
                "otel.queue_max_spans must be between 1 and 10000000",
            ),
            (self.timeout_ms >= 1, "otel.timeout_ms must be at least 1"),
        ];
        rules.into_iter().filter(|(holds, _)| !holds).map(|(_, rule)| rule.to_owned()).collect()
    }
}
