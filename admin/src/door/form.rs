//! The form in which the token is typed. It works without scripts and asks for no other file, which would need the token, too.

use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

/// Said with every 401.
pub(crate) const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"floodgate operators\"");

const FORM: &str = include_str!("../../page/sign-in.html");

/// The one style is the form's own, known by its digest: a browser that does not find it so says so, in `tests/operators.rs`.
const POLICY: &str = "default-src 'none'; style-src 'sha256-lnQRuGvpstfeyM22BKtxHwAwA/l19bZfpI9crJdVTSE='; \
                      img-src data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Where a form without it has room for a sentence.
const WORDS: &str = "<!--words-->";

/// 401 with the form, and what it says besides.
pub(crate) fn form(words: &str) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(WWW_AUTHENTICATE, CHALLENGE);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    (StatusCode::UNAUTHORIZED, headers, FORM.replacen(WORDS, words, 1)).into_response()
}
