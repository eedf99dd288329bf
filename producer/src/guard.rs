//! Looks whether whoever asks may use an operation, before what answers it.
//!
//! It stands around the handler and not around the route: a layer around a route has every request boxed once more.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::Request;
use axum::handler::Handler;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use futures_util::future::Either;
use tower_layer::Layer;
use tower_service::Service;

use crate::admission::Admitted;
use crate::ingress::Ingress;
use crate::scope::Access;

/// How requests come to what answers an operation.
pub(crate) struct Way {
    pub(crate) by: MethodFilter,
    /// Where callers have to say who they are, or how much they send is counted.
    pub(crate) guard: Option<Guard>,
}

impl Way {
    pub(crate) fn to<H, T>(self, handler: H) -> MethodRouter<Arc<Ingress>>
    where
        H: Handler<T, Arc<Ingress>>,
        T: 'static,
    {
        match self.guard {
            Some(guard) => on(self.by, handler.layer(guard)),
            None => on(self.by, handler),
        }
    }
}

/// Wraps what answers an operation.
#[derive(Clone, Copy)]
pub(crate) struct Guard(pub(crate) Access);

/// What answers whoever may.
#[derive(Clone)]
pub(crate) struct Guarded<S> {
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
        match Admitted::who_asks().and_then(|admitted| admitted.may_use(self.access)) {
            Ok(()) => Either::Right(self.inner.call(request)),
            Err(problem) => Either::Left(ready(Ok(problem.into_response()))),
        }
    }
}
