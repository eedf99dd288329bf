//! How events reach a consumer: in order, some twice, cut anyhow, and again from an earlier point.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use proptest::test_runner::{Config as RunnerConfig, TestRunner};

/// At most this many events are delivered per case.
const DELIVERIES_MAX: usize = 30;

/// A way to deliver a list of events.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Which event comes at each offset; repeats are the same event published twice.
    picks: Vec<prop::sample::Index>,
    /// Per batch: how many offsets it holds, and how far delivery falls back after it.
    batches: Vec<(usize, usize)>,
}

impl Delivery {
    /// The events by offset.
    pub fn in_order<E: Clone>(&self, events: &[E]) -> Vec<E> {
        self.picks.iter().map(|pick| pick.get(events).clone()).collect()
    }

    /// The batches as ranges of offsets; together they hold every offset.
    pub fn batches(&self) -> Vec<Range<usize>> {
        let end = self.picks.len();
        let mut next = 0;
        let mut ranges = Vec::new();
        for (size, falls_back) in &self.batches {
            let range = next..(next + size).min(end);
            next = range.end.saturating_sub(*falls_back);
            if !range.is_empty() {
                ranges.push(range);
            }
        }
        ranges.push(next..end);
        ranges.retain(|range| !range.is_empty());
        ranges
    }
}

/// Any way to deliver.
pub fn any_delivery() -> impl Strategy<Value = Delivery> {
    let picks = prop::collection::vec(any::<prop::sample::Index>(), 1..DELIVERIES_MAX);
    let falls_back = prop_oneof![3 => Just(0usize), 2 => 0usize..10, 1 => Just(DELIVERIES_MAX)];
    let batches = prop::collection::vec((1usize..15, falls_back), 0..8);
    (picks, batches).prop_map(|(picks, batches)| Delivery { picks, batches })
}

/// Tries `cases` values; each gets a number of its own, for keys and ids. Prints the smallest that fails.
pub(crate) fn for_all<S: Strategy>(cases: u32, values: &S, check: impl Fn(u64, S::Value)) {
    let config =
        RunnerConfig { cases, failure_persistence: None, max_shrink_iters: 300, ..RunnerConfig::default() };
    let case = AtomicU64::new(1);
    let outcome = TestRunner::new(config).run(values, |value| {
        check(case.fetch_add(1, Ordering::Relaxed), value);
        Ok(())
    });
    if let Err(failure) = outcome {
        unreachable!("{failure}");
    }
}
