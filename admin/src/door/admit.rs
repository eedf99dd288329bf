//! What every request passes before its path is looked at.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use floodgate_schemas::{Chance, Clock};
use prometheus::IntCounter;

use super::form::{CHALLENGE, form};
use super::host::{HostName, authority, check};
use super::refusals::Refusals;
use super::session::Sessions;
use super::site::is_another;
use super::token::Token;
use crate::config::AdminConfig;
use crate::problem::Problem;

/// Paths for those who ask whether a process lives, by whatever name.
const OPEN: [&str; 2] = ["/healthz", "/readyz"];

/// Where a token is exchanged for a session.
const SESSION: &str = "/session";

/// Decides who comes in.
pub(crate) struct Door {
    guard: Option<Guard>,
    hosts: Vec<HostName>,
    refusals: Refusals,
    clock: Arc<dyn Clock>,
}

/// With a token.
struct Guard {
    token: Token,
    sessions: Sessions,
}

/// As what a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pass {
    /// As anybody: there is no token, or the request is one to show it.
    Anybody,
    /// With the token.
    Token,
    /// With a session.
    Session,
}

/// Why a request does not come in.
#[derive(Debug)]
enum Refusal {
    /// By what it is.
    Problem(Problem),
    /// A browser asks for the page, and has no session.
    Form,
    /// Nobody knows who asks, which this says.
    Unknown(&'static str),
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

/// What a request shows.
enum Shown<'r> {
    Nothing,
    Bearer(&'r [u8]),
    /// Another scheme, or several.
    Other,
}

impl Door {
    /// Counts in `refused` who comes without the right token.
    pub(crate) fn new(
        config: &AdminConfig,
        refused: IntCounter,
        clock: Arc<dyn Clock>,
        chance: &dyn Chance,
    ) -> Self {
        let guard = |token: &Token| Guard { token: token.clone(), sessions: Sessions::new(token, chance) };
        let guard = config.token.as_ref().map(guard);
        Self { guard, hosts: config.hosts.clone(), refusals: Refusals::new(refused), clock }
    }

    pub(crate) fn has_token(&self) -> bool {
        self.guard.is_some()
    }

    /// A cookie for the right token.
    pub(crate) fn begin_session(&self, shown: &[u8]) -> Option<String> {
        let guard = self.guard.as_ref().filter(|guard| guard.token.is(shown))?;
        Some(guard.sessions.begin(self.clock.now()))
    }

    /// What takes the cookie away.
    pub(crate) fn end_session(&self) -> Option<String> {
        self.guard.as_ref().map(|guard| guard.sessions.end())
    }

    /// Tells the log, once in a while.
    pub(crate) fn count_refusal(&self, what: &'static str) {
        if let Some(refused) = self.refusals.count() {
            tracing::warn!(
                refused,
                last = what,
                "refused on the operators' listener, without the right token"
            );
        }
    }

    fn pass(&self, request: &Request) -> Result<Pass, Refusal> {
        let (headers, path) = (request.headers(), request.uri().path());
        let authority = authority(request.uri(), headers);
        let shown = shown(headers);
        let has_token = match (&self.guard, &shown) {
            (Some(guard), Shown::Bearer(token)) => guard.token.is(token),
            _ => false,
        };
        // whoever knows the token is no page of another site, by whatever name
        if !has_token {
            authority.as_ref().map_err(Problem::clone).and_then(|host| check(host, &self.hosts))?;
        }
        if !request.method().is_safe() && is_another(headers, authority.as_ref().ok()) {
            let (title, detail) = ("Not from another site", "a page of another site asks for this");
            return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", title, detail).into());
        }
        let Some(guard) = &self.guard else { return Ok(Pass::Anybody) };
        let is_form = path == "/" && [Method::GET, Method::HEAD].contains(request.method());
        match shown {
            _ if has_token => Ok(Pass::Token),
            Shown::Nothing if guard.sessions.is_in(headers, self.clock.now()) => Ok(Pass::Session),
            Shown::Nothing if path == SESSION && request.method() == Method::POST => Ok(Pass::Anybody),
            Shown::Nothing if is_form => Err(Refusal::Form),
            Shown::Nothing => Err(Refusal::Unknown(
                "this needs `Authorization: Bearer` and the token of admin.token, or a session begun at /",
            )),
            Shown::Bearer(_) => Err(Refusal::Unknown("that is not the token of admin.token")),
            Shown::Other => Err(Refusal::Unknown(
                "`Authorization` must be there once: `Bearer` and the token of admin.token",
            )),
        }
    }

    fn refuse(&self, refusal: Refusal) -> Response {
        match refusal {
            Refusal::Problem(problem) => problem.into_response(),
            Refusal::Form => form(""),
            Refusal::Unknown(detail) => {
                self.count_refusal("request");
                let title = "Not without the token";
                let problem = Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", title, detail);
                ([(WWW_AUTHENTICATE, CHALLENGE)], problem).into_response()
            }
        }
    }
}

fn shown(headers: &HeaderMap) -> Shown<'_> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let text = match (all.next(), all.next()) {
        (None, _) => return Shown::Nothing,
        (Some(one), None) => one.as_bytes(),
        (Some(_), Some(_)) => return Shown::Other,
    };
    let Some((scheme, token)) = text.split_at_checked(b"Bearer ".len()) else { return Shown::Other };
    match scheme.eq_ignore_ascii_case(b"Bearer ") {
        true => Shown::Bearer(token.trim_ascii()),
        false => Shown::Other,
    }
}

/// Lets in who may come in, and tells the routes as what.
pub(crate) async fn admit(State(door): State<Arc<Door>>, mut request: Request, next: Next) -> Response {
    if !OPEN.contains(&request.uri().path()) {
        match door.pass(&request) {
            Ok(pass) => request.extensions_mut().insert(pass),
            Err(refusal) => return door.refuse(refusal),
        };
    }
    next.run(request).await
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use axum::body::Body;
    use floodgate_schemas::examples::{Counted, HandClock, at};

    use super::super::session::LASTS;
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn door(token: &str, clock: &Arc<HandClock>) -> Door {
        let config = AdminConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            allow_open: false,
            token: token.parse().ok(),
            hosts: Vec::new(),
        };
        let refused = IntCounter::new("refused", "refused").unwrap();
        Door::new(&config, refused, Arc::clone(clock) as _, &Counted::default())
    }

    fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Request {
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        for (name, text) in headers {
            request = request.header(*name, *text);
        }
        request.body(Body::empty()).unwrap()
    }

    #[test]
    fn a_session_ends_by_the_clock() {
        let clock = Arc::new(HandClock::new(at(0)));
        let door = door(TOKEN, &clock);
        assert_eq!(door.begin_session(b"0123456789abcdeF"), None);
        let set = door.begin_session(TOKEN.as_bytes()).unwrap();
        let page = request("GET", "/", &[("cookie", set.split(';').next().unwrap())]);
        assert_eq!(door.pass(&page).unwrap(), Pass::Session);
        clock.set(at(LASTS * 1_000_000));
        assert!(matches!(door.pass(&page), Err(Refusal::Form)));
    }

    #[test]
    fn a_door_without_a_token_lets_in_whoever_uses_its_names() {
        let clock = Arc::new(HandClock::new(at(0)));
        let door = door("", &clock);
        let bearer = format!("Bearer {TOKEN}");
        for headers in [&[][..], &[("authorization", bearer.as_str())]] {
            assert_eq!(door.pass(&request("POST", "/dlq/replay", headers)).unwrap(), Pass::Anybody);
        }
        let elsewhere = Request::builder().uri("/lag").header("host", "evil.example").body(Body::empty());
        assert!(matches!(door.pass(&elsewhere.unwrap()), Err(Refusal::Problem(_))));
        assert!(!door.has_token() && door.end_session().is_none());
        assert_eq!(door.begin_session(b""), None);
    }
}
