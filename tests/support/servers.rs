//! The servers that worlds are in.

use std::sync::OnceLock;

use anyhow::Result;
use floodgate_testkit::{Kafka, KafkaOptions, Postgres, PostgresOptions};

/// Whether events are to wait in Redis lists: `FLOODGATE_TEST_STRATEGY` is `redis`, and not `kafka`, as it is without it.
pub fn is_redis() -> bool {
    match std::env::var("FLOODGATE_TEST_STRATEGY").as_deref() {
        Ok("redis") => true,
        Ok("kafka") | Err(_) => false,
        Ok(other) => panic!("FLOODGATE_TEST_STRATEGY={other}: it must be kafka or redis"),
    }
}

/// What several worlds can share.
pub struct Servers {
    pub kafka: Kafka,
    pub postgres: Postgres,
}

impl Servers {
    /// Those of this test process.
    pub fn shared() -> &'static Servers {
        static SHARED: OnceLock<Servers> = OnceLock::new();
        SHARED.get_or_init(|| Servers::start(Servers::hurried_kafka(), PostgresOptions::default()).unwrap())
    }

    /// A broker on which a killed member's partitions go to others sooner than brokers allow by default.
    pub fn hurried_kafka() -> KafkaOptions {
        let properties = vec![("group.min.session.timeout.ms".into(), "1000".into())];
        KafkaOptions { properties, ..KafkaOptions::default() }
    }

    /// Servers that a test may stop, freeze and break.
    pub fn own() -> Servers {
        Servers::start(Servers::hurried_kafka(), PostgresOptions::default()).unwrap()
    }

    pub fn start(kafka: KafkaOptions, postgres: PostgresOptions) -> Result<Servers> {
        std::thread::scope(|scope| {
            let postgres = scope.spawn(|| Postgres::start(postgres));
            let kafka = Kafka::start(kafka)?;
            Ok(Servers { kafka, postgres: postgres.join().unwrap()? })
        })
    }
}
