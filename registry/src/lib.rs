//! The schema registry: the numbers under which our schemas are written, and the schemas of the numbers that are read.
//!
//! # The hard idea
//!
//! With a registry a value begins with a number, and means nothing without whoever knows what the number stands for. So three
//! things must not happen: that events are written under a number that is not their schema's, that a number is read as another
//! schema than it was written with, and that a registry that is away stands in the way of events that need nothing of it.
//!
//! * **Numbers are given once.** An ingress takes events as soon as it has the numbers of its schemas, and asks for nothing
//!   afterwards but whether they still are (`writing`). Each is looked up again and its schema compared with ours: a number is
//!   never trusted.
//! * **What a number stood for is remembered** where the rows are ([`Memory`]), before the first event is read by it
//!   (`reading`), and before one is written where the database answers. So readers need no registry for what anybody of them has
//!   read before. And where the registry says something else than what is remembered (it was made anew and counts from one
//!   again, or it is another one), no ingress begins to write under that number, and its events are held: reading them by the
//!   wrong schema makes other values of them, or dead letters of good ones.
//! * **No batch waits for long.** A number is asked for once, however many partitions name it, and a batch waits a second for the
//!   answers; then its partitions are held and tried again, and meanwhile the answers may come. That there is none is remembered for seconds; trouble never is.
//!
//! How events are read by schemas that are not ours is not here, but in `floodgate_schemas`.

mod client;
mod config;
mod memory;
mod reading;
mod writing;

use std::sync::Arc;
use std::time::Duration;

use floodgate_observe::RegistryMetrics;
use floodgate_schemas::{Codecs, Encoder, EventType, SchemaIds};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::client::Client;
pub use crate::client::{OpenError, RegistryError, Version};
pub use crate::config::RegistryConfig;
pub use crate::memory::Memory;
use crate::memory::Remembered;
use crate::reading::Reading;
use crate::writing::Writing;

/// A schema registry, by Confluent's API.
#[derive(Debug)]
pub struct Registry {
    client: Arc<Client>,
    writing: Writing,
}

impl Registry {
    /// As configured. `subjects` are those of our types' topics ([`subject`]). Touches no network.
    ///
    /// # Errors
    /// The configuration allows no client: [`RegistryConfig::problems`] tell of most of that.
    pub fn open(
        config: &RegistryConfig,
        subjects: Vec<(EventType, String)>,
        memory: Arc<dyn Memory>,
        metrics: &RegistryMetrics,
    ) -> Result<Self, OpenError> {
        let client = Arc::new(Client::open(config, metrics.clone())?);
        let writing = Writing {
            client: Arc::clone(&client),
            subjects,
            memory: Remembered::new(memory, metrics),
            ids: Arc::default(),
            metrics: metrics.clone(),
            register: config.register,
            check: Duration::from_millis(config.check_ms),
        };
        Ok(Self { client, writing })
    }

    /// What events are read with. Schemas are asked for on `runtime`. Whoever comes back to what it could not read waits for a schema
    /// with `patience`; `None` is for whoever does not, and waits until it is told, or cannot be.
    pub fn codecs(&self, patience: Option<Duration>, runtime: Handle) -> Codecs {
        Codecs::with(Arc::new(Reading::new(&self.writing, patience, runtime)))
    }

    /// What events are written with, as soon as [`Registry::run`] has got the numbers.
    pub fn encoder(&self) -> Encoder {
        Encoder::registered(Arc::clone(&self.writing.ids))
    }

    /// The numbers of our schemas, where they are known.
    pub fn ids(&self) -> &SchemaIds {
        &self.writing.ids
    }

    /// Gets the numbers of our schemas and looks after them, until `stop`. May be called again after a bug.
    pub async fn run(&self, stop: &CancellationToken) {
        self.writing.run(stop).await;
    }

    /// Makes a schema a subject's next version, unless it is one of them, and gives its number.
    ///
    /// # Errors
    /// [`RegistryError`]; it refuses what is not compatible by its own rule.
    pub async fn register(&self, subject: &str, schema: &str) -> Result<u32, RegistryError> {
        self.client.register(subject, schema).await
    }

    /// All versions of a subject, the first first; none where there is no such subject.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn versions(&self, subject: &str) -> Result<Vec<Version>, RegistryError> {
        self.client.versions(subject).await
    }

    /// Whether it would take a schema as a subject's next version, by its own rule.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn would_take(&self, subject: &str, schema: &str) -> Result<bool, RegistryError> {
        self.client.would_take(subject, schema).await
    }
}

/// The subject of the values on a topic, by its full name, as Confluent's serializers have it by default (`TopicNameStrategy`).
pub fn subject(topic: &str) -> String {
    format!("{topic}-value")
}
