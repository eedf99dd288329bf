//! What a process is and how full it is, for the metrics.

use std::sync::Arc;

use floodgate_admin::Measure;
use floodgate_observe::StateGauges;
use floodgate_store::Store;

use crate::settings::Settings;

/// What was built, and what runs here.
pub(crate) fn tell_build(gauges: &StateGauges, (role, strategy, exports_lag): (&str, &str, bool)) {
    let features = [("kafka-tls", cfg!(feature = "kafka-tls")), ("otel", cfg!(feature = "otel"))];
    let built: Vec<_> = features.into_iter().filter(|(_, is_on)| *is_on).map(|(name, _)| name).collect();
    gauges.build.with_label_values(&[env!("CARGO_PKG_VERSION"), &built.join(",")]).set(1);
    let exports_lag = if exports_lag { "yes" } else { "no" };
    gauges.process.with_label_values(&[role, strategy, exports_lag]).set(1);
}

/// What there may be, and how many connections to the database there are.
pub(crate) fn of(settings: &Settings, store: &Arc<dyn Store>) -> Measure {
    let (connections_max, waiters_max) =
        (count(settings.http.connections_max), count(settings.http.waiters_max));
    let bodies_bytes_max = count(settings.http.bodies_max_bytes);
    let clients_max = i64::try_from(settings.rate_limit.clients_max).unwrap_or(i64::MAX);
    let store = Arc::clone(store);
    Arc::new(move |gauges| {
        gauges.connections_max.set(connections_max);
        gauges.waiters_max.set(waiters_max);
        gauges.bodies_bytes_max.set(bodies_bytes_max);
        gauges.clients_max.set(clients_max);
        for pool in store.pools() {
            for (state, connections) in [("in-use", pool.in_use), ("idle", pool.idle)] {
                gauges.database_connections.with_label_values(&[pool.name, state]).set(count(connections));
            }
            gauges.database_connections_max.with_label_values(&[pool.name]).set(count(pool.max));
            gauges.database_waiting.with_label_values(&[pool.name]).set(count(pool.waiting));
        }
    })
}

fn count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
