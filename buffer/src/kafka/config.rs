//! The `[buffer.kafka]` section.

use std::fmt;
use std::path::PathBuf;

use floodgate_config::mask::MASK;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, de};
use toml::{Table, Value};

use super::properties;

/// The section within it whose keys are librdkafka's.
pub(super) const CLIENT: &str = "client";

/// `[buffer.kafka]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KafkaConfig {
    /// Bootstrap brokers, `host:port`, comma-separated.
    pub(crate) brokers: String,
    /// How long records gather before they are sent, once many are under way.
    pub(crate) linger_ms: u64,
    /// As long as no more records than these are unacknowledged, each is sent at once.
    pub(crate) linger_above_events: usize,
    /// Whether records get a checksum ([`super::checksum`]).
    pub(crate) checksums: bool,
    /// Producers that share the partitions, 1 to 16.
    pub(crate) producers: u8,
    /// Requests of one producer to one broker that may be unanswered at once, 1 to 5.
    pub(crate) requests_in_flight_max: u8,
    /// How long the publisher tries to deliver a record before it reports a failure.
    pub(crate) message_timeout_ms: u64,
    /// Records unacknowledged at once; more are refused.
    pub(crate) queue_max_events: usize,
    /// Keys, values and headers unacknowledged at once, in bytes; more are refused.
    pub(crate) queue_max_bytes: usize,
    /// What one group member fetches ahead of its batches, in KiB.
    pub(crate) prefetch_max_kb: usize,
    /// How long a member may be silent before its partitions go to others.
    pub(crate) session_timeout_ms: u64,
    /// How long a member may go without polling before its partitions go to others.
    pub(crate) max_poll_interval_ms: u64,
    /// How often committed offsets are sent at most.
    pub(crate) commit_interval_ms: u64,
    /// `[buffer.kafka.client]`: librdkafka properties passed through, dots nested or quoted.
    pub(crate) client: Properties,
}

/// Properties of a client library, by name. Any may hold a secret: none is ever printed.
#[derive(Clone, Default)]
pub(crate) struct Properties(Vec<(String, SecretString)>);

impl Properties {
    /// Names and values, in order.
    /// Files that they name and that hold keys.
    pub(crate) fn private_files(&self) -> Vec<PathBuf> {
        const NAMES: [&str; 4] = [
            "ssl.key.location",
            "ssl.keystore.location",
            "sasl.kerberos.keytab",
            "sasl.oauthbearer.assertion.private.key.file",
        ];
        self.iter().filter(|(name, _)| NAMES.contains(name)).map(|(_, file)| file.into()).collect()
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.expose_secret()))
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(name, value)| (name, value))).finish()
    }
}

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut properties = Properties::default();
        flatten("", &Table::deserialize(deserializer)?, &mut properties).map_err(de::Error::custom)?;
        Ok(properties)
    }
}

/// `security.protocol = "ssl"` may be written quoted, or nested as TOML's dotted keys are.
fn flatten(prefix: &str, table: &Table, into: &mut Properties) -> Result<(), String> {
    for (key, value) in table {
        let name = floodgate_config::join(prefix, key);
        let text = match value {
            Value::Table(inner) => {
                flatten(&name, inner, into)?;
                continue;
            }
            Value::String(text) => text.clone(),
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Boolean(flag) => flag.to_string(),
            Value::Datetime(_) | Value::Array(_) => {
                return Err(format!("`{name}` must be a text, a number, true or false"));
            }
        };
        into.0.push((name, text.into()));
    }
    Ok(())
}

/// Puts `***` in the place of what may be a secret.
pub(super) fn mask(section: &mut Table) {
    if let Some(Value::String(brokers)) = section.get_mut("brokers")
        && brokers.contains('@')
    {
        *brokers = MASK.to_owned();
    }
    if let Some(Value::Table(client)) = section.get_mut(CLIENT) {
        mask_secrets(client, "");
    }
}

/// Names may be nested, as dotted keys are.
fn mask_secrets(table: &mut Table, path: &str) {
    for (key, value) in table.iter_mut() {
        let here = floodgate_config::join(path, key);
        match value {
            Value::Table(inner) => mask_secrets(inner, &here),
            _ if properties::may_be_shown(&here) => {}
            _ => *value = Value::String(MASK.to_owned()),
        }
    }
}

impl KafkaConfig {
    /// Values that contradict each other, or the time for which a consumer's partitions drain.
    pub(super) fn problems(&self, drain_ms: u64) -> Vec<String> {
        let rules = [
            (
                drain_ms < self.max_poll_interval_ms,
                "consumers.drain_ms must be less than buffer.kafka.max_poll_interval_ms, or a member that drains \
                 is given up by its group",
            ),
            (
                self.session_timeout_ms <= self.max_poll_interval_ms,
                "buffer.kafka.session_timeout_ms must be at most buffer.kafka.max_poll_interval_ms",
            ),
            // they are shown and logged, and librdkafka would look for a host of that name
            (
                !self.brokers.contains('@'),
                "buffer.kafka.brokers holds an `@`: names and passwords stand in buffer.kafka.client (sasl.username, sasl.password)",
            ),
            // librdkafka takes 0 for no limit: nothing would ever be reported as not stored
            (self.message_timeout_ms >= 1, "buffer.kafka.message_timeout_ms must be at least 1"),
            // each has a connection to every broker
            ((1..=16).contains(&self.producers), "buffer.kafka.producers must be between 1 and 16"),
            // more would be more batches than a broker remembers to tell repeats by
            (
                (1..=5).contains(&self.requests_in_flight_max),
                "buffer.kafka.requests_in_flight_max must be between 1 and 5",
            ),
            // what gathers is not yet under the message timeout
            (self.linger_ms <= 500, "buffer.kafka.linger_ms must be at most 500"),
            (self.queue_max_events >= 1, "buffer.kafka.queue_max_events must be at least 1"),
            (self.commit_interval_ms >= 1, "buffer.kafka.commit_interval_ms must be at least 1"),
        ];
        rules.into_iter().filter(|(holds, _)| !holds).map(|(_, rule)| rule.to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::testing;

    /// At its bound a value is right, and beyond it the rule is told, and no other.
    #[test]
    fn values_that_cannot_work_are_told_by_their_rule() {
        let config = || KafkaConfig {
            linger_ms: 500,
            session_timeout_ms: 100,
            max_poll_interval_ms: 100,
            ..testing::config("b:9092".to_owned())
        };
        let told = |change: fn(&mut KafkaConfig)| {
            let mut config = config();
            change(&mut config);
            let problems = config.problems(99);
            let key = |problem: &String| problem.split_whitespace().next().unwrap().to_owned();
            problems.iter().map(key).collect::<Vec<_>>()
        };
        assert_eq!(told(|_| {}), Vec::<String>::new());
        assert_eq!((config().problems(100).len(), config().problems(101).len()), (1, 1));
        for (change, key) in [
            ((|config| config.session_timeout_ms = 101) as fn(&mut KafkaConfig), "session_timeout_ms"),
            (|config| config.brokers = "me:secret@b:9092".to_owned(), "brokers"),
            (|config| config.message_timeout_ms = 0, "message_timeout_ms"),
            (|config| config.producers = 0, "producers"),
            (|config| config.producers = 17, "producers"),
            (|config| config.requests_in_flight_max = 0, "requests_in_flight_max"),
            (|config| config.requests_in_flight_max = 6, "requests_in_flight_max"),
            (|config| config.linger_ms = 501, "linger_ms"),
            (|config| config.queue_max_events = 0, "queue_max_events"),
            (|config| config.commit_interval_ms = 0, "commit_interval_ms"),
        ] {
            assert_eq!(told(change), [format!("buffer.kafka.{key}")]);
        }
        let most = |config: &mut KafkaConfig| (config.producers, config.requests_in_flight_max) = (16, 5);
        assert_eq!(told(most), Vec::<String>::new());
    }

    /// Neither as they are nor in a struct that holds them.
    #[test]
    fn files_with_keys_are_known() {
        let files =
            "'ssl.key.location' = 'a.key'\nssl.ca.location = 'ca.pem'\nsasl.kerberos.keytab = 'b.keytab'";
        let properties: Properties = files.parse::<Table>().unwrap().try_into().unwrap();
        let mut files = properties.private_files();
        files.sort();
        assert_eq!(files, ["a.key", "b.keytab"].map(PathBuf::from));
    }

    #[test]
    fn properties_are_never_printed() {
        let secrets = "'sasl.password' = 'hidden-1'\nssl.key.pem = 'hidden-2'\n'sasl.passwort' = 'hidden-3'";
        let table: Table = format!("{secrets}\n'client.id' = 'shown'").parse().unwrap();
        let properties: Properties = table.clone().try_into().unwrap();
        let config = KafkaConfig { client: properties, ..testing::config("b:9092".to_owned()) };
        let printed = format!("{config:?}");
        assert!(printed.contains("sasl.password") && !printed.contains("hidden"), "{printed}");
        let mut section = Table::from_iter([(CLIENT.to_owned(), Value::Table(table))]);
        mask(&mut section);
        assert!(
            !section.to_string().contains("hidden") && section.to_string().contains("shown"),
            "{section}"
        );
    }
}
