//! The page that shows the document: Swagger UI as its makers publish it, in the binary, and two small files that begin it.
//!
//! The page asks nobody but this listener for anything. The large files are kept and sent compressed, as every browser takes them.

use axum::http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};

use crate::extract::Params;
use crate::problem::Problem;

/// Scripts, styles and connections are this listener's own; nothing may frame the page. Pictures are in the styles.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) const HTML: &str = "text/html; charset=utf-8";
pub(super) const CSS: &str = "text/css; charset=utf-8";
pub(super) const SCRIPT: &str = "text/javascript; charset=utf-8";
pub(super) const TEXT: &str = "text/plain; charset=utf-8";

struct File {
    name: &'static str,
    media_type: &'static str,
    is_compressed: bool,
    content: &'static [u8],
}

const FILES: &[File] = &[
    File {
        name: "docs.js",
        media_type: SCRIPT,
        is_compressed: false,
        content: include_bytes!("../../docs/docs.js"),
    },
    File {
        name: "swagger-ui-bundle.js",
        media_type: SCRIPT,
        is_compressed: true,
        content: include_bytes!("../../docs/swagger-ui-bundle.js.gz"),
    },
    File {
        name: "swagger-ui.css",
        media_type: CSS,
        is_compressed: true,
        content: include_bytes!("../../docs/swagger-ui.css.gz"),
    },
    // which the script refers to
    File {
        name: "swagger-ui-bundle.js.LICENSE.txt",
        media_type: TEXT,
        is_compressed: false,
        content: include_bytes!("../../docs/swagger-ui-bundle.js.LICENSE.txt"),
    },
];

/// `GET /docs`
pub(super) async fn page() -> Response {
    answer(HTML, false, include_bytes!("../../docs/index.html"))
}

/// `GET /docs/{file}`
pub(super) async fn file(Params(name): Params<String>) -> Result<Response, Problem> {
    match FILES.iter().find(|file| file.name == name) {
        Some(file) => Ok(answer(file.media_type, file.is_compressed, file.content)),
        None => Err(Problem::not_found("the documentation is at /docs")),
    }
}

fn answer(media_type: &'static str, is_compressed: bool, content: &'static [u8]) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    // another build has another page
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if is_compressed {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    (headers, content).into_response()
}
