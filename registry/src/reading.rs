//! The schemas of the numbers that are read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use floodgate_observe::RegistryMetrics;
use floodgate_schemas::codec::are_the_same;
use floodgate_schemas::{BoxFuture, EventType, Incompatible, Schemas};
use moka::Expiry;
use moka::future::Cache;
use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::client::{Client, RegistryError};
use crate::memory::{Memory, conflict};

/// How long it is remembered that the registry has none under a number: a writer may have been faster than whoever registers.
const MISSING: Duration = Duration::from_secs(5);

/// How many numbers are remembered.
const REMEMBERED_MAX: u64 = 10_000;

/// How long a batch waits for the registry. After that its partition is held and tried again, and meanwhile the answer may come.
const PATIENCE: Duration = Duration::from_secs(1);

/// Reads schemas, each once.
#[derive(Debug)]
pub(crate) struct Reading {
    asks: Arc<Asks>,
    runtime: Handle,
}

#[derive(Debug)]
struct Asks {
    client: Arc<Client>,
    memory: Arc<dyn Memory>,
    metrics: RegistryMetrics,
    /// `None` is that there is none under this number.
    found: Cache<u32, Option<Arc<str>>>,
    told: Mutex<Option<String>>,
}

/// What was found stays, what was not found does for a while. Trouble is no answer, and not kept at all.
struct Lasts;

impl Expiry<u32, Option<Arc<str>>> for Lasts {
    fn expire_after_create(&self, _: &u32, found: &Option<Arc<str>>, _: Instant) -> Option<Duration> {
        found.is_none().then_some(MISSING)
    }
}

impl Reading {
    pub(crate) fn new(
        client: Arc<Client>,
        memory: Arc<dyn Memory>,
        metrics: RegistryMetrics,
        runtime: Handle,
    ) -> Self {
        let found = Cache::builder().max_capacity(REMEMBERED_MAX).expire_after(Lasts).build();
        Self { asks: Arc::new(Asks { client, memory, metrics, found, told: Mutex::default() }), runtime }
    }
}

impl Schemas for Reading {
    fn text(&self, id: u32) -> BoxFuture<'_, Option<Arc<str>>> {
        let asks = Arc::clone(&self.asks);
        // whoever reads a log may do so on a thread of its own, without what makes time and network go on
        let asked = self.runtime.spawn(async move {
            let found = tokio::spawn(async move { asks.find(id).await });
            // what is dropped goes on
            tokio::time::timeout(PATIENCE, found).await
        });
        Box::pin(async move { asked.await.ok()?.ok()?.ok()? })
    }

    fn seen(&self, id: u32, of: Option<EventType>, why: Option<&Incompatible>) {
        let state = if why.is_some() { "unreadable" } else { "readable" };
        self.asks.metrics.schemas.with_label_values(&[state]).inc();
        let of = of.map_or("unknown", EventType::name);
        match why {
            None => tracing::info!(id, of, "schema {id} of the registry was learnt"),
            Some(why) => tracing::error!(
                id,
                of,
                "schema {id} of the registry cannot be read by this build, and partitions are held in front of its events: {why}"
            ),
        }
    }
}

impl Asks {
    /// Asks once, however many want to know.
    async fn find(&self, id: u32) -> Option<Arc<str>> {
        match self.found.try_get_with(id, self.ask(id)).await {
            Ok(found) => {
                *self.told.lock() = None;
                found
            }
            Err(why) => {
                let mut told = self.told.lock();
                if told.as_ref() != Some(&*why) {
                    tracing::warn!(id, "schema {id} of the registry cannot be told now: {why}");
                    *told = Some(String::clone(&why));
                }
                None
            }
        }
    }

    async fn ask(&self, id: u32) -> Result<Option<Arc<str>>, String> {
        let remembered = self.memory.recall(id).await?;
        let registered = self.client.schema(id).await;
        match (remembered, registered) {
            (Some(remembered), Ok(registered)) if !are_the_same(&remembered, &registered) => {
                self.metrics.conflicts.inc();
                Err(conflict(id))
            }
            (Some(remembered), Ok(_)) => Ok(Some(remembered.into())),
            (Some(remembered), Err(why)) => {
                tracing::warn!(id, "schema {id} is read as it was when its events first were: {why}");
                Ok(Some(remembered.into()))
            }
            (None, Ok(registered)) => {
                // another process may have been first, and asked another registry
                match are_the_same(&self.memory.keep(id, &registered).await?, &registered) {
                    true => Ok(Some(registered.into())),
                    false => Err(conflict(id)),
                }
            }
            (None, Err(RegistryError::NotFound(why))) => {
                tracing::warn!(id, "partitions are held in front of events with schema {id}: {why}");
                Ok(None)
            }
            (None, Err(RegistryError::Refused(why) | RegistryError::Unavailable(why))) => Err(why),
        }
    }
}
