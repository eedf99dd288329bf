//! Whether this process lives, and whether it can take events.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::json;
use crate::Ingress;
use crate::problem::Problem;

#[derive(Serialize)]
struct Health {
    status: &'static str,
}

/// `GET /healthz`: answered at all means the process makes progress.
pub(super) async fn healthz() -> Response {
    json(StatusCode::OK, &Health { status: "ok" })
}

/// `GET /readyz`
pub(super) async fn readyz(State(ingress): State<Arc<Ingress>>) -> Response {
    match ingress.ready() {
        Ok(()) => json(StatusCode::OK, &Health { status: "ready" }),
        Err(detail) => Problem::not_ready(detail).into_response(),
    }
}
