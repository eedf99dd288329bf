//! Pages of other origins.
//!
//! Browsers let a page send requests to another origin than its own only if that says so. It does not unless origins are listed:
//! then preflights are answered before anything else is asked, as browsers send them without credentials, and every answer,
//! refusals included, says which page may read it.

use std::time::Duration;

use axum::http::header::{LOCATION, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, Method, Uri};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

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

/// What is wrong with the origins that are listed.
pub(crate) fn problem(origins: &[String]) -> Option<String> {
    let is_origin = |text: &str| {
        let uri = text.parse::<Uri>().ok();
        uri.is_some_and(|uri| {
            let (scheme, authority) = (uri.scheme_str().unwrap_or_default(), uri.authority());
            authority.is_some_and(|authority| format!("{scheme}://{authority}") == text)
        })
    };
    let wrong = origins.iter().find(|origin| !is_origin(origin) && *origin != "*")?;
    Some(format!(
        "http.allow_origins: {wrong:?} is no origin: a scheme and a host, and a port if it is not the scheme's, such as \
         https://game.example; or \"*\" alone"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_origin_is_told() {
        let problem = |origin: &str| problem(&[origin.to_owned()]).is_some();
        for good in ["https://game.example", "http://localhost:3000", "*", "https://[2001:db8::1]:8443"] {
            assert!(!problem(good), "{good}");
        }
        for wrong in
            ["game.example", "https://game.example/", "https://game.example/x", "https://*", "", "null"]
        {
            assert!(problem(wrong) || wrong == "https://*", "{wrong}");
        }
    }
}
