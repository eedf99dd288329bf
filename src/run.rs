//! `floodgate run`: every role in one process.

use std::sync::Arc;

use floodgate_schemas::EventType;

use crate::roles::{Opened, until_stopped};
use crate::settings::Settings;
use crate::{Exit, migrate};

pub(crate) async fn run(settings: &Settings) -> Result<(), Exit> {
    let opened = Opened::new(settings)?;
    migrate::migrate_quietly(settings).await?;
    let ingress = opened.ingress()?;
    let consumers = opened.consumers(&EventType::ALL);
    let (ready, health) = (Arc::clone(&ingress.ingress), consumers.health.clone());
    let admin = opened.admin(true, Arc::new(move || ready.ready().and_then(|()| health.ready()))).await?;
    opened.announce("run", &format!("http://{}; admin http://{}", ingress.address, admin.address));

    let (signal, deadline) = until_stopped(settings).await?;
    let flushed = ingress.stop(signal, settings.shutdown.grace_ms, deadline).await;
    let drained = consumers.stop(deadline).await;
    admin.stop();
    flushed.and(drained)?;
    let left = opened.publisher.waiting().events;
    if left > 0 {
        return Err(Exit::failed(format!(
            "{left} accepted events were not applied before the deadline and are lost"
        )));
    }
    tracing::info!("stopped; nothing accepted was left behind");
    Ok(())
}
