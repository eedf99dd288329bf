//! What answers requests, whatever connection they come by.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::ORIGIN;
use axum::response::{IntoResponse, Response};
use tower_layer::Layer;
use tower_service::Service;

use crate::admission::{Admitted, Peer};
use crate::answer::tell;
use crate::follow;
use crate::ingress::Ingress;
use crate::problem::Problem;

/// Has a request answered, and tells browsers whose page may read it.
pub(crate) async fn answered(
    ingress: &Arc<Ingress>,
    router: &Router,
    peer: &Peer,
    request: Request,
) -> Result<Response, Infallible> {
    // whoever needs nothing of all this goes the short way
    if ingress.is_plain() {
        let holder = Arc::clone(&peer.holder);
        let admitted = Admitted { caller: None, holder };
        let mut response = admitted.answering(router.clone().call(request)).await?;
        tell(ingress, &mut response);
        return Ok(response);
    }
    // boxed, or the short way would carry its room around
    let Some(layer) = &ingress.origins else {
        return Box::pin(follow::answered(ingress, router, peer, request)).await;
    };
    let inner = Inner { ingress: Arc::clone(ingress), router: router.clone(), peer: peer.clone() };
    Box::pin(layer.layer(inner).call(request)).await
}

/// Tells of a request that is refused by its head alone what every answer tells. It was not looked at whether it is a preflight:
/// nobody is let in by it.
pub(crate) async fn refused(
    ingress: &Ingress,
    origin: Option<HeaderValue>,
    problem: Problem,
) -> Result<Response, Infallible> {
    let mut response = problem.into_response();
    tell(ingress, &mut response);
    let Some(layer) = &ingress.origins else { return Ok(response) };
    let mut request = Request::new(());
    request.headers_mut().extend(origin.map(|origin| (ORIGIN, origin)));
    layer.layer(Refusal(response)).call(request).await
}

/// An answer that there is already, for the layer around it.
struct Refusal(Response);

impl Service<Request<()>> for Refusal {
    type Response = Response;
    type Error = Infallible;
    type Future = Ready<Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Ok(std::mem::take(&mut self.0)))
    }
}

/// What answers a request, for the layer around it.
struct Inner {
    ingress: Arc<Ingress>,
    router: Router,
    peer: Peer,
}

impl Service<Request> for Inner {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let (ingress, router, peer) = (Arc::clone(&self.ingress), self.router.clone(), self.peer.clone());
        Box::pin(async move { follow::answered(&ingress, &router, &peer, request).await })
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use floodgate_listener::Fault;

    use super::*;
    use crate::HttpConfig;
    use crate::testing::{Answer, World, config};

    const LIKE: &str = "/api/v6/characters/star/likes/fan";

    fn allows(answer: &Answer) -> Option<&str> {
        answer.header("access-control-allow-origin")
    }

    async fn from(world: &World, method: &str, origin: &str) -> Answer {
        let asks = ("access-control-request-method", "PUT");
        let headers: &[_] =
            if method == "OPTIONS" { &[("origin", origin), asks] } else { &[("origin", origin)] };
        world.ask(method, LIKE, headers, Body::empty()).await
    }

    #[tokio::test]
    async fn pages_of_other_origins_cannot_unless_they_are_listed() {
        let closed = World::new(&config());
        assert_eq!(from(&closed, "OPTIONS", "https://game.example").await.told().0, 405);
        assert_eq!(allows(&from(&closed, "PUT", "https://game.example").await), None);
        let listed = vec!["https://game.example".to_owned()];
        let open = World::new(&HttpConfig { allow_origins: listed, ..config() });
        let preflight = from(&open, "OPTIONS", "https://game.example").await;
        assert_eq!((preflight.told().0, allows(&preflight)), (200, Some("https://game.example")));
        assert!(preflight.header("access-control-allow-methods").unwrap().contains("PUT"));
        assert_eq!(open.buffer.take().len(), 0);
        let put = from(&open, "PUT", "https://game.example").await;
        assert_eq!((put.told().0, allows(&put)), (202, Some("https://game.example")));
        assert_eq!(allows(&from(&open, "PUT", "https://evil.example").await), None);
        // an error can be read as well
        let world = world_of_any();
        let answer = world.ask("GET", "/nowhere", &[("origin", "https://evil.example")], "").await;
        assert_eq!((answer.told().0, allows(&answer)), (404, Some("*")));
    }

    /// Those that never come as far as a route say it as well, and let no preflight pass.
    #[tokio::test]
    async fn a_head_that_is_refused_can_be_read_too() {
        let told = async |world: &World, origin: Option<&'static str>| {
            let origin = origin.map(HeaderValue::from_static);
            let response =
                super::refused(&world.ingress, origin, Fault::Target(Some(9)).into()).await.unwrap();
            let allowed = response.headers().get("access-control-allow-origin");
            (response.status().as_u16(), allowed.map(|allowed| allowed.to_str().unwrap().to_owned()))
        };
        let game = "https://game.example";
        let open = World::new(&HttpConfig { allow_origins: vec![game.to_owned()], ..config() });
        assert_eq!(told(&open, Some(game)).await, (414, Some(game.to_owned())));
        assert_eq!(told(&open, Some("https://evil.example")).await, (414, None));
        assert_eq!(told(&open, None).await, (414, None));
        assert_eq!(told(&World::new(&config()), Some(game)).await, (414, None));
    }

    fn world_of_any() -> World {
        World::new(&HttpConfig { allow_origins: vec!["*".to_owned()], ..config() })
    }
}
