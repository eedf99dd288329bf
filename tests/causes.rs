//! Why Kafka cannot be used, as the operators' `/readyz`, the log and the commands say it: never "does not answer" when the
//! broker, or the system, said why.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use floodgate_testkit::kafka::LOGIN;
use floodgate_testkit::{Kafka, KafkaOptions, PostgresOptions};
use support::answers::problem;
use support::client::Ask;
use support::world::{Servers, World, run};

/// What the operators' `/readyz`, one line of the log and every command that asks Kafka say.
fn check(world: &World, settings: &[(&str, &str)], needle: &str) -> Result<()> {
    settings.iter().for_each(|(key, value)| world.set(key, *value));
    let serve = world.launch(&["serve"])?;
    serve.wait_unready(needle)?;
    let clients = serve.get("/readyz")?;
    let secrets = [&world.setting("buffer.kafka.brokers"), "secret", "wrong"];
    ensure!(clients.status == 503, "{}", clients.status);
    ensure!(!secrets.iter().any(|secret| clients.text().contains(secret)), "{}", clients.text());
    let log = serve.process().stderr();
    let told: Vec<_> =
        log.lines().filter(|line| line.contains("cannot take events") && line.contains(needle)).collect();
    ensure!(told.len() == 1, "{needle:?} is told in {} lines: {told:?}", told.len());
    let commands: [&[&str]; 5] =
        [&["topics", "describe"], &["lag"], &["verify"], &["dlq", "list"], &["dlq", "replay", "--all"]];
    for command in commands {
        let ended = world.command(command)?;
        ensure!(
            ended.code == 1 && ended.stderr.contains(needle),
            "{command:?}: {needle:?}: {}",
            ended.stderr
        );
        ensure!(!ended.stderr.contains("secret"), "{command:?}: {}", ended.stderr);
        let is_silence = needle == "does not answer";
        ensure!(is_silence || !ended.stderr.contains("does not answer"), "{command:?}: {}", ended.stderr);
        ensure!(!ended.stderr.contains("topics create"), "{command:?}: {}", ended.stderr);
    }
    serve.kill()
}

#[test]
fn the_cause_is_told_wherever_it_is_asked_for() {
    let options = KafkaOptions { secured: true, ..Servers::hurried_kafka() };
    let Servers { kafka, postgres } = Servers::start(options, PostgresOptions::default()).unwrap();
    let secured = kafka.secured_bootstrap();
    let world = || World::ready(&kafka, &postgres);
    let login = |name: &str, value: &str| (format!("buffer.kafka.client.{name}"), value.to_owned());
    let cases = [
        (&secured, vec![login("security_protocol", "PLAINTEXT")], "wants a login"),
        (
            &secured,
            vec![
                login("security_protocol", "SASL_PLAINTEXT"),
                login("sasl_mechanism", "PLAIN"),
                login("sasl_username", LOGIN.0),
                login("sasl_password", "wrong"),
            ],
            "refuses the login",
        ),
        (&secured, vec![login("security_protocol", "SSL")], "does not speak TLS"),
        (&"no-such-host.invalid:9092".to_owned(), vec![], "cannot be resolved"),
    ];
    run(|| {
        for (brokers, settings, needle) in cases {
            let world = world()?;
            world.set("buffer.kafka.brokers", brokers.clone());
            world.set("log.level", "librdkafka=trace,info");
            let settings: Vec<_> =
                settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            check(&world, &settings, needle).inspect_err(|_| world.tell_logs())?;
        }
        Ok(())
    });
}

/// The host that brokers advertise is a name that this machine does not know: metadata comes, and no event gets through.
#[test]
fn a_host_that_cannot_be_resolved_is_no_readiness() {
    let linked_host = "broker.no-such-host.invalid".to_owned();
    let kafka = Kafka::start(KafkaOptions { linked: true, linked_host, ..Servers::hurried_kafka() }).unwrap();
    let postgres = &Servers::shared().postgres;
    run(|| {
        let world = World::ready(&kafka, postgres)?;
        world.set("buffer.kafka.brokers", kafka.linked_bootstrap());
        world.set("buffer.kafka.message_timeout_ms", "1000");
        world.set("http.request_deadline_ms", "2500");
        let serve = world.launch(&["serve"])?;
        serve.wait_unready("advertised.listeners")?;
        let ask = Ask::new("PUT", "/api/v6/characters/some/likes/one");
        problem(&serve.ask(&ask)?, 503, "not-stored", None)?;
        serve.wait_unready("broker.no-such-host.invalid")?;
        serve.kill()
    });
}

/// A broker that takes connections and never says a word.
#[test]
fn a_silent_broker_is_told_as_one() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let brokers = silent.local_addr().unwrap().to_string();
    let Servers { kafka, postgres } = Servers::shared();
    run(|| {
        let world = World::ready(kafka, postgres)?;
        let began = Instant::now();
        check(&world, &[("buffer.kafka.brokers", &brokers)], "does not answer")?;
        ensure!(began.elapsed() < Duration::from_secs(60), "it took {:?}", began.elapsed());
        Ok(())
    });
}
