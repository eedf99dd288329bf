//! Pauses between tries: doubling, with jitter so that many members do not come back at the same moment.

use std::sync::Arc;
use std::time::Duration;

use floodgate_schemas::Chance;

use crate::config::ConsumersConfig;

pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
    chance: Arc<dyn Chance>,
}

impl Backoff {
    pub(crate) fn new(config: &ConsumersConfig, chance: &Arc<dyn Chance>) -> Self {
        let min = Duration::from_millis(config.retry_min_ms.max(1));
        let max = Duration::from_millis(config.retry_max_ms).max(min);
        Self { min, max, next: min, chance: Arc::clone(chance) }
    }

    /// The next pause: between half and the whole of the current step, which then doubles.
    pub(crate) fn pause(&mut self) -> Duration {
        self.pause_with(0.5 + self.chance.fraction() / 2.0)
    }

    fn pause_with(&mut self, share: f64) -> Duration {
        let pause = self.next.mul_f64(share);
        self.next = (self.next * 2).min(self.max);
        pause
    }

    /// All is well: the next trouble starts with the shortest pause again.
    pub(crate) fn reset(&mut self) {
        self.next = self.min;
    }
}

#[cfg(test)]
mod tests {
    use floodgate_schemas::examples::Counted;

    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let (min, max) = (Duration::from_millis(100), Duration::from_millis(350));
        let mut backoff = Backoff { min, max, next: min, chance: Arc::new(Counted::default()) };
        let pauses = [1.0, 0.5, 1.0, 1.0].map(|share| backoff.pause_with(share).as_millis());
        assert_eq!(pauses, [100, 100, 350, 350]);
        backoff.reset();
        assert!((min / 2..=min).contains(&backoff.pause()), "at least half of the step");
        assert_eq!(backoff.pause_with(1.0), 2 * min);
    }
}
