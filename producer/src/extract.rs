//! What requests carry, read under limits, with every refusal a problem.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use floodgate_schemas::{FieldOf, IdempotencyKey, Invalid, InvalidKind};
use hyper::body::Body as _;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::admission::Admitted;
use crate::coding::Coding;
use crate::inflate::Inflater;
use crate::ingress::Ingress;
use crate::problem::Problem;

/// A JSON body, whole. Routes parse it, as they know the fields.
pub(crate) struct Json(pub(crate) Bytes);

/// A JSON body that may be left out.
pub(crate) struct OptionalJson(pub(crate) Option<Bytes>);

/// A body of many events.
pub(crate) enum Events {
    /// A JSON array.
    Array(Bytes),
    /// NDJSON: one JSON object a line.
    Lines(Bytes),
    /// A JSON array of CloudEvents in their envelopes.
    Envelopes(Bytes),
}

impl Events {
    /// In bytes.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Array(body) | Self::Lines(body) | Self::Envelopes(body) => body.len(),
        }
    }
}

/// Names what must not happen twice (draft-ietf-httpapi-idempotency-key-header).
pub(crate) static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

pub(crate) const JSON: &str = "application/json";
pub(crate) const NDJSON: &str = "application/x-ndjson";

/// A body that is read with its head at hand.
pub(crate) trait Carried: Sized {
    /// # Errors
    /// It is not what it should be, too large, or too slow.
    fn read(
        head: &HeaderMap,
        body: Body,
        ingress: &Ingress,
    ) -> impl Future<Output = Result<Self, Problem>> + Send;
}

/// A body, of a request that carries nothing else.
pub(crate) struct Only<B>(pub(crate) B);

impl<B: Carried> FromRequest<Arc<Ingress>> for Only<B> {
    type Rejection = Problem;

    async fn from_request(request: Request, ingress: &Arc<Ingress>) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        B::read(&parts.headers, body, ingress).await.map(Self)
    }
}

impl Carried for Json {
    async fn read(head: &HeaderMap, body: Body, ingress: &Ingress) -> Result<Self, Problem> {
        let (_, coding) = check_head(head, &[JSON])?;
        read(body, coding, (ingress, &Admitted::who_asks()?)).await.map(Self)
    }
}

impl Carried for OptionalJson {
    async fn read(head: &HeaderMap, body: Body, ingress: &Ingress) -> Result<Self, Problem> {
        if body.is_end_stream() {
            return Ok(Self(None));
        }
        let head = check_head(head, &[JSON]);
        // chunks may turn out to be none at all
        if body.size_hint().lower() > 0 {
            head.clone()?;
        }
        let coding = head.as_ref().ok().and_then(|(_, coding)| *coding);
        let body = read(body, coding, (ingress, &Admitted::who_asks()?)).await;
        if body.as_ref().is_ok_and(Bytes::is_empty) {
            return Ok(Self(None));
        }
        head?;
        body.map(|body| Self(Some(body)))
    }
}

impl Carried for Events {
    async fn read(head: &HeaderMap, body: Body, ingress: &Ingress) -> Result<Self, Problem> {
        let (media_type, coding) = check_head(head, &[JSON, NDJSON])?;
        let body = read(body, coding, (ingress, &Admitted::who_asks()?)).await?;
        Ok(if media_type == JSON { Self::Array(body) } else { Self::Lines(body) })
    }
}

/// What the head says the body is.
fn check_head(
    head: &HeaderMap,
    expected: &[&'static str],
) -> Result<(&'static str, Option<Coding>), Problem> {
    let coding = check_coding(head)?;
    Ok((check_media_type(head, expected)?, coding))
}

/// How the body is compressed, if it is: in one way that we know.
pub(crate) fn check_coding(headers: &HeaderMap) -> Result<Option<Coding>, Problem> {
    let mut sent = headers.get_all(CONTENT_ENCODING).iter();
    let Some(first) = sent.next() else { return Ok(None) };
    let named = first.to_str().unwrap_or("bytes");
    if sent.next().is_some() {
        return Err(Problem::unsupported_coding("several"));
    }
    Coding::named(named).ok_or_else(|| Problem::unsupported_coding(named))
}

/// Which of the `expected` media types the body says it is.
fn check_media_type(headers: &HeaderMap, expected: &[&'static str]) -> Result<&'static str, Problem> {
    // as nearly all write it
    let sent = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    if let Some(known) = expected.iter().find(|known| sent == Some(known.as_bytes())) {
        return Ok(known);
    }
    let refused = |found: &str| Problem::unsupported_media_type(found, &expected.join(" or "));
    let found = media_type(headers).ok_or_else(|| refused("none"))?.map_err(refused)?;
    let known = expected.iter().find(|expected| expected.eq_ignore_ascii_case(found));
    known.copied().ok_or_else(|| refused(found))
}

/// The media type that the body says it is, without its parameters; all of it if it is in another character set than UTF-8.
pub(crate) fn media_type(headers: &HeaderMap) -> Option<Result<&str, &str>> {
    let found = headers.get(CONTENT_TYPE)?.to_str().unwrap_or("bytes");
    let (essence, parameters) = found.split_once(';').unwrap_or((found, ""));
    let charset = parameters
        .split(';')
        .filter_map(|parameter| parameter.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"));
    Some(match charset {
        Some((_, set)) if !set.trim().trim_matches('"').eq_ignore_ascii_case("utf-8") => Err(found),
        _ => Ok(essence.trim()),
    })
}

/// Reads a body to its end under three limits: its own size, what all requests and all of its client take together, and the time. What it
/// costs to read it is charged before anything is made of it.
pub(crate) async fn read(
    body: Body,
    coding: Option<Coding>,
    (ingress, admitted): (&Ingress, &Admitted),
) -> Result<Bytes, Problem> {
    let (limits, holder) = (&ingress.limits, &admitted.holder);
    let collected = match coding {
        None => {
            let whole = ingress.bodies.collect(holder, body, limits.body_max_bytes);
            tokio::time::timeout(limits.send_timeout, whole).await.ok().transpose()
        }
        Some(coding) => {
            let (bodies, heavy, max_bytes) = (&ingress.bodies, &ingress.heavy, limits.body_max_bytes);
            let inflated_bytes = &AtomicUsize::new(0);
            let inflater = Inflater { bodies, holder, heavy, max_bytes, inflated_bytes };
            // boxed, or requests with plain bodies would carry its room around
            let whole = Box::pin(inflater.collect(body, coding, Instant::now() + limits.send_timeout)).await;
            if !matches!(whole, Ok(Some(_))) {
                ingress.admission.charge_read(admitted, inflated_bytes.load(Ordering::Relaxed));
            }
            whole
        }
    };
    let body = collected?.ok_or_else(|| Problem::body_timeout(limits.send_timeout))?;
    ingress.admission.charge_read(admitted, body.len());
    Ok(body)
}

/// Path parameters, percent-decoded.
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Arc<Ingress>> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, ingress: &Arc<Ingress>) -> Result<Self, Problem> {
        if !is_percent_encoded(parts.uri.path()) {
            let detail =
                "a % in a path stands before two hexadecimal digits; write %25 for the character itself";
            return Err(Problem::invalid_request("path", detail));
        }
        match Path::<T>::from_request_parts(parts, ingress).await {
            Ok(Path(params)) => Ok(Self(params)),
            Err(rejection) => Err(Problem::invalid_request("path", rejection.body_text())),
        }
    }
}

/// Whether every percent sign begins a byte. The library takes the others as they are, and two paths would be one id.
fn is_percent_encoded(path: &str) -> bool {
    let is_byte =
        |rest: &str| rest.as_bytes().get(..2).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit));
    path.split('%').skip(1).all(is_byte)
}

/// One path parameter as the type that checks it: that of the field of the same name.
pub(crate) fn param<T: TryFrom<String, Error: std::fmt::Display>>(
    of: &FieldOf<T>,
    text: String,
) -> Result<T, Problem> {
    let refused = |reason: T::Error| Invalid::field(InvalidKind::Value, of.name(), reason);
    T::try_from(text).map_err(|reason| Problem::from(refused(reason)))
}

/// A write: its path, its idempotency key and its body. The body is read last, once all else was found right: a client is
/// told at once what its request's head tells. Routes take it as a `Result`, so that every refusal is counted with its
/// type of event.
pub(crate) struct Write<P, B> {
    pub(crate) path: P,
    pub(crate) key: Option<IdempotencyKey>,
    pub(crate) body: B,
}

/// The path of a route without parameters.
pub(crate) struct NoParams;

impl<S: Sync> FromRequestParts<S> for NoParams {
    type Rejection = Problem;

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, Problem> {
        Ok(Self)
    }
}

impl<P, B> FromRequest<Arc<Ingress>> for Write<P, B>
where
    P: FromRequestParts<Arc<Ingress>, Rejection = Problem> + Send,
    B: Carried,
{
    type Rejection = Problem;

    async fn from_request(request: Request, ingress: &Arc<Ingress>) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let path = P::from_request_parts(&mut parts, ingress).await?;
        let WriteHead { key } = WriteHead::from_request_parts(&mut parts, ingress).await?;
        let body = B::read(&parts.headers, body, ingress).await?;
        Ok(Self { path, key, body })
    }
}

/// What a write carries beside path and body: no query parameters, and perhaps an `Idempotency-Key`.
struct WriteHead {
    key: Option<IdempotencyKey>,
}

impl<S: Sync> FromRequestParts<S> for WriteHead {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        NoQuery::from_request_parts(parts, state).await?;
        let mut sent = parts.headers.get_all(&IDEMPOTENCY_KEY).iter();
        let (first, more) = (sent.next(), sent.next());
        let Some(first) = first else { return Ok(Self { key: None }) };
        let key = first.to_str().ok().and_then(IdempotencyKey::new).filter(|_| more.is_none());
        key.map(|key| Self { key: Some(key) }).ok_or_else(|| {
            let detail = "Idempotency-Key must be given once, 8 to 128 visible ASCII characters";
            Problem::invalid_request("Idempotency-Key", detail)
        })
    }
}

impl<S: Sync> FromRequestParts<S> for Admitted {
    type Rejection = Problem;

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::who_asks()
    }
}

/// Refuses query parameters: these routes have none.
pub(crate) struct NoQuery;

impl<S: Sync> FromRequestParts<S> for NoQuery {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match parts.uri.query() {
            None | Some("") => Ok(Self),
            Some(query) => {
                let name = query.split(['=', '&']).next().unwrap_or_default();
                Err(Problem::invalid_request(name, "this route has no query parameters"))
            }
        }
    }
}
