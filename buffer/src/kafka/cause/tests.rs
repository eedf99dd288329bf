use super::*;

fn told(error: RDKafkaErrorCode, events: &[(RDKafkaErrorCode, &str)]) -> String {
    let heard = Heard::default();
    events.iter().for_each(|(code, reason)| heard.note(&KafkaError::Global(*code), reason));
    heard.explain("b:1", &KafkaError::MetadataFetch(error))
}

/// What librdkafka 2.12 says in each case, word for word, and what is made of it.
#[test]
fn causes_are_told_in_words() {
    use RDKafkaErrorCode::*;
    for (code, reason, wanted) in [
        (
            Resolve,
            "k.internal:9092/1: Failed to resolve 'k.internal:9092': Name or service not known (after 3ms in state CONNECT)",
            "advertised.listeners",
        ),
        (
            SSL,
            "ssl://b:1/bootstrap: SSL handshake failed: error:0A000086:SSL routines::certificate verify failed: broker \
             certificate could not be verified, verify that ssl.ca.location is correctly configured or root CA \
             certificates are installed (install ca-certificates package) (after 9ms in state SSL_HANDSHAKE)",
            "set ssl.ca.location",
        ),
        (SSL, "ssl://b:1: SSL handshake failed: certificate has expired", "set the clock"),
        (SSL, "ssl://b:1: SSL handshake failed: certificate is not yet valid", "set the clock"),
        (
            SSL,
            "ssl://b:1/bootstrap: SSL handshake failed: error:0A00010B:SSL routines::wrong version number: connecting to a \
             PLAINTEXT broker listener? (after 1ms in state SSL_HANDSHAKE)",
            "does not speak TLS",
        ),
        (
            BrokerTransportFailure,
            "ssl://b:1/bootstrap: SSL handshake failed: Disconnected: connecting to a PLAINTEXT broker listener? (after \
             4ms in state SSL_HANDSHAKE)",
            "does not speak TLS",
        ),
        (
            Authentication,
            "sasl_plaintext://b:1/bootstrap: SASL authentication error: Authentication failed: Invalid username or \
             password (after 5ms in state AUTH_REQ)",
            "refuses the login",
        ),
    ] {
        for error in [BrokerTransportFailure, OperationTimedOut, AllBrokersDown] {
            let told = told(error, &[(AllBrokersDown, "1/1 brokers are down"), (code, reason)]);
            assert!(told.contains(wanted), "{reason}: {told}");
            assert!(told.contains("b:1") && !told.contains("does not answer"), "{told}");
            assert!(!told.contains("in state"), "differs every time: {told}");
        }
    }
}

#[test]
fn what_the_broker_answers_is_told_whatever_was_heard() {
    use RDKafkaErrorCode::*;
    for (code, wanted) in [
        (TopicAuthorizationFailed, "WRITE and DESCRIBE"),
        (GroupAuthorizationFailed, "READ on floodgate's groups"),
        (ClusterAuthorizationFailed, "IDEMPOTENT_WRITE"),
        (UnknownTopicOrPartition, "floodgate topics create"),
        (MessageSizeTooLarge, "max.message.bytes"),
        (InvalidTimestamp, "clock"),
        (NotEnoughReplicas, "min.insync.replicas"),
        (InvalidReplicationFactor, "topics.replication_factor"),
        // whatever it is, it is an answer
        (InconsistentGroupProtocol, "answers with an error"),
    ] {
        let told = told(code, &[(Resolve, "Failed to resolve 'x'")]);
        assert!(told.contains(wanted) && !told.contains("does not answer"), "{code}: {told}");
        assert!(!told.contains("Failed to resolve"), "{code}: {told}");
    }
}

/// Only the state in which a connection is closed tells what the port wants.
#[test]
fn a_connection_that_is_closed_at_once_is_a_cause() {
    for (closed, wanted) in [
        ("Disconnected (after 3ms in state APIVERSION_QUERY)", "wants TLS"),
        ("Disconnected (after 101ms in state UP, 4 identical error(s) suppressed)", "wants a login"),
        ("Disconnected (after 60000ms in state UP)", "does not answer"),
        ("Connection reset", "does not answer"),
    ] {
        let heard = Heard::default();
        heard.note_log("FAIL", &format!("[thrd:b:1/bootstrap]: b:1/bootstrap: {closed}"));
        let error = KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut);
        let told = heard.explain("b:1", &error);
        assert!(told.contains(wanted) && !told.contains("thrd"), "{closed}: {told}");
        // a broker that stops
        let refused = "b:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused";
        heard.note(&KafkaError::Global(RDKafkaErrorCode::BrokerTransportFailure), refused);
        let told = heard.explain("b:1", &error);
        assert!(told.contains("does not answer: nobody listens"), "{told}");
        heard.forget();
        heard.note_log("FAIL", &format!("[thrd:b:1/bootstrap]: b:1/bootstrap: {closed}"));
        assert!(heard.explain("b:1", &error).contains("does not answer"), "it has answered before");
    }
}

#[test]
fn the_event_that_says_most_is_kept_until_the_cluster_answers() {
    use RDKafkaErrorCode::*;
    let ssl = (SSL, "certificate verify failed");
    let down = (AllBrokersDown, "3/3 brokers are down");
    for events in [[ssl, down], [down, ssl]] {
        assert!(told(OperationTimedOut, &events).contains("ssl.ca.location"));
    }
    assert!(told(OperationTimedOut, &[down]).contains("does not answer"));
    assert!(told(OperationTimedOut, &[]).contains("does not answer"));
    // as several brokers say it in turn
    let first = told(OperationTimedOut, &[(Resolve, "a: Failed to resolve 'a'"), (Resolve, "b: …")]);
    assert!(first.contains("'a'"), "{first}");
    let heard = Heard::default();
    heard.note(&KafkaError::Global(SSL), "certificate verify failed");
    heard.forget();
    let after = heard.explain("b:1", &KafkaError::MetadataFetch(OperationTimedOut));
    assert!(after.contains("does not answer"), "{after}");
}
