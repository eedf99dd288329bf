//! Pages of other origins.
//!
//! Browsers let a page send requests to another origin than its own only if that says so. It does not unless origins are listed:
//! then preflights are answered before anything else is asked, as browsers send them without credentials, and every answer to what could
//! be read as a request, refusals included, says which page may read it.

use std::time::Duration;

use axum::http::header::{ACCEPT_ENCODING, ETAG, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, Method};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};
use url::Url;

/// How long browsers may remember what a preflight was answered.
const REMEMBERED: Duration = Duration::from_secs(600);

/// What answers say, as the document has it, besides what every page may read.
pub(crate) const EXPOSED: [HeaderName; 8] = [
    LOCATION,
    RETRY_AFTER,
    ETAG,
    WWW_AUTHENTICATE,
    ACCEPT_ENCODING,
    HeaderName::from_static("ratelimit"),
    HeaderName::from_static("ratelimit-policy"),
    HeaderName::from_static("floodgate-stored-in"),
];

/// What tells browsers of the origins that may; `None` where none may.
pub(crate) fn allowed(origins: &[String]) -> Option<CorsLayer> {
    let origin = match origins {
        [] => return None,
        [any] if any == "*" => AllowOrigin::any(),
        listed => AllowOrigin::list(listed.iter().filter_map(|origin| HeaderValue::from_str(origin).ok())),
    };
    let methods = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE];
    let layer = CorsLayer::new().allow_origin(origin).allow_methods(methods);
    Some(layer.allow_headers(AllowHeaders::mirror_request()).expose_headers(EXPOSED).max_age(REMEMBERED))
}

/// What is wrong with the origins that are listed: what no browser ever says would let nobody in, and nothing would tell.
pub(crate) fn problem(origins: &[String]) -> Option<String> {
    if origins.len() > 1 && origins.iter().any(|origin| origin == "*") {
        return Some("http.allow_origins: \"*\" is any origin, and stands alone".to_owned());
    }
    let wrong = origins.iter().find(|origin| !is_said(origin) && *origin != "*")?;
    let meant = as_said(wrong).filter(|meant| is_said(meant));
    let meant = meant.map(|meant| format!("; did you mean {meant:?}?")).unwrap_or_default();
    // a name and a password are no part of one
    let shown = if wrong.contains('@') { "one of them".to_owned() } else { format!("{wrong:?}") };
    Some(format!(
        "http.allow_origins: {shown} is no origin as browsers say it: a scheme and a host in lower case, and a port if it is \
         not the scheme's, such as https://game.example; or \"*\" alone{meant}"
    ))
}

/// Whether browsers say an origin so.
fn is_said(origin: &str) -> bool {
    // a star is a host's name as any, and no pattern
    !origin.contains('*') && as_said(origin).is_some_and(|said| said == origin)
}

/// How browsers say the origin that is meant.
fn as_said(origin: &str) -> Option<String> {
    let url = Url::parse(origin).ok()?;
    if let said @ url::Origin::Tuple(..) = url.origin() {
        return Some(said.ascii_serialization());
    }
    // of schemes that are not the web's, such as an extension's, browsers know as little as is known here
    let (scheme, host) = (url.scheme(), url.host_str().filter(|host| !host.is_empty())?.to_ascii_lowercase());
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    Some(format!("{scheme}://{host}{port}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::body::Body;
    use floodgate_observe::Metrics;
    use floodgate_schemas::examples::{HandClock, at};

    use super::*;
    use crate::HttpConfig;
    use crate::admission::{
        Admission, AuthConfig, AuthMode, JwtConfig, KeyConfig, RateLimitConfig, key_hash,
    };
    use crate::scope::Scope;
    use crate::testing::{Answer, World, config};

    const GAME: &str = "https://game.example";
    const LIKES: &str = "/api/v6/characters/star/likes";

    /// One event of everybody who has the key.
    fn guarded() -> Admission {
        let key = KeyConfig {
            id: "game".to_owned(),
            sha256: key_hash("key-1"),
            scopes: vec![Scope::Read],
            expires: None,
        };
        let jwt = JwtConfig {
            jwks_file: String::new(),
            jwks_url: String::new(),
            issuer: String::new(),
            audience: String::new(),
            algorithms: Vec::new(),
            leeway_s: 0,
            refresh_ms: 1000,
            timeout_ms: 1000,
            verified_max: 100,
        };
        let auth = AuthConfig { mode: AuthMode::Keys, bind_user: false, keys: vec![key], jwt };
        let limit = RateLimitConfig {
            client_events_per_s: 1,
            client_burst_events: 1,
            total_events_per_s: 0,
            total_burst_events: 0,
            refusal_delay_ms: 0,
            clients_max: 10,
            trusted_proxies: Vec::new(),
        };
        Admission::open(&auth, &limit, &Metrics::new().unwrap().http, Arc::new(HandClock::new(at(0))))
            .unwrap()
    }

    /// What a browser looks at: the status, who may read the answer, and of it which fields.
    fn seen(answer: &Answer) -> (u16, Option<&str>, Vec<&str>) {
        let exposed = answer.header("access-control-expose-headers").unwrap_or_default();
        assert_eq!(answer.header("access-control-allow-credentials"), None);
        let vary = answer.header("vary").unwrap();
        assert!(vary.split(", ").any(|name| name == "origin"), "caches hand it to others: {vary}");
        let exposed = exposed.split(',').filter(|name| !name.is_empty()).collect();
        (answer.told().0, answer.header("access-control-allow-origin"), exposed)
    }

    /// Preflights come without a key and cost nothing; refusals can be read as answers can, by those that are listed.
    #[tokio::test(start_paused = true)]
    async fn preflights_pass_what_requests_do_not() {
        let config = HttpConfig { allow_origins: vec![GAME.to_owned()], ..config() };
        let world = World::guarded(&config, guarded());
        let ask = async |method: &str, headers: &[(&str, &str)]| {
            world.ask(method, LIKES, headers, Body::empty()).await
        };
        let preflight = [
            ("origin", GAME),
            ("access-control-request-method", "GET"),
            ("access-control-request-headers", "authorization,idempotency-key"),
        ];
        // more of them than anybody may ask for anything
        for _ in 0..3 {
            let answer = ask("OPTIONS", &preflight).await;
            assert_eq!(seen(&answer), (200, Some(GAME), vec![]));
            assert_eq!(answer.header("access-control-allow-headers"), Some("authorization,idempotency-key"));
            assert_eq!(answer.header("access-control-allow-methods"), Some("GET,HEAD,POST,PUT,DELETE"));
            assert_eq!(answer.header("access-control-max-age"), Some("600"));
            assert_eq!(answer.header("ratelimit"), None);
        }
        let listed = EXPOSED;
        let exposed = listed.iter().map(HeaderName::as_str).collect::<Vec<_>>();
        let nobody = ask("GET", &[("origin", GAME)]).await;
        assert_eq!(seen(&nobody), (401, Some(GAME), exposed.clone()));
        let key = ("authorization", "Bearer key-1");
        for status in [200, 429] {
            let answer = ask("GET", &[("origin", GAME), key]).await;
            assert_eq!(seen(&answer), (status, Some(GAME), exposed.clone()));
            assert!(answer.header("ratelimit").is_some());
        }
        for (method, headers) in [("GET", vec![("origin", "https://evil.example"), key]), ("GET", vec![key])]
        {
            assert_eq!(seen(&ask(method, &headers).await).1, None);
        }
        let foreign = [("origin", "https://evil.example"), preflight[1]];
        assert_eq!(seen(&ask("OPTIONS", &foreign).await), (200, None, vec![]));
    }

    fn told(origins: &[&str]) -> Option<String> {
        problem(&origins.iter().map(|origin| (*origin).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn what_browsers_say_is_taken() {
        for good in [
            &["https://game.example", "http://localhost:3000"][..],
            &["*"],
            &[],
            &[
                "https://[2001:db8::1]:8443",
                "http://127.0.0.1",
                "http://game.example:443",
                "https://game.example:80",
            ],
            &["https://xn--bcher-kva.example", "https://game.example."],
            &["capacitor://localhost", "chrome-extension://abcdefghijklmnop", "app://game:7"],
        ] {
            assert_eq!(told(good), None, "{good:?}");
            assert_eq!(
                allowed(&good.iter().map(|good| (*good).to_owned()).collect::<Vec<_>>()).is_some(),
                !good.is_empty()
            );
        }
    }

    #[test]
    fn what_they_never_say_is_told() {
        let https = "https://game.example";
        for (wrong, meant) in [
            ("https://game.example/", https),
            ("https://game.example/x", https),
            ("https://game.example?x", https),
            ("https://game.example#x", https),
            ("https://Game.example", https),
            ("HTTPS://game.example", https),
            ("https://game.example:443", https),
            ("https://game.example:", https),
            ("https://game.example:0443", https),
            ("https://ann@game.example", https),
            ("https://ann:secret@game.example", https),
            (" https://game.example", https),
            ("https:game.example", https),
            ("http://game.example:80", "http://game.example"),
            ("http://127.1", "http://127.0.0.1"),
            ("https://[2001:DB8:0::1]", "https://[2001:db8::1]"),
            ("https://b\u{fc}cher.example", "https://xn--bcher-kva.example"),
            ("app://Game/x", "app://game"),
            ("game.example", ""),
            ("https://*", ""),
            ("https://*.game.example", ""),
            ("https://", ""),
            ("https://game.example:65536", ""),
            ("file:///home/game", ""),
            ("data:text/plain,x", ""),
            ("null", ""),
            ("", ""),
        ] {
            let told = told(&[https, wrong]).unwrap_or_default();
            let shown = if wrong.contains('@') { "one of them".to_owned() } else { format!("{wrong:?}") };
            assert!(told.contains(&format!("{shown} is no origin")), "{wrong}: {told}");
            let hint = format!("did you mean {meant:?}?");
            assert_eq!(told.contains("did you mean"), !meant.is_empty(), "{wrong}: {told}");
            assert!(meant.is_empty() || told.ends_with(&hint), "{wrong}: {told}");
        }
    }

    #[test]
    fn any_origin_stands_alone() {
        for wrong in [["https://game.example", "*"], ["*", "https://game.example"], ["*", "*"]] {
            assert!(told(&wrong).is_some_and(|told| told.contains("stands alone")), "{wrong:?}");
        }
    }
}
