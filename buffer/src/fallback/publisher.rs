//! The publishing half: sends each record its way, and keeps moving what waits in the reserve.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use floodgate_schemas::EventType;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::ways::Ways;
use crate::drain::Drain;
use crate::{
    BoxFuture, NotTaken, Parts, Publish, Receipt, Record, Refused, Strategy, Then, Topic, TopicFinding,
    Waiting,
};

/// How often it is looked how the two strategies are.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

pub(super) struct FallbackPublisher {
    primary: Arc<dyn Publish>,
    pub(super) ways: Arc<Ways>,
    closed: AtomicBool,
    /// Says to those that move that it is over.
    stop: watch::Sender<bool>,
    moving: Mutex<JoinSet<()>>,
}

impl FallbackPublisher {
    /// `reserve` is what `ways` lead to.
    pub(super) fn start(
        primary: Arc<dyn Publish>,
        ways: Arc<Ways>,
        reserve: &Arc<dyn Strategy>,
    ) -> Arc<Self> {
        let (stop, stopped) = watch::channel(false);
        let mut moving = JoinSet::new();
        for of in EventType::ALL {
            let drain = Drain::new(Arc::clone(reserve), Arc::clone(&primary), stopped.clone()).that_goes_on();
            let ways = Arc::clone(&ways);
            moving.spawn(async move {
                let work = || async {
                    if let Err(error) = drain.run(of, || ways.primary_is_well()).await {
                        tracing::error!("{error}");
                    }
                };
                Parts::of_this_process().keep("fallback-drain", Then::GoOn, work).await;
            });
        }
        let publisher = Arc::new(Self {
            primary,
            ways,
            closed: AtomicBool::new(false),
            stop,
            moving: Mutex::new(moving),
        });
        let weak = Arc::downgrade(&publisher);
        tokio::spawn(async move {
            let work = || async {
                let started = Instant::now();
                while let Some(publisher) = weak.upgrade() {
                    let (now, primary) = (Instant::now(), &*publisher.primary);
                    publisher.ways.look_at(now, primary, started);
                    drop(publisher);
                    tokio::time::sleep(LOOK_INTERVAL).await;
                }
            };
            Parts::of_this_process().keep("fallback-look", Then::GoOn, work).await;
        });
        publisher
    }
}

impl Publish for FallbackPublisher {
    fn offer(&self, record: &Record<'_>, receipt: Receipt) -> Result<(), NotTaken> {
        // dead letters come from consumers, which still finish their batches while the ingress is closed
        if self.closed.load(Ordering::Acquire) && record.topic != Topic::DeadLetters {
            return Err(NotTaken { reason: Refused::Closed, receipt });
        }
        self.ways.offer(Instant::now(), &*self.primary, record, receipt)
    }

    fn ready(&self) -> Result<(), String> {
        if self.closed.load(Ordering::Acquire) {
            return Err("shutting down".to_owned());
        }
        let primary = match self.primary.ready() {
            Ok(()) if self.ways.has_started() => return Ok(()),
            Ok(()) => "it is not known yet what waits in buffer.fallback".to_owned(),
            Err(reason) => reason,
        };
        if !self.ways.has_started() {
            return Err(primary);
        }
        let reserve = self.ways.reserve().ready();
        reserve.map_err(|reserve| format!("{primary}; and of buffer.fallback: {reserve}"))
    }

    fn findings(&self) -> Vec<TopicFinding> {
        self.primary.findings()
    }

    fn waiting(&self) -> Waiting {
        let parts = [self.primary.waiting(), self.ways.waiting(), self.ways.reserve().waiting()];
        parts.into_iter().fold(Waiting::default(), |sum, part| Waiting {
            events: sum.events + part.events,
            bytes: sum.bytes + part.bytes,
        })
    }

    fn room(&self) -> Option<Waiting> {
        let parts = [self.primary.room()?, self.ways.reserve().room()?];
        Some(Waiting {
            events: parts.iter().map(|part| part.events).sum(),
            bytes: parts.iter().map(|part| part.bytes).sum(),
        })
    }

    fn spills_to(&self) -> Option<&'static str> {
        Some(self.ways.name())
    }

    fn close(&self, deadline: Duration) -> BoxFuture<'_, usize> {
        self.closed.store(true, Ordering::Release);
        let until = Instant::now() + deadline;
        let left = move || until.saturating_duration_since(Instant::now());
        self.stop.send_replace(true);
        self.ways.close(Instant::now(), &*self.primary);
        let mut moving = std::mem::take(&mut *self.moving.lock());
        Box::pin(async move {
            // in this order: what the first one gives back goes to the second
            let in_primary = self.primary.close(left()).await;
            let in_reserve = self.ways.reserve().close(left()).await;
            // those that are late leave their partitions to others when their leases end
            let all = async { while moving.join_next().await.is_some() {} };
            let _ = tokio::time::timeout(left(), all).await;
            in_primary + in_reserve
        })
    }
}
