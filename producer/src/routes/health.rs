//! Whether this process lives, and whether it can take events.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use floodgate_buffer::Parts;

use super::answers::json;
use crate::described::{answer, words};
use crate::ingress::Ingress;
use crate::problem::Problem;

/// Clients are told that, and operators why: names of brokers and topics are none of clients' business.
const CANNOT_STORE: &str =
    "this instance cannot store events now; operators find the reason on their listener's /readyz";
const SHUTTING_DOWN: &str = "shutting down";
const STOPS: &str = "a part of this instance met a bug, and it stops";

answer! {
    pub(super) struct Health {
        status: HealthStatus = "status", "How this instance is.";
    }
}

words! {
    pub(super) enum HealthStatus {
        Ok = "ok",
        Ready = "ready",
    }
}

/// `GET /healthz`: answered at all means that requests are, unless a part has died that they need.
pub(super) async fn healthz() -> Response {
    match Parts::of_this_process().died() {
        None => json(StatusCode::OK, &Health { status: HealthStatus::Ok }),
        Some(_) => Problem::not_ready(STOPS, STOPS.to_owned()).into_response(),
    }
}

/// `GET /readyz`
pub(super) async fn readyz(State(ingress): State<Arc<Ingress>>) -> Response {
    match ingress.ready() {
        Ok(()) => json(StatusCode::OK, &Health { status: HealthStatus::Ready }),
        Err(reason) => {
            let detail = if ingress.is_draining() { SHUTTING_DOWN } else { CANNOT_STORE };
            Problem::not_ready(detail, reason).into_response()
        }
    }
}
