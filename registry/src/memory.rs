//! What readers remember of numbers beyond the registry's and their own life.

use std::fmt;
use std::sync::Arc;

use floodgate_observe::RegistryMetrics;
use floodgate_schemas::BoxFuture;
use floodgate_schemas::codec::are_the_same;
use prometheus::IntCounter;

/// Remembers which schema a number stood for when its events were first read: where rows are, so that it lasts as long as they.
pub trait Memory: fmt::Debug + Send + Sync {
    /// The schema that is remembered for a number.
    ///
    /// # Errors
    /// Why that cannot be told now.
    fn recall(&self, id: u32) -> BoxFuture<'_, Result<Option<String>, String>>;

    /// Remembers a schema, unless there is one for its number, and gives the one that is remembered from here on.
    ///
    /// # Errors
    /// Why that cannot be told now: it may be remembered or not.
    fn keep<'m>(&'m self, id: u32, schema: &'m str) -> BoxFuture<'m, Result<String, String>>;
}

/// A memory, and how often the registry was found to say otherwise.
#[derive(Debug, Clone)]
pub(crate) struct Remembered {
    memory: Arc<dyn Memory>,
    conflicts: IntCounter,
}

/// Why a schema is not the one that is remembered.
pub(crate) enum NotKept {
    /// Another one is: says what to do.
    Conflict(String),
    /// Nobody can tell now, and why.
    Unknown(String),
}

impl NotKept {
    pub(crate) fn reason(self) -> String {
        let (Self::Conflict(reason) | Self::Unknown(reason)) = self;
        reason
    }
}

impl Remembered {
    pub(crate) fn new(memory: Arc<dyn Memory>, metrics: &RegistryMetrics) -> Self {
        Self { memory, conflicts: metrics.conflicts.clone() }
    }

    pub(crate) async fn recall(&self, id: u32) -> Result<Option<String>, String> {
        self.memory.recall(id).await
    }

    /// Remembers a schema, if it is none or the same that is remembered.
    pub(crate) async fn keep(&self, id: u32, schema: &str) -> Result<(), NotKept> {
        match self.memory.keep(id, schema).await {
            // another process may have been first, and asked another registry
            Ok(remembered) if !are_the_same(&remembered, schema) => Err(NotKept::Conflict(self.conflict(id))),
            Ok(_) => Ok(()),
            Err(why) => Err(NotKept::Unknown(why)),
        }
    }

    /// Counts that the registry has something else under a number than is remembered, and says what to do.
    pub(crate) fn conflict(&self, id: u32) -> String {
        self.conflicts.inc();
        format!(
            "under id {id} the schema registry has another schema than when its events were first read: was it made anew, or is \
             another one asked? Its events are held, as they would be read as something else, and no ingress begins to write under \
             it. Bring back the former registry. If it is lost for good, see docs/reference.md, Schemas"
        )
    }
}
