//! `GET /where/{eventId}` and `GET /where?type=…&key=…`: which record an event is, and what has become of it.
//!
//! Looking may mean to read whole topics, so that one request is served at a time and within a time; whoever needs more has
//! `floodgate where`.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use floodgate_buffer::BoxFuture;
use floodgate_schemas::{EventId, EventType};
use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::problem::Problem;
use crate::turn::Turn;

/// What a request is told whose turn does not come.
const BUSY: &str = "events are being looked for for another request";
/// How long one may take.
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
    turn: Turn,
}

impl Finder {
    pub(crate) fn new(look: LookForEvents) -> Self {
        Self { look, turn: Turn::new() }
    }

    async fn find(&self, wanted: Result<Wanted, Problem>) -> Result<Json<Value>, Problem> {
        let wanted = wanted?;
        let turn = self.turn.take(BUSY).await?;
        // a request that goes away, or is answered before, does not let the next one in
        let looking = (self.look)(wanted);
        let searching = tokio::spawn(async move {
            let _turn = turn;
            looking.await
        });
        match tokio::time::timeout(SEARCH_DEADLINE, searching).await {
            Ok(Ok(Ok(found))) => Ok(Json(found)),
            Ok(Ok(Err(reason))) => Err(unavailable(&reason)),
            Ok(Err(error)) => {
                tracing::error!(%error, "events not looked for");
                Err(unavailable("see the log"))
            }
            Err(_) => {
                Err(unavailable("that takes longer than there is time; `floodgate where` takes its own"))
            }
        }
    }
}

fn unavailable(detail: &str) -> Problem {
    let title = "Events cannot be looked for now";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "where-unavailable", title, detail)
}

/// `/where/{eventId}`.
pub(crate) async fn by_id(State(finder): State<Arc<Finder>>, Path(id): Path<String>) -> impl IntoResponse {
    let wanted = id.parse().map(Wanted::Event).map_err(|_| Problem::refused("eventId", "must be a UUID"));
    finder.find(wanted).await
}

/// `/where?type=…&key=…`.
pub(crate) async fn by_key(
    State(finder): State<Arc<Finder>>,
    RawQuery(query): RawQuery,
) -> impl IntoResponse {
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
                of = Some(
                    known.ok_or_else(|| Problem::refused("type", "must be expectation, coupon or like"))?,
                );
            }
            "key" if key.is_none() => key = Some(text),
            "type" | "key" => return Err(Problem::refused(name, "is given twice")),
            name => return Err(Problem::refused(name, "is no parameter; these are type and key")),
        }
    }
    let of = of.ok_or_else(|| Problem::refused("type", "is missing"))?;
    Ok(Wanted::Key(of, key.ok_or_else(|| Problem::refused("key", "is missing"))?))
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
