//! The door, from requests to what they are told.

mod batches;
mod configuration;
mod limits;
mod scopes;
mod tokens;

use std::sync::Arc;

use axum::body::Body;
use floodgate_observe::Metrics;
use floodgate_schemas::examples::{HandClock, at};
use jsonwebtoken::Algorithm;
use serde_json::json;

use super::*;
use crate::scope::Scope;
use crate::testing::{Answer, World, config};

const JSON: (&str, &str) = ("content-type", "application/json");

fn auth(mode: AuthMode) -> AuthConfig {
    let of_tokens = |text: &str| if mode == AuthMode::Jwt { text.to_owned() } else { String::new() };
    let jwt = JwtConfig {
        jwks_file: String::new(),
        jwks_url: String::new(),
        issuer: of_tokens("https://issuer.example"),
        audience: of_tokens("floodgate"),
        algorithms: vec![Algorithm::ES256, Algorithm::EdDSA, Algorithm::RS256],
        leeway_s: 30,
        refresh_ms: 1000,
        timeout_ms: 1000,
        verified_max: 100,
    };
    AuthConfig { mode, bind_user: false, keys: Vec::new(), jwt }
}

fn unlimited() -> RateLimitConfig {
    RateLimitConfig {
        client_events_per_s: 0,
        client_burst_events: 0,
        total_events_per_s: 0,
        total_burst_events: 0,
        refusal_delay_ms: 0,
        clients_max: 1000,
        trusted_proxies: Vec::new(),
    }
}

/// A world behind a door, and the clock it looks at, which stands at ten.
fn world(auth: &AuthConfig, limit: &RateLimitConfig) -> (World, Arc<HandClock>) {
    let clock = Arc::new(HandClock::new(at(0)));
    let metrics = Metrics::new().unwrap().http;
    let admission = Admission::open(auth, limit, &metrics, Arc::clone(&clock) as _).unwrap();
    let config = crate::HttpConfig {
        events_max: 1000,
        body_max_bytes: 100_000,
        bodies_max_bytes: 1_000_000,
        ..config()
    };
    (World::guarded(&config, admission), clock)
}

fn with_keys(keys: &[(&str, &str, &[Scope])], bind_user: bool) -> AuthConfig {
    let key = |(id, key, scopes): &(&str, &str, &[Scope])| KeyConfig {
        id: (*id).to_owned(),
        sha256: key_hash(key),
        scopes: scopes.to_vec(),
        expires: None,
    };
    AuthConfig { keys: keys.iter().map(key).collect(), bind_user, ..auth(AuthMode::Keys) }
}

/// What a request says and who sends it.
async fn ask(world: &World, method: &str, path: &str, bearer: &str, body: serde_json::Value) -> Answer {
    let authorization = format!("Bearer {bearer}");
    let sent = if body.is_null() { String::new() } else { body.to_string() };
    let headers = [("authorization", authorization.as_str()), JSON];
    let headers = if sent.is_empty() { &headers[..1] } else { &headers };
    world.ask(method, path, headers, sent).await
}

const LIKE: &str = "/api/v6/characters/star/likes/ann";

#[tokio::test]
async fn without_a_word_on_who_it_is_nobody_is_let_in() {
    let (world, _) = world(&with_keys(&[("game", "key-1", &Scope::ALL)], false), &unlimited());
    let refused = world.ask("PUT", LIKE, &[], Body::empty()).await;
    assert_eq!(refused.told(), (401, "unauthorized"));
    assert_eq!(refused.header("www-authenticate"), Some("Bearer realm=\"floodgate\""));
    assert_eq!(refused.header("content-type"), Some("application/problem+json"));
    for header in [
        "key-1",
        "Bearer",
        "Bearer ",
        "Bearer  ",
        "Basic key-1",
        "Bearer key-2",
        "Bearer key-1 x",
        "bearer\tkey-1",
        "Bearer Key-1",
        "Bearer key-1,key-1",
        "",
        "Bearer \u{e9}",
    ] {
        let refused = world.ask("PUT", LIKE, &[("authorization", header)], Body::empty()).await;
        assert_eq!(refused.told(), (401, "unauthorized"), "{header}");
        assert!(refused.header("www-authenticate").unwrap().contains("invalid_token"), "{header}");
    }
    let twice = [("authorization", "Bearer key-1"), ("authorization", "Bearer key-1")];
    assert_eq!(world.ask("PUT", LIKE, &twice, Body::empty()).await.told().0, 401);
    assert_eq!(world.buffer.take().len(), 0);
    for header in ["Bearer key-1", "bearer key-1", "BEARER  key-1"] {
        assert_eq!(world.ask("PUT", LIKE, &[("authorization", header)], Body::empty()).await.told().0, 202);
    }
    // who keeps the process alive has no key
    for open in ["/healthz", "/readyz"] {
        assert_eq!(world.ask("GET", open, &[], Body::empty()).await.told().0, 200);
    }
}

/// No database, broker or file has its name in an answer; the log has, under the answer's instance.
#[tokio::test]
async fn what_clients_are_told_names_nothing_of_ours() {
    use crate::testing::Fate;
    use floodgate_buffer::Refused;
    use floodgate_store::ReadError;

    let world = World::new(&config());
    let secret =
        "broker-1.internal:9092, postgres://floodgate:secret@db.internal/prod, /var/lib/floodgate.db";
    let leaks = |answer: &Answer| {
        let told = answer.body.to_string();
        ["1.internal", "9092", "postgres", "secret", "/var"].iter().any(|word| told.contains(word))
    };
    world.buffer.next([Fate::Refused(Refused::Unavailable(secret.to_owned())), Fate::NotStored]);
    for _ in 0..2 {
        let answer = world.ask("PUT", LIKE, &[], Body::empty()).await;
        assert_eq!(answer.told(), (503, "not-stored"));
        assert!(
            answer.body["instance"].as_str().unwrap().starts_with("urn:uuid:") && !leaks(&answer),
            "{answer:?}"
        );
    }
    world.buffer.next([Fate::Refused(Refused::Unavailable(secret.to_owned()))]);
    let like = json!([{"type": "like", "targetOcid": "a", "likerAccountId": "b", "action": "LIKE"}]);
    let answer = world.ask("POST", "/api/v6/events", &[JSON], like.to_string()).await;
    let problem = &answer.body["results"][0]["problem"];
    assert!(problem["instance"].as_str().unwrap().starts_with("urn:uuid:") && !leaks(&answer), "{answer:?}");
    for (error, told) in [
        (ReadError::Unavailable(secret.to_owned()), (503, "database-unavailable")),
        (ReadError::Unanswered(secret.to_owned()), (503, "database-unavailable")),
        (ReadError::Unreadable(secret.to_owned()), (500, "internal")),
    ] {
        *world.database.away.lock() = Some(error);
        let answer = world.ask("GET", "/api/v6/coupons/c", &[], Body::empty()).await;
        assert_eq!(answer.told(), told);
        assert!(answer.body["instance"].is_string() && !leaks(&answer), "{answer:?}");
        assert_eq!(answer.header("retry-after").is_some(), told.0 == 503);
    }
}
