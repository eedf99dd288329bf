//! Looks whether whoever asks may use an operation, before what answers it.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use futures_util::future::Either;
use tower_layer::Layer;
use tower_service::Service;

use crate::admission::Admitted;
use crate::problem::Problem;
use crate::scope::Access;

/// Wraps what answers an operation.
#[derive(Clone, Copy)]
pub(super) struct Guard(pub(super) Access);

/// What answers whoever may.
#[derive(Clone)]
pub(super) struct Guarded<S> {
    inner: S,
    access: Access,
}

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { inner, access: self.0 }
    }
}

impl<S: Service<Request, Response = Response, Error = Infallible>> Service<Request> for Guarded<S> {
    type Response = Response;
    type Error = Infallible;
    type Future = Either<Ready<Result<Response, Infallible>>, S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let nobody = || Problem::internal("nobody let this request in");
        let admitted = request.extensions().get::<Admitted>().ok_or_else(nobody);
        match admitted.and_then(|admitted| admitted.may_use(self.access)) {
            Ok(()) => Either::Right(self.inner.call(request)),
            Err(problem) => Either::Left(ready(Ok(problem.into_response()))),
        }
    }
}
