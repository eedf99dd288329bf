//! How long refusals wait.
//!
//! Whoever is refused and asks again at once is as fast as it is answered, and each answer costs nearly as much as what it refuses. So
//! a refusal waits; and where so many wait that they would still come back faster than is cheap, each waits longer, as long as it takes
//! to answer all of them at that pace: ten times the connections are then no more refusals a second, and no more work.
//!
//! Connections that are all told to wait as long would come back together, again and again, and everybody else behind them. So each wait is
//! another, from half of the time to one and a half, spread evenly: multiples of the golden ratio, less their whole part, leave no
//! larger gap than they must, however many there are.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// So many refusals a second are cheap: they cost some twentieth of a core (a refusal is 19 µs, by `./scripts/bench F1r`).
const CHEAP_PER_S: u32 = 2000;
/// However many wait, none does for longer than so many times what it would alone: they hold connections, and a stop waits for them.
const LONGER_MAX: u32 = 10;
/// The golden ratio's part behind the point, of 2^64.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Has refusals wait.
#[derive(Debug)]
pub(super) struct Delays {
    mean: Duration,
    waiting: AtomicU32,
    turn: AtomicU64,
}

/// One that waits.
struct Waiting<'d>(&'d AtomicU32);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Delays {
    /// For so long, on average, while few wait; not at all for zero.
    pub(super) fn new(mean: Duration) -> Self {
        Self { mean, waiting: AtomicU32::new(0), turn: AtomicU64::new(0) }
    }

    pub(super) async fn wait(&self) {
        if self.mean.is_zero() {
            return;
        }
        let others = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        tokio::time::sleep(self.next(others)).await;
    }

    /// For one who comes beside so many others.
    fn next(&self, others: u32) -> Duration {
        let in_turn = Duration::from_secs(1) * others / CHEAP_PER_S;
        let turn = self.turn.fetch_add(GOLDEN, Ordering::Relaxed);
        in_turn.clamp(self.mean, self.mean * LONGER_MAX).mul_f64(0.5 + turn as f64 / 2f64.powi(64))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::Instant;

    use super::*;

    #[test]
    fn refusals_of_one_moment_come_back_one_after_the_other() {
        let delays = Delays::new(Duration::from_millis(1000));
        let mut told: Vec<u128> = (0..100).map(|_| delays.next(0).as_micros()).collect();
        assert!(told.iter().all(|told| (500_000..=1_500_000).contains(told)));
        told.sort_unstable();
        // a hundred within a second: none is within a third of its place of the next, or leaves three places free
        assert!(told.windows(2).all(|two| (3_300..30_000).contains(&(two[1] - two[0]))), "{told:?}");
    }

    /// Refusals in ten seconds, of connections that ask again at once.
    async fn refused(connections: u32) -> u32 {
        let delays = Arc::new(Delays::new(Duration::from_millis(100)));
        let end = Instant::now() + Duration::from_secs(10);
        let asking = (0..connections).map(|_| {
            let delays = Arc::clone(&delays);
            tokio::spawn(async move {
                let mut refused = 0;
                while Instant::now() < end {
                    delays.wait().await;
                    refused += 1;
                }
                refused
            })
        });
        let mut sum = 0;
        for asking in asking.collect::<Vec<_>>() {
            sum += asking.await.unwrap();
        }
        assert_eq!(delays.waiting.load(Ordering::Relaxed), 0);
        sum
    }

    #[tokio::test(start_paused = true)]
    async fn more_connections_are_not_refused_more_often() {
        // each on its own ten times a second, and all together no more than is cheap, but for the first of them
        assert!((900..=1200).contains(&refused(10).await));
        for connections in [400, 1500] {
            let refused = refused(connections).await;
            let cheap = 10 * CHEAP_PER_S;
            assert!(
                (cheap * 8 / 10..=cheap * 12 / 10 + connections).contains(&refused),
                "{connections}: {refused}"
            );
        }
        // until it would be too long
        let refused = refused(5000).await;
        assert!((45_000..=62_000).contains(&refused), "{refused}");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_goes_away_is_waited_for_no_more() {
        let delays = Delays::new(Duration::from_millis(100));
        let gone = tokio::time::timeout(Duration::from_millis(1), delays.wait()).await;
        assert!(gone.is_err());
        assert_eq!(delays.waiting.load(Ordering::Relaxed), 0);
    }
}
