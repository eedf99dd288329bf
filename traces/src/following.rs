//! What all that is followed shares.

use std::borrow::Cow;
use std::sync::Arc;

use floodgate_observe::TraceMetrics;
use floodgate_schemas::{Chance, Clock, EventType, Timestamp};
use tokio::sync::mpsc;

use crate::{Span, SpanContext};

/// What is kept of the reason of a failure.
const ERROR_MAX_CHARACTERS: usize = 1000;

/// What spans say of this process's surroundings, by the names that the conventions have for them.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// `messaging.system`.
    pub messaging: &'static str,
    /// `db.system.name`.
    pub database: &'static str,
    /// For each type of event, the destination's name.
    pub destinations: Vec<(EventType, String)>,
}

/// What all that is followed shares.
pub(crate) struct Following {
    pub(crate) sample_ratio: f64,
    pub(crate) follow_parent: bool,
    pub(crate) links_max: usize,
    pub(crate) around: Surroundings,
    pub(crate) spans: mpsc::Sender<Span>,
    pub(crate) metrics: TraceMetrics,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) chance: Arc<dyn Chance>,
}

impl Following {
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A span of the same trace; of a new one without a parent.
    pub(crate) fn draw(&self, parent: Option<SpanContext>) -> SpanContext {
        loop {
            let span_id = self.chance.bits();
            let drawn = match parent {
                Some(parent) => parent.sibling(span_id),
                None => {
                    let halves = [self.chance.bits(), self.chance.bits()].map(u128::from);
                    SpanContext::new(halves[0] << 64 | halves[1], span_id)
                }
            };
            // an id of 0 stands for none, and is drawn once in 2⁶⁴
            if let Some(drawn) = drawn {
                return drawn;
            }
        }
    }

    pub(crate) fn destination(&self, of: EventType) -> &str {
        let found = self.around.destinations.iter().find(|(named, _)| *named == of);
        found.map_or(of.topic(), |(_, name)| name)
    }

    /// Texts that others wrote are cut, as the queue counts spans and not bytes.
    pub(crate) fn tell(&self, mut span: Span) {
        if let Some(Cow::Owned(error)) = &mut span.error {
            let end = error.char_indices().nth(ERROR_MAX_CHARACTERS).map_or(error.len(), |(end, _)| end);
            error.truncate(end);
        }
        if self.spans.try_send(span).is_err() {
            self.metrics.dropped.inc();
        }
    }

    pub(crate) fn drop_links(&self, count: usize) {
        self.metrics.links_dropped.inc_by(count as u64);
    }
}
