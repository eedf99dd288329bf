//! One file per kind of thing a client can ask about.

mod answers;
mod cloudevents;
mod coupons;
mod events;
mod expectations;
mod health;
mod likes;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use axum::routing::{MethodRouter, get, post, put};

use crate::ingress::Ingress;
use crate::paths::ROUTES;
use crate::problem::Problem;

/// All routes.
pub(crate) fn router(ingress: Arc<Ingress>) -> Router {
    let methods: [MethodRouter<Arc<Ingress>>; ROUTES.len()] = [
        post(expectations::write),
        get(expectations::read),
        post(coupons::create),
        get(coupons::read),
        post(coupons::issue),
        get(coupons::decision),
        get(likes::count),
        put(likes::like).delete(likes::unlike).get(likes::liked),
        post(events::write),
        post(cloudevents::write),
    ];
    let api = ROUTES.into_iter().zip(methods);
    api.fold(Router::new(), |router, (path, methods)| router.route(path, methods))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .fallback(async || Problem::not_found("no such path; see the list of routes in the documentation"))
        .method_not_allowed_fallback(async || {
            Problem::method_not_allowed("the path exists, with other methods")
        })
        .with_state(ingress)
}
