//! `floodgate run`: every role in one process.

use std::sync::Arc;

use floodgate_schemas::EventType;

use crate::roles::{Opened, all_lived, until_stopped};
use crate::settings::Settings;
use crate::signals::Signals;
use crate::{Exit, migrate};

pub(crate) async fn run(settings: &Settings) -> Result<(), Exit> {
    let mut signals = Signals::listen()?;
    let opened = Opened::new(settings)?;
    tokio::select! {
        migrated = migrate::migrate_quietly(settings) => migrated?,
        signal = signals.next_to_stop(settings.http.tls.is_on()) => {
            tracing::info!(?signal, "stopped before anything was served: the migration is taken back, and done when this is started again");
            return Ok(());
        }
    }
    let ingress = opened.ingress()?;
    let consumers = opened.consumers(&EventType::ALL);
    let (ready, health) = (Arc::clone(&ingress.ingress), consumers.health.clone());
    let admin = opened.admin("run", Arc::new(move || ready.ready().and_then(|()| health.ready()))).await?;
    opened.announce("run", &format!("{}; admin http://{}", ingress.address, admin.address));
    let serving = ingress.start();

    let (signal, deadline) = until_stopped(settings, signals, serving.tls()).await;
    let flushed = serving.stop(signal, settings.shutdown.grace_ms, deadline).await;
    let drained = consumers.stop(deadline).await;
    opened.traces.stop(deadline.left()).await;
    admin.stop();
    let left = opened.publisher.waiting().events;
    if left > 0 && !opened.strategy.reach().outlives_process {
        return Err(Exit::failed(format!(
            "{left} accepted events were not applied before the deadline and are lost"
        )));
    }
    flushed.and(drained)?;
    all_lived()?;
    tracing::info!("stopped; nothing accepted was left behind");
    Ok(())
}
