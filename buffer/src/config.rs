//! The `[buffer]` and `[topics]` sections. Every key is required: the binary's compiled-in configuration
//! supplies the defaults, and says beside each what it means.

use serde::Deserialize;
use toml::Table;

/// The section whose keys are not ours but a client library's, passed through as they are. In the
/// environment `_` stands for the dots in them.
pub const PASS_THROUGH: &str = "buffer.kafka.client";

/// The strategies there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StrategyKind {
    /// In this process only.
    InMemory,
    /// On a Kafka cluster.
    Kafka,
}

/// `[buffer]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BufferConfig {
    /// Which strategy runs.
    pub strategy: StrategyKind,
    /// `[buffer.in_memory]`.
    pub in_memory: InMemoryConfig,
    /// `[buffer.kafka]`.
    pub kafka: KafkaConfig,
}

impl BufferConfig {
    /// Values that contradict each other, or the time for which a consumer's partitions drain.
    pub fn problems(&self, drain_ms: u64) -> Vec<String> {
        let kafka = &self.kafka;
        let rules = [
            (
                drain_ms < kafka.max_poll_interval_ms,
                "consumers.drain_ms must be less than buffer.kafka.max_poll_interval_ms, or a member that drains \
                 is given up by its group",
            ),
            (
                kafka.session_timeout_ms <= kafka.max_poll_interval_ms,
                "buffer.kafka.session_timeout_ms must be at most buffer.kafka.max_poll_interval_ms",
            ),
            // librdkafka takes 0 for no limit: nothing would ever be reported as not stored
            (kafka.message_timeout_ms >= 1, "buffer.kafka.message_timeout_ms must be at least 1"),
            // each has a connection to every broker
            ((1..=16).contains(&kafka.producers), "buffer.kafka.producers must be between 1 and 16"),
            // more would be more batches than a broker remembers to tell repeats by
            (
                (1..=5).contains(&kafka.requests_in_flight_max),
                "buffer.kafka.requests_in_flight_max must be between 1 and 5",
            ),
            // what gathers is not yet under the message timeout
            (kafka.linger_ms <= 500, "buffer.kafka.linger_ms must be at most 500"),
            (kafka.queue_max_events >= 1, "buffer.kafka.queue_max_events must be at least 1"),
            (kafka.commit_interval_ms >= 1, "buffer.kafka.commit_interval_ms must be at least 1"),
            (self.in_memory.max_events >= 1, "buffer.in_memory.max_events must be at least 1"),
        ];
        rules.into_iter().filter(|(holds, _)| !holds).map(|(_, rule)| rule.to_owned()).collect()
    }
}

/// `[buffer.in_memory]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InMemoryConfig {
    /// Events waiting over all topics; more are refused.
    pub max_events: usize,
    /// Keys and values waiting over all topics, in bytes; more are refused.
    pub max_bytes: usize,
    /// Dead letters kept; the oldest go first (each was logged when it came).
    pub dead_letters_max: usize,
}

/// `[buffer.kafka]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaConfig {
    /// Bootstrap brokers, `host:port`, comma-separated.
    pub brokers: String,
    /// How long records gather before they are sent, once many are under way.
    pub linger_ms: u64,
    /// As long as no more records than these are unacknowledged, each is sent at once.
    pub linger_above_events: usize,
    /// Producers that share the partitions, 1 to 16.
    pub producers: u8,
    /// Requests of one producer to one broker that may be unanswered at once, 1 to 5.
    pub requests_in_flight_max: u8,
    /// How long the publisher tries to deliver a record before it reports a failure.
    pub message_timeout_ms: u64,
    /// Records unacknowledged at once; more are refused.
    pub queue_max_events: usize,
    /// Keys and values unacknowledged at once, in bytes; more are refused.
    pub queue_max_bytes: usize,
    /// What one group member fetches ahead of its batches, in KiB.
    pub prefetch_max_kb: usize,
    /// How long a member may be silent before its partitions go to others.
    pub session_timeout_ms: u64,
    /// How long a member may go without polling before its partitions go to others.
    pub max_poll_interval_ms: u64,
    /// How often committed offsets are sent at most.
    pub commit_interval_ms: u64,
    /// `[buffer.kafka.client]`: librdkafka properties passed through, dots nested or quoted.
    pub client: Table,
}

/// `[topics]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicsConfig {
    /// Partitions of each event topic.
    pub partitions: u32,
    /// Copies of each partition.
    pub replication_factor: u32,
    /// Put before every topic and group name.
    pub prefix: String,
    /// How long event topics keep records, in hours.
    pub retention_hours: u64,
    /// How long the dead-letter topic keeps records, in hours.
    pub dead_letter_retention_hours: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> BufferConfig {
        let config = toml::toml! {
            strategy = "kafka"
            [in_memory]
            max_events = 1
            max_bytes = 1
            dead_letters_max = 1
            [kafka]
            brokers = "b:9092"
            linger_ms = 500
            linger_above_events = 0
            producers = 1
            requests_in_flight_max = 1
            message_timeout_ms = 1
            queue_max_events = 1
            queue_max_bytes = 1
            prefetch_max_kb = 1
            session_timeout_ms = 100
            max_poll_interval_ms = 100
            commit_interval_ms = 1
            client = {}
        };
        config.try_into().unwrap()
    }

    /// At its bound a value is right, and beyond it the rule is told, and no other.
    #[test]
    fn values_that_cannot_work_are_told_by_their_rule() {
        let told = |change: fn(&mut BufferConfig)| {
            let mut config = config();
            change(&mut config);
            let problems = config.problems(99);
            problems
                .iter()
                .map(|problem| problem.split_whitespace().next().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(told(|_| {}), Vec::<String>::new());
        assert_eq!(config().problems(100).len(), 1);
        assert_eq!(config().problems(101).len(), 1);
        for (change, key) in [
            (
                (|config| config.kafka.session_timeout_ms = 101) as fn(&mut BufferConfig),
                "kafka.session_timeout_ms",
            ),
            (|config| config.kafka.message_timeout_ms = 0, "kafka.message_timeout_ms"),
            (|config| config.kafka.producers = 0, "kafka.producers"),
            (|config| config.kafka.producers = 17, "kafka.producers"),
            (|config| config.kafka.requests_in_flight_max = 0, "kafka.requests_in_flight_max"),
            (|config| config.kafka.requests_in_flight_max = 6, "kafka.requests_in_flight_max"),
            (|config| config.kafka.linger_ms = 501, "kafka.linger_ms"),
            (|config| config.kafka.queue_max_events = 0, "kafka.queue_max_events"),
            (|config| config.kafka.commit_interval_ms = 0, "kafka.commit_interval_ms"),
            (|config| config.in_memory.max_events = 0, "in_memory.max_events"),
        ] {
            assert_eq!(told(change), [format!("buffer.{key}")]);
        }
        let most = |config: &mut BufferConfig| {
            (config.kafka.producers, config.kafka.requests_in_flight_max) = (16, 5);
        };
        assert_eq!(told(most), Vec::<String>::new());
    }
}
