//! What is told of those who are refused: the first at once, then once in a while how many. Whoever tries tokens in vain must not
//! fill the log as well.

use std::time::Duration;

use parking_lot::Mutex;
use prometheus::IntCounter;
use tokio::time::Instant;

const INTERVAL: Duration = Duration::from_secs(60);

pub(crate) struct Refusals {
    all: IntCounter,
    counted: Mutex<Counted>,
}

#[derive(Default)]
struct Counted {
    since: u64,
    told_at: Option<Instant>,
}

impl Refusals {
    /// With what counts all of them.
    pub(crate) fn new(all: IntCounter) -> Self {
        Self { all, counted: Mutex::default() }
    }

    /// Counts one. How many there were, when that is to be told.
    pub(crate) fn count(&self) -> Option<u64> {
        self.all.inc();
        let mut counted = self.counted.lock();
        counted.since += 1;
        if counted.told_at.is_some_and(|at| at.elapsed() < INTERVAL) {
            return None;
        }
        counted.told_at = Some(Instant::now());
        Some(std::mem::take(&mut counted.since))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_is_told_and_then_how_many() {
        let all = IntCounter::new("refused", "refused").unwrap();
        let refusals = Refusals::new(all.clone());
        assert_eq!([refusals.count(), refusals.count(), refusals.count()], [Some(1), None, None]);
        tokio::time::advance(INTERVAL).await;
        assert_eq!([refusals.count(), refusals.count()], [Some(3), None]);
        assert_eq!(all.get(), 5);
    }
}
