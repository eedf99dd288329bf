//! From messages to the transaction that applies them.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use floodgate_schemas::{EventType, Timestamp};

use crate::context::Parent;
use crate::following::Following;
use crate::{Kind, Span, SpanContext, conventions};

/// How many tries of a batch are told of: a search for bad rows, or a long outage, takes very many.
const TRANSACTIONS_MAX: usize = 50;

/// A batch that holds messages of followed requests.
///
/// Its span is the root of a trace of its own, with links to what those requests sent, since it belongs to none of them more
/// than to another. Each of these has a span as well, in its request's trace, with a link back: so the way can be
/// gone from either end. Unless [`Batch::done`] says so, everything comes again, and is told of then.
pub struct Batch {
    following: Arc<Following>,
    of: EventType,
    group: String,
    context: SpanContext,
    started: Timestamp,
    messages: usize,
    sent: Vec<Sent>,
    /// Messages of those, by ascending numbers.
    marked: Vec<Marked>,
    /// What else was sent by followed requests.
    more: usize,
    transactions: AtomicUsize,
    is_done: bool,
    gave_up: Option<&'static str>,
}

/// What a followed request sent, of which messages are in the batch.
struct Sent {
    context: SpanContext,
    /// Of its first message here.
    partition: i32,
    offset: i64,
    event_id: Option<String>,
    messages: usize,
    coming_again: usize,
    failed: usize,
    error: Option<String>,
}

/// A message of a followed request.
struct Marked {
    number: usize,
    partition: i32,
    sent: usize,
}

impl Batch {
    pub(crate) fn new<'b>(
        following: &Arc<Following>,
        of: EventType,
        group: &str,
        messages: usize,
        marked: impl Iterator<Item = (usize, &'b [u8], i32, i64)>,
    ) -> Option<Self> {
        let (mut sent, mut of_sent, mut more) = (Vec::<Sent>::new(), Vec::new(), Vec::new());
        for (number, header, partition, offset) in marked {
            let Some(Parent { context, is_sampled: true }) = Parent::parse(header) else { continue };
            // what one request sent mostly stands together
            let place = match sent.iter().rposition(|sent| sent.context == context) {
                Some(place) => place,
                None if sent.len() < following.links_max => {
                    let (event_id, error) = (None, None);
                    let (messages, coming_again, failed) = (0, 0, 0);
                    sent.push(Sent {
                        context,
                        partition,
                        offset,
                        event_id,
                        messages,
                        coming_again,
                        failed,
                        error,
                    });
                    sent.len() - 1
                }
                None => {
                    if more.last() != Some(&context) {
                        more.push(context);
                    }
                    continue;
                }
            };
            sent[place].messages += 1;
            of_sent.push(Marked { number, partition, sent: place });
        }
        if sent.is_empty() {
            return None;
        }
        following.drop_links(more.len());
        let (context, started) = (following.draw(None), following.now());
        Some(Self {
            following: Arc::clone(following),
            of,
            group: group.to_owned(),
            context,
            started,
            messages,
            sent,
            marked: of_sent,
            more: more.len(),
            transactions: AtomicUsize::new(0),
            is_done: false,
            gave_up: None,
        })
    }

    /// The numbers of those it tells of, ascending: the first of what each request sent.
    pub fn firsts(&self) -> Vec<usize> {
        let mut seen = vec![false; self.sent.len()];
        let firsts = self.marked.iter().filter(|marked| !std::mem::replace(&mut seen[marked.sent], true));
        firsts.map(|marked| marked.number).collect()
    }

    /// Message number `number` is this event.
    pub fn is_event(&mut self, number: usize, event_id: impl FnOnce() -> String) {
        if let Some(sent) = self.sent_as(number) {
            sent.event_id = Some(event_id());
        }
    }

    /// Message number `number` can never be applied.
    pub fn failed(&mut self, number: usize, why: &str) {
        if let Some(sent) = self.sent_as(number) {
            sent.failed += 1;
            sent.error.get_or_insert_with(|| why.to_owned());
        }
    }

    /// Messages of this partition come again.
    pub fn comes_again(&mut self, partition: i32) {
        for marked in self.marked.iter().filter(|marked| marked.partition == partition) {
            self.sent[marked.sent].coming_again += 1;
        }
    }

    /// All else is applied, or dead-lettered.
    pub fn done(&mut self) {
        self.is_done = true;
    }

    /// All of it comes again, as nobody could finish.
    pub fn gave_up(&mut self, why: &'static str) {
        self.gave_up = Some(why);
    }

    fn sent_as(&mut self, number: usize) -> Option<&mut Sent> {
        let place = self.marked.binary_search_by_key(&number, |marked| marked.number).ok()?;
        self.sent.get_mut(self.marked.get(place)?.sent)
    }

    /// A transaction that began then and has ended, with so many events; `error` is its kind and the reason.
    pub fn transaction(
        &self,
        events: usize,
        started: Timestamp,
        error: Option<(&'static str, Cow<'static, str>)>,
    ) {
        if self.transactions.fetch_add(1, Ordering::Relaxed) >= TRANSACTIONS_MAX {
            return;
        }
        let (name, mut attributes) =
            conventions::transaction(self.following.around.database, self.of, events);
        attributes.extend(error.as_ref().map(|(kind, _)| conventions::error(*kind)));
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

    fn tell_of_batch(&self, ended: Timestamp) {
        let following = &self.following;
        let (name, mut attributes) = conventions::messaging(
            following.around.messaging,
            following.destination(self.of),
            "apply",
            "process",
        );
        attributes.extend([conventions::group(&self.group), conventions::messages(self.messages)]);
        let transactions = self.transactions.load(Ordering::Relaxed);
        if transactions > TRANSACTIONS_MAX {
            attributes.push(conventions::transactions(transactions));
        }
        let error = match (self.is_done, self.gave_up) {
            (true, _) => None,
            (false, Some(why)) => Some(("gave-up", why)),
            (false, None) => Some(("cancelled", "it was not finished")),
        };
        attributes.extend(error.map(|(kind, _)| conventions::error(kind)));
        following.tell(Span {
            context: self.context,
            parent: None,
            parent_is_remote: false,
            kind: Kind::Consumer,
            name,
            started: self.started,
            ended,
            attributes,
            links: self.sent.iter().map(|sent| sent.context).collect(),
            links_dropped: u32::try_from(self.more).unwrap_or(u32::MAX),
            error: error.map(|(_, why)| Cow::Borrowed(why)),
        });
    }

    fn tell_of_sent(&self, sent: &Sent, ended: Timestamp) {
        let following = &self.following;
        let system = following.around.messaging;
        let (name, mut attributes) =
            conventions::messaging(system, following.destination(self.of), "process", "process");
        attributes.push(conventions::group(&self.group));
        attributes.extend(conventions::place(system, sent.partition, sent.offset));
        match sent.messages {
            1 => attributes.extend(sent.event_id.clone().map(conventions::message_id)),
            messages => attributes.push(conventions::messages(messages)),
        }
        let error = sent.error.as_ref().map(|why| match sent.messages {
            1 => why.clone(),
            messages => format!("{} of {messages}, the first: {why}", sent.failed),
        });
        attributes.extend(error.is_some().then(|| conventions::error("dead-letter")));
        following.tell(Span {
            context: following.draw(Some(sent.context)),
            parent: Some(sent.context),
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

impl Drop for Batch {
    fn drop(&mut self) {
        let ended = self.following.now().max(self.started);
        // first, as all others link to it, and there may not be room for all
        self.tell_of_batch(ended);
        let comes_wholly_again = |sent: &Sent| !self.is_done || sent.coming_again >= sent.messages;
        for sent in self.sent.iter().filter(|sent| !comes_wholly_again(sent)) {
            self.tell_of_sent(sent, ended);
        }
    }
}
