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
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::IntoResponse;
use axum::routing::MethodRouter;

use self::operations::OPERATIONS;
use crate::admission::Admitted;
use crate::document::Document;
use crate::ingress::Ingress;
use crate::openapi;
use crate::operation::Operation;
use crate::problem::Problem;
use crate::scope::Access;

/// All routes.
pub(crate) fn router(ingress: Arc<Ingress>) -> Router {
    let document = Arc::new(Document::new(&openapi::document(&OPERATIONS)));
    let route = |router: Router<Arc<Ingress>>, operation: &Operation| {
        let methods = (operation.route)(operation.verb.filter(), &document);
        let is_guarded = ingress.admission.is_on() && operation.access != Access::Open;
        let methods = if is_guarded { guarded(methods, operation.access) } else { methods };
        router.route(operation.path, methods)
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

/// Serves whoever may use the operation.
fn guarded(methods: MethodRouter<Arc<Ingress>>, access: Access) -> MethodRouter<Arc<Ingress>> {
    methods.layer(from_fn(move |request: Request, next: Next| async move {
        let admitted = request.extensions().get::<Admitted>();
        match admitted.map_or(Ok(()), |admitted| admitted.may_use(access)) {
            Ok(()) => next.run(request).await,
            Err(problem) => problem.into_response(),
        }
    }))
}
