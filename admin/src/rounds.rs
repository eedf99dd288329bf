//! What is looked at in the background again and again.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// How often one looks, and until when.
#[derive(Debug, Clone)]
pub(crate) struct Rounds {
    pub(crate) refresh: Duration,
    pub(crate) stop: CancellationToken,
}

impl Rounds {
    /// Has `watch` look, on a thread that may block, and keep what it found; it learns of each look in vain, and whether the one before
    /// was not. One that finds that there
    /// is nothing, and never will be, is the last.
    pub(crate) async fn run<W, T, E>(
        self,
        watch: Arc<W>,
        look: impl Fn(&W) -> Result<Option<T>, E> + Copy + Send + 'static,
        keep: impl Fn(&W, T),
        failed: impl Fn(&W, &E, bool),
    ) where
        W: Send + Sync + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        let mut is_well = true;
        let mut turns = tokio::time::interval(self.refresh);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                _ = turns.tick() => {}
            }
            let looking = Arc::clone(&watch);
            match tokio::task::spawn_blocking(move || look(&looking)).await {
                Ok(Ok(Some(found))) => {
                    keep(&watch, found);
                    is_well = true;
                }
                Ok(Ok(None)) => return,
                Ok(Err(error)) => failed(&watch, &error, std::mem::replace(&mut is_well, false)),
                Err(error) => tracing::error!(%error, "a look in the background met a bug"),
            }
        }
    }
}
