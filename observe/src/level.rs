//! How full something is, as whoever fills it counts it anyway.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus::IntGauge;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

/// A number that is looked at when somebody asks for the metrics.
#[derive(Debug, Clone)]
pub struct Level {
    count: Arc<AtomicUsize>,
    gauge: IntGauge,
}

impl Level {
    pub(crate) fn new(name: &str, help: &str) -> prometheus::Result<Self> {
        Ok(Self { count: Arc::default(), gauge: IntGauge::new(name, help)? })
    }

    /// What is counted in.
    pub fn count(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.count)
    }
}

impl Collector for Level {
    fn desc(&self) -> Vec<&Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.gauge.set(i64::try_from(self.count.load(Ordering::Relaxed)).unwrap_or(i64::MAX));
        self.gauge.collect()
    }
}
