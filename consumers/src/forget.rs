//! Deletes old decisions on coupon requests, a few at a time, in whichever processes apply coupon requests.
//!
//! Several processes walk each for itself: what one has deleted the next finds no more. Nothing is in a hurry here, since
//! decisions are kept for weeks: a step looks at some thousand rows and is over before anybody notices.

use std::sync::Arc;
use std::time::Duration;

use floodgate_schemas::{Clock, EventId, Timestamp};
use floodgate_store::{Forget, Forgotten, Site};
use prometheus::IntCounter;
use tokio_util::sync::CancellationToken;

/// Decisions that one step looks at.
const STEP: u32 = 5000;

/// Between two steps.
const PAUSE: Duration = Duration::from_secs(1);

/// Between two walks over all decisions, and after a step that failed.
const REST: Duration = Duration::from_secs(600);

const MICROS_A_DAY: i64 = 24 * 3_600_000_000;

/// Forgets decisions that are older than this.
pub(crate) struct Forgetting<S: ?Sized> {
    pub(crate) store: Arc<S>,
    pub(crate) days: u32,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) deleted: IntCounter,
}

impl<S: Forget + Site + ?Sized> Forgetting<S> {
    /// Until told to stop.
    pub(crate) async fn run(&self, stop: &CancellationToken) {
        let mut behind = None;
        loop {
            let pause = match self.step(behind).await {
                Some(last) => {
                    behind = last;
                    if last.is_some() { PAUSE } else { REST }
                }
                None => REST,
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Where the next step goes on; `None` if this one failed, or another database stands there: consumers tell of that.
    async fn step(&self, behind: Option<EventId>) -> Option<Option<EventId>> {
        if !matches!(self.store.moved().await, Ok(None)) {
            return None;
        }
        match self.store.forget_decisions(behind, STEP, self.before()).await {
            Ok(Forgotten { deleted, last }) => {
                self.deleted.inc_by(deleted);
                Some(last)
            }
            Err(error) => {
                tracing::warn!(%error, "old decisions on coupon requests were not deleted; the role needs DELETE on coupon_requests");
                None
            }
        }
    }

    fn before(&self) -> Timestamp {
        self.clock.now().saturating_add_micros(-i64::from(self.days) * MICROS_A_DAY)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use floodgate_observe::Metrics;
    use floodgate_schemas::EventType;
    use floodgate_schemas::examples::{HandClock, at, event_id};
    use floodgate_store::{BoxFuture, ReadError};
    use parking_lot::Mutex;
    use tokio::time::Instant;

    use super::*;

    /// Answers with what was planned, and notes what it was asked, and when.
    #[derive(Default)]
    struct Rows {
        planned: Mutex<Vec<Result<Forgotten, ReadError>>>,
        asked: Mutex<Vec<(Option<EventId>, Timestamp, Instant)>>,
        moved: Mutex<Option<String>>,
    }

    impl Forget for Rows {
        fn forget_decisions(
            &self,
            behind: Option<EventId>,
            _: u32,
            before: Timestamp,
        ) -> BoxFuture<'_, Result<Forgotten, ReadError>> {
            self.asked.lock().push((behind, before, Instant::now()));
            let next = self.planned.lock().pop();
            Box::pin(async move { next.unwrap_or(Ok(Forgotten { deleted: 0, last: None })) })
        }
    }

    impl Site for Rows {
        fn unfit<'a>(&'a self, _: &'a [EventType]) -> BoxFuture<'a, Result<Vec<String>, ReadError>> {
            Box::pin(async { Ok(Vec::new()) })
        }

        fn moved(&self) -> BoxFuture<'_, Result<Option<String>, ReadError>> {
            let moved = self.moved.lock().clone();
            Box::pin(async { Ok(moved) })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_walks_step_by_step_and_rests_at_the_end_and_in_trouble() {
        let store = Arc::new(Rows::default());
        let step = |deleted, last: Option<u64>| Ok(Forgotten { deleted, last: last.map(event_id) });
        let away = Err(ReadError::Unavailable("planted".to_owned()));
        *store.planned.lock() = vec![step(1, None), step(2, Some(9)), away, step(4, Some(5))];
        let deleted = Metrics::new().unwrap().decisions_deleted;
        let clock = Arc::new(HandClock::new(at(3 * MICROS_A_DAY)));
        let forgetting = Forgetting { store: Arc::clone(&store), days: 2, clock, deleted: deleted.clone() };
        let begun = Instant::now();
        let stop = CancellationToken::new();
        let enough = async {
            while store.asked.lock().len() < 5 {
                tokio::time::sleep(PAUSE / 2).await;
            }
            stop.cancel();
        };
        tokio::join!(forgetting.run(&stop), enough);
        let asked = store.asked.lock();
        let whens: Vec<_> =
            asked.iter().map(|(behind, _, when)| (*behind, when.duration_since(begun))).collect();
        let (five, nine) = (Some(event_id(5)), Some(event_id(9)));
        assert_eq!(
            whens,
            [
                (None, Duration::ZERO),
                (five, PAUSE),
                (five, PAUSE + REST),
                (nine, PAUSE * 2 + REST),
                (None, PAUSE * 2 + REST * 2),
            ]
        );
        assert!(asked.iter().all(|(_, before, _)| *before == at(MICROS_A_DAY)));
        assert_eq!(deleted.get(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_deleted_where_another_database_stands() {
        let store = Arc::new(Rows::default());
        *store.moved.lock() = Some("another one".to_owned());
        let clock = Arc::new(HandClock::new(at(0)));
        let deleted = Metrics::new().unwrap().decisions_deleted;
        let forgetting = Forgetting { store: Arc::clone(&store), days: 2, clock, deleted };
        assert_eq!(forgetting.step(None).await, None);
        assert!(store.asked.lock().is_empty());
    }
}
