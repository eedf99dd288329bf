//! The operators' page: a few files in the binary, which ask nobody but this listener for anything.

use axum::Extension;
use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::door::Pass;
use crate::problem::Problem;

/// Scripts, styles and connections are this listener's own; nothing may frame the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Name, type and content of every file but the page itself.
const ASSETS: &[(&str, &str, &str)] = &[
    ("ask.js", SCRIPT, include_str!("../page/ask.js")),
    ("charts.js", SCRIPT, include_str!("../page/charts.js")),
    ("letters.js", SCRIPT, include_str!("../page/letters.js")),
    ("page.css", CSS, include_str!("../page/page.css")),
    ("page.js", SCRIPT, include_str!("../page/page.js")),
    ("session.js", SCRIPT, include_str!("../page/session.js")),
    ("settle.js", SCRIPT, include_str!("../page/settle.js")),
    ("state.js", SCRIPT, include_str!("../page/state.js")),
    ("tables.js", SCRIPT, include_str!("../page/tables.js")),
    ("uplot.css", CSS, include_str!("../page/uplot.css")),
    ("uplot.js", SCRIPT, include_str!("../page/uplot.js")),
    ("verdicts.js", SCRIPT, include_str!("../page/verdicts.js")),
    ("where.js", SCRIPT, include_str!("../page/where.js")),
    ("words.js", SCRIPT, include_str!("../page/words.js")),
];

/// The page. Whoever came in with a session can leave, which the page shows.
pub(crate) async fn index(Extension(pass): Extension<Pass>) -> Response {
    let page = include_str!("../page/index.html");
    match pass {
        Pass::Session => file(HTML, page.replacen("<body>", "<body data-session>", 1)),
        Pass::Anybody | Pass::Token => file(HTML, page),
    }
}

pub(crate) async fn asset(Path(name): Path<String>) -> Response {
    match ASSETS.iter().find(|(known, ..)| *known == name) {
        Some((_, kind, content)) => file(kind, *content),
        None => Problem::new(StatusCode::NOT_FOUND, "not-found", "There is nothing here", "the page is at /")
            .into_response(),
    }
}

fn file(kind: &'static str, content: impl IntoResponse) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    // another build has another page
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    (headers, content).into_response()
}
