//! The schemas of the numbers that are read.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use floodgate_observe::RegistryMetrics;
use floodgate_schemas::codec::{are_the_same, schema_of};
use floodgate_schemas::{BoxFuture, EventType, Incompatible, SchemaIds, Schemas};
use moka::Expiry;
use moka::future::Cache;
use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::client::{Client, RegistryError};
use crate::memory::{NotKept, Remembered};
use crate::writing::Writing;

/// How long it is remembered that the registry has none under a number: a writer may have been faster than whoever registers.
const MISSING: Duration = Duration::from_secs(5);

/// How many numbers are remembered.
const REMEMBERED_MAX: u64 = 10_000;

/// Of how many it is remembered what was told of them.
const TOLD_MAX: usize = 100;

/// Reads schemas, each once.
#[derive(Debug)]
pub(crate) struct Reading {
    asks: Arc<Asks>,
    /// How long it is waited for an answer; `None` is until there is one.
    patience: Option<Duration>,
    runtime: Handle,
}

#[derive(Debug)]
struct Asks {
    client: Arc<Client>,
    memory: Remembered,
    /// Those that this process writes with, if it does.
    own: Arc<SchemaIds>,
    metrics: RegistryMetrics,
    /// `None` is that there is none under this number.
    found: Cache<u32, Option<Arc<str>>>,
    /// Why schemas could not be told when they were asked for last, by number.
    told: Mutex<HashMap<u32, String>>,
}

/// What was found stays, what was not found does for a while. Trouble is no answer, and not kept at all.
struct Lasts;

impl Expiry<u32, Option<Arc<str>>> for Lasts {
    fn expire_after_create(&self, _: &u32, found: &Option<Arc<str>>, _: Instant) -> Option<Duration> {
        found.is_none().then_some(MISSING)
    }
}

impl Reading {
    pub(crate) fn new(of: &Writing, patience: Option<Duration>, runtime: Handle) -> Self {
        let Writing { client, memory, ids, metrics, .. } = of;
        let asks = Asks {
            client: Arc::clone(client),
            memory: memory.clone(),
            own: Arc::clone(ids),
            metrics: metrics.clone(),
            found: Cache::builder().max_capacity(REMEMBERED_MAX).expire_after(Lasts).build(),
            told: Mutex::default(),
        };
        Self { asks: Arc::new(asks), patience, runtime }
    }
}

impl Schemas for Reading {
    fn text(&self, id: u32) -> BoxFuture<'_, Option<Arc<str>>> {
        let (asks, patience) = (Arc::clone(&self.asks), self.patience);
        // whoever reads a log may do so on a thread of its own, without what makes time and network go on
        let asked = self.runtime.spawn(async move {
            let found = tokio::spawn(async move { asks.find(id).await });
            match patience {
                // what is not waited for any more goes on
                Some(patience) => tokio::time::timeout(patience, found).await.ok()?.ok()?,
                None => found.await.ok()?,
            }
        });
        Box::pin(async move { asked.await.ok()? })
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
                if found.is_some() {
                    self.told.lock().remove(&id);
                }
                found
            }
            Err(why) => {
                self.tell(id, &why);
                None
            }
        }
    }

    /// Once as long as it is so.
    fn tell(&self, id: u32, why: &str) {
        let mut told = self.told.lock();
        if told.get(&id).is_none_or(|before| before != why) {
            tracing::warn!(
                id,
                "schema {id} of the registry cannot be told now, and its events are held: {why}"
            );
            // garbage may name any number
            if told.len() >= TOLD_MAX {
                told.clear();
            }
            told.insert(id, why.to_owned());
        }
    }

    async fn ask(&self, id: u32) -> Result<Option<Arc<str>>, String> {
        if let Some(of) = EventType::ALL.into_iter().find(|of| self.own.get(*of) == Some(id)) {
            return self.own(id, schema_of(of)).await.map(Some);
        }
        let remembered = self.memory.recall(id).await?;
        let registered = self.client.schema(id).await;
        match (remembered, registered) {
            (Some(remembered), Ok(registered)) if !are_the_same(&remembered, &registered) => {
                Err(self.memory.conflict(id))
            }
            (Some(_), Err(RegistryError::Unusable(_))) => Err(self.memory.conflict(id)),
            (Some(remembered), Ok(_)) => Ok(Some(remembered.into())),
            (Some(remembered), Err(why)) => {
                tracing::warn!(id, "schema {id} is read as it was when its events first were: {why}");
                Ok(Some(remembered.into()))
            }
            (None, Ok(registered)) => {
                self.memory.keep(id, &registered).await.map_err(NotKept::reason)?;
                Ok(Some(registered.into()))
            }
            (None, Err(RegistryError::NotFound(why))) => {
                self.tell(id, &why);
                Ok(None)
            }
            (None, Err(why)) => Err(why.to_string()),
        }
    }

    /// One that this process writes with, of which the registry has said that it stands for ours. It is read also while the database is
    /// away, so that what only memory has is read in any case.
    async fn own(&self, id: u32, ours: &str) -> Result<Arc<str>, String> {
        match self.memory.keep(id, ours).await {
            Err(NotKept::Conflict(why)) => Err(why),
            Ok(()) | Err(NotKept::Unknown(_)) => Ok(ours.into()),
        }
    }
}
