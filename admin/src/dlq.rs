//! `GET /dlq`: dead letters, read while the request waits.
//!
//! A reading may have to go through the whole topic, so that there is one at a time, it ends after a while, and it keeps
//! no more than it may. Whoever needs more has `floodgate dlq`, which takes its time in a process of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use percent_encoding::percent_decode_str;
use tokio::sync::Semaphore;

use crate::dead_letters::{DeadLetterTopic, FILTERS, Filter, Refusal, ScanError, ScanLimits, Survey};
use crate::problem::Problem;

/// How long a request waits for its turn.
const TURN_WAIT: Duration = Duration::from_secs(2);
/// How long a reading may take.
const SCAN_DEADLINE: Duration = Duration::from_secs(20);
/// Distinct letters that a reading can tell apart, in at most 90 bytes each.
const LETTERS_MAX: usize = 1_000_000;
/// Letters in an answer: without a limit, and at most.
const LIMIT: usize = 100;
const LIMIT_MAX: usize = 1000;

/// Reads for requests, one after the other.
pub(crate) struct DeadLetters {
    topic: DeadLetterTopic,
    turn: Arc<Semaphore>,
}

/// What a request asks for.
#[derive(Debug, Default)]
struct Asked {
    filter: Filter,
    limit: Option<usize>,
}

impl DeadLetters {
    pub(crate) fn new(topic: DeadLetterTopic) -> Self {
        Self { topic, turn: Arc::new(Semaphore::new(1)) }
    }

    /// Plus signs are themselves, as in times: this is no form.
    fn read(&self, query: &str) -> Result<Asked, Refusal> {
        let mut asked = Asked::default();
        let mut seen: Vec<String> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, text) = pair.split_once('=').unwrap_or((pair, ""));
            let name = percent_decode_str(name).decode_utf8_lossy().into_owned();
            let text = percent_decode_str(text).decode_utf8();
            let text = text.map_err(|_| Refusal::new(&name, "is not UTF-8"))?;
            if seen.contains(&name) {
                return Err(Refusal::new(&name, "is given twice"));
            }
            match name.as_str() {
                "limit" => asked.limit = Some(limit(&text)?),
                name if FILTERS.contains(&name) => asked.filter.set(name, &text, self.topic.names())?,
                name => {
                    let known = FILTERS.join(", ");
                    return Err(Refusal::new(name, format!("is no parameter; these are {known} and limit")));
                }
            }
            seen.push(name);
        }
        Ok(asked)
    }

    async fn survey(&self, asked: Asked) -> Result<Survey, Problem> {
        let turn = tokio::time::timeout(TURN_WAIT, Arc::clone(&self.turn).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            let detail = "dead letters are being read for another request";
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "Too much at once", detail));
        };
        let topic = self.topic.clone();
        let reading = tokio::task::spawn_blocking(move || {
            // a request that goes away, or is answered before, does not let the next one in
            let _turn = turn;
            let limits = ScanLimits { until: Some(Instant::now() + SCAN_DEADLINE), letters_max: LETTERS_MAX };
            Survey::take(&topic, &asked.filter, asked.limit.unwrap_or(LIMIT), &limits)
        });
        match tokio::time::timeout(SCAN_DEADLINE, reading).await {
            Ok(Ok(survey)) => survey.map_err(|error| unavailable(&error)),
            Ok(Err(error)) => {
                tracing::error!(%error, "dead letters not read");
                let title = "Something is wrong here";
                Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", title, "see the log"))
            }
            Err(_) => Err(unavailable(&ScanError::TooSlow)),
        }
    }
}

fn limit(text: &str) -> Result<usize, Refusal> {
    let limit = text.parse().ok().filter(|limit| *limit <= LIMIT_MAX);
    limit.ok_or_else(|| Refusal::new("limit", format!("must be a whole number up to {LIMIT_MAX}")))
}

fn unavailable(error: &ScanError) -> Problem {
    let hint = match error {
        ScanError::TooSlow | ScanError::TooMany(_) => "; `floodgate dlq list` takes its time",
        ScanError::Absent(_) | ScanError::Open(_) | ScanError::Log(_) => "",
    };
    let title = "The dead letters cannot be read now";
    let detail = format!("{error}{hint}");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "dead-letters-unavailable", title, &detail)
}

pub(crate) async fn dlq(State(letters): State<Arc<DeadLetters>>, RawQuery(query): RawQuery) -> Response {
    let asked = match letters.read(query.as_deref().unwrap_or_default()) {
        Ok(asked) => asked,
        Err(Refusal { field, detail }) => {
            let title = "The request cannot be read";
            let detail = format!("`{field}` {detail}");
            let problem = Problem::new(StatusCode::BAD_REQUEST, "invalid-request", title, &detail);
            return problem.about(&field).into_response();
        }
    };
    match letters.survey(asked).await {
        Ok(survey) => Json(survey).into_response(),
        Err(problem) => problem.into_response(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use floodgate_schemas::Codecs;
    use floodgate_schemas::examples::{HandClock, at};

    use super::*;

    fn letters() -> DeadLetters {
        let strategy = floodgate_buffer::contract::in_memory(1, 100, "w.");
        let clock = Arc::new(HandClock::new(at(0)));
        DeadLetters::new(DeadLetterTopic { strategy, clock, codecs: Codecs::builtin() })
    }

    #[test]
    fn parameters_are_refused_by_name() {
        let refused = |query: &str| letters().read(query).unwrap_err().field;
        for (query, field) in [
            ("types=like", "types"),
            ("type=Like", "type"),
            ("type=like&type=like", "type"),
            ("since=yesterday", "since"),
            ("until=2026-01-01", "until"),
            ("origin=w.floodgate.like.v1/0", "origin"),
            ("origin=w.floodgate.dlq.v1/0/0", "origin"),
            ("origin=w.floodgate.like.v1/-1/0", "origin"),
            ("limit=1001", "limit"),
            ("limit=", "limit"),
            ("key=%ff", "key"),
            ("%2e", "."),
        ] {
            assert_eq!(refused(query), field, "{query}");
        }
        for query in [
            "",
            "&limit=0&",
            "type=like&reason=bad-row&limit=1000",
            "since=2026-01-01T00:00:00+09:00&until=2026-01-01T00%3A00%3A00Z",
            "key=star%1faccount&origin=w.floodgate.like.v1/9/12",
            "origin=floodgate.coupon.v1/0/0",
        ] {
            assert!(letters().read(query).is_ok(), "{query}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_reading_at_a_time() {
        let letters = letters();
        let turn = Arc::clone(&letters.turn).try_acquire_owned().unwrap();
        let refused = letters.survey(Asked::default()).await.unwrap_err();
        assert_eq!(refused.into_response().status(), StatusCode::SERVICE_UNAVAILABLE);
        drop(turn);
        assert_eq!(letters.survey(Asked::default()).await.unwrap().total, 0);
    }
}
