//! `floodgate serve`: the ingress alone.

use std::pin::pin;
use std::sync::Arc;

use floodgate_store::Store;

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

    let (signal, deadline) = {
        let mut stopped = pin!(until_stopped(settings, signals, serving.tls()));
        tokio::select! {
            biased;
            stopped = &mut stopped => stopped,
            () = tell_unfit(&*opened.store) => stopped.await,
        }
    };
    let flushed = serving.stop(signal, settings.shutdown.grace_ms, deadline).await;
    opened.traces.stop(deadline.left()).await;
    admin.stop();
    flushed?;
    all_lived()?;
    tracing::info!("stopped; nothing accepted was left behind");
    Ok(())
}

/// Writes need no database, so that a start waits for none; but whoever starts it should know that reads will fail.
async fn tell_unfit(store: &dyn Store) {
    if let Ok(unfit) = store.unfit(&[]).await
        && !unfit.is_empty()
    {
        tracing::error!("reads fail, and so do requests for new coupons: {}", unfit.join("; "));
    }
}
