//! `POST /api/v6/cloudevents`: events as CloudEvents 1.0, in the three modes of its HTTP binding.
//!
//! The body is an event's data, and their envelope stands in the head (binary mode); or it is the envelope with its data
//! (structured); or an array of these (batch), whose events are offered and answered as those of [`super::events`] are.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use floodgate_schemas::{Envelope, EventType, Invalid, InvalidKind, InvalidMixed, Mixed, is_json};
use percent_encoding::percent_decode_str;

use super::answers::accepted;
use super::coupons::decided_at;
use super::events::{NoKey, write_all};
use crate::admission::Admitted;
use crate::coding::Coding;
use crate::extract::{Events, NoQuery, check_coding, media_type, read};
use crate::follow::Followed;
use crate::ingress::Ingress;
use crate::problem::{KeyIn, Problem};

/// `POST /api/v6/cloudevents`
pub(super) async fn write(
    State(ingress): State<Arc<Ingress>>,
    _: NoQuery,
    _: NoKey,
    followed: Followed,
    admitted: Admitted,
    request: Request,
) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let coding = check_coding(&head.headers)?;
    let by = (&*ingress, &admitted);
    let (event, key) = match mode(&head.headers)? {
        Mode::Batch => {
            let body = read(body, coding, by).await?;
            return write_all(&ingress, Events::Envelopes(body), followed, admitted).await;
        }
        Mode::Structured => (structured(body, coding, by).await, KeyIn::Envelope),
        Mode::Binary => (binary(&head.headers, body, coding, by).await, KeyIn::Head),
    };
    let event = event.and_then(|event| match admitted.may_write_event(&event) {
        Ok(()) => Ok(event),
        Err(problem) => Err((Some(event.event_type()), problem)),
    });
    publish(&ingress, event, followed, &admitted).await.map_err(|problem| problem.under(key))
}

/// How a request carries events.
enum Mode {
    Binary,
    Structured,
    Batch,
}

/// The media type of an envelope, and of many.
pub(super) const STRUCTURED: &str = "application/cloudevents+json";
pub(super) const BATCH: &str = "application/cloudevents-batch+json";

/// The media types of all modes' bodies.
const MEDIA_TYPES: &str =
    "application/json, application/cloudevents+json or application/cloudevents-batch+json";

/// The media type says the mode. Data without one are JSON.
fn mode(headers: &HeaderMap) -> Result<Mode, Problem> {
    let refused = |found: &str| Problem::unsupported_media_type(found, MEDIA_TYPES);
    let Some(found) = media_type(headers) else { return Ok(Mode::Binary) };
    let found = found.map_err(refused)?;
    match found.to_ascii_lowercase().as_str() {
        STRUCTURED => Ok(Mode::Structured),
        BATCH => Ok(Mode::Batch),
        // an envelope in a form that we do not read
        other if other.starts_with("application/cloudevents") || !is_json(other) => Err(refused(found)),
        _ => Ok(Mode::Binary),
    }
}

/// A single event that is refused: of which type it wanted to be, if it said so, and why.
type Refused = (Option<EventType>, Problem);

/// What reads a body, and for whom.
type By<'i> = (&'i Ingress, &'i Admitted);

async fn structured(body: Body, coding: Option<Coding>, by: By<'_>) -> Result<Mixed, Refused> {
    let unread = |problem| (None, problem);
    let body = read(body, coding, by).await.map_err(unread)?;
    let event = || Mixed::from_cloud_event(&body, |key| by.0.accept(key));
    let event = by.0.heavy.read(&by.1.holder, body.len(), event).await.map_err(unread)?;
    event.map_err(|InvalidMixed { of, invalid }| (of, invalid.into()))
}

/// The head tells first, and then the body is waited for.
async fn binary(
    headers: &HeaderMap,
    body: Body,
    coding: Option<Coding>,
    by: By<'_>,
) -> Result<Mixed, Refused> {
    let refused = |InvalidMixed { of, invalid }| (of, in_head(invalid).into());
    let envelope = Envelope::read(|name| attribute(headers, name)).map_err(refused)?;
    let unread = |problem| (Some(envelope.of()), problem);
    let data = read(body, coding, by).await.map_err(unread)?;
    let event = || envelope.event(&data, |key| by.0.accept(key));
    by.0.heavy.read(&by.1.holder, data.len(), event).await.map_err(unread)?.map_err(refused)
}

/// What is wrong with an attribute, as the head names it.
fn in_head(invalid: Invalid) -> Invalid {
    let field = invalid.field.map(|field| match field.starts_with("data") {
        true => field,
        false => format!("ce-{field}").into(),
    });
    Invalid { field, ..invalid }
}

/// An attribute as the head has it: perhaps in quotes, as an earlier binding had it, and percent-encoded.
pub(super) fn attribute(headers: &HeaderMap, name: &'static str) -> Result<Option<String>, Invalid> {
    let mut sent = headers.get_all(format!("ce-{name}")).iter();
    let Some(first) = sent.next() else { return Ok(None) };
    if sent.next().is_some() {
        return Err(Invalid::field(InvalidKind::Shape, name, "is given more than once"));
    }
    let no_text = |_| Invalid::field(InvalidKind::Value, name, "is not UTF-8");
    let text = std::str::from_utf8(first.as_bytes()).map_err(no_text)?;
    let text = unquoted(text);
    let decoded = percent_decode_str(&text).decode_utf8().map_err(no_text)?;
    Ok(Some(decoded.into_owned()))
}

/// What stands in quotes, without the backslashes before characters that it needed.
fn unquoted(text: &str) -> Cow<'_, str> {
    let Some(inner) = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) else {
        return text.into();
    };
    let mut characters = inner.chars();
    let next = || match characters.next() {
        Some('\\') => characters.next(),
        character => character,
    };
    std::iter::from_fn(next).collect::<String>().into()
}

/// Publishes a single event as its own route would. A coupon's answer says where its decision will be.
async fn publish(
    ingress: &Ingress,
    event: Result<Mixed, Refused>,
    followed: Followed,
    admitted: &Admitted,
) -> Result<Response, Problem> {
    match event {
        Ok(Mixed::Expectation(event)) => ingress.publish(Ok(event), followed, admitted).await.map(accepted),
        Ok(Mixed::Like(event)) => ingress.publish(Ok(event), followed, admitted).await.map(accepted),
        Ok(Mixed::Coupon(event)) => {
            let issue = ingress.publish(Ok(event), followed, admitted).await?;
            Ok((decided_at(issue.event_id), accepted(issue)).into_response())
        }
        Err((of, problem)) => {
            ingress.metrics.count(of, Err(&problem));
            Err(problem)
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn attributes_are_read_as_the_binding_writes_them() {
        let read = |values: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("ce-id", HeaderValue::from_bytes(value).unwrap());
            }
            attribute(&headers, "id").map_err(|invalid| invalid.kind)
        };
        for (sent, meant) in [
            ("4711", "4711"),
            ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
            ("%e2%82%ac", "€"),
            ("%34%37", "47"),
            ("%2541", "%41"),
            ("\"a \\\"b\\\\ c%20d\"", "a \"b\\ c d"),
            ("\"", "\""),
            ("\"\"", ""),
            ("a\"b", "a\"b"),
            // what no sender should write
            ("100%", "100%"),
            ("%zz", "%zz"),
            ("€", "€"),
        ] {
            assert_eq!(read(&[sent.as_bytes()]), Ok(Some(meant.to_owned())), "{sent}");
        }
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[b"a", b"a"]), Err(InvalidKind::Shape));
        for no_text in [&b"%C0%A0"[..], b"%ff", b"\xff"] {
            assert_eq!(read(&[no_text]), Err(InvalidKind::Value));
        }
    }
}
