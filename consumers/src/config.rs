//! The `[consumers]` section.

use std::time::Duration;

use floodgate_buffer::BatchLimits;
use serde::Deserialize;

/// `[consumers]`. Every key is required: the binary's compiled-in configuration supplies the defaults.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsumersConfig {
    /// Events in one transaction at most.
    pub batch_max_events: usize,
    /// Keys and values in one transaction at most, in bytes.
    pub batch_max_bytes: usize,
    /// How long an event waits for company before its batch goes, full or not.
    pub batch_max_wait_ms: u64,
    /// Members of each group in this process; 0 means one per core, at most the partitions.
    pub instances: usize,
    /// How long a partition that moves to another member waits for its batch in work.
    pub drain_ms: u64,
    /// The first pause after a failed transaction; it doubles up to the longest.
    pub retry_min_ms: u64,
    /// The longest pause between two tries, also of a partition that is held.
    pub retry_max_ms: u64,
    /// The share of a partition's recent records above which bad ones are not dead-lettered but the partition is held;
    /// 1 dead-letters whatever comes.
    pub dead_letter_share_max: f64,
    /// Bad records among a partition's recent ones below which it is never held.
    pub dead_letter_storm_min: usize,
}

impl ConsumersConfig {
    /// Members of each group in a process with so many cores, over topics with so many partitions.
    pub fn instances_for(&self, cores: usize, partitions: usize) -> usize {
        match self.instances {
            0 => cores.clamp(1, partitions.max(1)),
            configured => configured,
        }
    }

    pub(crate) fn retry_max(&self) -> Duration {
        Duration::from_millis(self.retry_max_ms.max(1))
    }

    pub(crate) fn limits(&self) -> BatchLimits {
        BatchLimits {
            events: self.batch_max_events.max(1),
            bytes: self.batch_max_bytes.max(1),
            wait: Duration::from_millis(self.batch_max_wait_ms),
            drain: Duration::from_millis(self.drain_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_a_member_per_core_and_at_most_per_partition() {
        let config = |instances| ConsumersConfig {
            batch_max_events: 1,
            batch_max_bytes: 1,
            batch_max_wait_ms: 0,
            instances,
            drain_ms: 1,
            retry_min_ms: 1,
            retry_max_ms: 7,
            dead_letter_share_max: 1.0,
            dead_letter_storm_min: 1,
        };
        assert_eq!(config(0).instances_for(4, 10), 4);
        assert_eq!(config(0).instances_for(64, 10), 10);
        assert_eq!(config(0).instances_for(0, 0), 1);
        assert_eq!(config(30).instances_for(2, 10), 30);
        assert_eq!(config(0).retry_max(), Duration::from_millis(7));
    }
}
