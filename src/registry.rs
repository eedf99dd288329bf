//! The schema registry, if there is one: what events are written and read with.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use floodgate_buffer::{Strategy, Topic};
use floodgate_observe::{Metrics, RegistryMetrics};
use floodgate_registry::{Memory, Registry, subject};
use floodgate_schemas::{BoxFuture, Codecs, EventType};
use floodgate_store::Store;
use tokio::runtime::Handle;

use crate::exit::Exit;
use crate::settings::Settings;

/// The subject of a type's topic.
pub(crate) fn subject_of(strategy: &dyn Strategy, of: EventType) -> String {
    subject(strategy.names().topic(Topic::Events(of)))
}

/// The configured registry. Touches no network.
pub(crate) fn open(
    settings: &Settings,
    strategy: &dyn Strategy,
    store: &Arc<dyn Store>,
    metrics: &RegistryMetrics,
) -> Result<Option<Arc<Registry>>, Exit> {
    if !settings.schema_registry.is_on() {
        return Ok(None);
    }
    let memory = Arc::new(Remembered(Arc::clone(store)));
    let subjects = EventType::ALL.map(|of| (of, subject_of(strategy, of))).to_vec();
    let registry = Registry::open(&settings.schema_registry, subjects, memory, metrics);
    registry.map(|registry| Some(Arc::new(registry))).map_err(Exit::usage)
}

/// How long a batch waits for schemas: its partitions are held then, and tried again.
const PATIENCE: Duration = Duration::from_secs(1);

/// What events are read with by whoever comes back to what could not be. Within a runtime, on which schemas are asked for.
pub(crate) fn codecs(registry: Option<&Arc<Registry>>) -> Codecs {
    registry.map_or(Codecs::builtin(), |registry| registry.codecs(Some(PATIENCE), Handle::current()))
}

/// The same for a command, which opens no more than it needs, and reads everything once.
pub(crate) fn codecs_of(settings: &Settings, strategy: &dyn Strategy) -> Result<Codecs, Exit> {
    if !settings.schema_registry.is_on() {
        return Ok(Codecs::builtin());
    }
    let metrics = Metrics::new().map_err(Exit::failed)?.schema_registry;
    let store = floodgate_store::open(&settings.store).map_err(Exit::usage)?;
    let registry = open(settings, strategy, &store, &metrics)?;
    Ok(registry.map_or(Codecs::builtin(), |registry| registry.codecs(None, Handle::current())))
}

/// The database, as what remembers schemas.
struct Remembered(Arc<dyn Store>);

impl fmt::Debug for Remembered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Remembered")
    }
}

impl Memory for Remembered {
    fn recall(&self, id: u32) -> BoxFuture<'_, Result<Option<String>, String>> {
        let told =
            |error| format!("the database, which remembers what ids stood for, does not answer: {error}");
        Box::pin(async move { self.0.registered_schema(id).await.map_err(told) })
    }

    fn keep<'m>(&'m self, id: u32, schema: &'m str) -> BoxFuture<'m, Result<String, String>> {
        let told =
            |error| format!("the database, which is to remember what it stands for, does not: {error}");
        Box::pin(async move { self.0.remember_schema(id, schema).await.map_err(told) })
    }
}
