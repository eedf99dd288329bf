//! What is told of those who are refused: the first at once, then once in a while how many. Whoever tries tokens in vain must not
//! fill the log as well.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

const INTERVAL: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(crate) struct Refusals(Mutex<Counted>);

#[derive(Default)]
struct Counted {
    since: u64,
    told_at: Option<Instant>,
}

impl Refusals {
    /// Counts one. How many there were, when that is to be told.
    pub(crate) fn count(&self) -> Option<u64> {
        let mut counted = self.0.lock();
        counted.since += 1;
        if counted.told_at.is_some_and(|at| at.elapsed() < INTERVAL) {
            return None;
        }
        counted.told_at = Some(Instant::now());
        Some(std::mem::take(&mut counted.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_is_told_and_then_how_many() {
        let refusals = Refusals::default();
        assert_eq!([refusals.count(), refusals.count(), refusals.count()], [Some(1), None, None]);
        tokio::time::advance(INTERVAL).await;
        assert_eq!([refusals.count(), refusals.count()], [Some(3), None]);
    }
}
