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
use crate::paths::{COUPON, COUPONS, DECISION, EVENTS, EXPECTATIONS, EXPECTATIONS_OF, ISSUES, LIKE, LIKES};
use crate::problem::Problem;

/// All routes.
pub(crate) fn router(ingress: Arc<Ingress>) -> Router {
    Router::new()
        .route(EXPECTATIONS, post(expectations::write))
        .route(EXPECTATIONS_OF, get(expectations::read))
        .route(COUPONS, post(coupons::create))
        .route(COUPON, get(coupons::read))
        .route(ISSUES, post(coupons::issue))
        .route(DECISION, get(coupons::decision))
        .route(LIKES, get(likes::count))
        .route(LIKE, put(likes::like).delete(likes::unlike).get(likes::liked))
        .route(EVENTS, post(events::write))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .fallback(async || Problem::not_found("no such path; see the list of routes in the documentation"))
        .method_not_allowed_fallback(async || {
            Problem::method_not_allowed("the path exists, with other methods")
        })
        .with_state(ingress)
}
