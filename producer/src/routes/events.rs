//! `POST /api/v6/events`: many events of any type in one request, each answered for itself.
//!
//! The body is read to its end before the first event is offered. Offering events while later ones still come would
//! be quicker for a slow sender, but a body that turns out too large, too slow or broken is answered with an error,
//! and an error says that nothing of it is stored.

use std::sync::Arc;
use std::{fmt, io};

use axum::body::Body;
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use floodgate_schemas::{EventId, Invalid, not_json, utf8};
use serde::de::{SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::answers::{JSON, told_where};
use crate::accepted::StoredIn;
use crate::admission::Admitted;
use crate::bodies::Held;
use crate::described::{answer, words};
use crate::extract::{Events, IDEMPOTENCY_KEY, NoQuery, Only};
use crate::follow::Followed;
use crate::heavy::{LIGHT_BYTES, LIGHT_EVENTS, elsewhere};
use crate::ingress::Ingress;
use crate::problem::{Effect, OfMany, Place, Problem};
use crate::publish::{Form, Offers, Published};

/// `POST /api/v6/events`
pub(super) async fn write(
    State(ingress): State<Arc<Ingress>>,
    _: NoQuery,
    _: NoKey,
    followed: Followed,
    admitted: Admitted,
    Only(body): Only<Events>,
) -> Result<Response, Problem> {
    write_all(&ingress, body, followed, admitted).await
}

/// Writes all events of a body, and tells what became of each.
pub(super) async fn write_all(
    ingress: &Arc<Ingress>,
    body: Events,
    followed: Followed,
    admitted: Admitted,
) -> Result<Response, Problem> {
    let (answer, stored_in) = match Offering::if_light(ingress, &body, &followed, &admitted)? {
        Some(mut offering) => {
            drop(body);
            if offering.offers.at_door() > 0 {
                let told = ingress.ask_at_door(&offering.offers).await;
                ingress.offer_from_door(&mut offering.offers, told);
            }
            ingress.wait_for_all(&mut offering.offers).await;
            offering.answer(ingress)?
        }
        None => {
            let (there, holder) = (Arc::clone(ingress), Arc::clone(&admitted.holder));
            let offer = move || {
                let split = body.split(there.limits.events_max)?;
                Offering::new(&there, split, body.form(), followed, &admitted)
            };
            let mut offering = ingress.heavy.run(&holder, offer).await??;
            if offering.offers.at_door() > 0 {
                let told = ingress.ask_at_door(&offering.offers).await;
                let there = Arc::clone(ingress);
                let offer_rest = move || {
                    there.offer_from_door(&mut offering.offers, told);
                    offering
                };
                offering = elsewhere(offer_rest).await;
            }
            ingress.wait_for_all(&mut offering.offers).await;
            // what is stored is told at once: there is no waiting for a place any more
            let there = Arc::clone(ingress);
            elsewhere(move || offering.answer(&there)).await?
        }
    };
    let answer = (StatusCode::OK, [(header::CONTENT_TYPE, JSON)], Body::from(answer)).into_response();
    Ok(told_where(answer, stored_in))
}

/// The events of a body on their way.
struct Offering {
    offers: Offers,
    /// The number of each one's line, if they stood in lines.
    lines: Option<Vec<usize>>,
    /// Memory for the results.
    held: Held,
}

impl Offering {
    /// Offers the events of a body that keeps nobody waiting.
    fn if_light(
        ingress: &Ingress,
        body: &Events,
        followed: &Followed,
        admitted: &Admitted,
    ) -> Result<Option<Self>, Problem> {
        if body.len() > LIGHT_BYTES {
            return Ok(None);
        }
        let split = body.split(ingress.limits.events_max)?;
        let is_light = split.1.len() <= LIGHT_EVENTS;
        is_light.then(|| Self::new(ingress, split, body.form(), followed.clone(), admitted)).transpose()
    }

    fn new(
        ingress: &Ingress,
        (lines, events): Split<'_>,
        form: Form,
        followed: Followed,
        admitted: &Admitted,
    ) -> Result<Self, Problem> {
        ingress.admission.charge(admitted, events.len())?;
        let held = ingress.bodies.hold(&admitted.holder, events.len().saturating_mul(EVENT_BYTES))?;
        Ok(Self { offers: ingress.offer_all(&events, form, followed, admitted), lines, held })
    }

    /// What became of all, as the answer's body, and where those are that are not where they belong.
    fn answer(mut self, ingress: &Ingress) -> Result<(Bytes, StoredIn), Problem> {
        let mut published = ingress.judge_all(self.offers);
        for (index, published) in published.iter_mut().enumerate() {
            if let Err(problem) = &mut published.result {
                let line = self.lines.as_ref().and_then(|lines| lines.get(index));
                problem.stands_at(line.map_or(Place::Index(index), |line| Place::Line(*line)));
            }
        }
        let stored_in =
            published.iter().find_map(|published| published.result.as_ref().ok().copied().flatten());
        let body = body_of(&published).map_err(|error| Problem::internal(error.to_string()))?;
        // from here on that is all of it; what is stored is told however much there is
        let _ = self.held.resize(body.capacity());
        Ok((self.held.until_dropped(body.into()), stored_in))
    }
}

/// What of one event is kept until all are told, at most: what became of it, where, and its part of the answer.
const EVENT_BYTES: usize = 1024;

/// What an accepted event takes of an answer: its id, and words.
const ACCEPTED_BYTES: usize = 80;

/// The answer's body, which takes no more memory than it has bytes, also while it is written.
fn body_of(published: &[Published]) -> serde_json::Result<Vec<u8>> {
    let results = EventResults { results: published.iter().map(EventResult::of).collect() };
    let bytes = match published.iter().all(|published| published.result.is_ok()) {
        true => ACCEPTED_BYTES * (1 + published.len()),
        false => {
            let mut length = Length(0);
            serde_json::to_writer(&mut length, &results)?;
            length.0
        }
    };
    let mut body = Vec::with_capacity(bytes);
    serde_json::to_writer(&mut body, &results)?;
    Ok(body)
}

/// How long something is.
struct Length(usize);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Refuses the header that fixes one event's id, where every event has its own key.
pub(super) struct NoKey;

impl<S: Sync> axum::extract::FromRequestParts<S> for NoKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match parts.headers.contains_key(&IDEMPOTENCY_KEY) {
            false => Ok(Self),
            true => Err(Problem::invalid_request(
                "Idempotency-Key",
                "every event has a key of its own here: its field idempotencyKey, or a CloudEvent's source and id",
            )),
        }
    }
}

answer! {
    pub(super) struct EventResults<'a> {
        results: Vec<EventResult<'a>> = "results", "What became of each event, in their order.";
    }
}

answer! {
    pub(super) struct EventResult<'a> {
        status: EventStatus = "status", "accepted: it will take effect; rejected: it never will; retry: not now; unknown: perhaps.";
    } sometimes {
        event_id: EventId = "eventId", "The event, where it got as far as to have an id.";
        problem: &'a OfMany = "problem", "Why it is not accepted.";
    }
}

words! {
    pub(super) enum EventStatus {
        Accepted = "accepted",
        Rejected = "rejected",
        Retry = "retry",
        Unknown = "unknown",
    }
}

impl<'a> EventResult<'a> {
    fn of(published: &'a Published) -> Self {
        let problem = published.result.as_ref().err();
        let status = match problem.map(|of_many| of_many.problem().effect()) {
            None => EventStatus::Accepted,
            Some(Effect::Never) => EventStatus::Rejected,
            Some(Effect::NotYet) => EventStatus::Retry,
            Some(Effect::Unknown) => EventStatus::Unknown,
        };
        Self { status, event_id: published.event_id, problem }
    }
}

/// The events of a body, and the numbers of their lines if they stand in lines.
type Split<'b> = (Option<Vec<usize>>, Vec<&'b [u8]>);

impl Events {
    fn split(&self, max: usize) -> Result<Split<'_>, Problem> {
        match self {
            Self::Array(body) | Self::Envelopes(body) => Ok((None, split_array(body, max)?)),
            Self::Lines(body) => {
                let (lines, events) = split_lines(body, max)?;
                Ok((Some(lines), events))
            }
        }
    }

    fn form(&self) -> Form {
        match self {
            Self::Array(_) | Self::Lines(_) => Form::Own,
            Self::Envelopes(_) => Form::CloudEvents,
        }
    }
}

/// The raw elements of a JSON array.
pub(super) fn split_array(body: &[u8], max: usize) -> Result<Vec<&[u8]>, Problem> {
    // checked once: the parser would look at every element by itself
    let text = utf8(body)?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let elements = serde::Deserializer::deserialize_seq(&mut deserializer, Elements { max })
        .and_then(|elements| deserializer.end().map(|()| elements));
    match elements {
        Ok(Some(elements)) => Ok(elements),
        Ok(None) => Err(Problem::too_many_events(max)),
        Err(error) if error.is_data() => Err(Invalid::malformed("is not a JSON array").into()),
        Err(error) => Err(not_json(text, &error).into()),
    }
}

/// Collects the elements, or `None` when there are too many.
struct Elements {
    max: usize,
}

impl<'a> Visitor<'a> for Elements {
    type Value = Option<Vec<&'a [u8]>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON array")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let (mut elements, mut count) = (Vec::new(), 0_usize);
        while let Some(element) = seq.next_element::<&'a RawValue>()? {
            count += 1;
            if count <= self.max {
                elements.push(element.get().as_bytes());
            }
        }
        Ok((count <= self.max).then_some(elements))
    }
}

/// The lines of an NDJSON body, with their numbers from 1; empty ones, such as after the last line break, are none.
pub(super) fn split_lines(body: &[u8], max: usize) -> Result<(Vec<usize>, Vec<&[u8]>), Problem> {
    let is_empty = |line: &[u8]| line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r'));
    let lines = (1..).zip(body.split(|byte| *byte == b'\n')).filter(|(_, line)| !is_empty(line));
    let (numbers, lines): (Vec<usize>, Vec<&[u8]>) = lines.take(max + 1).unzip();
    if lines.len() > max {
        return Err(Problem::too_many_events(max));
    }
    Ok((numbers, lines))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::problem::Told;

    #[test]
    fn an_answer_has_the_room_that_it_needs() {
        let mut told = Told::default();
        let mut published = |is_accepted: bool| Published {
            event_id: Some(Uuid::max().into()),
            result: match is_accepted {
                true => Ok(None),
                false => Err(told.keep(Problem::invalid_request("a field", "is wrong"), 0)),
            },
        };
        let accepted: Vec<_> = (0..1000).map(|_| published(true)).collect();
        let body = body_of(&accepted).unwrap();
        assert_eq!(body.capacity(), ACCEPTED_BYTES * 1001);
        assert!(body.len() > body.capacity() / 2);
        let mixed: Vec<_> = (0..1000).map(|number| published(number % 2 == 0)).collect();
        let body = body_of(&mixed).unwrap();
        assert_eq!(body.capacity(), body.len());
    }

    #[test]
    fn arrays_are_split_or_refused_whole() {
        let split = |body: &'static str| split_array(body.as_bytes(), 3).map_err(|problem| problem.name());
        let (one, two) = (b"{\"a\":[1,2]}".as_slice(), b"\"x\"".as_slice());
        assert_eq!(split(r#" [ {"a":[1,2]} , "x" ] "#), Ok(vec![one, two]));
        assert_eq!(split("[]"), Ok(vec![]));
        assert_eq!(split("[1,2,3]").map(|events| events.len()), Ok(3));
        assert_eq!(split("[1,2,3,4]"), Err("too-many-events"));
        for malformed in ["", "{}", "[", "[1", "[1,]", "[1]x", "[1][2]", "null", "[{]"] {
            assert_eq!(split(malformed), Err("malformed-json"), "{malformed}");
        }
    }

    #[test]
    fn lines_are_split_without_empty_ones_and_keep_their_numbers() {
        let split = |body: &'static str| split_lines(body.as_bytes(), 2).map_err(|problem| problem.name());
        assert_eq!(split("1\r\n\n 2 \n"), Ok((vec![1, 3], vec![b"1\r".as_slice(), b" 2 "])));
        assert_eq!(split("\n \t\r\n"), Ok((vec![], vec![])));
        assert_eq!(split("1\n2\n3"), Err("too-many-events"));
    }
}
