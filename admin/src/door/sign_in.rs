//! `/session`: how browsers sign in and out.

use std::sync::Arc;

use axum::Extension;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::header::{LOCATION, SET_COOKIE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use percent_encoding::percent_decode;

use super::admit::{Door, Pass};
use super::form::form;
use crate::connections::WITHIN;
use crate::problem::Problem;

/// The longest form: a token all of whose characters are escaped, and its name.
const FORM_MAX: usize = 1024;

/// `POST`: a token in a form. The right one begins a session, and leads to the page.
pub(crate) async fn sign_in(State(door): State<Arc<Door>>, body: Body) -> Response {
    if !door.has_token() {
        return nothing_to_sign_in_to();
    }
    let sent = tokio::time::timeout(WITHIN, to_bytes(body, FORM_MAX)).await;
    let shown = sent.ok().and_then(Result::ok).and_then(|form| token(&form));
    match shown.and_then(|shown| door.begin_session(&shown)) {
        Some(cookie) => (StatusCode::SEE_OTHER, with_cookie(&cookie), [(LOCATION, "/")]).into_response(),
        None => {
            door.count_refusal("sign-in");
            form("That is not the token.")
        }
    }
}

/// `GET`: whether there is a session. The page asks when it gets no more news; whoever has none was refused before.
pub(crate) async fn look(State(door): State<Arc<Door>>) -> Response {
    match door.has_token() {
        true => StatusCode::NO_CONTENT.into_response(),
        false => nothing_to_sign_in_to(),
    }
}

/// `DELETE`: the browser forgets it.
pub(crate) async fn sign_out(State(door): State<Arc<Door>>, Extension(pass): Extension<Pass>) -> Response {
    match (door.end_session(), pass) {
        (Some(cookie), Pass::Session | Pass::Token) => {
            (StatusCode::NO_CONTENT, with_cookie(&cookie)).into_response()
        }
        _ => nothing_to_sign_in_to(),
    }
}

fn with_cookie(cookie: &str) -> [(axum::http::HeaderName, HeaderValue); 1] {
    let cookie = HeaderValue::from_str(cookie).unwrap_or(HeaderValue::from_static(""));
    [(SET_COOKIE, cookie)]
}

fn nothing_to_sign_in_to() -> Response {
    let detail = "this listener has no admin.token, so that nobody signs in";
    Problem::new(StatusCode::NOT_FOUND, "not-found", "There is nothing here", detail).into_response()
}

/// The field of a form. Visible characters only: neither spaces nor pluses that stand for them matter.
fn token(form: &[u8]) -> Option<Vec<u8>> {
    let mut fields = form.split(|byte| *byte == b'&');
    let value = fields.find_map(|field| field.strip_prefix(b"token="))?;
    let spaced: Vec<u8> = value.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    Some(percent_decode(&spaced).collect::<Vec<u8>>().trim_ascii().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_read_from_a_form() {
        for (form, read) in [
            ("token=abc", Some("abc")),
            ("other=1&token=a%2Bb%26c%3D", Some("a+b&c=")),
            ("token=+abc%0A", Some("abc")),
            ("token=", Some("")),
            ("tokens=abc", None),
            ("", None),
        ] {
            assert_eq!(token(form.as_bytes()).as_deref(), read.map(str::as_bytes), "{form}");
        }
    }
}
