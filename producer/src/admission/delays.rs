//! How long refusals wait.
//!
//! Connections that are all told to wait as long would come back together, again and again, and everybody else behind them. So each wait is
//! another, from half of the time to one and a half, spread evenly: multiples of the golden ratio, less their whole part, leave no
//! larger gap than they must, however many there are.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;

/// So many may wait at a time; others are told at once.
const WAITING_MAX: usize = 10_000;
/// The golden ratio's part behind the point, of 2^64.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Has refusals wait.
#[derive(Debug)]
pub(super) struct Delays {
    mean: Duration,
    places: Semaphore,
    turn: AtomicU64,
}

impl Delays {
    /// For so long, on average; not at all for zero.
    pub(super) fn new(mean: Duration) -> Self {
        Self { mean, places: Semaphore::new(WAITING_MAX), turn: AtomicU64::new(0) }
    }

    pub(super) async fn wait(&self) {
        if self.mean.is_zero() {
            return;
        }
        if let Ok(_place) = self.places.try_acquire() {
            tokio::time::sleep(self.next()).await;
        }
    }

    fn next(&self) -> Duration {
        let turn = self.turn.fetch_add(GOLDEN, Ordering::Relaxed);
        self.mean.mul_f64(0.5 + turn as f64 / 2f64.powi(64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_one_moment_come_back_one_after_the_other() {
        let delays = Delays::new(Duration::from_millis(1000));
        let mut told: Vec<u128> = (0..100).map(|_| delays.next().as_micros()).collect();
        assert!(told.iter().all(|told| (500_000..=1_500_000).contains(told)));
        told.sort_unstable();
        // a hundred within a second: none is within a third of its place of the next, or leaves three places free
        assert!(told.windows(2).all(|two| (3_300..30_000).contains(&(two[1] - two[0]))), "{told:?}");
    }
}
