//! Requests that wait for a coupon's decision.
//!
//! In a burst thousands of clients ask for their decisions at the same moment. If each asked the database for itself
//! they would keep it from deciding. So those that wait put down their request's id, and one task looks all of them
//! up together, at most once per interval: what a thousand waiting clients cost the database does not depend on their
//! number, but for the size of one query. The task runs only while somebody waits.
//!
//! Nobody is answered before the request was looked up at least once since it came: somebody who waits for less than
//! the interval hurries the task, and stays until the look-up that it is part of has ended.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use floodgate_buffer::{Parts, Then};
use floodgate_observe::HttpMetrics;
use floodgate_schemas::EventId;
use floodgate_store::{Decision, ReadError, Reads};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// Ids in one query: large enough that a burst is one query, small enough for every database.
const IDS_PER_QUERY: usize = 5000;

/// The part of the interval that lies between two look-ups however much anybody hurries.
const HURRIED_PART: u32 = 10;

/// All requests of this process that wait.
pub(crate) struct Waiting {
    reads: Arc<dyn Reads>,
    interval: Duration,
    max: usize,
    metrics: HttpMetrics,
    state: Mutex<State>,
    /// Asks for the next look-up now.
    hurry: Arc<Notify>,
    /// Cancelled when nobody should wait any more.
    pub(crate) over: CancellationToken,
}

#[derive(Default)]
struct State {
    waiters: HashMap<EventId, Vec<Waiter>>,
    /// How many there are, those of one id counted each.
    count: usize,
    /// Numbers them.
    last: u64,
    /// Whether the task runs.
    polling: bool,
}

struct Waiter {
    number: u64,
    seen: watch::Sender<Seen>,
}

/// What the last look-up found.
#[derive(Clone)]
enum Seen {
    NotYet,
    Undecided,
    Failed(ReadError),
    Decided(Arc<Decision>),
}

/// One request's place among those that wait; given back when dropped.
struct Place<'w> {
    waiting: &'w Waiting,
    request: EventId,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.waiting.state.lock();
        state.count -= 1;
        if let Some(waiters) = state.waiters.get_mut(&self.request) {
            waiters.retain(|waiter| waiter.number != self.number);
            if waiters.is_empty() {
                state.waiters.remove(&self.request);
            }
        }
        self.waiting.metrics.waiters.dec();
    }
}

impl Waiting {
    pub(crate) fn new(
        reads: Arc<dyn Reads>,
        interval: Duration,
        max: usize,
        metrics: HttpMetrics,
    ) -> Arc<Self> {
        let (state, hurry, over) = (Mutex::default(), Arc::default(), CancellationToken::new());
        Arc::new(Self { reads, interval, max, metrics, state, hurry, over })
    }

    /// The decision on `request`, or `None` if there is none within `time`, nobody should wait any more, or too many
    /// wait already.
    ///
    /// # Errors
    /// The time is over and the database could not be asked.
    pub(crate) async fn decision(
        self: &Arc<Self>,
        request: EventId,
        time: Duration,
    ) -> Result<Option<Arc<Decision>>, ReadError> {
        let Some((_place, mut seen)) = self.enter(request, time) else { return Ok(None) };
        let time = tokio::time::sleep(time);
        tokio::pin!(time);
        let mut late = false;
        loop {
            match &*seen.borrow_and_update() {
                Seen::Decided(decision) => return Ok(Some(Arc::clone(decision))),
                Seen::Undecided if late => return Ok(None),
                Seen::Failed(error) if late => return Err(error.clone()),
                _ => {}
            }
            tokio::select! {
                changed = seen.changed() => if changed.is_err() { return Ok(None) },
                () = &mut time, if !late => late = true,
                () = self.over.cancelled() => return Ok(None),
            }
        }
    }

    fn enter(
        self: &Arc<Self>,
        request: EventId,
        time: Duration,
    ) -> Option<(Place<'_>, watch::Receiver<Seen>)> {
        if self.over.is_cancelled() {
            return None;
        }
        let mut state = self.state.lock();
        if state.count >= self.max {
            self.metrics.waiters_refused.inc();
            return None;
        }
        let (sender, seen) = watch::channel(Seen::NotYet);
        state.last += 1;
        let number = state.last;
        state.waiters.entry(request).or_default().push(Waiter { number, seen: sender });
        state.count += 1;
        self.metrics.waiters.inc();
        if !state.polling {
            state.polling = true;
            let waiting = Arc::downgrade(self);
            let poll = move || poll_while_needed(Weak::clone(&waiting));
            tokio::spawn(Parts::of_this_process().keep("decision-lookups", Then::GoOn, poll));
        } else if time < self.interval {
            self.hurry.notify_one();
        }
        Some((Place { waiting: self, request, number }, seen))
    }

    /// The ids somebody waits for; `None`, and nobody polls any more, when there are none.
    fn wanted(&self) -> Option<Vec<EventId>> {
        let mut state = self.state.lock();
        state.polling = !state.waiters.is_empty();
        state.polling.then(|| state.waiters.keys().copied().collect())
    }

    async fn look_up(&self, wanted: &[EventId]) {
        for ids in wanted.chunks(IDS_PER_QUERY) {
            self.metrics.wait_lookups.inc();
            let newest = self.state.lock().last;
            let (decisions, undecided) = match self.reads.decisions(ids).await {
                Ok(decisions) => (decisions, Seen::Undecided),
                Err(error) => {
                    tracing::debug!(%error, "decisions that requests wait for were not looked up");
                    (Vec::new(), Seen::Failed(error))
                }
            };
            let mut state = self.state.lock();
            for decision in decisions.into_iter().map(Arc::new) {
                for waiter in state.waiters.remove(&decision.request_id).unwrap_or_default() {
                    waiter.seen.send_replace(Seen::Decided(Arc::clone(&decision)));
                }
            }
            for waiter in ids.iter().filter_map(|id| state.waiters.get(id)).flatten() {
                // who came while the database was asked is told by the next look-up
                if waiter.number <= newest {
                    waiter.seen.send_replace(undecided.clone());
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
        let (interval, hurry) = (alive.interval, Arc::clone(&alive.hurry));
        drop(alive);
        let least = interval / HURRIED_PART;
        tokio::time::sleep(least).await;
        // over or hurried, it is time for the next one
        let _ = tokio::time::timeout(interval - least, hurry.notified()).await;
    }
}

#[cfg(test)]
mod tests {
    use floodgate_observe::Metrics;

    use super::*;
    use crate::testing::Database;

    /// The task that looks up for all of them runs again after a bug: or everybody would wait for nobody from then on.
    #[tokio::test]
    async fn a_bug_in_a_look_up_leaves_nobody_waiting() {
        let database = Arc::new(Database::default());
        *database.bug_at_lookup.lock() = Some(1);
        let metrics = Metrics::new().unwrap();
        let waiting =
            Waiting::new(Arc::clone(&database) as _, Duration::from_millis(1), 10, metrics.http.clone());
        let asked = waiting.decision(EventId::fresh(), Duration::from_millis(1));
        let found = tokio::time::timeout(Duration::from_secs(30), asked).await;
        assert!(matches!(found, Ok(Ok(None))));
        assert!(database.lookups.lock().len() > 1);
        assert!(Parts::of_this_process().trouble().is_some(), "readiness says nothing");
    }
}
