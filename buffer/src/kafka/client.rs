//! librdkafka's configuration for each kind of client.

use std::time::Duration;

use floodgate_config::address::{Address, Host};
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka_sys::RD_KAFKA_EVENT_ERROR;

use super::cause::Asking;
use super::checksum;
use super::config::KafkaConfig;
use super::properties;
use crate::{BatchLimits, OpenError};

/// Properties that decide about the promises (acknowledgement, order, manual commits, limits) or that have a
/// key of their own in the configuration, and which key or reason that is.
const REFUSED: &[(&str, &str)] = &[
    ("bootstrap.servers", "use buffer.kafka.brokers"),
    ("metadata.broker.list", "use buffer.kafka.brokers"),
    ("acks", "a 202 needs acks=all"),
    ("request.required.acks", "a 202 needs acks=all"),
    ("enable.idempotence", "without it a retry inside the client could double an event"),
    ("enable.gapless.guarantee", "it turns one timeout into a fatal error"),
    ("max.in.flight", "use buffer.kafka.requests_in_flight_max"),
    ("max.in.flight.requests.per.connection", "use buffer.kafka.requests_in_flight_max"),
    ("retries", "bounded by buffer.kafka.message_timeout_ms"),
    ("message.send.max.retries", "bounded by buffer.kafka.message_timeout_ms"),
    ("message.timeout.ms", "use buffer.kafka.message_timeout_ms"),
    ("delivery.timeout.ms", "use buffer.kafka.message_timeout_ms"),
    ("transactional.id", "events are not sent in transactions"),
    ("partitioner", "Java clients must place keys alike: murmur2_random"),
    ("sticky.partitioning.linger.ms", "events are keyed"),
    ("linger.ms", "use buffer.kafka.linger_ms"),
    ("queue.buffering.max.ms", "use buffer.kafka.linger_ms"),
    ("queue.buffering.max.messages", "use buffer.kafka.queue_max_events"),
    ("queue.buffering.max.kbytes", "use buffer.kafka.queue_max_bytes"),
    ("delivery.report.only.error", "a 202 waits for the report"),
    ("group.id", "group names are part of the contract; use topics.prefix"),
    ("group.instance.id", "every member must have its own"),
    ("group.protocol", "drains on revoke are built on the classic protocol"),
    ("partition.assignment.strategy", "members hand partitions over cooperatively"),
    ("enable.auto.commit", "an offset is committed only after the database"),
    ("enable.auto.offset.store", "an offset is committed only after the database"),
    ("auto.commit.interval.ms", "an offset is committed only after the database"),
    ("auto.offset.reset", "positions are never reset silently"),
    ("session.timeout.ms", "use buffer.kafka.session_timeout_ms"),
    ("max.poll.interval.ms", "use buffer.kafka.max_poll_interval_ms"),
    ("queued.max.messages.kbytes", "use buffer.kafka.prefetch_max_kb"),
    ("fetch.min.bytes", "use consumers.batch_max_wait_ms"),
    ("fetch.wait.max.ms", "use consumers.batch_max_wait_ms"),
    ("enable.partition.eof", "offsets that hold no record are passed by it"),
    ("isolation.level", "what a transaction took back must not be applied"),
    ("check.crcs", "it may end the process at a damaged batch; records carry checksums of their own"),
    ("allow.auto.create.topics", "topics come from `floodgate topics create`"),
];

/// How long one question to the cluster may take before it counts as unanswered.
pub(super) const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// What clients call themselves unless it is passed through.
const CLIENT_ID: &str = "floodgate";

/// How much larger a dead letter may be than the event it carries: its headers.
const DEAD_LETTER_HEADROOM_BYTES: usize = 64 * 1024;

/// The largest event a topic takes, in bytes: Kafka's own default limit, so that existing clusters fit.
pub(super) const EVENT_MAX_BYTES: usize = 1_000_000;

/// The largest dead letter its topic takes.
pub(super) const DEAD_LETTER_MAX_BYTES: usize = EVENT_MAX_BYTES + DEAD_LETTER_HEADROOM_BYTES;

/// The longest a broker holds back an answer, and how long it does when nothing came for a member that waits for no company.
/// Until then the member fetches from none of the partitions it was given meanwhile.
const BROKER_WAIT_MAX: Duration = Duration::from_millis(100);

/// What a broker does not hold back: above it an answer costs little beside its records.
const FETCH_MIN_BYTES: &str = "65536";

/// How long a batch waits for the rest of the answer that began it. What takes longer is the next batch's.
const SETTLED_WITHIN: Duration = Duration::from_millis(1);

/// What every client of the cluster needs to know.
pub(super) struct ClientSettings {
    pub(super) kafka: KafkaConfig,
}

impl ClientSettings {
    pub(super) fn new(kafka: &KafkaConfig) -> Result<Self, OpenError> {
        if kafka.brokers.trim().is_empty() {
            return Err(OpenError(
                "buffer.kafka.brokers is empty: name at least one broker, such as 127.0.0.1:9092".into(),
            ));
        }
        let refused = kafka.client.iter().filter_map(|(name, _)| {
            // librdkafka takes a topic's property with this prefix as well
            let plain = name.strip_prefix("topic.").unwrap_or(name);
            let (_, reason) = REFUSED.iter().find(|(refused, _)| *refused == name || *refused == plain)?;
            Some(format!("buffer.kafka.client: `{name}` cannot be set: {reason}"))
        });
        let without_tls = kafka.client.iter().filter(|(name, value)| !HAS_TLS && needs_tls(name, value));
        let without_tls = without_tls.map(|(name, value)| {
            // of those, properties of TLS may hold a secret
            let shown = if name.starts_with("ssl.") { name.to_owned() } else { format!("{name} = {value}") };
            format!(
                "buffer.kafka.client: `{shown}` needs TLS for Kafka, which this build does not have: build it with \
                 `--features kafka-tls`, as images are"
            )
        });
        let refused: Vec<_> = refused.chain(without_tls).collect();
        if !refused.is_empty() {
            return Err(OpenError(refused.join("; ")));
        }
        // librdkafka checks names and values when a client is made; better at start than at first use
        let wrong = kafka.client.iter().filter_map(|(name, value)| properties::problem(name, value));
        let wrong: Vec<_> = wrong.map(|problem| format!("buffer.kafka.client: {problem}")).collect();
        if !wrong.is_empty() {
            return Err(OpenError(wrong.join("; ")));
        }
        Ok(Self { kafka: kafka.clone() })
    }

    /// By which our clients, members of groups among them, are known to the cluster.
    pub(super) fn client_id(&self) -> &str {
        let set = self.kafka.client.iter().rev().find(|set| set.0 == "client.id");
        set.map_or(CLIENT_ID, |(_, id)| id)
    }

    /// What whoever is on the way reads: PLAIN sends the password as it is, OAUTHBEARER the token.
    pub(super) fn in_the_clear(&self) -> Option<String> {
        let set = |names: &[&str]| {
            let set = self.kafka.client.iter().rev().find(|(name, _)| names.contains(name));
            set.map(|(_, value)| value.to_ascii_uppercase())
        };
        let sent = match set(&["sasl.mechanism", "sasl.mechanisms"]).as_deref() {
            Some("PLAIN") => "password",
            Some("OAUTHBEARER") => "token",
            _ => return None,
        };
        let is_plain = set(&["security.protocol"]).as_deref() == Some("SASL_PLAINTEXT");
        let is_here = |broker: &str| {
            Address::read(&format!("kafka://{}", broker.trim()), &[])
                .is_ok_and(|address| address.hosts.iter().all(Host::is_this_machine))
        };
        (is_plain && !self.kafka.brokers.split(',').all(is_here)).then(|| {
            format!(
                "the {sent} of buffer.kafka.client goes to another machine in the clear: use SASL_SSL as security.protocol, or a \
                 SCRAM mechanism"
            )
        })
    }

    /// For asking only: metadata, offsets, topics. The context tells what keeps the client from its answers.
    pub(super) fn asking(&self) -> (ClientConfig, Asking) {
        let mut config = self.base();
        // a client made by rust-rdkafka for admin requests would only log them
        config.set("enabled_events", RD_KAFKA_EVENT_ERROR.to_string());
        (self.passed_through_over(config), Asking::new(&self.kafka.brokers))
    }

    fn base(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            // connections that the other side closes, which can be a matter of TLS or a login, are told from here on
            .set_log_level(RDKafkaLogLevel::Info)
            .set("bootstrap.servers", &self.kafka.brokers)
            .set("client.id", CLIENT_ID)
            // a broker that is back is found within a second
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set("socket.keepalive.enable", "true")
            // a broker that accepts and never answers holds a commit no longer than this
            .set("socket.timeout.ms", "10000")
            .set("topic.metadata.refresh.interval.ms", "30000")
            // a producer that merely names a missing topic would make it, with the broker's defaults
            .set("allow.auto.create.topics", "false");
        config
    }

    /// Last, so that tuning wins over our choices; what a promise rests on was refused before.
    fn passed_through_over(&self, mut config: ClientConfig) -> ClientConfig {
        for (name, value) in self.kafka.client.iter() {
            config.set(name, value);
        }
        config
    }

    /// For the publisher.
    pub(super) fn producer(&self) -> ClientConfig {
        let kafka = &self.kafka;
        // librdkafka's own queue is larger than ours: admission refuses before it would
        let queue_kb = kafka.queue_max_bytes / 1024 * 2 + kafka.queue_max_events + 1024;
        let mut config = self.base();
        config
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("partitioner", "murmur2_random")
            // ours knows how much is under way
            .set("linger.ms", "0")
            .set("max.in.flight", kafka.requests_in_flight_max.to_string())
            .set("message.timeout.ms", kafka.message_timeout_ms.to_string())
            .set("message.max.bytes", DEAD_LETTER_MAX_BYTES.to_string())
            .set("queue.buffering.max.messages", (kafka.queue_max_events + 1000).to_string())
            .set("queue.buffering.max.kbytes", queue_kb.to_string());
        self.passed_through_over(config)
    }

    /// The most bytes that the publisher takes in one record: key, value and headers.
    pub(super) fn record_max_bytes(&self) -> usize {
        let configured = self.producer().get("message.max.bytes").and_then(|bytes| bytes.parse().ok());
        let own = if self.kafka.checksums { checksum::BYTES } else { 0 };
        configured.unwrap_or(DEAD_LETTER_MAX_BYTES).saturating_sub(own)
    }

    /// How long a batch waits here after its first record. Records gather at the broker as long as it may hold them back,
    /// or each would cost an answer of its own (decision 16).
    pub(super) fn wait_here(limits: &BatchLimits) -> Duration {
        if limits.wait.is_zero() {
            return Duration::ZERO;
        }
        limits.wait.saturating_sub(BROKER_WAIT_MAX).max(SETTLED_WITHIN)
    }

    /// For a member of `group`.
    pub(super) fn member(&self, group: &str, limits: &BatchLimits) -> ClientConfig {
        let kafka = &self.kafka;
        let (held_back_ms, min_bytes) = match limits.wait.as_millis().min(BROKER_WAIT_MAX.as_millis()) {
            0 => (BROKER_WAIT_MAX.as_millis(), "1"),
            wait_ms => (wait_ms, FETCH_MIN_BYTES),
        };
        let mut config = self.base();
        config
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // positions are set explicitly at assignment; a surprise is an error, not a jump
            .set("auto.offset.reset", "error")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", kafka.session_timeout_ms.to_string())
            .set("heartbeat.interval.ms", (kafka.session_timeout_ms / 5).clamp(100, 3000).to_string())
            .set("max.poll.interval.ms", kafka.max_poll_interval_ms.to_string())
            .set("queued.max.messages.kbytes", kafka.prefetch_max_kb.to_string())
            // beside the batch that fills while another is applied; they come a megabyte at a time
            .set("queued.min.messages", limits.events.max(1000).to_string())
            // the default second of backoff, once the prefetch is full, stalls a fast consumer; so do 10 ms
            .set("fetch.queue.backoff.ms", "1")
            .set("fetch.min.bytes", min_bytes)
            .set("fetch.wait.max.ms", held_back_ms.to_string())
            // markers of transactions stand behind the last record, and are passed when the end is reached
            .set("enable.partition.eof", "true");
        self.passed_through_over(config)
    }

    /// For reading topics to their end, past all groups.
    pub(super) fn reader(&self, group: &str) -> ClientConfig {
        let mut config = self.base();
        config
            // librdkafka wants one; it is never joined and nothing is committed in it
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("queued.max.messages.kbytes", self.kafka.prefetch_max_kb.to_string())
            .set("fetch.queue.backoff.ms", "10")
            .set("fetch.wait.max.ms", "100")
            .set("enable.partition.eof", "true");
        let mut config = self.passed_through_over(config);
        // a follower may be behind: tools that look at everything ask leaders
        config.remove("client.rack");
        config
    }

    /// For looking into `group` without ever joining it.
    pub(super) fn onlooker(&self, group: &str) -> ClientConfig {
        let mut config = self.base();
        config
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("queued.min.messages", "1")
            .set("queued.max.messages.kbytes", "1024")
            .set("max.partition.fetch.bytes", "1024")
            // one record fills the queue: the next partition must not wait the default second for it to empty
            .set("fetch.queue.backoff.ms", "1")
            .set("fetch.wait.max.ms", "100")
            .set("enable.partition.eof", "true");
        self.passed_through_over(config)
    }
}

/// Whether this build can encrypt connections to Kafka.
const HAS_TLS: bool = cfg!(feature = "kafka-tls");

/// Whether librdkafka does this with OpenSSL only.
fn needs_tls(name: &str, value: &str) -> bool {
    let value = value.to_ascii_uppercase();
    match name {
        "security.protocol" => value.contains("SSL"),
        "sasl.mechanism" | "sasl.mechanisms" => value.contains("SCRAM") || value == "OAUTHBEARER",
        _ => name.starts_with("ssl."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(client: &str) -> Result<ClientSettings, OpenError> {
        let client: toml::Table = client.parse().unwrap_or_default();
        let client = client.try_into().map_err(|error: toml::de::Error| OpenError(error.to_string()))?;
        let config = crate::kafka::testing::config("127.0.0.1:9".into());
        ClientSettings::new(&KafkaConfig { client, ..config })
    }

    #[test]
    fn properties_pass_through_nested_or_quoted() {
        for text in
            ["\"compression.type\" = \"lz4\"", "compression.type = \"lz4\"", "[compression]\ntype = 'lz4'"]
        {
            let config = settings(text).map(|settings| settings.producer());
            assert_eq!(
                config.ok().and_then(|c| c.get("compression.type").map(str::to_owned)).as_deref(),
                Some("lz4")
            );
        }
    }

    #[test]
    fn a_password_that_goes_over_a_network_in_the_clear_is_told() {
        let login =
            "sasl.mechanism = 'PLAIN'\nsasl.password = 'secret'\nsecurity.protocol = 'SASL_PLAINTEXT'";
        let token = "sasl.mechanisms = 'OAUTHBEARER'\nsecurity.protocol = 'SASL_PLAINTEXT'";
        let told = |client: &str, brokers: &str| {
            let mut settings = settings(client).ok()?;
            settings.kafka.brokers = brokers.to_owned();
            settings.in_the_clear()
        };
        assert!(told(login, "127.0.0.1:9092, b:9092").is_some_and(|told| !told.contains("secret")));
        assert_eq!(told(login, "127.0.0.1:9092,localhost:9093"), None);
        assert_eq!(told("", "b:9092"), None);
        let scram = "sasl.mechanism = 'SCRAM-SHA-256'\nsecurity.protocol = 'SASL_PLAINTEXT'";
        assert_eq!(told(scram, "b:9092"), None);
        // which takes TLS in the library, though it is sent without
        assert_eq!(told(token, "b:9092").is_some_and(|told| told.contains("the token of")), HAS_TLS);
    }

    /// The promises rest on these, whatever else is set.
    #[test]
    fn clients_are_configured_as_promised() {
        let settings = settings("").ok();
        let producer = settings.as_ref().map(ClientSettings::producer).unwrap_or_default();
        let limits = BatchLimits { events: 1, bytes: 1, wait: Duration::ZERO, drain: Duration::ZERO };
        let member = settings.as_ref().map(|settings| settings.member("g", &limits)).unwrap_or_default();
        for (config, name, value) in [
            (&producer, "acks", "all"),
            (&producer, "enable.idempotence", "true"),
            (&producer, "partitioner", "murmur2_random"),
            (&producer, "allow.auto.create.topics", "false"),
            (&member, "enable.auto.commit", "false"),
            (&member, "enable.auto.offset.store", "false"),
            (&member, "auto.offset.reset", "error"),
            (&member, "partition.assignment.strategy", "cooperative-sticky"),
        ] {
            assert_eq!(config.get(name), Some(value), "{name}");
        }
    }

    #[test]
    fn records_gather_at_the_broker_for_as_long_as_a_batch_may_wait() {
        let settings = settings("").ok().unwrap();
        for (wait_ms, min_bytes, held_back_ms, here_ms) in
            [(0, "1", "100", 0), (10, FETCH_MIN_BYTES, "10", 1), (250, FETCH_MIN_BYTES, "100", 150)]
        {
            let wait = Duration::from_millis(wait_ms);
            let limits = BatchLimits { events: 1, bytes: 1, wait, drain: Duration::ZERO };
            let member = settings.member("g", &limits);
            assert_eq!(member.get("fetch.min.bytes"), Some(min_bytes), "{wait_ms}");
            assert_eq!(member.get("fetch.wait.max.ms"), Some(held_back_ms), "{wait_ms}");
            assert_eq!(ClientSettings::wait_here(&limits), Duration::from_millis(here_ms), "{wait_ms}");
        }
    }

    #[test]
    fn every_property_that_breaks_a_promise_is_refused() {
        for (name, reason) in REFUSED {
            for name in [(*name).to_owned(), format!("topic.{name}")] {
                let told =
                    settings(&format!("\"{name}\" = \"1\"")).err().map(|error| error.0).unwrap_or_default();
                assert!(told.contains(&format!("`{name}` cannot be set: {reason}")), "{name}: {told}");
            }
        }
    }

    #[test]
    fn what_takes_tls_is_told_where_there_is_none() {
        for (name, value) in [
            ("security.protocol", "SSL"),
            ("security.protocol", "sasl_ssl"),
            ("sasl.mechanism", "SCRAM-SHA-256"),
            ("sasl.mechanisms", "OAUTHBEARER"),
            ("ssl.ca.location", "/ca.pem"),
        ] {
            assert!(needs_tls(name, value), "{name} = {value}");
            let error = settings(&format!("\"{name}\" = \"{value}\""))
                .err()
                .map_or_else(String::new, |error| error.0);
            assert_eq!(error.contains("--features kafka-tls"), !HAS_TLS, "{name} = {value}: {error}");
        }
        for (name, value) in
            [("security.protocol", "SASL_PLAINTEXT"), ("sasl.mechanism", "PLAIN"), ("client.id", "ssl")]
        {
            assert!(!needs_tls(name, value), "{name} = {value}");
        }
    }

    #[test]
    fn what_breaks_a_promise_or_is_unknown_is_refused_by_name() {
        for (text, told) in [
            ("acks = \"1\"", "`acks` cannot be set"),
            ("enable.auto.commit = true", "`enable.auto.commit` cannot be set"),
            ("compresion.type = \"lz4\"", "compresion.type"),
            ("compression.type = \"lz5\"", "lz5"),
            ("brokers = [1]", "`brokers` must be a text"),
        ] {
            let error = settings(text).err().map(|error| error.0).unwrap_or_default();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
