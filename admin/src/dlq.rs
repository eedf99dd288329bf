//! `GET /dlq`: dead letters, read while the request waits; `POST /dlq/replay`, which publishes them again, and
//! `POST /dlq/dismiss`, which settles them without.
//!
//! A reading may have to go through the whole topic, so that there is one at a time, it ends after a while, and it keeps
//! no more than it may. Whoever needs more has `floodgate dlq`, which takes its time in a process of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, RawQuery, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use floodgate_buffer::Publish;
use floodgate_lag::words::many;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use tokio::task::JoinError;
use tokio::time::timeout;

use crate::connections::WITHIN;
use crate::dead_letters::{
    DeadLetterTopic, Deed, FILTERS, Filter, Refusal, ScanError, ScanLimits, Settle, SettlePlan, Survey,
    Unread,
};
use crate::problem::Problem;
use crate::turn::Turn;

/// What a request is told whose turn does not come.
const BUSY: &str = "dead letters are being read for another request";
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
    publisher: Arc<dyn Publish>,
    turn: Turn,
}

/// What a replay, or a dismissal, is asked for.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Errand {
    #[serde(rename = "type")]
    of: Option<String>,
    reason: Option<String>,
    origin: Option<String>,
    /// Whether all letters are meant, in place of filters.
    #[serde(default)]
    all: bool,
    /// Of a replay: whether what cannot be decoded is published again, too.
    #[serde(default)]
    undecodable: bool,
    /// Of a dismissal: why.
    because: Option<String>,
    dry_run: bool,
}

/// What it came to.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    /// Letters that were published again, or would be.
    #[serde(skip_serializing_if = "Option::is_none")]
    replayed: Option<u64>,
    /// Letters that were dismissed, or would be.
    #[serde(skip_serializing_if = "Option::is_none")]
    dismissed: Option<u64>,
    /// Those that are left alone.
    skipped: u64,
    dry_run: bool,
    /// The same in a sentence.
    detail: String,
    /// What could not be read: there may be more letters.
    unread: Vec<Unread>,
}

/// The two things that are done about letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Replay,
    Dismiss,
}

impl Kind {
    /// What the header that confirms it says.
    fn name(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Dismiss => "dismiss",
        }
    }

    fn done(self) -> &'static str {
        match self {
            Self::Replay => "replayed",
            Self::Dismiss => "dismissed",
        }
    }

    fn report(self, done: u64, skipped: u64, dry_run: bool, detail: String, unread: Vec<Unread>) -> Report {
        let of = |kind| (self == kind).then_some(done);
        let (replayed, dismissed) = (of(Self::Replay), of(Self::Dismiss));
        Report { replayed, dismissed, skipped, dry_run, detail, unread }
    }
}

/// No browser sends it by itself, nor with a form of another site.
const CONFIRM: &str = "floodgate-confirm";

/// Letters of events that failed this often are left alone, as the command does unless it is told otherwise.
const ATTEMPTS_MAX: u32 = 5;

/// How long a replay waits for the strategy to be ready, and then for every batch.
const REPLAY_PATIENCE: Duration = Duration::from_secs(10);

/// What a request asks for.
#[derive(Debug, Default)]
struct Asked {
    filter: Filter,
    limit: Option<usize>,
}

impl DeadLetters {
    pub(crate) fn new(topic: DeadLetterTopic, publisher: Arc<dyn Publish>) -> Self {
        Self { topic, publisher, turn: Turn::new() }
    }

    async fn settle(&self, kind: Kind, asked: Errand) -> Result<Report, Problem> {
        let (plan, dry_run) = self.plan(kind, asked).map_err(|refusal| refused(&refusal))?;
        let turn = self.turn.take(BUSY).await?;
        let (topic, publisher) = (self.topic.clone(), Arc::clone(&self.publisher));
        // goes on where the request ends: half a replay would be one as well, and each letter is marked
        let settling = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let mut settle = Settle::plan(&topic, plan).map_err(|error| unavailable(&error))?;
            let (counts, unread, done) = (settle.counts(), settle.unread().to_vec(), kind.done());
            let skipped = counts.left_alone();
            let mut left = format!("{skipped} are left alone ({})", left_alone(kind));
            if let Some(first) = unread.first() {
                left += &format!("; there may be more, since some cannot be read: {first}");
            }
            if dry_run {
                let detail = format!("{} would be {done}; {left}", many(counts.due, "dead letter"));
                return Ok(kind.report(counts.due, skipped, dry_run, detail, unread));
            }
            tracing::info!(due = counts.due, "an operator has dead letters {done}");
            let failed = |reason: &str| {
                tracing::error!(reason, "not all dead letters were {done} for an operator");
                not_settled(kind, reason)
            };
            let settled = settle.run(&*publisher, |_| {}).map_err(|error| failed(&error.to_string()))?;
            if let Some(first) = &settled.failed.first {
                let (number, count) = (settled.done, settled.failed.count);
                return Err(failed(&format!(
                    "{number} were {done}, {count} could not be, the first: {first}"
                )));
            }
            tracing::info!(done = settled.done, "dead letters {done} for an operator");
            let detail = format!("{} {done}; {left}", many(settled.done, "dead letter"));
            Ok(kind.report(settled.done, skipped, dry_run, detail, unread))
        });
        settling.await.unwrap_or_else(|error| Err(bug(&error)))
    }

    /// What is asked for, and whether only in words.
    fn plan(&self, kind: Kind, asked: Errand) -> Result<(SettlePlan, bool), Refusal> {
        let Errand { of, reason, origin, all, undecodable, because, dry_run } = asked;
        let mut filter = Filter::default();
        let given = [("type", of), ("reason", reason), ("origin", origin)];
        for (name, text) in given.iter().filter_map(|(name, text)| Some((*name, text.as_deref()?))) {
            filter.set(name, text, self.topic.names())?;
        }
        if filter.means_all() != all {
            let detail = "is to be true where no filter says which letters are meant, and there alone";
            return Err(Refusal::new("all", detail));
        }
        let deed = match (kind, because) {
            (Kind::Replay, None) => Deed::Replay { attempts_max: ATTEMPTS_MAX, undecodable },
            (Kind::Dismiss, Some(because)) if !undecodable => Deed::dismiss(&because)?,
            (Kind::Dismiss, None) => {
                return Err(Refusal::new("because", "is missing: why are they dismissed?"));
            }
            (Kind::Replay, Some(_)) => return Err(Refusal::new("because", "is for a dismissal")),
            (Kind::Dismiss, Some(_)) => return Err(Refusal::new("undecodable", "is for a replay")),
        };
        let limits = ScanLimits { until: Some(Instant::now() + SCAN_DEADLINE), letters_max: LETTERS_MAX };
        Ok((SettlePlan { filter, deed, rate: None, patience: REPLAY_PATIENCE, limits }, dry_run))
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
        let turn = self.turn.take(BUSY).await?;
        let topic = self.topic.clone();
        let reading = tokio::task::spawn_blocking(move || {
            // a request that goes away, or is answered before, does not let the next one in
            let _turn = turn;
            let limits = ScanLimits { until: Some(Instant::now() + SCAN_DEADLINE), letters_max: LETTERS_MAX };
            Survey::take(&topic, &asked.filter, asked.limit.unwrap_or(LIMIT), &limits)
        });
        match tokio::time::timeout(SCAN_DEADLINE, reading).await {
            Ok(Ok(survey)) => survey.map_err(|error| unavailable(&error)),
            Ok(Err(error)) => Err(bug(&error)),
            Err(_) => Err(unavailable(&ScanError::TooSlow)),
        }
    }
}

fn bug(error: &JoinError) -> Problem {
    tracing::error!(%error, "dead letters not read");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Something is wrong here", "see the log")
}

fn not_settled(kind: Kind, detail: &str) -> Problem {
    let title = format!("Not everything was {}", kind.done());
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "replay-ended", &title, detail)
}

/// Which letters are not due.
fn left_alone(kind: Kind) -> String {
    match kind {
        Kind::Replay => format!("settled before, no events, failed {ATTEMPTS_MAX} times, or not to be read"),
        Kind::Dismiss => "settled before, or not known not to be".to_owned(),
    }
}

fn refused(Refusal { field, detail }: &Refusal) -> Problem {
    Problem::refused(field, detail)
}

pub(crate) async fn replay(State(letters): State<Arc<DeadLetters>>, request: Request) -> Response {
    settle(&letters, Kind::Replay, request).await
}

pub(crate) async fn dismiss(State(letters): State<Arc<DeadLetters>>, request: Request) -> Response {
    settle(&letters, Kind::Dismiss, request).await
}

async fn settle(letters: &DeadLetters, kind: Kind, request: Request) -> Response {
    let name = kind.name();
    let confirmed = request.headers().get(CONFIRM).is_some_and(|confirmed| confirmed == name);
    if !confirmed {
        let detail =
            format!("this wants the header `floodgate-confirm: {name}`; or use `floodgate dlq {name}`");
        return Problem::new(StatusCode::FORBIDDEN, "forbidden", "Not confirmed", &detail).into_response();
    }
    let Ok(asked) = timeout(WITHIN, Json::<Errand>::from_request(request, &())).await else {
        let detail = format!("the body did not come within {} s", WITHIN.as_secs());
        let title = "The body came too slowly";
        return Problem::new(StatusCode::REQUEST_TIMEOUT, "body-timeout", title, &detail).into_response();
    };
    let settled = match asked {
        Ok(Json(asked)) => letters.settle(kind, asked).await,
        Err(error) => Err(unreadable(&error)),
    };
    match settled {
        Ok(report) => Json(report).into_response(),
        Err(problem) => problem.into_response(),
    }
}

fn unreadable(error: &JsonRejection) -> Problem {
    let detail = match error {
        JsonRejection::BytesRejection(error) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            let (title, detail) = ("The body is too large", "name fewer origins at once");
            return Problem::new(error.status(), "body-too-large", title, detail);
        }
        // the library's words tell nobody what to do
        JsonRejection::BytesRejection(_) => {
            "the body broke off before its end, or its chunks cannot be read".to_owned()
        }
        error => error.body_text(),
    };
    Problem::new(StatusCode::BAD_REQUEST, "invalid-request", "The request cannot be read", &detail)
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
        Err(refusal) => return refused(&refusal).into_response(),
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
        let publisher = strategy.publisher().unwrap();
        DeadLetters::new(DeadLetterTopic { strategy, clock, codecs: Codecs::builtin() }, publisher)
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
        let turn = letters.turn.take(BUSY).await.unwrap();
        let refused = letters.survey(Asked::default()).await.unwrap_err();
        assert_eq!(refused.into_response().status(), StatusCode::SERVICE_UNAVAILABLE);
        drop(turn);
        assert_eq!(letters.survey(Asked::default()).await.unwrap().total, 0);
    }
}
