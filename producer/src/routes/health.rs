//! Whether this process lives, and whether it can take events.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;

use super::json;
use crate::Ingress;

#[derive(Serialize)]
struct Health {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// `GET /healthz`: answered at all means the process makes progress.
pub(super) async fn healthz() -> Response {
    json(StatusCode::OK, &Health { status: "ok", detail: None })
}

/// `GET /readyz`
pub(super) async fn readyz(State(ingress): State<Arc<Ingress>>) -> Response {
    match ingress.ready() {
        Ok(()) => json(StatusCode::OK, &Health { status: "ready", detail: None }),
        Err(detail) => {
            json(StatusCode::SERVICE_UNAVAILABLE, &Health { status: "unready", detail: Some(detail) })
        }
    }
}
