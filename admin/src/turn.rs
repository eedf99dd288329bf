//! What is done for one request at a time.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::problem::Problem;

/// How long a request waits for its turn.
const WAIT: Duration = Duration::from_secs(2);

/// Lets one request in at a time.
pub(crate) struct Turn(Arc<Semaphore>);

impl Turn {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }

    /// Waits for a while until nobody else has it, which `busy` then says. It is given back where what is returned is dropped.
    pub(crate) async fn take(&self, busy: &str) -> Result<OwnedSemaphorePermit, Problem> {
        match tokio::time::timeout(WAIT, Arc::clone(&self.0).acquire_owned()).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "Too much at once", busy)),
        }
    }
}
