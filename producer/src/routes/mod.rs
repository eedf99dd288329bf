//! One file per kind of thing a client can ask about.

mod answers;
mod coupons;
mod events;
mod expectations;
mod health;
mod likes;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post, put};

use crate::ingress::Ingress;
use crate::problem::Problem;

/// All routes.
pub(crate) fn router(ingress: Arc<Ingress>) -> Router {
    Router::new()
        .route("/api/v6/expectations", post(expectations::write))
        .route("/api/v6/characters/{characterId}/expectations", get(expectations::read))
        .route("/api/v6/coupons", post(coupons::create))
        .route("/api/v6/coupons/{couponId}", get(coupons::read))
        .route("/api/v6/coupons/{couponId}/issues", post(coupons::issue))
        .route("/api/v6/coupon-requests/{requestId}", get(coupons::decision))
        .route("/api/v6/characters/{targetOcid}/likes", get(likes::count))
        .route(
            "/api/v6/characters/{targetOcid}/likes/{likerAccountId}",
            put(likes::like).delete(likes::unlike).get(likes::liked),
        )
        .route("/api/v6/events", post(events::write))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .fallback(async || Problem::not_found("no such path; see the list of routes in the documentation"))
        .method_not_allowed_fallback(async || {
            Problem::method_not_allowed("the path exists, with other methods")
        })
        .with_state(ingress)
}
