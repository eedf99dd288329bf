//! Looks again at coupons that are asked for: whether they are sold out.
//!
//! All of them together, at most once per interval, and only while somebody asks. What the last look says holds.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use floodgate_buffer::{Parts, Then};
use floodgate_observe::DoorMetrics;
use floodgate_schemas::CouponId;
use floodgate_store::Reads;
use parking_lot::Mutex;
use prometheus::IntCounter;

use super::config::DoorConfig;
use super::lookups::IDS_PER_QUERY;
use super::memory::{Known, Memory};

pub(super) struct Watch {
    reads: Arc<dyn Reads>,
    memory: Memory,
    interval: Duration,
    max: usize,
    queries: IntCounter,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What the next look is at.
    wanted: HashSet<CouponId>,
    /// Whether the task runs.
    is_running: bool,
}

impl Watch {
    pub(super) fn new(
        reads: Arc<dyn Reads>,
        memory: Memory,
        config: DoorConfig,
        metrics: &DoorMetrics,
    ) -> Arc<Self> {
        let (interval, max) = (Duration::from_millis(config.watch_ms), config.lookups_max);
        let queries = metrics.queries.with_label_values(&["coupon-watch"]);
        Arc::new(Self { reads, memory, interval, max, queries, state: Mutex::default() })
    }

    /// Somebody asks for this coupon.
    pub(super) fn note(self: &Arc<Self>, coupon: &CouponId, known: Option<&Known>) {
        // as good as always, where many ask for one
        if known.is_some_and(|known| known.is_wanted.load(Ordering::Relaxed)) {
            return;
        }
        // what may be made up leaves room to what there is
        let max = if known.is_some() { self.max } else { self.max.div_ceil(2) };
        let mut state = self.state.lock();
        if state.wanted.len() >= max {
            return;
        }
        state.wanted.insert(coupon.clone());
        if let Some(known) = known {
            known.is_wanted.store(true, Ordering::Relaxed);
        }
        if !state.is_running {
            state.is_running = true;
            let watch = Arc::clone(self);
            let run = move || Arc::clone(&watch).look_while_asked();
            tokio::spawn(Parts::of_this_process().keep("coupon-watch", Then::GoOn, run));
        }
    }

    async fn look_while_asked(self: Arc<Self>) {
        while let Some(wanted) = self.begin() {
            for coupons in wanted.chunks(IDS_PER_QUERY) {
                self.look(coupons).await;
            }
            tokio::time::sleep(self.interval).await;
        }
    }

    /// What is to be looked at now; `None`, and the task ends, when there is nothing.
    fn begin(&self) -> Option<Vec<CouponId>> {
        let mut state = self.state.lock();
        state.is_running = !state.wanted.is_empty();
        let wanted: Vec<_> = std::mem::take(&mut state.wanted).into_iter().collect();
        // within the lock: who asks from here on wants the next look
        for known in wanted.iter().filter_map(|coupon| self.memory.get(coupon)) {
            known.is_wanted.store(false, Ordering::Relaxed);
        }
        state.is_running.then_some(wanted)
    }

    async fn look(&self, coupons: &[CouponId]) {
        self.queries.inc();
        let rows = match self.reads.coupons_named(coupons).await {
            Ok(rows) => rows,
            Err(error) => return tracing::debug!(%error, "coupons that are asked for were not looked at"),
        };
        let mut gone: HashSet<_> = coupons.iter().collect();
        for row in &rows {
            gone.remove(&row.terms.coupon_id);
            self.memory.looked(&row.terms.coupon_id, Some(row.remaining() == 0));
        }
        gone.into_iter().for_each(|coupon| self.memory.looked(coupon, None));
    }
}
