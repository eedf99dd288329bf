//! From a request to the messages it is made into.

use std::borrow::Cow;
use std::sync::Arc;

use floodgate_schemas::{EventId, EventType, Timestamp};

use crate::following::Following;
use crate::{Kind, Span, SpanContext, conventions};

/// A request that is followed.
pub struct Request {
    following: Arc<Following>,
    context: SpanContext,
    parent: Option<SpanContext>,
    started: Timestamp,
}

impl Request {
    pub(crate) fn new(following: Arc<Following>, parent: Option<SpanContext>) -> Self {
        let (context, started) = (following.draw(parent), following.now());
        Self { following, context, parent, started }
    }

    /// Its end.
    pub fn ended(&self, method: &str, (route, path): (Option<&'static str>, &str), how: Ended) {
        let status = match how {
            Ended::Answered(status) => Some(status),
            Ended::Left | Ended::Bug => None,
        };
        let (name, mut attributes) = conventions::request(method, (route, path), status);
        let error: Option<Cow<'static, str>> = match how {
            Ended::Answered(status @ 500..) => {
                attributes.push(conventions::error(status.to_string()));
                // the status says it
                Some(Cow::Borrowed(""))
            }
            Ended::Answered(_) => None,
            Ended::Left => {
                attributes.push(conventions::error("cancelled"));
                Some(Cow::Borrowed("the client went away"))
            }
            Ended::Bug => {
                attributes.push(conventions::error("panic"));
                Some(Cow::Borrowed("answering met a bug"))
            }
        };
        self.following.tell(Span {
            context: self.context,
            parent: self.parent,
            parent_is_remote: true,
            kind: Kind::Server,
            name,
            started: self.started,
            ended: self.following.now().max(self.started),
            attributes,
            links: Vec::new(),
            links_dropped: 0,
            error,
        });
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With this status.
    Answered(u16),
    /// Its client went away before.
    Left,
    /// Whoever answered it did not come to an end.
    Bug,
}

/// What a request sends, a span for each destination; nothing if it is not followed.
pub struct Sends {
    request: Option<Arc<Request>>,
    sent: Vec<Sent>,
}

/// Messages on their way to one destination.
struct Sent {
    of: EventType,
    context: SpanContext,
    started: Timestamp,
    messages: usize,
    first: EventId,
    acknowledged: usize,
    error: Option<&'static str>,
}

impl Sends {
    /// Those of a request, if it is followed.
    pub fn of(request: Option<Arc<Request>>) -> Self {
        Self { request, sent: Vec::new() }
    }

    /// What the next message carries as its `traceparent`: it is sent now.
    pub fn next(&mut self, of: EventType, event_id: EventId) -> Option<SpanContext> {
        let request = self.request.as_ref()?;
        let sent = match self.sent.iter_mut().position(|sent| sent.of == of) {
            Some(place) => &mut self.sent[place],
            None => {
                let following = &request.following;
                self.sent.push(Sent {
                    of,
                    context: following.draw(Some(request.context)),
                    started: following.now(),
                    messages: 0,
                    first: event_id,
                    acknowledged: 0,
                    error: None,
                });
                self.sent.last_mut()?
            }
        };
        sent.messages += 1;
        Some(sent.context)
    }

    /// One of them is stored, or is not, or may not be: `error` is the problem's name.
    pub fn became(&mut self, of: EventType, error: Option<&'static str>) {
        if let Some(sent) = self.sent.iter_mut().find(|sent| sent.of == of) {
            match error {
                None => sent.acknowledged += 1,
                Some(error) => _ = sent.error.get_or_insert(error),
            }
        }
    }
}

/// Of what nobody waited for nothing is known.
const UNANSWERED: &str = "unanswered";

/// What became of all of them is known, or nobody waits for it any more.
impl Drop for Sends {
    fn drop(&mut self) {
        let Some(request) = &self.request else { return };
        let following = &request.following;
        for sent in self.sent.drain(..) {
            let destination = following.destination(sent.of);
            let (name, mut attributes) =
                conventions::messaging(following.around.messaging, destination, "send", "send");
            if sent.messages == 1 {
                attributes.push(conventions::message_id(sent.first.to_string()));
            } else {
                attributes.push(conventions::messages(sent.messages));
            }
            let missing = sent.messages.saturating_sub(sent.acknowledged);
            let error = (missing > 0).then(|| sent.error.unwrap_or(UNANSWERED));
            attributes.extend(error.map(conventions::error));
            following.tell(Span {
                context: sent.context,
                parent: Some(request.context),
                parent_is_remote: false,
                kind: Kind::Producer,
                name,
                started: sent.started,
                ended: following.now().max(sent.started),
                attributes,
                links: Vec::new(),
                links_dropped: 0,
                error: error.map(|_| format!("{missing} of {} not acknowledged", sent.messages).into()),
            });
        }
    }
}
