//! Why the cluster does not do what it is asked, in words an operator can act on.
//!
//! librdkafka's calls say little: whatever keeps a client from connecting, be it a name, a certificate or a password, ends
//! in "timed out" or "broker transport failure". What the broker or the system said comes apart from it, as an error
//! *event* of the client. So each client remembers what it [`Heard`], and an error that by itself only says that nothing came
//! is told together with that. What a broker answers to a question says enough and is only put into words.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::client::{Client, ClientContext};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use super::native::poll::{Events, listen};

/// What was heard longer ago says nothing about now. The client says it again every half minute while it lasts.
const HEARD_LASTS: Duration = Duration::from_secs(60);

/// The error events of one client or several: the one that says most.
#[derive(Default)]
pub(super) struct Heard {
    last: Mutex<Option<Event>>,
    /// Whether the cluster has ever answered: then its ports want nothing that this client does not do.
    has_answered: AtomicBool,
}

struct Event {
    code: RDKafkaErrorCode,
    reason: String,
    at: Instant,
}

impl Heard {
    pub(super) fn note(&self, error: &KafkaError, reason: &str) {
        let Some(code) = error.rdkafka_error_code() else { return };
        let mut last = self.last.lock();
        match &mut *last {
            // brokers that say the same with other names and times: one line is enough
            Some(before) if before.code == code && !is_gone(&before.reason, reason) => {
                before.at = Instant::now()
            }
            Some(before) if before.at.elapsed() < HEARD_LASTS && telling(before.code) > telling(code) => {}
            _ => *last = Some(Event { code, reason: without_times(reason).to_owned(), at: Instant::now() }),
        }
    }

    /// A connection that the other side closes is no error event, but a line of the client's log.
    pub(super) fn note_log(&self, facility: &str, message: &str) {
        // of a cluster that has answered it is a broker that stops
        if facility == "FAIL"
            && !self.has_answered.load(Ordering::Relaxed)
            && let Some(reason) = closed_at_once(message)
        {
            self.note(&KafkaError::Global(RDKafkaErrorCode::BrokerTransportFailure), &reason);
        }
    }

    /// The cluster answers: whatever was heard is over.
    pub(super) fn forget(&self) {
        *self.last.lock() = None;
        self.has_answered.store(true, Ordering::Relaxed);
    }

    /// Why the leader of one partition, if it has one, does not tell of it while others do.
    pub(super) fn explain_partition(&self, leader: Option<i32>, error: &KafkaError) -> String {
        let code = error.rdkafka_error_code();
        let Some(leader) = leader else { return NO_LEADER.to_owned() };
        if let Some(said) = code.and_then(said_by_the_broker) {
            return format!("broker {leader}, its leader, refuses: {said}");
        }
        match code {
            Some(RDKafkaErrorCode::LeaderNotAvailable | RDKafkaErrorCode::NotLeaderForPartition) => {
                NO_LEADER.to_owned()
            }
            Some(code) if !is_silence(code) => {
                format!("broker {leader}, its leader, answers with an error: {error}")
            }
            _ => {
                // librdkafka names a broker with its number: "host:9092/2: Connect to … failed"
                let named = format!("/{leader}: ");
                let last = self.last.lock();
                let heard = last.as_ref().filter(|event| {
                    event.at.elapsed() < HEARD_LASTS
                        && telling(event.code) > 0
                        && event.reason.contains(&named)
                });
                let why = heard.map_or(String::new(), |event| {
                    format!(": {} ({})", hint(event.code, &event.reason), event.reason)
                });
                format!("broker {leader}, its leader, does not answer{why}")
            }
        }
    }

    /// `error` in words, with what was heard where that says more.
    pub(super) fn explain(&self, brokers: &str, error: &KafkaError) -> String {
        let code = error.rdkafka_error_code();
        let last = self.last.lock();
        let heard = last.as_ref().filter(|event| event.at.elapsed() < HEARD_LASTS);
        match (code.and_then(said_by_the_broker), heard) {
            (Some(said), _) => format!("Kafka at {brokers} refuses: {said}"),
            (None, Some(event)) if telling(event.code) > 0 && code.is_none_or(is_unexplained) => {
                if let Some(said) = said_by_the_broker(event.code) {
                    return format!("Kafka at {brokers} refuses: {said}");
                }
                let hint = hint(event.code, &event.reason);
                let how =
                    if hint == NOBODY || hint == UNREACHED { "does not answer" } else { "cannot be used" };
                format!("Kafka at {brokers} {how}: {hint} ({})", event.reason)
            }
            (None, _) if code.is_none_or(is_silence) => {
                format!("Kafka at {brokers} does not answer; is it up, and is buffer.kafka.brokers right?")
            }
            _ => format!("Kafka at {brokers} answers with an error: {error}"),
        }
    }
}

/// Whether an error only says that nothing came.
fn is_silence(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::{
        AllBrokersDown, BrokerTransportFailure, MessageTimedOut, NetworkException, OperationTimedOut,
        RequestTimedOut, TimedOutQueue,
    };
    let silence = [
        AllBrokersDown,
        BrokerTransportFailure,
        MessageTimedOut,
        NetworkException,
        OperationTimedOut,
        RequestTimedOut,
        TimedOutQueue,
    ];
    silence.contains(&code) || telling(code) > 0
}

/// Whether something that was heard may be the reason: a coordinator that refuses to be one is not there.
fn is_unexplained(code: RDKafkaErrorCode) -> bool {
    is_silence(code) || code == RDKafkaErrorCode::WaitingForCoordinator
}

/// How much an event tells of the cause.
fn telling(code: RDKafkaErrorCode) -> u8 {
    use RDKafkaErrorCode::{
        Authentication, BrokerTransportFailure, ClusterAuthorizationFailed, GroupAuthorizationFailed,
        Resolve, SSL, SaslAuthenticationFailed, TopicAuthorizationFailed, UnsupportedSASLMechanism,
    };
    match code {
        SSL | Authentication | SaslAuthenticationFailed | UnsupportedSASLMechanism => 3,
        // whoever asks through a group's coordinator hears it this way only
        ClusterAuthorizationFailed | GroupAuthorizationFailed | TopicAuthorizationFailed => 3,
        Resolve => 2,
        BrokerTransportFailure => 1,
        // a time that is over, all brokers being down: what the error says anyway
        _ => 0,
    }
}

/// "…(after 3ms in state CONNECT, 4 identical error(s) suppressed)" differs every time.
fn without_times(reason: &str) -> &str {
    reason.rfind(" (after ").map_or(reason, |at| &reason[..at]).trim()
}

/// A port that nobody listens on any more did not close a connection for what it wants.
fn is_gone(before: &str, now: &str) -> bool {
    before.contains(CLOSED) && now.contains("refused")
}

const CLOSED: &str = "disconnected at the first request";

/// What a connection says of the other side that is closed at its first request: "[thrd:b:1/bootstrap]: b:1/bootstrap:
/// Disconnected (after 3ms in state APIVERSION_QUERY)".
fn closed_at_once(message: &str) -> Option<String> {
    let (broker, rest) = message.split_once(": Disconnected")?;
    let broker = broker.rsplit(' ').next()?;
    let (after, state) = rest.split_once("(after ")?.1.split_once("ms in state ")?;
    let does = match state.split([',', ')']).next()? {
        "APIVERSION_QUERY" => "an SSL listener",
        // later it is a broker that stops
        "UP" if after.parse::<u64>().is_ok_and(|ms| ms < 2000) => "a listener with SASL authentication",
        _ => return None,
    };
    Some(format!("{broker}: {CLOSED}, as {does} does"))
}

const NO_LEADER: &str = "it has no leader now; are all brokers up?";
const NOBODY: &str = "nobody listens there; is it up, and is buffer.kafka.brokers right?";
const UNREACHED: &str = "it cannot be reached; is it up, and is buffer.kafka.brokers right?";

/// What to look at.
fn hint(code: RDKafkaErrorCode, reason: &str) -> &'static str {
    use RDKafkaErrorCode::{
        Authentication, BrokerTransportFailure, Resolve, SSL, SaslAuthenticationFailed,
        UnsupportedSASLMechanism,
    };
    let says = |text: &str| reason.to_ascii_lowercase().contains(text);
    match code {
        Resolve => {
            "a host name cannot be resolved; where it is none of buffer.kafka.brokers it is what the brokers advertise \
             (advertised.listeners)"
        }
        SSL if says("expired") || says("not yet valid") => {
            "its certificate is not valid at this machine's time: renew the certificate, or set the clock"
        }
        SSL if says("hostname mismatch") || says("ip address mismatch") => {
            "its certificate is for another host name; look at buffer.kafka.brokers and the brokers' \
             advertised.listeners"
        }
        SSL if says("verify failed") || says("could not be verified") || says("self-signed") => {
            "its certificate is not trusted: set ssl.ca.location to the CA that signed it"
        }
        SSL if says("wrong version number") || says("packet length") || says("plaintext") => {
            "it does not speak TLS on this port; look at security.protocol"
        }
        SSL if says("certificate required") || says("bad certificate") || says("unknown ca") => {
            "it wants a certificate of this client that it knows; look at ssl.certificate.location and ssl.key.location"
        }
        SSL => "TLS fails; look at security.protocol and the ssl.* properties",
        UnsupportedSASLMechanism => "it does not know sasl.mechanism",
        Authentication | SaslAuthenticationFailed if says("mechanism") => {
            "it does not take this sasl.mechanism"
        }
        Authentication | SaslAuthenticationFailed => {
            "it refuses the login; look at sasl.username, sasl.password and sasl.mechanism"
        }
        BrokerTransportFailure if says("plaintext broker listener") => {
            "it does not speak TLS on this port; look at security.protocol"
        }
        BrokerTransportFailure if says("ssl listener") => {
            "it closes the connection, as a port that wants TLS does; look at security.protocol"
        }
        BrokerTransportFailure if says("sasl authentication") => {
            "it closes the connection, as a port that wants a login does; look at security.protocol"
        }
        BrokerTransportFailure if says("refused") => NOBODY,
        _ => UNREACHED,
    }
}

/// Answers of brokers that say what is wrong.
pub(super) fn said_by_the_broker(code: RDKafkaErrorCode) -> Option<&'static str> {
    use RDKafkaErrorCode::{
        ClusterAuthorizationFailed, GroupAuthorizationFailed, InvalidReplicationFactor, InvalidTimestamp,
        KafkaStorageError, MessageBatchTooLarge, MessageSizeTooLarge, NotEnoughReplicas,
        NotEnoughReplicasAfterAppend, PolicyViolation, TopicAuthorizationFailed,
        TransactionalIdAuthorizationFailed, UnknownTopic, UnknownTopicOrPartition, UnsupportedFeature,
        UnsupportedVersion,
    };
    Some(match code {
        TopicAuthorizationFailed => {
            "permission on a topic is denied (TOPIC_AUTHORIZATION_FAILED); an ingress needs WRITE and DESCRIBE on every \
             topic of floodgate, consumers READ besides and WRITE on the dead letters"
        }
        GroupAuthorizationFailed => {
            "permission on a consumer group is denied (GROUP_AUTHORIZATION_FAILED); consumers need READ on floodgate's \
             groups, and whoever shows the lag DESCRIBE"
        }
        ClusterAuthorizationFailed => {
            "permission on the cluster is denied (CLUSTER_AUTHORIZATION_FAILED); an idempotent producer needs \
             IDEMPOTENT_WRITE on it, or WRITE on the topics from Kafka 2.8 on, and `floodgate topics create` needs CREATE"
        }
        TransactionalIdAuthorizationFailed => {
            "permission on a transactional id is denied (TRANSACTIONAL_ID_AUTHORIZATION_FAILED)"
        }
        UnknownTopic | UnknownTopicOrPartition => "a topic is missing; run `floodgate topics create`",
        MessageSizeTooLarge | MessageBatchTooLarge => {
            "a record or a request full of them is larger than max.message.bytes of its topic (MSG_SIZE_TOO_LARGE); \
             `floodgate topics describe` says which"
        }
        InvalidTimestamp => {
            "the records' time is not near its own (INVALID_TIMESTAMP): set this machine's clock, or look at \
             message.timestamp.before.max.ms and message.timestamp.after.max.ms of the topic"
        }
        NotEnoughReplicas | NotEnoughReplicasAfterAppend => {
            "fewer replicas are in sync than min.insync.replicas (NOT_ENOUGH_REPLICAS); bring the missing brokers back"
        }
        InvalidReplicationFactor => {
            "it has fewer brokers than topics.replication_factor (INVALID_REPLICATION_FACTOR)"
        }
        PolicyViolation => "a policy of the cluster forbids it (POLICY_VIOLATION)",
        KafkaStorageError => "a broker cannot write its log (KAFKA_STORAGE_ERROR); look at its disks",
        UnsupportedFeature | UnsupportedVersion => {
            "it is too old for an idempotent producer; Kafka 2.3 or newer is needed"
        }
        _ => return None,
    })
}

/// The context of a client that only asks: it remembers what it heard, and explains errors with it.
pub(super) struct Asking {
    brokers: String,
    heard: Heard,
    /// Whether it has a group only because librdkafka wants one: what is said of that keeps it from nothing.
    has_no_group: bool,
}

impl Asking {
    pub(super) fn new(brokers: &str) -> Self {
        Self { brokers: brokers.to_owned(), heard: Heard::default(), has_no_group: false }
    }

    /// Of a consumer that asks nothing of its group.
    pub(super) fn without_group(brokers: &str) -> Self {
        Self { has_no_group: true, ..Self::new(brokers) }
    }

    /// An error of a call of this context's client, in words. A consumer has to be polled before.
    pub(super) fn explain(&self, error: &KafkaError) -> String {
        self.heard.explain(&self.brokers, error)
    }

    /// As [`Asking::explain`], of one partition whose leader was asked.
    pub(super) fn explain_partition(&self, leader: Option<i32>, error: &KafkaError) -> String {
        self.heard.explain_partition(leader, error)
    }

    /// The cluster answers: whatever was heard is over.
    pub(super) fn answered(&self) {
        self.heard.forget();
    }
}

/// As [`Asking::explain`], for a consumer that nobody polls at the moment: nothing is assigned to it, or what comes of that is
/// not wanted any more.
pub(super) fn explain_to(consumer: &BaseConsumer<Asking>, events: &Events, error: &KafkaError) -> String {
    while events.poll(consumer, Duration::ZERO).is_some() {}
    consumer.context().explain(error)
}

/// As [`Asking::explain`], for a client that nobody polls.
pub(super) fn explain(client: &Client<Asking>, error: &KafkaError) -> String {
    listen(client);
    client.context().explain(error)
}

impl ClientContext for Asking {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        say(level as i32, facility, message);
        self.heard.note_log(facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, "{reason}");
        let is_of_group = error.rdkafka_error_code() == Some(RDKafkaErrorCode::GroupAuthorizationFailed);
        if !(self.has_no_group && is_of_group) {
            self.heard.note(&error, reason);
        }
    }
}

impl ConsumerContext for Asking {}

/// What librdkafka logs, in our log; `level` is syslog's.
pub(super) fn say(level: i32, facility: &str, message: &str) {
    match level {
        0..=2 => tracing::error!(target: "librdkafka", facility, "{message}"),
        // connections that come and go are told by the readiness probe, once and in plain words
        3..=5 => tracing::debug!(target: "librdkafka", facility, "{message}"),
        _ => tracing::trace!(target: "librdkafka", facility, "{message}"),
    }
}

#[cfg(test)]
mod tests;
