//! Requests that wait for a coupon's decision.
//!
//! In a burst thousands of clients ask for their decisions at the same moment. If each asked the database for itself
//! they would keep it from deciding. So those that wait put down their request's id, and one task looks all of them
//! up together, at most once per interval: what a thousand waiting clients cost the database does not depend on their
//! number, but for the size of one query. The task runs only while somebody waits.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use floodgate_observe::HttpMetrics;
use floodgate_schemas::EventId;
use floodgate_store::{Decision, ReadError, Reads};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// Ids in one query: large enough that a burst is one query, small enough for every database.
const IDS_PER_QUERY: usize = 5000;

/// All requests of this process that wait.
pub(crate) struct Waiting {
    reads: Arc<dyn Reads>,
    interval: Duration,
    max: usize,
    metrics: HttpMetrics,
    state: Mutex<State>,
    /// Cancelled when nobody should wait any more.
    pub(crate) over: CancellationToken,
}

#[derive(Default)]
struct State {
    waiters: HashMap<EventId, Vec<oneshot::Sender<Arc<Decision>>>>,
    /// How many there are, those of one id counted each.
    count: usize,
    /// Whether the task runs.
    polling: bool,
    /// Why the last look-up failed, if it did.
    failed: Option<ReadError>,
}

/// One request's place among those that wait; given back when dropped.
struct Place<'w>(&'w Waiting);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.state.lock().count -= 1;
        self.0.metrics.waiters.dec();
    }
}

impl Waiting {
    pub(crate) fn new(
        reads: Arc<dyn Reads>,
        interval: Duration,
        max: usize,
        metrics: HttpMetrics,
    ) -> Arc<Self> {
        let (state, over) = (Mutex::default(), CancellationToken::new());
        Arc::new(Self { reads, interval, max, metrics, state, over })
    }

    /// The decision on `request`, or `None` if there is none within `time`, nobody should wait any more, or too many
    /// wait already.
    ///
    /// # Errors
    /// The time was over and the database was not there to ask.
    pub(crate) async fn decision(
        self: &Arc<Self>,
        request: EventId,
        time: Duration,
    ) -> Result<Option<Arc<Decision>>, ReadError> {
        let Some((_place, decided)) = self.enter(request) else {
            self.metrics.waiters_refused.inc();
            return Ok(None);
        };
        tokio::select! {
            // the sender is kept until it has answered
            decision = decided => Ok(decision.ok()),
            () = tokio::time::sleep(time) => match self.state.lock().failed.clone() {
                Some(error) => Err(error),
                None => Ok(None),
            },
            () = self.over.cancelled() => Ok(None),
        }
    }

    fn enter(self: &Arc<Self>, request: EventId) -> Option<(Place<'_>, oneshot::Receiver<Arc<Decision>>)> {
        let mut state = self.state.lock();
        if state.count >= self.max || self.over.is_cancelled() {
            return None;
        }
        let (sender, decided) = oneshot::channel();
        state.waiters.entry(request).or_default().push(sender);
        state.count += 1;
        self.metrics.waiters.inc();
        if !state.polling {
            state.polling = true;
            tokio::spawn(poll_while_needed(Arc::downgrade(self)));
        }
        Some((Place(self), decided))
    }

    /// The ids somebody waits for. Whoever went away is forgotten; `None` when nobody is left.
    fn wanted(&self) -> Option<Vec<EventId>> {
        let mut state = self.state.lock();
        state.waiters.retain(|_, waiters| {
            waiters.retain(|waiter| !waiter.is_closed());
            !waiters.is_empty()
        });
        if state.waiters.is_empty() {
            state.polling = false;
            return None;
        }
        Some(state.waiters.keys().copied().collect())
    }

    async fn look_up(&self, wanted: &[EventId]) {
        for ids in wanted.chunks(IDS_PER_QUERY) {
            self.metrics.wait_lookups.inc();
            let found = self.reads.decisions(ids).await;
            let mut state = self.state.lock();
            match found {
                Ok(decisions) => {
                    state.failed = None;
                    for decision in decisions.into_iter().map(Arc::new) {
                        for waiter in state.waiters.remove(&decision.request_id).unwrap_or_default() {
                            // it may have gone away just now
                            let _ = waiter.send(Arc::clone(&decision));
                        }
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "decisions that requests wait for were not looked up");
                    state.failed = Some(error);
                }
            }
        }
    }
}

async fn poll_while_needed(waiting: Weak<Waiting>) {
    loop {
        let Some(alive) = waiting.upgrade() else { return };
        let Some(wanted) = alive.wanted() else { return };
        alive.look_up(&wanted).await;
        let interval = alive.interval;
        drop(alive);
        tokio::time::sleep(interval).await;
    }
}
