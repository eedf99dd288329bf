//! Errors as clients of the other listener get them (RFC 9457).

use axum::Json;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use floodgate_listener::{Fault, MEDIA_TYPE, Refusal};
use serde_json::{Value, json};

#[derive(Debug, Clone)]
pub(crate) struct Problem {
    status: StatusCode,
    body: Value,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, name: &str, title: &str, detail: &str) -> Self {
        let body = json!({
            "type": format!("/problems/{name}"), "title": title, "status": status.as_u16(), "detail": detail,
            "retryable": status == StatusCode::SERVICE_UNAVAILABLE,
        });
        Self { status, body }
    }

    /// A request with a `field` that cannot be taken as it is.
    pub(crate) fn refused(field: &str, detail: &str) -> Self {
        let detail = format!("`{field}` {detail}");
        Self::new(StatusCode::BAD_REQUEST, "invalid-request", "The request cannot be read", &detail)
            .about(field)
    }

    /// As it is written where there is no request to answer.
    pub(crate) fn refusal(self) -> Refusal {
        Refusal { status: self.status, body: self.body.to_string().into_bytes() }
    }

    /// Names what is at fault.
    fn about(mut self, field: &str) -> Self {
        self.body["field"] = field.into();
        self
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        let (title, no_request) = ("The request cannot be read", "this is not an HTTP/1.1 request");
        match fault {
            Fault::Target(_) => {
                let title = "Path and query are too long";
                Self::new(StatusCode::URI_TOO_LONG, "target-too-long", title, "ask for less at once")
            }
            Fault::Size => {
                let (status, title) =
                    (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "The request's head is too large");
                Self::new(status, "head-too-large", title, "too many header fields, or too long ones")
            }
            Fault::Part { field, detail } => {
                Self::new(StatusCode::BAD_REQUEST, "invalid-request", title, detail).about(field)
            }
            Fault::NoRequest => Self::new(StatusCode::BAD_REQUEST, "invalid-request", title, no_request),
            Fault::NoRoom => {
                let detail = "too many large requests at once; send the request again later";
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "busy",
                    "More is being read than configured",
                    detail,
                )
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
