//! The `[buffer.in_memory]` section.

use serde::Deserialize;

/// `[buffer.in_memory]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InMemoryConfig {
    /// Events waiting over all topics; more are refused.
    pub(crate) max_events: usize,
    /// What waits over all topics, in bytes of memory; more are refused.
    pub(crate) max_bytes: usize,
    /// Dead letters kept; the oldest go first (each was logged when it came).
    pub(crate) dead_letters_max: usize,
}
