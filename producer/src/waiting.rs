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
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use floodgate_buffer::{Parts, Then};
use floodgate_observe::HttpMetrics;
use floodgate_schemas::EventId;
use floodgate_store::{Decision, ReadError, Reads};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::holders::{Common, Holder};

/// Ids in one query: large enough that a burst is one query, small enough for every database.
const IDS_PER_QUERY: usize = 5000;

/// The part of the interval that lies between two look-ups however much anybody hurries.
const HURRIED_PART: u32 = 10;

/// All requests of this process that wait.
pub(crate) struct Waiting {
    reads: Arc<dyn Reads>,
    interval: Duration,
    places: Common,
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
    holder: Arc<Holder>,
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
        self.holder.waiters.fetch_sub(1, Ordering::Relaxed);
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
        let places = Common::count(max);
        Arc::new(Self { reads, interval, places, metrics, state, hurry, over })
    }

    /// The decision on `request`, or `None` if there is none within `time`, nobody should wait any more, or too many
    /// wait already, or of this client.
    ///
    /// # Errors
    /// The time is over and the database could not be asked.
    pub(crate) async fn decision(
        self: &Arc<Self>,
        holder: &Arc<Holder>,
        request: EventId,
        time: Duration,
    ) -> Result<Option<Arc<Decision>>, ReadError> {
        let Some((_place, mut seen)) = self.enter(holder, request, time) else { return Ok(None) };
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
        holder: &Arc<Holder>,
        request: EventId,
        time: Duration,
    ) -> Option<(Place<'_>, watch::Receiver<Seen>)> {
        if self.over.is_cancelled() {
            return None;
        }
        let mut state = self.state.lock();
        let own = holder.waiters.load(Ordering::Relaxed);
        if !self.places.may_take(own, 1, state.count) {
            self.metrics.waiters_refused.inc();
            return None;
        }
        let (sender, seen) = watch::channel(Seen::NotYet);
        state.last += 1;
        let number = state.last;
        state.waiters.entry(request).or_default().push(Waiter { number, seen: sender });
        state.count += 1;
        holder.waiters.fetch_add(1, Ordering::Relaxed);
        self.metrics.waiters.inc();
        if !state.polling {
            state.polling = true;
            let waiting = Arc::downgrade(self);
            let poll = move || poll_while_needed(Weak::clone(&waiting));
            tokio::spawn(Parts::of_this_process().keep("decision-lookups", Then::GoOn, poll));
        } else if time < self.interval {
            self.hurry.notify_one();
        }
        Some((Place { waiting: self, holder: Arc::clone(holder), request, number }, seen))
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
    use floodgate_schemas::examples::{at, event_id};
    use floodgate_store::DecisionStatus;

    use super::*;
    use crate::testing::Database;

    const SOON: Duration = Duration::from_secs(30);
    const NEVER: Duration = Duration::from_secs(3600);
    const AT_ONCE: Duration = Duration::from_millis(1);

    fn waiting(interval: Duration, max: usize) -> (Arc<Database>, Arc<Waiting>) {
        let database = Arc::new(Database::default());
        let metrics = Metrics::new().unwrap();
        let waiting = Waiting::new(Arc::clone(&database) as _, interval, max, metrics.http.clone());
        (database, waiting)
    }

    fn decided(request: u64) -> Decision {
        Decision {
            request_id: event_id(request),
            coupon_id: "c".to_owned().try_into().unwrap(),
            user_id: "u".to_owned().try_into().unwrap(),
            status: DecisionStatus::SoldOut,
            rank: None,
            decided_at: at(1),
        }
    }

    /// Whether a request that waits for so long is told a decision.
    async fn is_decided(waiting: &Arc<Waiting>, request: u64, time: Duration) -> Result<bool, ReadError> {
        let asked =
            tokio::time::timeout(SOON, waiting.decision(&Arc::default(), event_id(request), time)).await;
        let found = asked.expect("nobody was told anything")?;
        assert!(found.as_ref().is_none_or(|decision| decision.request_id == event_id(request)));
        Ok(found.is_some())
    }

    fn nobody_waits(waiting: &Waiting) {
        let state = waiting.state.lock();
        assert_eq!((state.waiters.len(), state.count, waiting.metrics.waiters.get()), (0, 0, 0));
    }

    #[tokio::test]
    async fn all_that_wait_are_looked_up_together_and_told_their_own() {
        let (database, waiting) = waiting(Duration::from_millis(50), 4);
        database.decisions.lock().extend([decided(1), decided(2)]);
        let gate = Arc::new(Notify::new());
        *database.gate.lock() = Some(Arc::clone(&gate));
        let all = async {
            tokio::join!(
                is_decided(&waiting, 1, NEVER),
                is_decided(&waiting, 2, NEVER),
                is_decided(&waiting, 2, NEVER),
                is_decided(&waiting, 3, AT_ONCE),
            )
        };
        let look_on = async {
            // the first look-up has begun
            while database.lookups.lock().is_empty() {
                tokio::task::yield_now().await;
            }
            assert_eq!(waiting.metrics.waiters.get(), 4);
            assert_eq!(is_decided(&waiting, 1, NEVER).await, Ok(false), "too many wait");
            assert_eq!(waiting.metrics.waiters_refused.get(), 1);
            gate.notify_one();
        };
        let (told, ()) = tokio::join!(all, look_on);
        assert_eq!(told, (Ok(true), Ok(true), Ok(true), Ok(false)));
        assert_eq!(database.lookups.lock()[0], 3, "one query for all ids");
        assert_eq!(waiting.metrics.wait_lookups.get() as usize, database.lookups.lock().len());
        nobody_waits(&waiting);
        // and once nobody waits nobody asks, until somebody comes again
        tokio::time::timeout(SOON, async {
            while waiting.state.lock().polling {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
        assert_eq!(is_decided(&waiting, 1, NEVER).await, Ok(true));
    }

    /// A look-up says nothing to who came after it had begun, though it was for the same request.
    #[tokio::test]
    async fn nobody_is_answered_from_before_it_came() {
        let (database, waiting) = waiting(Duration::from_millis(1), 10);
        let gate = Arc::new(Notify::new());
        *database.gate.lock() = Some(Arc::clone(&gate));
        let late = async {
            while database.lookups.lock().is_empty() {
                tokio::task::yield_now().await;
            }
            // the first look-up, which found nothing, is answered once this one waits
            let asked = is_decided(&waiting, 1, AT_ONCE);
            let answer = async {
                while waiting.state.lock().count < 2 {
                    tokio::task::yield_now().await;
                }
                // for longer than the second one has
                tokio::time::sleep(AT_ONCE * 20).await;
                gate.notify_one();
                while waiting.state.lock().count > 1 {
                    tokio::task::yield_now().await;
                }
            };
            tokio::join!(asked, answer).0
        };
        let first = async {
            let found = is_decided(&waiting, 1, AT_ONCE).await;
            database.decisions.lock().push(decided(1));
            found
        };
        assert_eq!(tokio::join!(first, late), (Ok(false), Ok(true)));
    }

    /// Who has less time than lies between two look-ups gets one of its own, and does not wait for the next.
    #[tokio::test]
    async fn who_waits_for_less_than_the_interval_hurries_the_look_up() {
        let interval = Duration::from_secs(10);
        let (database, waiting) = waiting(interval, 10);
        let began = std::time::Instant::now();
        let patient = tokio::spawn({
            let waiting = Arc::clone(&waiting);
            async move { is_decided(&waiting, 1, NEVER).await }
        });
        while database.lookups.lock().is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(is_decided(&waiting, 2, AT_ONCE).await, Ok(false));
        assert!(began.elapsed() < interval, "{:?}", began.elapsed());
        assert_eq!(*database.lookups.lock(), [1, 2]);
        waiting.over.cancel();
        assert_eq!(patient.await.unwrap(), Ok(false));
        nobody_waits(&waiting);
        assert_eq!(is_decided(&waiting, 1, NEVER).await, Ok(false), "nobody should wait any more");
        assert_eq!(waiting.metrics.waiters_refused.get(), 0);
    }

    /// What those that wait cost the database depends on the time alone.
    #[tokio::test(start_paused = true)]
    async fn decisions_are_looked_up_once_per_interval_however_many_wait() {
        let (database, waiting) = waiting(Duration::from_secs(1), 10);
        for request in [1, 2, 2] {
            let waiting = Arc::clone(&waiting);
            tokio::spawn(async move { waiting.decision(&Arc::default(), event_id(request), NEVER).await });
        }
        tokio::time::sleep(Duration::from_millis(10_500)).await;
        assert_eq!(*database.lookups.lock(), [2; 11]);
    }

    #[tokio::test]
    async fn a_database_that_is_away_is_told_when_the_time_is_over() {
        let (database, waiting) = waiting(Duration::from_millis(1), 10);
        let away = ReadError::Unavailable("away".to_owned());
        *database.away.lock() = Some(away.clone());
        let patient = tokio::spawn({
            let waiting = Arc::clone(&waiting);
            async move { is_decided(&waiting, 1, NEVER).await }
        });
        assert_eq!(is_decided(&waiting, 2, AT_ONCE).await, Err(away));
        // it is asked as long as somebody waits, who is told when it is back
        database.decisions.lock().push(decided(1));
        *database.away.lock() = None;
        assert_eq!(patient.await.unwrap(), Ok(true));
    }

    /// The task that looks up for all of them runs again after a bug: or everybody would wait for nobody from then on.
    #[tokio::test]
    async fn a_bug_in_a_look_up_leaves_nobody_waiting() {
        let (database, waiting) = waiting(AT_ONCE, 10);
        *database.bug_at_lookup.lock() = Some(1);
        assert_eq!(is_decided(&waiting, 1, AT_ONCE).await, Ok(false));
        assert!(database.lookups.lock().len() > 1);
        assert!(Parts::of_this_process().trouble().is_some(), "readiness says nothing");
    }
}
