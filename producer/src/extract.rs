//! What requests carry, read under limits, with every refusal a problem.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use bytes::Bytes;
use floodgate_schemas::{IdempotencyKey, InvalidKind};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body as _;
use serde::de::DeserializeOwned;

use crate::Ingress;
use crate::problem::Problem;

/// A JSON body, whole. Routes parse it, as they know the fields.
pub(crate) struct Json(pub(crate) Bytes);

/// A JSON body that may be left out.
pub(crate) struct OptionalJson(pub(crate) Option<Bytes>);

impl FromRequest<Arc<Ingress>> for Json {
    type Rejection = Problem;

    async fn from_request(request: Request, ingress: &Arc<Ingress>) -> Result<Self, Problem> {
        check_media_type(&request)?;
        read(request.into_body(), ingress).await.map(Self)
    }
}

impl FromRequest<Arc<Ingress>> for OptionalJson {
    type Rejection = Problem;

    async fn from_request(request: Request, ingress: &Arc<Ingress>) -> Result<Self, Problem> {
        if request.body().is_end_stream() {
            return Ok(Self(None));
        }
        let media_type = check_media_type(&request);
        let body = read(request.into_body(), ingress).await?;
        if body.is_empty() {
            return Ok(Self(None));
        }
        media_type?;
        Ok(Self(Some(body)))
    }
}

fn check_media_type(request: &Request) -> Result<(), Problem> {
    let Some(found) = request.headers().get(CONTENT_TYPE) else {
        return Err(Problem::unsupported_media_type("none"));
    };
    let found = found.to_str().unwrap_or("bytes");
    let essence = found.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Problem::unsupported_media_type(essence))
}

async fn read(body: Body, ingress: &Ingress) -> Result<Bytes, Problem> {
    let limits = &ingress.limits;
    let limited = Limited::new(body, limits.body_max_bytes).collect();
    match tokio::time::timeout(limits.send_timeout, limited).await {
        Err(_) => Err(Problem::body_timeout(limits.send_timeout)),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(Problem::body_too_large(limits.body_max_bytes))
        }
        Ok(Err(error)) => Err(Problem::invalid_request("body", format!("the body broke off: {error}"))),
    }
}

/// Path parameters, percent-decoded.
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Arc<Ingress>> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, ingress: &Arc<Ingress>) -> Result<Self, Problem> {
        match Path::<T>::from_request_parts(parts, ingress).await {
            Ok(Path(params)) => Ok(Self(params)),
            Err(rejection) => Err(Problem::invalid_request("path", rejection.body_text())),
        }
    }
}

/// One path parameter as the type that checks it.
pub(crate) fn param<T: TryFrom<String, Error: std::fmt::Display>>(
    name: &'static str,
    text: String,
) -> Result<T, Problem> {
    let refused = |reason: T::Error| floodgate_schemas::Invalid::field(InvalidKind::Value, name, reason);
    T::try_from(text).map_err(|reason| Problem::from(refused(reason)))
}

/// What a write carries beside path and body: no query parameters, and perhaps an `Idempotency-Key`. Write
/// routes take their parts as `Result`s, so that every refusal is counted with its type of event.
pub(crate) struct WriteHead {
    pub(crate) key: Option<IdempotencyKey>,
}

impl<S: Sync> FromRequestParts<S> for WriteHead {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        NoQuery::from_request_parts(parts, state).await?;
        let mut sent = parts.headers.get_all("idempotency-key").iter();
        let (first, more) = (sent.next(), sent.next());
        let Some(first) = first else { return Ok(Self { key: None }) };
        let key = first.to_str().ok().and_then(IdempotencyKey::new).filter(|_| more.is_none());
        key.map(|key| Self { key: Some(key) }).ok_or_else(|| {
            let detail = "Idempotency-Key must be given once, 8 to 128 visible ASCII characters";
            Problem::invalid_request("Idempotency-Key", detail)
        })
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
