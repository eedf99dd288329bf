//! What publishing and its probe share: the producers there are now, and whether they can store.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use parking_lot::{Mutex, RwLock};
use rdkafka::error::KafkaError;

use super::cause::Heard;
use super::client::ClientSettings;
use super::generation::Generation;
use super::health::{Deliveries, Rebuilds};
#[cfg(test)]
use super::planted::Planted;
use crate::{Names, Topic, TopicFinding, TopicsConfig};

pub(super) struct Producing {
    pub(super) settings: Arc<ClientSettings>,
    pub(super) names: Arc<Names>,
    pub(super) topics: TopicsConfig,
    pub(super) current: RwLock<Arc<Generation>>,
    /// What the clients of all generations said.
    pub(super) heard: Arc<Heard>,
    pub(super) deliveries: Arc<Deliveries>,
    pub(super) rebuilds: Mutex<Rebuilds>,
    pub(super) health: Mutex<Result<(), String>>,
    pub(super) findings: Mutex<Vec<TopicFinding>>,
    /// Topics that do not keep what a 202 promises, in the order of [`Topic::ALL`].
    pub(super) refuses: [AtomicBool; Topic::ALL.len()],
    #[cfg(test)]
    pub(super) planted: Arc<Planted>,
}

impl Producing {
    pub(super) fn new(
        settings: &Arc<ClientSettings>,
        names: &Arc<Names>,
        topics: &TopicsConfig,
        first: Arc<Generation>,
        heard: Arc<Heard>,
    ) -> Self {
        Self {
            settings: Arc::clone(settings),
            names: Arc::clone(names),
            topics: topics.clone(),
            current: RwLock::new(first),
            heard,
            deliveries: Arc::default(),
            rebuilds: Mutex::default(),
            health: Mutex::new(Err(format!("not yet connected to Kafka at {}", settings.kafka.brokers))),
            findings: Mutex::default(),
            refuses: Default::default(),
            #[cfg(test)]
            planted: Arc::default(),
        }
    }

    /// An error in words, with what the clients heard.
    pub(super) fn explain(&self, error: &KafkaError) -> String {
        self.heard.explain(&self.settings.kafka.brokers, error)
    }
}
