//! From valid events to what is answered: encode, offer, wait, judge.

use std::any::Any;
use std::cell::RefCell;
use std::sync::Arc;
use std::time::Instant;

use floodgate_buffer::{Outcome, Receipt, Receipts, Record, Topic};
use floodgate_schemas::{
    Accept, CouponIssue, Event, EventId, EventIdSource, EventType, IdempotencyKey, InvalidMixed, Mixed,
};
use floodgate_traces::{Sends, TRACEPARENT};

use crate::accepted::{Accepted, StoredIn};
use crate::admission::Admitted;
use crate::follow::Followed;
use crate::holders::Holder;
use crate::ingress::Ingress;
use crate::keys::UsedKey;
use crate::problem::{KeyIn, OfMany, Problem, Told};

thread_local! {
    // key and value of the event being offered: offering copies them, so one pair per thread serves all
    static BUFFERS: RefCell<(String, Vec<u8>)> = RefCell::default();
}

/// How the events of many are written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Form {
    /// With their type and, if any, their key among their fields.
    Own,
    /// As the data of an envelope.
    CloudEvents,
}

impl Form {
    const fn keys(self) -> KeyIn {
        match self {
            Self::Own => KeyIn::Event,
            Self::CloudEvents => KeyIn::Envelope,
        }
    }
}

/// By whom an event is offered: what follows it, and whose it is.
type By<'b> = (&'b mut Sends, &'b Holder);

/// One event of many on its way, or refused.
struct Offered {
    of: Option<EventType>,
    event_id: Option<EventId>,
    result: Result<UsedKey, OfMany>,
}

/// One that waits at the door, with its place among all.
type AtDoor = (usize, CouponIssue, Receipt);

/// Many events on their way.
pub(crate) struct Offers {
    offered: Vec<Offered>,
    /// Coupon requests of which nobody knows yet whether they may be offered.
    at_door: Vec<AtDoor>,
    receipts: Receipts,
    offered_at: Instant,
    /// Whether what became of all was known before the deadline.
    in_time: bool,
    sends: Sends,
    holder: Arc<Holder>,
    told: Told,
}

impl Offers {
    /// How many wait at the door.
    pub(crate) fn at_door(&self) -> usize {
        self.at_door.len()
    }
}

/// What became of one event of many.
pub(crate) struct Published {
    /// Its id, once it had one.
    pub(crate) event_id: Option<EventId>,
    pub(crate) result: Result<StoredIn, OfMany>,
}

impl Ingress {
    /// What acceptance adds to an event: its id and times.
    pub(crate) fn accept<'k>(&self, key: Option<&'k IdempotencyKey>) -> Accept<'k> {
        let accepted_at = self.clock.now();
        let id = match key {
            Some(key) => EventIdSource::Key(key),
            None => EventIdSource::Fresh(self.chance.event_id()),
        };
        let latest = accepted_at.saturating_add_micros(self.limits.clock_ahead_max_micros);
        Accept { id, accepted_at, latest }
    }

    /// Publishes the outcome of a route's checks, and counts what is refused by its reason.
    pub(crate) async fn publish<E: Event>(
        &self,
        checked: Result<E, Problem>,
        Followed(followed): Followed,
        admitted: &Admitted,
    ) -> Result<Accepted, Problem> {
        let sends = Sends::of(followed);
        let published = match checked {
            Ok(event) => self
                .offer_and_wait(&event, sends, admitted)
                .await
                .map(|stored_in| (event.event_id(), stored_in)),
            Err(problem) => Err(problem),
        };
        let stored = published.as_ref().map(|(_, stored_in)| *stored_in);
        self.metrics.count(Some(E::TYPE), stored);
        published.map(|(event_id, stored_in)| Accepted { event_id, stored_in })
    }

    async fn offer_and_wait<E: Event>(
        &self,
        event: &E,
        mut sends: Sends,
        admitted: &Admitted,
    ) -> Result<StoredIn, Problem> {
        // decided when this is compiled: of other types there is nothing left
        if let Some(request) = (event as &dyn Any).downcast_ref::<CouponIssue>() {
            match self.door.at_once(request) {
                Some(told) => told?,
                None => Box::pin(self.door.ask_for_one(request, admitted.holder.id)).await?,
            }
        }
        let receipts = Receipts::of(Arc::clone(&admitted.holder) as _, 1);
        let offered_at = Instant::now();
        let key = self.offer_under_key(event, receipts.receipt(0), (&mut sends, &admitted.holder))?;
        let in_time = self.wait(&receipts, offered_at).await;
        let judged = self.judge(key, receipts.outcome(0), in_time);
        sends.became(E::TYPE, judged.as_ref().err().map(Problem::name));
        judged
    }

    /// Offers many events, each for itself: whatever is wrong with one, the others take their way.
    pub(crate) fn offer_all(
        &self,
        events: &[&[u8]],
        form: Form,
        Followed(followed): Followed,
        admitted: &Admitted,
    ) -> Offers {
        let receipts = Receipts::of(Arc::clone(&admitted.holder) as _, events.len());
        let offered_at = Instant::now();
        let mut sends = Sends::of(followed);
        let (mut at_door, mut told) = (Vec::new(), Told::of(form.keys()));
        let offer = |(index, json): (usize, &&[u8])| {
            let receipt = receipts.receipt(index);
            let event = match form {
                Form::Own => Mixed::from_json(json, |key| self.accept(key)),
                Form::CloudEvents => Mixed::from_cloud_event(json, |key| self.accept(key)),
            };
            if let Ok(event) = &event
                && let Err(problem) = admitted.may_write_event(event)
            {
                let result = Err(self.refuse(&mut told, problem, index));
                return Offered { of: Some(event.event_type()), event_id: None, result };
            }
            let by = (&mut sends, &*admitted.holder);
            self.offer_one(event, (index, receipt), by, (&mut at_door, &mut told))
        };
        let offered = events.iter().enumerate().map(offer).collect();
        let holder = Arc::clone(&admitted.holder);
        Offers { offered, at_door, receipts, offered_at, in_time: true, sends, holder, told }
    }

    /// Asks about the coupon requests that wait at the door.
    pub(crate) async fn ask_at_door(&self, offers: &Offers) -> Vec<Result<(), Problem>> {
        let requests: Vec<_> = offers.at_door.iter().map(|(_, request, _)| request).collect();
        self.door.ask(&requests, offers.holder.id).await
    }

    /// Offers those of them that may go on.
    pub(crate) fn offer_from_door(&self, offers: &mut Offers, told: Vec<Result<(), Problem>>) {
        for ((index, request, receipt), told) in std::mem::take(&mut offers.at_door).into_iter().zip(told) {
            let by = (&mut offers.sends, &*offers.holder);
            let result = told.and_then(|()| self.offer_under_key(&request, receipt, by));
            let result = result.map_err(|problem| self.refuse(&mut offers.told, problem, index));
            if let Some(offered) = offers.offered.get_mut(index) {
                offered.result = result;
            }
        }
    }

    /// Waits until it is known what became of all, at most until the deadline.
    pub(crate) async fn wait_for_all(&self, offers: &mut Offers) {
        if offers.offered.iter().any(|offered| offered.result.is_ok()) {
            offers.in_time = self.wait(&offers.receipts, offers.offered_at).await;
        }
    }

    /// What became of each, in order.
    pub(crate) fn judge_all(&self, offers: Offers) -> Vec<Published> {
        let Offers { offered, receipts, in_time, mut sends, mut told, .. } = offers;
        let judged = offered.into_iter().enumerate().map(|(index, Offered { of, event_id, result })| {
            let result = result.and_then(|key| {
                let judged = self.judge(key, receipts.outcome(index), in_time);
                if let Some(of) = of {
                    sends.became(of, judged.as_ref().err().map(Problem::name));
                }
                judged.map_err(|problem| self.refuse(&mut told, problem, index))
            });
            self.metrics.count(of, result.as_ref().copied().map_err(OfMany::problem));
            Published { event_id, result }
        });
        judged.collect()
    }

    /// Keeps why an event of many is not accepted.
    fn refuse(&self, told: &mut Told, mut problem: Problem, index: usize) -> OfMany {
        self.instances.tell(&mut problem);
        told.keep(problem, index)
    }

    fn offer_one(
        &self,
        event: Result<Mixed, InvalidMixed>,
        (index, receipt): (usize, Receipt),
        by: By<'_>,
        (at_door, told): (&mut Vec<AtDoor>, &mut Told),
    ) -> Offered {
        match event {
            Ok(Mixed::Expectation(event)) => self.offer_of(&event, (index, receipt), by, told),
            Ok(Mixed::Coupon(event)) => {
                let event_id = Some(event.event_id);
                let result = match self.door.at_once(&event) {
                    // it must not overtake one that waits: first come, first served
                    Some(Ok(())) if at_door.is_empty() => {
                        return self.offer_of(&event, (index, receipt), by, told);
                    }
                    Some(Err(refused)) => Err(self.refuse(told, refused, index)),
                    _ => {
                        at_door.push((index, event, receipt));
                        Err(OfMany::whole(Problem::outcome_unknown()))
                    }
                };
                Offered { of: Some(EventType::Coupon), event_id, result }
            }
            Ok(Mixed::Like(event)) => self.offer_of(&event, (index, receipt), by, told),
            Err(InvalidMixed { of, invalid }) => {
                Offered { of, event_id: None, result: Err(self.refuse(told, invalid.into(), index)) }
            }
        }
    }

    fn offer_of<E: Event>(
        &self,
        event: &E,
        (index, receipt): (usize, Receipt),
        by: By<'_>,
        told: &mut Told,
    ) -> Offered {
        let result = self.offer_under_key(event, receipt, by);
        let result = result.map_err(|problem| self.refuse(told, problem, index));
        Offered { of: Some(E::TYPE), event_id: Some(event.event_id()), result }
    }

    /// Offers an event unless its key came with other words before.
    fn offer_under_key<E: Event>(
        &self,
        event: &E,
        receipt: Receipt,
        (sends, holder): By<'_>,
    ) -> Result<UsedKey, Problem> {
        let key = self.keys.note(event, holder)?;
        match self.offer(event, receipt, sends) {
            Ok(()) => Ok(key),
            Err(problem) => {
                self.keys.told(key, false);
                sends.became(E::TYPE, Some(problem.name()));
                Err(problem)
            }
        }
    }

    fn offer<E: Event>(&self, event: &E, receipt: Receipt, sends: &mut Sends) -> Result<(), Problem> {
        let traceparent = sends.next(E::TYPE, event.event_id()).map(|context| context.to_string());
        let headers = traceparent.as_ref().map(|text| [(TRACEPARENT.as_bytes(), Some(text.as_bytes()))]);
        BUFFERS.with_borrow_mut(|(key, value)| {
            key.clear();
            value.clear();
            event.write_partition_key(self.keying, key);
            self.encoder.encode(event, value)?;
            let record = Record {
                topic: Topic::Events(E::TYPE),
                key: Some(key.as_bytes()),
                value: Some(value.as_slice()),
                headers: headers.as_ref().map_or(&[], |headers| headers.as_slice()),
            };
            Ok(self.publisher.offer(&record, receipt).map_err(|not_taken| not_taken.reason)?)
        })
    }

    /// Waits for all receipts, at most until the deadline: those that are open then read `Unknown`, as whoever does
    /// not hear in time must not conclude that nothing was stored. Whether all were heard of in time.
    async fn wait(&self, receipts: &Receipts, offered_at: Instant) -> bool {
        let in_time = tokio::time::timeout(self.limits.request_deadline, receipts.all()).await.is_ok();
        if in_time {
            self.metrics.seconds.observe(offered_at.elapsed().as_secs_f64());
        }
        in_time
    }

    /// What a record's outcome is answered. One that is certainly not stored has not used its key.
    fn judge(&self, key: UsedKey, outcome: Outcome, in_time: bool) -> Result<StoredIn, Problem> {
        self.keys.told(key, outcome != Outcome::NotStored);
        match outcome {
            Outcome::Stored => Ok(None),
            Outcome::Spilled => Ok(self.publisher.spills_to()),
            Outcome::NotStored => {
                let trouble = self.publisher.ready().err();
                Err(Problem::not_stored(trouble.unwrap_or_else(|| NOT_STORED.to_owned())))
            }
            Outcome::Unknown => Err(self.unknown(in_time)),
        }
    }

    /// What is told of a record of which nobody knows. Apart, or all others would go through more code.
    #[cold]
    fn unknown(&self, in_time: bool) -> Problem {
        let what = if in_time { UNSURE } else { LATE };
        let trouble = self.publisher.ready().err().map(|trouble| format!("; {trouble}"));
        Problem::outcome_unknown().because([what, &trouble.unwrap_or_default()].concat())
    }
}

/// What is told of an event that was not stored where nothing more is known.
const NOT_STORED: &str = "the strategy reported an event as not stored, and is ready again";

/// What is told of one of which nobody knows, where the strategy has said so, and where it has said nothing yet.
const UNSURE: &str = "the strategy reported an event as possibly stored";
const LATE: &str =
    "the strategy did not tell within http.request_deadline_ms what became of all events of a request";

#[cfg(test)]
mod tests;
