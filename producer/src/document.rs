//! A document that is the same for everybody as long as the process lives.

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::Value;

/// A document, made once.
pub(crate) struct Document {
    json: Bytes,
    tag: HeaderValue,
}

impl Document {
    pub(crate) fn new(json: &Value) -> Self {
        let json = Bytes::from(json.to_string());
        let mut hasher = DefaultHasher::new();
        json.hash(&mut hasher);
        // visible ASCII throughout
        let tag = HeaderValue::try_from(format!("\"{:016x}\"", hasher.finish()));
        Self { json, tag: tag.unwrap_or(HeaderValue::from_static("\"\"")) }
    }

    /// The answer to who asks for it: nothing new to who has it already.
    pub(crate) fn answer(&self, asked: &HeaderMap) -> Response {
        let headers = [
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            // another build has another document
            (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            (ETAG, self.tag.clone()),
        ];
        let known = asked.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        let mut known =
            known.flat_map(|value| value.split(',')).map(|tag| tag.trim().trim_start_matches("W/"));
        match known.any(|tag| tag == "*" || self.tag == tag) {
            true => (StatusCode::NOT_MODIFIED, headers).into_response(),
            false => (headers, self.json.clone()).into_response(),
        }
    }
}
