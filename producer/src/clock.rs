//! Times of acceptance: a clock, made strictly increasing.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use floodgate_schemas::{Clock, Timestamp};

/// Hands out each microsecond at most once, so that two likes without a time of their own are never equal.
#[derive(Debug)]
pub(crate) struct AcceptanceClock {
    clock: Arc<dyn Clock>,
    last_micros: AtomicI64,
}

impl AcceptanceClock {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, last_micros: AtomicI64::new(i64::MIN) }
    }

    /// Now, or just after the time handed out before, whichever is later.
    pub(crate) fn now(&self) -> Timestamp {
        self.after(self.clock.now())
    }

    fn after(&self, now: Timestamp) -> Timestamp {
        let later = |last: i64| Some(now.as_micros().max(last.saturating_add(1)));
        match self.last_micros.fetch_update(Ordering::AcqRel, Ordering::Acquire, later) {
            Ok(last) | Err(last) => now.max(Timestamp::from_micros(last.saturating_add(1)).unwrap_or(now)),
        }
    }
}

#[cfg(test)]
mod tests {
    use floodgate_schemas::SystemClock;

    use super::*;

    #[test]
    fn times_strictly_increase_also_when_the_clock_steps_back() {
        let clock = AcceptanceClock::new(Arc::new(SystemClock));
        let at = |micros| Timestamp::from_micros(micros).unwrap_or(Timestamp::MIN);
        let times = [100, 100, 50, 101, 200].map(|micros| clock.after(at(micros)).as_micros());
        assert_eq!(times, [100, 101, 102, 103, 200]);
    }
}
