//! Whether a page of another site asks. Forms of any site can send a browser here, with what this listener's own pages would send.

use axum::http::header::ORIGIN;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri};

const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// Whether the browser says so. It does not where it takes this listener's address for one that anybody could listen in on, and then
/// the page's origin is compared. What is no browser says neither.
pub(crate) fn is_another(headers: &HeaderMap, authority: Option<&Authority>) -> bool {
    if let Some(site) = headers.get(SEC_FETCH_SITE) {
        return site != "same-origin" && site != "none";
    }
    let Some(origin) = headers.get(ORIGIN) else { return false };
    let origin = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
    match (origin.as_ref().and_then(Uri::authority), authority) {
        (Some(origin), Some(authority)) => !origin.as_str().eq_ignore_ascii_case(authority.as_str()),
        _ => true,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    #[test]
    fn pages_of_other_sites_and_ports_are_told() {
        let is_another = |name: &'static str, text: &str| {
            let headers = HeaderMap::from_iter([(HeaderName::from_static(name), text.parse().unwrap())]);
            is_another(&headers, Some(&Authority::from_static("ops.example:9600")))
        };
        for (name, text) in [
            (SEC_FETCH_SITE, "same-origin"),
            (SEC_FETCH_SITE, "none"),
            ("origin", "http://ops.example:9600"),
            ("origin", "https://OPS.example:9600"),
            ("accept", "text/html"),
        ] {
            assert!(!is_another(name, text), "{name}: {text}");
        }
        for (name, text) in [
            (SEC_FETCH_SITE, "cross-site"),
            (SEC_FETCH_SITE, "same-site"),
            (SEC_FETCH_SITE, "anything"),
            ("origin", "http://evil.example"),
            ("origin", "http://ops.example"),
            ("origin", "http://ops.example:8080"),
            ("origin", "null"),
            ("origin", ""),
        ] {
            assert!(is_another(name, text), "{name}: {text}");
        }
    }
}
