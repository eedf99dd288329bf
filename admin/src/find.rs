//! `GET /where/{eventId}` and `GET /where?type=…&key=…`: which record an event is, and what has become of it.
//!
//! Looking may mean to read whole topics, so that one request is served at a time and within a time; whoever needs more has
//! `floodgate where`.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use floodgate_buffer::BoxFuture;
use floodgate_schemas::{EventId, EventType};
use percent_encoding::percent_decode_str;
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::problem::Problem;

/// How long a request waits for its turn, and how long it may take.
const TURN_WAIT: Duration = Duration::from_secs(2);
const SEARCH_DEADLINE: Duration = Duration::from_secs(20);

/// What is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// The records of one event.
    Event(EventId),
    /// The records of one key.
    Key(EventType, Vec<u8>),
}

/// Looks for events, and tells what it found as `floodgate where --json` does, or why it cannot.
pub type LookForEvents = Arc<dyn Fn(Wanted) -> BoxFuture<'static, Result<Value, String>> + Send + Sync>;

pub(crate) struct Finder {
    look: LookForEvents,
    turn: Arc<Semaphore>,
}

impl Finder {
    pub(crate) fn new(look: LookForEvents) -> Self {
        Self { look, turn: Arc::new(Semaphore::new(1)) }
    }

    async fn find(&self, wanted: Result<Wanted, Problem>) -> Response {
        let wanted = match wanted {
            Ok(wanted) => wanted,
            Err(problem) => return problem.into_response(),
        };
        let turn = tokio::time::timeout(TURN_WAIT, Arc::clone(&self.turn).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return unavailable("busy", "events are being looked for for another request");
        };
        // a request that goes away, or is answered before, does not let the next one in
        let looking = (self.look)(wanted);
        let searching = tokio::spawn(async move {
            let _turn = turn;
            looking.await
        });
        match tokio::time::timeout(SEARCH_DEADLINE, searching).await {
            Ok(Ok(Ok(found))) => Json(found).into_response(),
            Ok(Ok(Err(reason))) => unavailable("where-unavailable", &reason),
            Ok(Err(error)) => {
                tracing::error!(%error, "events not looked for");
                unavailable("where-unavailable", "see the log")
            }
            Err(_) => {
                let detail = "that takes longer than there is time; `floodgate where` takes its own";
                unavailable("where-unavailable", detail)
            }
        }
    }
}

fn unavailable(name: &str, detail: &str) -> Response {
    let title = "Events cannot be looked for now";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, name, title, detail).into_response()
}

fn refused(field: &str, detail: &str) -> Problem {
    let detail = format!("`{field}` {detail}");
    Problem::new(StatusCode::BAD_REQUEST, "invalid-request", "The request cannot be read", &detail)
        .about(field)
}

/// `/where/{eventId}`.
pub(crate) async fn by_id(State(finder): State<Arc<Finder>>, Path(id): Path<String>) -> Response {
    let wanted = id.parse().map(Wanted::Event).map_err(|_| refused("eventId", "must be a UUID"));
    finder.find(wanted).await
}

/// `/where?type=…&key=…`.
pub(crate) async fn by_key(State(finder): State<Arc<Finder>>, RawQuery(query): RawQuery) -> Response {
    finder.find(read(query.as_deref().unwrap_or_default())).await
}

fn read(query: &str) -> Result<Wanted, Problem> {
    let (mut of, mut key) = (None, None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, text) = pair.split_once('=').unwrap_or((pair, ""));
        let text: Vec<u8> = percent_decode_str(text).collect();
        match name {
            "type" if of.is_none() => {
                let known = EventType::ALL.into_iter().find(|of| of.name().as_bytes() == text);
                of = Some(known.ok_or_else(|| refused("type", "must be expectation, coupon or like"))?);
            }
            "key" if key.is_none() => key = Some(text),
            "type" | "key" => return Err(refused(name, "is given twice")),
            name => return Err(refused(name, "is no parameter; these are type and key")),
        }
    }
    let of = of.ok_or_else(|| refused("type", "is missing"))?;
    Ok(Wanted::Key(of, key.ok_or_else(|| refused("key", "is missing"))?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read_or_refused_by_name() {
        assert_eq!(read("type=like&key=a%1fb").unwrap(), Wanted::Key(EventType::Like, b"a\x1fb".to_vec()));
        for query in
            ["", "type=like", "key=a", "type=likes&key=a", "type=like&key=a&key=b", "type=like&keys=a"]
        {
            assert!(read(query).is_err(), "{query}");
        }
    }
}
