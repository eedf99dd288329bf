//! `floodgate serve`: the ingress alone.

use std::sync::Arc;

use crate::exit::Exit;
use crate::roles::{Opened, all_lived, until_stopped};
use crate::settings::Settings;
use crate::signals::Signals;

pub(crate) async fn serve(settings: &Settings) -> Result<(), Exit> {
    let signals = Signals::listen()?;
    let opened = Opened::new(settings)?;
    opened.need_shared("serve")?;
    let ingress = opened.ingress()?;
    let ready = Arc::clone(&ingress.ingress);
    let admin = opened.admin("serve", Arc::new(move || ready.ready())).await?;
    opened.announce("serve", &format!("{}; admin http://{}", ingress.address, admin.address));
    let serving = ingress.start();

    let (signal, deadline) = until_stopped(settings, signals, serving.tls()).await;
    let flushed = serving.stop(signal, settings.shutdown.grace_ms, deadline).await;
    opened.traces.stop(deadline.left()).await;
    admin.stop();
    flushed?;
    all_lived()?;
    tracing::info!("stopped; nothing accepted was left behind");
    Ok(())
}
