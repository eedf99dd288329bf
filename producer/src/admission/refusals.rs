//! What those are told who are not let in.

use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue};

use super::standing::Policy;
use crate::problem::{FORBIDDEN, NOT_READY, Problem, RATE_LIMITED, TOO_MANY_EVENTS, UNAUTHORIZED};
use crate::scope::Scope;

impl Problem {
    /// Whether more came than a limit lets in.
    pub(crate) fn is_rate_limited(&self) -> bool {
        self.name() == RATE_LIMITED.name
    }

    /// 401: nobody said who sends this.
    pub(crate) fn not_identified() -> Self {
        let detail = "send `Authorization: Bearer` with a key or token";
        Self::new(&UNAUTHORIZED, detail).challenges("Bearer realm=\"floodgate\"")
    }

    /// 401: who sends this says who it is, and is not believed.
    pub(crate) fn not_trusted(reason: &str) -> Self {
        let challenge =
            format!("Bearer realm=\"floodgate\", error=\"invalid_token\", error_description=\"{reason}\"");
        let challenge = challenge.replace('`', "'");
        Self::new(&UNAUTHORIZED, reason).challenges(&challenge)
    }

    /// 403: the key or token is not good for this.
    pub(crate) fn scope_missing(scope: Scope) -> Self {
        let challenge =
            format!("Bearer realm=\"floodgate\", error=\"insufficient_scope\", scope=\"{scope}\"");
        let detail = format!("this takes the scope {scope}, which the caller does not have");
        Self::new(&FORBIDDEN, detail).challenges(&challenge)
    }

    /// 403: callers write for themselves alone.
    pub(crate) fn not_yourself(field: &'static str) -> Self {
        let detail = format!("`{field}` must be the caller's own id (auth.bind_user)");
        Self::new(&FORBIDDEN, detail).at(field)
    }

    /// 429: `fields` say how the caller stands.
    pub(crate) fn rate_limited(
        policy: Policy,
        retry_after_s: u32,
        fields: impl IntoIterator<Item = (HeaderName, HeaderValue)>,
    ) -> Self {
        let whose = match policy {
            Policy::Client => "this client's share",
            Policy::Total => "what this instance takes of all clients",
        };
        let detail = format!("{whose} is used up; send it again in {retry_after_s} s");
        let retry_after = (RETRY_AFTER, HeaderValue::from(retry_after_s));
        Self::new(&RATE_LIMITED, detail).with(fields.into_iter().chain([retry_after]))
    }

    /// 413: a batch that no waiting lets in.
    pub(crate) fn more_than_a_burst(policy: &str, burst: u32) -> Self {
        let detail = format!(
            "a request holds at most {burst} events, which is the burst of the limit `{policy}`; nothing of it is stored"
        );
        Self::new(&TOO_MANY_EVENTS, detail)
    }

    /// The same, which says how to show who asks (RFC 6750, 3).
    fn challenges(self, challenge: &str) -> Self {
        self.with(HeaderValue::from_str(challenge).map(|challenge| (WWW_AUTHENTICATE, challenge)))
    }

    /// 503: no token can be verified yet.
    pub(crate) fn not_verifiable(cause: String) -> Self {
        Self::new(&NOT_READY, "this instance cannot verify tokens yet; send it again").because(cause)
    }
}
