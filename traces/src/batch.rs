//! From messages to the transaction that applies them.

use std::borrow::Cow;
use std::sync::Arc;

use floodgate_schemas::{EventType, Timestamp};

use crate::context::Parent;
use crate::following::Following;
use crate::{Kind, Span, SpanContext, conventions};

/// A batch that holds messages of followed requests.
///
/// Its span is the root of a trace of its own, with links to those requests' messages, since it belongs to none of them more
/// than to another. Each of these messages has a span as well, in its request's trace, with a link back: so the way can be
/// gone from either end.
pub struct Batch {
    following: Arc<Following>,
    of: EventType,
    group: String,
    context: SpanContext,
    started: Timestamp,
    messages: usize,
    marked: Vec<Marked>,
    more: usize,
    error: Option<(&'static str, String)>,
}

/// A message of a request that is followed.
struct Marked {
    number: usize,
    sent: SpanContext,
    partition: i32,
    offset: i64,
    event_id: Option<String>,
    ending: Ending,
}

/// How it is with a message.
enum Ending {
    Done,
    Failed(String),
    /// It comes again, and is told of then.
    NotYet,
}

impl Batch {
    pub(crate) fn new<'b>(
        following: &Arc<Following>,
        of: EventType,
        group: &str,
        messages: usize,
        marked: impl Iterator<Item = (usize, &'b [u8], i32, i64)>,
    ) -> Option<Self> {
        let sampled = marked.filter_map(|(number, header, partition, offset)| match Parent::parse(header) {
            Some(Parent::Sampled(sent)) => {
                Some(Marked { number, sent, partition, offset, event_id: None, ending: Ending::Done })
            }
            _ => None,
        });
        let (mut marked, mut more) = (Vec::new(), 0);
        for message in sampled {
            match marked.len() < following.links_max {
                true => marked.push(message),
                false => more += 1,
            }
        }
        if marked.is_empty() {
            return None;
        }
        following.drop_links(more);
        let (context, started) = (following.draw(None), following.now());
        let (following, group) = (Arc::clone(following), group.to_owned());
        Some(Self { following, of, group, context, started, messages, marked, more, error: None })
    }

    /// Message number `number` is this event.
    pub fn is_event(&mut self, number: usize, event_id: impl FnOnce() -> String) {
        if let Some(marked) = self.find(number) {
            marked.event_id = Some(event_id());
        }
    }

    /// The numbers of those it tells of, ascending.
    pub fn numbers(&self) -> impl Iterator<Item = usize> + '_ {
        self.marked.iter().map(|marked| marked.number)
    }

    /// Message number `number` can never be applied.
    pub fn failed(&mut self, number: usize, why: &str) {
        if let Some(marked) = self.find(number) {
            marked.ending = Ending::Failed(why.to_owned());
        }
    }

    /// Messages of this partition come again.
    pub fn comes_again(&mut self, partition: i32) {
        let held = |marked: &&mut Marked| marked.partition == partition;
        self.marked.iter_mut().filter(held).for_each(|marked| marked.ending = Ending::NotYet);
    }

    /// All of it comes again: nobody could finish.
    pub fn gave_up(&mut self, why: &str) {
        self.error = Some(("gave-up", why.to_owned()));
        self.marked.iter_mut().for_each(|marked| marked.ending = Ending::NotYet);
    }

    fn find(&mut self, number: usize) -> Option<&mut Marked> {
        let place = self.marked.binary_search_by_key(&number, |marked| marked.number).ok()?;
        self.marked.get_mut(place)
    }

    /// A transaction that began then and has ended, with so many events; `error` is its kind and the reason.
    pub fn transaction(
        &self,
        events: usize,
        started: Timestamp,
        error: Option<(&'static str, Cow<'static, str>)>,
    ) {
        let (name, mut attributes) =
            conventions::transaction(self.following.around.database, self.of, events);
        attributes.extend(error.as_ref().map(|(kind, _)| conventions::error(kind)));
        self.following.tell(Span {
            context: self.following.draw(Some(self.context)),
            parent: Some(self.context),
            parent_is_remote: false,
            kind: Kind::Client,
            name,
            started,
            ended: self.following.now().max(started),
            attributes,
            links: Vec::new(),
            links_dropped: 0,
            error: error.map(|(_, why)| why),
        });
    }

    /// The time, for [`Batch::transaction`].
    pub fn now(&self) -> Timestamp {
        self.following.now()
    }

    fn tell_of_message(&self, marked: &Marked, ended: Timestamp) {
        let following = &self.following;
        let error = match &marked.ending {
            Ending::Done => None,
            Ending::Failed(why) => Some(why.clone()),
            Ending::NotYet => return,
        };
        let (name, mut attributes) = conventions::messaging(
            following.around.messaging,
            following.destination(self.of),
            "process",
            "process",
        );
        attributes.push(conventions::group(&self.group));
        attributes.extend(conventions::place(following.around.messaging, marked.partition, marked.offset));
        attributes.extend(marked.event_id.clone().map(conventions::message_id));
        attributes.extend(error.is_some().then(|| conventions::error("dead-letter")));
        following.tell(Span {
            context: following.draw(Some(marked.sent)),
            parent: Some(marked.sent),
            parent_is_remote: true,
            kind: Kind::Consumer,
            name,
            started: self.started,
            ended,
            attributes,
            links: vec![self.context],
            links_dropped: 0,
            error: error.map(Cow::Owned),
        });
    }
}

/// All of it is done, or given up.
impl Drop for Batch {
    fn drop(&mut self) {
        let ended = self.following.now().max(self.started);
        for marked in &self.marked {
            self.tell_of_message(marked, ended);
        }
        let following = &self.following;
        let (name, mut attributes) = conventions::messaging(
            following.around.messaging,
            following.destination(self.of),
            "apply",
            "process",
        );
        attributes.extend([conventions::group(&self.group), conventions::messages(self.messages)]);
        attributes.extend(self.error.as_ref().map(|(kind, _)| conventions::error(kind)));
        following.tell(Span {
            context: self.context,
            parent: None,
            parent_is_remote: false,
            kind: Kind::Consumer,
            name,
            started: self.started,
            ended,
            attributes,
            links: self.marked.iter().map(|marked| marked.sent).collect(),
            links_dropped: u32::try_from(self.more).unwrap_or(u32::MAX),
            error: self.error.take().map(|(_, why)| Cow::Owned(why)),
        });
    }
}
