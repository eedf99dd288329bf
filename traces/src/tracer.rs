//! Which requests are followed, and where their spans go.

use std::fmt;
use std::sync::Arc;

use floodgate_observe::TraceMetrics;
use floodgate_schemas::{Chance, Clock, EventType};
use tokio::sync::mpsc;

use crate::config::OtelConfig;
use crate::context::Parent;
use crate::following::{Following, Surroundings};
use crate::{Batch, Request, Span};

/// Follows requests, or none: what everybody is handed who has something to tell of them. Cheap to clone.
#[derive(Clone, Default)]
pub struct Tracer(Option<Arc<Following>>);

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_on() { "Tracer(on)" } else { "Tracer(off)" })
    }
}

impl Tracer {
    /// Follows nothing.
    pub fn off() -> Self {
        Self::default()
    }

    /// Follows requests as configured. Spans come out of the receiver, in the order in which they ended; those for which it has
    /// no room are dropped and counted.
    pub fn new(
        config: &OtelConfig,
        around: Surroundings,
        metrics: TraceMetrics,
        clock: Arc<dyn Clock>,
        chance: Arc<dyn Chance>,
    ) -> (Self, mpsc::Receiver<Span>) {
        let (spans, receiver) = mpsc::channel(config.queue_max_spans.max(1));
        let following = Following {
            sample_ratio: config.sample_ratio,
            follow_parent: config.follow_parent,
            links_max: config.links_max,
            around,
            spans,
            metrics,
            clock,
            chance,
        };
        (Self(Some(Arc::new(following))), receiver)
    }

    /// Whether it follows anything at all.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// A request that is sampled, given its `traceparent`. Decided before anything is allocated.
    pub fn request(&self, traceparent: Option<&[u8]>) -> Option<Arc<Request>> {
        let following = self.0.as_ref()?;
        let parent = traceparent.and_then(Parent::parse);
        let is_followed = match parent {
            Some(parent) if following.follow_parent => parent.is_sampled,
            _ => following.chance.fraction() < following.sample_ratio,
        };
        let parent = parent.map(|parent| parent.context);
        is_followed.then(|| Arc::new(Request::new(Arc::clone(following), parent)))
    }

    /// A batch of messages, of which some belong to requests that were sampled: those are given by their number in the
    /// batch, `traceparent`, partition and offset. `None` where there is none.
    pub fn batch<'b>(
        &self,
        of: EventType,
        group: &str,
        messages: usize,
        marked: impl Iterator<Item = (usize, &'b [u8], i32, i64)>,
    ) -> Option<Batch> {
        Batch::new(self.0.as_ref()?, of, group, messages, marked)
    }
}
