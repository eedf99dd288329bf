//! What this process has counted until now, and how fast that went since an earlier look.

use std::time::Instant;

use floodgate_observe::Metrics;
use floodgate_schemas::EventType;
use prometheus::core::Collector;

/// Counters at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Counted {
    at: Instant,
    /// By event type.
    pub(crate) accepted: [u64; EventType::ALL.len()],
    pub(crate) applied: [u64; EventType::ALL.len()],
    pub(crate) refused: u64,
    pub(crate) accept_to_apply: Quantiles,
    pub(crate) publish: Quantiles,
}

impl Counted {
    pub(crate) fn now(metrics: &Metrics) -> Self {
        let by_type =
            |counters: &dyn Collector| EventType::ALL.map(|of| sum(counters, Some(("type", of.name()))));
        Self {
            at: Instant::now(),
            accepted: by_type(&metrics.events_accepted),
            applied: by_type(&metrics.events_applied),
            refused: sum(&metrics.events_refused, None),
            accept_to_apply: Quantiles::of(&metrics.accept_to_apply_seconds),
            publish: Quantiles::of(&metrics.publish_seconds),
        }
    }

    /// Events a second.
    pub(crate) fn rate_since(&self, before: &Self, of: impl Fn(&Self) -> u64) -> f64 {
        let seconds = self.at.saturating_duration_since(before.at).as_secs_f64().max(1e-3);
        (of(self).saturating_sub(of(before)) as f64 / seconds * 10.0).round() / 10.0
    }

    /// The same by event type.
    pub(crate) fn rates_since<const N: usize>(
        &self,
        before: &Self,
        of: impl Fn(&Self) -> [u64; N],
    ) -> [f64; N] {
        std::array::from_fn(|place| self.rate_since(before, |counted| of(counted)[place]))
    }
}

/// All counters of a family, or those with a label.
fn sum(counters: &dyn Collector, label: Option<(&str, &str)>) -> u64 {
    let families = counters.collect();
    let metrics = families.iter().flat_map(|family| family.get_metric());
    let wanted = metrics.filter(|metric| {
        label.is_none_or(|(name, value)| {
            metric.get_label().iter().any(|label| label.name() == name && label.value() == value)
        })
    });
    wanted.map(|metric| metric.get_counter().get_value()).sum::<f64>() as u64
}

/// A histogram, over all its labels: how many took at most so many seconds.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Quantiles {
    /// Upper bounds in ascending order, each with how many are not above it.
    buckets: Vec<(f64, u64)>,
    count: u64,
}

impl Quantiles {
    fn of(histogram: &dyn Collector) -> Self {
        let mut all = Self::default();
        for family in &histogram.collect() {
            for metric in family.get_metric() {
                let histogram = metric.get_histogram();
                all.count += histogram.get_sample_count();
                for (place, bucket) in histogram.get_bucket().iter().enumerate() {
                    match all.buckets.get_mut(place) {
                        Some((_, count)) => *count += bucket.cumulative_count(),
                        None => all.buckets.push((bucket.upper_bound(), bucket.cumulative_count())),
                    }
                }
            }
        }
        all
    }

    /// What came since an earlier look; `None` when nothing did.
    pub(crate) fn since(&self, before: &Self) -> Option<Self> {
        let earlier = |place: usize| before.buckets.get(place).map_or(0, |(_, count)| *count);
        let buckets = self.buckets.iter().enumerate();
        let taken = Self {
            buckets: buckets
                .map(|(place, (bound, count))| (*bound, count.saturating_sub(earlier(place))))
                .collect(),
            count: self.count.saturating_sub(before.count),
        };
        (taken.count > 0).then_some(taken)
    }

    /// Within how many milliseconds this share was done, by linear interpolation inside a bucket; `None` beyond the last.
    pub(crate) fn milliseconds(&self, share: f64) -> Option<f64> {
        let wanted = self.count as f64 * share;
        let (mut low, mut below) = (0.0, 0.0);
        for (bound, count) in &self.buckets {
            let count = *count as f64;
            if count >= wanted && count > 0.0 {
                let seconds = low + (bound - low) * (wanted - below) / (count - below).max(1.0);
                return Some((seconds * 1e4).round() / 10.0);
            }
            (low, below) = (*bound, count);
        }
        None
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_what_came_since() {
        let metrics = Metrics::new().unwrap();
        let of_type = |of: &str| metrics.accept_to_apply_seconds.with_label_values(&[of]);
        (0..1000).for_each(|_| of_type("like").observe(3000.0));
        let before = Counted::now(&metrics);
        assert_eq!(before.accept_to_apply.since(&before.accept_to_apply), None);
        (0..90).for_each(|_| of_type("like").observe(0.004));
        (0..10).for_each(|_| of_type("coupon").observe(0.6));
        let since = Counted::now(&metrics).accept_to_apply.since(&before.accept_to_apply).unwrap();
        let [p50, p99] = [0.5, 0.99].map(|share| since.milliseconds(share).unwrap());
        assert!((3.0..5.0).contains(&p50) && (500.0..=1000.0).contains(&p99), "{p50} {p99}");
        (0..1000).for_each(|_| of_type("like").observe(1e6));
        let since = Counted::now(&metrics).accept_to_apply.since(&before.accept_to_apply).unwrap();
        assert_eq!(since.milliseconds(0.99), None, "longer than anybody measures");
    }

    #[test]
    fn rates_are_by_type() {
        let metrics = Metrics::new().unwrap();
        let before = Counted::now(&metrics);
        metrics.events_accepted.with_label_values(&["like"]).inc_by(100);
        metrics.events_refused.with_label_values(&["like", "queue-full"]).inc_by(7);
        let mut after = Counted::now(&metrics);
        after.at = before.at + std::time::Duration::from_secs(10);
        assert_eq!(after.rates_since(&before, |counted| counted.accepted)[EventType::Like as usize], 10.0);
        assert_eq!(after.rate_since(&before, |counted| counted.refused), 0.7);
        assert_eq!(after.rates_since(&before, |counted| counted.applied), [0.0; 3]);
    }
}
