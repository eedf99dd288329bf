//! One file per kind of thing a client can ask about.

mod answers;
mod cloudevents;
mod coupons;
mod docs;
mod events;
mod expectations;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod health;
mod likes;
mod operations;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;

pub(crate) use self::operations::OPERATIONS;
use crate::document::Document;
use crate::guard::{Guard, Way};
use crate::ingress::Ingress;
use crate::openapi;
use crate::operation::Operation;
use crate::problem::Problem;
use crate::scope::Access;

/// All routes.
pub(crate) fn router(ingress: Arc<Ingress>) -> Router {
    let document = Arc::new(Document::new(&openapi::document(&OPERATIONS, ingress.admission.mode())));
    let route = |router: Router<Arc<Ingress>>, operation: &Operation| {
        let is_guarded = ingress.admission.is_on() && operation.access != Access::Open;
        let guard = is_guarded.then_some(Guard(operation.access));
        let way = Way { by: operation.verb.filter(), guard };
        router.route(operation.path, (operation.route)(way, &document))
    };
    OPERATIONS
        .iter()
        .fold(Router::new(), route)
        .fallback(async || Problem::not_found("no such path; see the list of routes in the documentation"))
        .method_not_allowed_fallback(async || {
            Problem::method_not_allowed("the path exists, with other methods")
        })
        .with_state(ingress)
}
