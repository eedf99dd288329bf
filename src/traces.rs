//! Whether this process tells of requests, and where.

use std::sync::Arc;
use std::time::Duration;

use floodgate_buffer::Strategy;
use floodgate_observe::Metrics;
use floodgate_schemas::{Chance, Clock};
use floodgate_traces::Tracer;

use crate::exit::Exit;
use crate::settings::Settings;

/// What follows requests, and what sends their spans.
#[derive(Default)]
pub(crate) struct Traces {
    pub(crate) tracer: Tracer,
    #[cfg(feature = "otel")]
    sending: Option<sending::Sending>,
}

impl Traces {
    /// As configured; within a runtime, on which spans are sent. Touches no network yet.
    #[cfg(not(feature = "otel"))]
    pub(crate) fn open(
        _: &Settings,
        _: &Arc<dyn Strategy>,
        _: &Metrics,
        _: (&Arc<dyn Clock>, &Arc<dyn Chance>),
    ) -> Result<Self, Exit> {
        Ok(Self::default())
    }

    /// Sends what is still to be sent, as far as there is time.
    #[cfg(not(feature = "otel"))]
    pub(crate) async fn stop(&self, _: Duration) {}
}

/// Whether whoever is to take spans is there.
#[cfg(not(feature = "otel"))]
pub(crate) async fn ask(_: &Settings) -> Result<(), String> {
    Err("this build cannot send traces".to_owned())
}

#[cfg(feature = "otel")]
pub(crate) use sending::ask;

#[cfg(feature = "otel")]
mod sending {
    use floodgate_buffer::{Parts, Then, Topic};
    use floodgate_schemas::EventType;
    use floodgate_traces::{Exporter, Surroundings};
    use tokio::sync::Mutex;
    use tokio::task::JoinHandle;
    use tokio_util::sync::CancellationToken;

    use super::*;

    /// The part that sends.
    pub(super) struct Sending {
        stop: CancellationToken,
        ended: Mutex<JoinHandle<()>>,
    }

    /// The most that a stop waits for a receiver.
    const LAST_TRY: Duration = Duration::from_secs(2);

    /// Whether whoever is to take spans is there.
    pub(crate) async fn ask(settings: &Settings) -> Result<(), String> {
        let metrics = Metrics::new().map_err(|error| error.to_string())?;
        let exporter =
            Exporter::open(&settings.otel, env!("CARGO_PKG_VERSION"), String::new(), metrics.traces);
        exporter.map_err(|error| error.to_string())?.ask().await
    }

    impl Traces {
        /// As configured; within a runtime, on which spans are sent. Touches no network yet.
        pub(crate) fn open(
            settings: &Settings,
            strategy: &Arc<dyn Strategy>,
            metrics: &Metrics,
            (clock, chance): (&Arc<dyn Clock>, &Arc<dyn Chance>),
        ) -> Result<Self, Exit> {
            let config = &settings.otel;
            if config.endpoint.is_empty() {
                return Ok(Self::default());
            }
            let destinations =
                EventType::ALL.map(|of| (of, strategy.names().topic(Topic::Events(of)).to_owned())).to_vec();
            let database = floodgate_store::system(&settings.store).map_err(Exit::usage)?;
            let around = Surroundings { messaging: strategy.name(), database, destinations };
            let instance = format!("{:016x}", chance.bits());
            let traces = metrics.traces.clone();
            let exporter = Exporter::open(config, env!("CARGO_PKG_VERSION"), instance, traces.clone());
            let exporter = exporter.map_err(Exit::usage)?;
            let (clock, chance) = (Arc::clone(clock), Arc::clone(chance));
            let (tracer, spans) = Tracer::new(config, around, traces, clock, chance);
            let stop = CancellationToken::new();
            let (sender, until) = (Arc::new((exporter, Mutex::new(spans))), stop.clone());
            let send = move || {
                let (sender, until) = (Arc::clone(&sender), until.clone());
                async move { sender.0.run(&mut *sender.1.lock().await, &until).await }
            };
            // with it nothing but spans is lost
            let ended = tokio::spawn(Parts::of_this_process().keep("traces", Then::GoOn, send));
            Ok(Self { tracer, sending: Some(Sending { stop, ended: ended.into() }) })
        }

        /// Sends what is still to be sent, as far as there is time.
        pub(crate) async fn stop(&self, left: Duration) {
            let Some(Sending { stop, ended }) = &self.sending else { return };
            stop.cancel();
            let _ = tokio::time::timeout(LAST_TRY.min(left), &mut *ended.lock().await).await;
        }
    }
}
