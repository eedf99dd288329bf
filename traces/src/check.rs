//! Whether the configuration can work.

use crate::OtelConfig;

/// What is wrong with `[otel]`, all at once.
pub fn problems(config: &OtelConfig) -> Vec<String> {
    let is_off = config.endpoint.is_empty();
    let rules = [
        (
            is_off || cfg!(feature = "otlp"),
            "otel.endpoint is set, and this build cannot send traces: build with `--features otel`, or leave it empty",
        ),
        ((0.0..=1.0).contains(&config.sample_ratio), "otel.sample_ratio must be between 0 and 1"),
        (
            (1..=10_000_000).contains(&config.queue_max_spans),
            "otel.queue_max_spans must be between 1 and 10000000",
        ),
        (
            (1..=config.queue_max_spans).contains(&config.links_max),
            "otel.links_max must be between 1 and otel.queue_max_spans, or there is never room for a batch's spans",
        ),
        (config.timeout_ms >= 1, "otel.timeout_ms must be at least 1"),
    ];
    let broken = rules.into_iter().filter(|(holds, _)| !holds).map(|(_, rule)| rule.to_owned());
    #[cfg(feature = "otlp")]
    let broken = broken.chain(crate::otlp::problems(config).into_iter().filter(|_| !is_off));
    broken.collect()
}
