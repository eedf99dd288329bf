//! Requests that are followed: their spans begin here.
//!
//! Only where something is followed at all is anything of this in the way of a request.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequestParts, Request};
use axum::http::Method;
use axum::http::request::Parts;
use axum::response::Response;
use floodgate_traces::{Ended, TRACEPARENT};

use crate::admission::Peer;
use crate::answer::answer;
use crate::ingress::Ingress;
use crate::paths;

/// The request's span, if it is followed: what routes hand on to whoever publishes.
#[derive(Clone, Default)]
pub(crate) struct Followed(pub(crate) Option<Arc<floodgate_traces::Request>>);

impl FromRequestParts<Arc<Ingress>> for Followed {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, ingress: &Arc<Ingress>) -> Result<Self, Self::Rejection> {
        if !ingress.tracer.is_on() {
            return Ok(Self::default());
        }
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}

/// Has a request answered, and if it is followed tells how that ended.
pub(crate) async fn answered(
    ingress: &Ingress,
    router: &Router,
    peer: &Peer,
    mut request: Request,
) -> Result<Response, Infallible> {
    let Some(mut ending) = Ending::of(ingress, &request) else {
        return answer(ingress, router, peer, request).await;
    };
    request.extensions_mut().insert(Followed(Some(Arc::clone(&ending.followed))));
    let response = answer(ingress, router, peer, request).await?;
    ending.how = Ended::Answered(response.status().as_u16());
    Ok(response)
}

/// Tells of a request when it is over, also when its client went away and nobody answers it any more.
struct Ending {
    followed: Arc<floodgate_traces::Request>,
    method: Method,
    path: String,
    how: Ended,
}

impl Ending {
    /// One that is to be followed.
    fn of(ingress: &Ingress, request: &Request) -> Option<Self> {
        if !ingress.tracer.is_on() || !request.uri().path().starts_with(paths::API) {
            return None;
        }
        let mut sent = request.headers().get_all(TRACEPARENT).iter();
        // of several nobody knows which is meant
        let traceparent = sent.next().filter(|_| sent.next().is_none()).map(|header| header.as_bytes());
        let followed = ingress.tracer.request(traceparent)?;
        let path = request.uri().path().to_owned();
        Some(Self { followed, method: request.method().clone(), path, how: Ended::Left })
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let how = if std::thread::panicking() { Ended::Bug } else { self.how };
        self.followed.ended(self.method.as_str(), (route(&self.path), &self.path), how);
    }
}

/// Which route a path is of. The router knows, and would tell of every request, followed or not.
fn route(path: &str) -> Option<&'static str> {
    let segments = path.split('/').count();
    let is_of = |route: &&&str| {
        let mut both = route.split('/').zip(path.split('/'));
        route.split('/').count() == segments
            && both.all(|(wanted, found)| wanted == found || wanted.starts_with('{') && !found.is_empty())
    };
    paths::ROUTES.iter().find(is_of).copied()
}

#[cfg(test)]
mod tests {
    use floodgate_observe::Metrics;
    use floodgate_schemas::examples::{Counted, HandClock, at};
    use floodgate_traces::{OtelConfig, Span, Surroundings, Tracer};
    use serde_json::json;
    use tokio::sync::mpsc;

    use super::*;
    use crate::testing::{Fate, World, config};

    /// A world that follows what says so.
    fn traced() -> (World, mpsc::Receiver<Span>) {
        let otel = OtelConfig {
            endpoint: String::new(),
            headers: "".into(),
            service_name: String::new(),
            sample_ratio: 0.0,
            follow_parent: true,
            links_max: 1,
            queue_max_spans: 100,
            timeout_ms: 1,
        };
        let around = Surroundings { messaging: "test", database: "none", destinations: Vec::new() };
        let (clock, chance) = (Arc::new(HandClock::new(at(0))), Arc::new(Counted::default()));
        let (tracer, spans) =
            Tracer::new(&otel, around, Metrics::new().unwrap().traces, clock as _, chance as _);
        (World::traced(&config(), tracer), spans)
    }

    const FOLLOWED: (&str, &str) = (TRACEPARENT, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    const JSON: (&str, &str) = ("content-type", "application/json");
    const ENVELOPE: [(&str, &str); 4] = [
        ("ce-specversion", "1.0"),
        ("ce-type", "floodgate.coupon.v1"),
        ("ce-source", "/shop"),
        ("ce-id", "4711"),
    ];

    /// What was told, and what it belongs to.
    fn told(spans: &mut mpsc::Receiver<Span>) -> Vec<(String, u64, u64)> {
        let spans = std::iter::from_fn(|| spans.try_recv().ok());
        spans.map(|s| (s.name, s.context.span_id(), s.parent.map_or(0, |parent| parent.span_id()))).collect()
    }

    #[tokio::test]
    async fn records_of_followed_requests_carry_their_span() {
        let (world, mut spans) = traced();
        let like = "/api/v6/characters/star/likes/fan";
        let many = json!([
            {"type": "like", "targetOcid": "a", "likerAccountId": "b", "action": "LIKE"},
            {"type": "coupon", "couponId": "a", "userId": "b"},
            {"type": "like", "targetOcid": "a", "likerAccountId": "c", "action": "LIKE"},
        ]);
        for (method, path, body, name, sent) in [
            ("PUT", like, String::new(), "PUT /api/v6/characters/{targetOcid}/likes/{likerAccountId}", 1),
            (
                "DELETE",
                like,
                String::new(),
                "DELETE /api/v6/characters/{targetOcid}/likes/{likerAccountId}",
                1,
            ),
            (
                "POST",
                "/api/v6/coupons/summer/issues",
                json!({"userId": "ann"}).to_string(),
                "POST /api/v6/coupons/{couponId}/issues",
                1,
            ),
            ("POST", "/api/v6/events", many.to_string(), "POST /api/v6/events", 2),
            (
                "POST",
                "/api/v6/cloudevents",
                json!({"couponId": "a", "userId": "b"}).to_string(),
                "POST /api/v6/cloudevents",
                1,
            ),
        ] {
            let headers = |first: &[(&'static str, &'static str)]| {
                let json = if body.is_empty() { &[][..] } else { &[JSON] };
                let envelope = if path.ends_with("/cloudevents") { &ENVELOPE[..] } else { &[] };
                [first, json, envelope].concat()
            };
            let answer = world.ask(method, path, &headers(&[FOLLOWED]), body.clone()).await;
            assert!(answer.told().0 < 300, "{answer:?}");
            let followed = told(&mut spans);
            let (server, sends) = followed.split_last().unwrap();
            assert_eq!((server.0.as_str(), server.2, sends.len()), (name, 0xb7ad_6b71_6920_3331, sent));
            assert!(sends.iter().all(|send| send.2 == server.1), "{sends:?}");
            for kept in world.buffer.take() {
                let carried = kept.traceparent.unwrap();
                let is_of = |(name, span, _): &&(String, u64, u64)| {
                    name.ends_with(kept.topic.base_name()) && carried.contains(&format!("-{span:016x}-01"))
                };
                assert!(sends.iter().any(|send| is_of(&send)), "{carried} of {sends:?}");
            }
            // the same, not followed
            world.ask(method, path, &headers(&[]), body.clone()).await;
            assert!(world.buffer.take().iter().all(|kept| kept.traceparent.is_none()));
            assert_eq!(told(&mut spans), []);
        }
    }

    #[tokio::test]
    async fn what_becomes_of_a_request_is_told() {
        let (world, mut spans) = traced();
        let errors = |spans: &mut mpsc::Receiver<Span>| -> Vec<Option<String>> {
            std::iter::from_fn(|| spans.try_recv().ok()).map(|s| s.error.map(String::from)).collect()
        };
        let like = "/api/v6/characters/star/likes/fan";
        world.buffer.next([Fate::NotStored]);
        assert_eq!(world.ask("PUT", like, &[FOLLOWED], "").await.told().0, 503);
        let not_acknowledged = Some("1 of 1 not acknowledged".to_owned());
        let of_server = Some(String::new());
        assert_eq!(errors(&mut spans), [not_acknowledged, of_server]);
        // nothing of it was ever sent
        assert_eq!(world.ask("PUT", "/api/v6/characters/fan/likes/fan", &[FOLLOWED], "").await.told().0, 422);
        assert_eq!(errors(&mut spans), [None]);
        // its client goes away before anybody knows
        world.buffer.next([Fate::Silence]);
        let asking = world.ask("PUT", like, &[FOLLOWED], "");
        let waited = tokio::time::timeout(std::time::Duration::from_millis(1), asking).await;
        assert!(waited.is_err());
        let left = Some("the client went away".to_owned());
        assert_eq!(errors(&mut spans), [Some("1 of 1 not acknowledged".to_owned()), left]);
    }

    /// Nobody knows which of several is meant.
    #[tokio::test]
    async fn two_parents_are_none() {
        let (world, mut spans) = traced();
        world.ask("GET", "/api/v6/characters/star/likes", &[FOLLOWED, FOLLOWED], "").await;
        assert_eq!(told(&mut spans), []);
    }

    #[tokio::test]
    async fn reads_are_followed_and_checks_of_health_are_not() {
        let (world, mut spans) = traced();
        world.ask("GET", "/api/v6/characters/star/likes", &[FOLLOWED], "").await;
        world.ask("GET", "/healthz", &[FOLLOWED], "").await;
        world.ask("GET", "/nowhere", &[FOLLOWED], "").await;
        world.ask("GET", "/api/nowhere", &[FOLLOWED], "").await;
        let names: Vec<_> = told(&mut spans).into_iter().map(|(name, ..)| name).collect();
        assert_eq!(names, ["GET /api/v6/characters/{targetOcid}/likes", "GET"]);
    }

    #[test]
    fn paths_are_of_the_routes_that_serve_them() {
        for path in paths::ROUTES {
            assert_eq!(route(path), Some(path));
        }
        assert_eq!(route("/api/v6/coupons/summer/issues"), Some("/api/v6/coupons/{couponId}/issues"));
        for none in [
            "/api/v6/coupons/",
            "/api/v6/coupons/a/b",
            "/api/v6",
            "/api/v6/coupons//issues",
            "/api/v6/events/",
        ] {
            assert_eq!(route(none), None, "{none}");
        }
    }
}
