//! The numbers of the schemas that this build writes with.

use std::sync::Arc;
use std::time::Duration;

use floodgate_observe::RegistryMetrics;
use floodgate_schemas::codec::{are_the_same, schema_of};
use floodgate_schemas::{EventType, SchemaIds};
use tokio_util::sync::CancellationToken;

use crate::client::{Client, RegistryError};
use crate::memory::{NotKept, Remembered};

/// After the registry gave no number, until it is asked again: the first time, and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// Gets the numbers, and sees to it that they stay those of our schemas.
#[derive(Debug)]
pub(crate) struct Writing {
    pub(crate) client: Arc<Client>,
    pub(crate) subjects: Vec<(EventType, String)>,
    pub(crate) memory: Remembered,
    pub(crate) ids: Arc<SchemaIds>,
    pub(crate) metrics: RegistryMetrics,
    pub(crate) register: bool,
    pub(crate) check: Duration,
}

impl Writing {
    /// Until `stop`. A registry that is away later keeps nothing from being written.
    pub(crate) async fn run(&self, stop: &CancellationToken) {
        let mut retry = RETRY.0;
        let mut told: Option<RegistryError> = None;
        loop {
            let established = tokio::select! {
                established = self.establish() => established,
                () = stop.cancelled() => return,
            };
            let pause = match established {
                Ok(()) => {
                    if told.take().is_some() {
                        tracing::info!("the schema registry has the schemas of this build");
                    }
                    retry = RETRY.0;
                    self.check
                }
                Err(error) => {
                    self.ids.tell(&error.to_string());
                    if told.as_ref() != Some(&error) {
                        self.complain(&error);
                        told = Some(error);
                    }
                    let pause = retry.min(self.check);
                    retry = (retry * 2).min(RETRY.1);
                    pause
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    fn complain(&self, error: &RegistryError) {
        let missing = EventType::ALL.into_iter().filter(|of| self.ids.get(*of).is_none()).count();
        match error {
            _ if missing > 0 => {
                tracing::warn!("no events are taken before the schema registry has given ids: {error}")
            }
            RegistryError::Unavailable(_) => {
                tracing::warn!("events are written on with the ids that are known: {error}")
            }
            // whoever does not know the ids yet cannot read what is written
            RegistryError::NotFound(_) | RegistryError::Refused(_) | RegistryError::Unusable(_) => {
                tracing::error!(
                    "events are written on with the ids that are known, which new readers may not find: {error}"
                );
            }
        }
    }

    /// All of them, as the registry has them now. What is wrong with one keeps no other from its number.
    async fn establish(&self) -> Result<(), RegistryError> {
        let mut established = Ok(());
        for (of, subject) in &self.subjects {
            established = established.and(self.establish_one(*of, subject).await);
        }
        established
    }

    async fn establish_one(&self, of: EventType, subject: &str) -> Result<(), RegistryError> {
        let ours = schema_of(of);
        // who may only read the registry can look up what was registered before
        let id = match self.client.look_up(subject, ours).await {
            Err(RegistryError::NotFound(_)) if self.register => self.client.register(subject, ours).await,
            found => found,
        };
        let id = id.map_err(|error| about(error, subject, self.register))?;
        // not by trust: a registry may take for ours what says something else, or give a number that it uses otherwise
        let stands_for = self.client.schema(id).await?;
        if !are_the_same(&stands_for, ours) {
            return Err(RegistryError::Refused(format!(
                "the schema registry gives id {id} for the schema of {of} events, and another schema for the id"
            )));
        }
        match self.memory.keep(id, ours).await {
            Ok(()) => {}
            Err(NotKept::Conflict(why)) => return Err(RegistryError::Refused(why)),
            // events are taken while the database is away: whoever reads one first remembers it then
            Err(NotKept::Unknown(why)) => tracing::debug!(id, why, "the id is not remembered"),
        }
        match self.ids.set(of, id) {
            Err(why) => return Err(RegistryError::Refused(format!("the schema of {of} events: {why}"))),
            Ok(None) => tracing::info!(subject, id, "{of} events are written with schema registry id {id}"),
            Ok(Some(before)) if before != id => tracing::error!(
                subject,
                id,
                before,
                "the schema registry gives {of} events another id than before: was it made anew? What was written under id \
                 {before} is read as it is remembered"
            ),
            Ok(Some(_)) => {}
        }
        Ok(())
    }
}

/// What keeps a schema from having a number, and what to do.
fn about(error: RegistryError, subject: &str, register: bool) -> RegistryError {
    match error {
        RegistryError::NotFound(why) if !register => RegistryError::NotFound(format!(
            "subject {subject} lacks the schema of this build: register it with `floodgate schema register` \
             (schema_registry.register is false): {why}"
        )),
        RegistryError::Refused(why) => RegistryError::Refused(format!("subject {subject}: {why}")),
        other => other,
    }
}
