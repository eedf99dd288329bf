//! Header fields that every answer has: what it says is of this moment, kept by nobody, and of the type that it says.

use axum::http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderValue};

/// The same as a head of HTTP/1.1 has them.
pub(crate) const ALWAYS: &str = "cache-control: no-store\r\nx-content-type-options: nosniff\r\n";

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");

/// Adds them, unless they are there; what may be kept says so itself.
#[inline]
pub fn always(headers: &mut HeaderMap) {
    // of answers that are prepared
    if headers.contains_key(X_CONTENT_TYPE_OPTIONS) {
        return;
    }
    headers.entry(CACHE_CONTROL).or_insert(NO_STORE);
    headers.insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_kept_by_nobody_unless_they_say_so() {
        let told = |sent: &[(&'static str, &'static str)]| {
            let headers = sent.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            let mut headers: HeaderMap = headers.collect();
            always(&mut headers);
            assert_eq!(headers["x-content-type-options"], "nosniff");
            headers["cache-control"].to_str().unwrap().to_owned()
        };
        assert_eq!(told(&[]), "no-store");
        assert_eq!(told(&[("cache-control", "max-age=60")]), "max-age=60");
        let mut headers = HeaderMap::new();
        always(&mut headers);
        let lines = headers.iter().map(|(name, value)| format!("{name}: {}\r\n", value.to_str().unwrap()));
        assert_eq!(lines.collect::<String>(), ALWAYS);
    }
}
