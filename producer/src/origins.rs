//! Pages of other origins.
//!
//! Browsers let a page send requests to another origin than its own only if that says so. It does not unless origins are listed:
//! then preflights are answered before anything else is asked, as browsers send them without credentials, and every answer to what could
//! be read as a request, refusals included, says which page may read it.

use std::time::Duration;

use axum::http::header::{LOCATION, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, Method};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};
use url::Url;

/// How long browsers may remember what a preflight was answered.
const REMEMBERED: Duration = Duration::from_secs(600);

/// What answers say besides what every page may read.
const EXPOSED: [HeaderName; 5] = [
    LOCATION,
    RETRY_AFTER,
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
    use super::*;

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
