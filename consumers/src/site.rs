//! Watches whether the database stays the one it is, also while nothing comes that would be applied to it.
//!
//! Every transaction looks for itself before it applies anything; this is for readiness, which must not wait for the next
//! event to learn that the database was replaced.

use std::sync::Arc;
use std::time::Duration;

use floodgate_store::Store;
use tokio_util::sync::CancellationToken;

use crate::health::Health;

/// How often it looks.
const PERIOD: Duration = Duration::from_secs(1);

/// Until told to stop. A database that does not answer says nothing about which it is.
pub(crate) async fn watch(
    store: Arc<dyn Store>,
    health: Health,
    stop: CancellationToken,
) -> Result<(), String> {
    let look = async || {
        if let Ok(moved) = store.moved().await
            && health.moved(moved.clone())
        {
            match moved {
                Some(moved) => tracing::error!("consumers are held: {moved}"),
                None => tracing::info!("the database is the one it was again"),
            }
        }
        tokio::time::sleep(PERIOD).await;
    };
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = look() => {}
        }
    }
}
