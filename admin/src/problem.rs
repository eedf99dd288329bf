//! Errors as clients of the other listener get them (RFC 9457).

use axum::Json;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
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

    /// Names what is at fault.
    fn about(mut self, field: &str) -> Self {
        self.body["field"] = field.into();
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
