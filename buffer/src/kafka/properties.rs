//! librdkafka's properties by name: which may have been meant by one that there is not, and of which the values may be shown.
//!
//! What somebody passes through under a name that is not known may be a secret under a misspelt name. So a value is shown where the
//! name is known to be harmless, and nowhere else: neither by `floodgate config` nor in librdkafka's own words on it.

use floodgate_config::{mask, near};
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;

/// Those whose values may be shown.
const HARMLESS: &str = "
    api.version.fallback.ms api.version.request api.version.request.timeout.ms batch.num.messages batch.size
    broker.address.family broker.address.ttl broker.version.fallback client.dns.lookup client.id client.rack
    compression.codec compression.level compression.type connections.max.idle.ms consume.callback.max.messages
    coordinator.query.interval.ms debug enable.metrics.push enable.random.seed enable.sasl.oauthbearer.unsecure.jwt
    enable.ssl.certificate.verification fetch.error.backoff.ms fetch.max.bytes fetch.message.max.bytes
    fetch.queue.backoff.ms group.protocol.type group.remote.assignor heartbeat.interval.ms https.ca.location
    internal.termination.signal log.connection.close log.queue log.thread.name log_level max.partition.fetch.bytes
    message.copy.max.bytes message.max.bytes metadata.max.age.ms metadata.recovery.rebootstrap.trigger.ms
    metadata.recovery.strategy offset.store.method offset.store.path offset.store.sync.interval.ms plugin.library.paths
    queue.buffering.backpressure.threshold queued.min.messages receive.message.max.bytes reconnect.backoff.jitter.ms
    reconnect.backoff.max.ms reconnect.backoff.ms request.timeout.ms retry.backoff.max.ms retry.backoff.ms
    sasl.kerberos.keytab sasl.kerberos.min.time.before.relogin sasl.kerberos.principal sasl.kerberos.service.name
    sasl.mechanism sasl.mechanisms sasl.oauthbearer.assertion.algorithm sasl.oauthbearer.assertion.file
    sasl.oauthbearer.assertion.jwt.template.file sasl.oauthbearer.assertion.private.key.file sasl.oauthbearer.client.id
    sasl.oauthbearer.grant.type sasl.oauthbearer.metadata.authentication.type sasl.oauthbearer.method
    sasl.oauthbearer.scope sasl.username security.protocol socket.blocking.max.ms
    socket.connection.setup.timeout.ms socket.keepalive.enable socket.max.fails socket.nagle.disable
    socket.receive.buffer.bytes socket.send.buffer.bytes socket.timeout.ms ssl.ca.certificate.stores ssl.ca.location
    ssl.certificate.location ssl.cipher.suites ssl.crl.location ssl.curves.list
    ssl.endpoint.identification.algorithm ssl.engine.location ssl.key.location ssl.keystore.location ssl.providers
    ssl.sigalgs.list statistics.interval.ms topic.blacklist topic.metadata.propagation.max.ms
    topic.metadata.refresh.fast.cnt topic.metadata.refresh.fast.interval.ms topic.metadata.refresh.interval.ms
    topic.metadata.refresh.sparse transaction.timeout.ms";

/// Those that are secrets, or may hold one.
const SECRETS: &str = "
    https.ca.pem sasl.kerberos.kinit.cmd sasl.oauthbearer.assertion.claim.aud sasl.oauthbearer.assertion.claim.iss
    sasl.oauthbearer.assertion.claim.sub sasl.oauthbearer.assertion.private.key.passphrase
    sasl.oauthbearer.assertion.private.key.pem sasl.oauthbearer.client.credentials.client.id
    sasl.oauthbearer.client.credentials.client.secret sasl.oauthbearer.client.secret sasl.oauthbearer.config
    sasl.oauthbearer.extensions sasl.oauthbearer.token.endpoint.url sasl.password ssl.ca.pem ssl.certificate.pem
    ssl.key.password ssl.key.pem ssl.keystore.password";

/// Whether the value of a property is none that could be a secret.
pub(super) fn may_be_shown(name: &str) -> bool {
    // librdkafka takes a topic's property with this prefix as well
    let plain = name.strip_prefix("topic.").unwrap_or(name);
    HARMLESS.split_whitespace().any(|known| known == name || known == plain)
}

/// What librdkafka has against a property, without a value that may be a secret.
pub(super) fn problem(name: &str, value: &str) -> Option<String> {
    let mut config = ClientConfig::new();
    config.set(name, value);
    match config.create_native_config() {
        Ok(_) => None,
        Err(KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..)) => {
            let meant = near(HARMLESS.split_whitespace().chain(SECRETS.split_whitespace()), name);
            let hint = meant.map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default();
            Some(format!("librdkafka has no property `{name}`{hint}"))
        }
        Err(KafkaError::ClientConfig(_, why, ..)) if may_be_shown(name) && mask::shown(value) == value => {
            Some(format!("`{name}`: {why}"))
        }
        Err(_) => Some(format!("`{name}` has a value that librdkafka does not take")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_told_where_it_cannot_be_a_secret() {
        assert_eq!(problem("client.id", "x"), None);
        let told = problem("sasl.passwort", "hidden").unwrap();
        assert!(told.contains("no property `sasl.passwort`; did you mean `sasl.password`?"), "{told}");
        assert!(!told.contains("hidden"), "{told}");
        assert!(problem("compression.type", "middle-out").unwrap().contains("middle-out"));
        assert!(problem("socket.timeout.ms", "soon").unwrap().contains("`socket.timeout.ms`"));
        // a secret in the place of something else
        let told = problem("enabled_events", "hidden").unwrap();
        assert!(told.contains("`enabled_events`") && !told.contains("hidden"), "{told}");
    }

    /// A name that librdkafka does not know would be a suggestion that leads nowhere.
    #[test]
    fn names_are_librdkafkas() {
        for name in HARMLESS.split_whitespace().chain(SECRETS.split_whitespace()) {
            // what this build lacks is known to librdkafka all the same
            let told = problem(name, "1").unwrap_or_default();
            assert!(!told.contains("no property"), "{told}");
        }
        let both: Vec<_> = SECRETS.split_whitespace().filter(|name| may_be_shown(name)).collect();
        assert_eq!(both, [""; 0]);
    }
}
