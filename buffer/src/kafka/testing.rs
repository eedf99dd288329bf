//! What the unit tests of this folder share.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use floodgate_schemas::SystemClock;
use parking_lot::Mutex;

use super::config::{KafkaConfig, Properties};
use crate::{Topics, TopicsConfig};

/// Two threads that meet: one comes and waits, the other does something meanwhile and lets it go on.
pub(super) struct Meeting {
    come: Side,
    go: Side,
}

type Side = (Sender<()>, Mutex<Receiver<()>>);

impl Default for Meeting {
    fn default() -> Self {
        let side = || {
            let (sender, receiver) = channel();
            (sender, Mutex::new(receiver))
        };
        Self { come: side(), go: side() }
    }
}

impl Meeting {
    /// Waits until the other let it go on.
    pub(super) fn come(&self) {
        self.come.0.send(()).unwrap();
        self.go.1.lock().recv_timeout(LATEST).expect("was not let go on");
    }

    /// Waits until the other has come, and lets it go on after `meanwhile`.
    pub(super) fn take_place<T>(&self, meanwhile: impl FnOnce() -> T) -> T {
        self.come.1.lock().recv_timeout(LATEST).expect("nobody came");
        let done = meanwhile();
        self.go.0.send(()).unwrap();
        done
    }
}

const LATEST: Duration = Duration::from_secs(30);

pub(super) fn config(brokers: String) -> KafkaConfig {
    KafkaConfig {
        brokers,
        linger_ms: 2,
        linger_above_events: 200,
        checksums: true,
        producers: 2,
        requests_in_flight_max: 1,
        message_timeout_ms: 4000,
        queue_max_events: 1000,
        queue_max_bytes: 1 << 20,
        prefetch_max_kb: 1024,
        session_timeout_ms: 6000,
        max_poll_interval_ms: 30_000,
        commit_interval_ms: 20,
        client: Properties::default(),
    }
}

pub(super) fn strategy_with(config: &KafkaConfig) -> super::Kafka {
    let topics = TopicsConfig {
        partitions: 1,
        replication_factor: 1,
        prefix: String::new(),
        retention_hours: 1,
        dead_letter_retention_hours: 1,
    };
    let settings = Arc::new(super::ClientSettings::new(config).unwrap());
    super::Kafka::new(settings, &topics, Arc::new(SystemClock))
}

/// On a broker that has our topics then, with one partition each.
pub(super) fn strategy(brokers: String) -> super::Kafka {
    let strategy = strategy_with(&config(brokers));
    strategy.create().unwrap();
    strategy
}
