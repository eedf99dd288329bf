//! What a rehearsal found, as values: the JSON that is written, compared with and drawn.

use serde::{Deserialize, Serialize};

/// Of a whole rehearsal. Names are part of the contract; it may grow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The shape's.
    pub title: String,
    /// Whom it was sent to.
    pub urls: Vec<String>,
    /// By which it can be done again.
    pub seed: u64,
    /// When the load began, RFC 3339.
    pub started_at: String,
    /// How long the load lasted, in seconds.
    pub seconds: f64,
    /// Requests that were due and sent, each counted once however often it was tried.
    pub sent: u64,
    /// 202.
    pub accepted: u64,
    /// Told that nothing is left, or certainly not stored, or at fault.
    pub refused: u64,
    /// Of those, 409 `sold-out`: an answer like any other.
    pub told_sold_out: u64,
    /// Without an answer that says what became of it, when the load ended.
    pub unknown: u64,
    /// Tries in all.
    pub tries: u64,
    /// From when a request was due until its last answer.
    pub latency_ms: Latency,
    /// From the last 202 until everything that was accepted had taken effect; null if it did not in the time there was.
    pub drain_seconds: Option<f64>,
    /// The most that any group was behind in any reading; null where operators' listener was not asked.
    pub max_lag: Option<u64>,
    /// How often that was read anew, for so often it could be seen: every `lag.refresh_ms`.
    pub lag_readings: u64,
    /// The most requests for the coupon that had been accepted and were not decided, by when decisions say that they were made: all the
    /// time, and not only when it was read. Null if nothing was decided.
    pub max_waiting: Option<u64>,
    /// Decisions that gave a piece.
    pub issued: u64,
    /// Decisions that gave nothing, since all were given out.
    pub sold_out: u64,
    /// Decisions that gave nothing, since the user has a piece or asked for one.
    pub duplicates: u64,
    /// Accepted, and not decided in the time there was.
    pub undecided: u64,
    /// Pieces given out beyond the stock, and second ones of a user.
    pub over_issued: u64,
    /// Ranks between the first and the last that nobody has, or that several have.
    pub rank_gaps: u64,
    /// Users who were given a rank before, or a piece instead of, somebody who was answered before they asked.
    pub inversions: u64,
    /// How fair it was to those who came first; null where nobody got a piece, and where others' decisions are judged elsewhere.
    pub fairness: Option<Fairness>,
    /// Connections that hardly read; null where the shape has none.
    pub slow_readers: Option<SlowReaders>,
    /// Whether the requests were sent so late that the figures say more about whoever sent them.
    pub generator_was_the_limit: bool,
    /// How late requests were sent, 99 of 100, in ms.
    pub slip_ms: f64,
    /// How long they waited for a connection then, 99 of 100, in ms.
    pub wait_ms: f64,
    /// What had to hold.
    pub checks: Vec<Check>,
    /// Whether all of it did.
    pub verdict: Verdict,
    /// Second by second.
    pub series: Vec<Second>,
}

/// In milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Latency {
    /// Of half of them.
    pub p50: f64,
    /// Of 95 in 100.
    pub p95: f64,
    /// Of 99 in 100.
    pub p99: f64,
    /// Of all.
    pub max: f64,
}

/// Who got a piece, by when their requests were due.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fairness {
    /// Of as many as there were pieces, the first by due time, this share got one. Networks shuffle a little.
    pub winners_among_first: f64,
    /// How many places a winner's rank lies from its place by due time, on average.
    pub mean_displacement: f64,
    /// The same, the most.
    pub largest_displacement: u64,
    /// What each address did for those who asked it.
    pub instances: Vec<Instance>,
}

/// One of the addresses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    /// Which.
    pub url: String,
    /// Requests for the coupon that it answered.
    pub asked: u64,
    /// How many of them got a piece.
    pub issued: u64,
    /// How many would have, had everybody been served by due time.
    pub due: u64,
}

/// What became of connections that hardly read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SlowReaders {
    /// Connections whose first answer began.
    pub answered: u64,
    /// Of those, the server had enough of so many, and closed them.
    pub ended: u64,
    /// Not connected, or not answered with 200.
    pub failed: u64,
    /// Why, the last time.
    pub trouble: Option<String>,
}

/// Something that had to hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// In words, for people: `every 202 is decided`.
    pub name: String,
    /// What was expected, in words: `at most 200 ms`.
    pub aim: String,
    /// What was found, in words, with an example where it does not hold.
    pub found: String,
    /// Whether it holds.
    pub verdict: Verdict,
}

/// What a check on the lag is called. Its aim, `at most 5000`, is a line in a plot, as are those of the next two.
pub const LAG: &str = "no group is far behind";
/// The check on p95; its aim is `at most 200 ms`.
pub const P95: &str = "95 of 100 answers come in time";
/// The check on p99.
pub const P99: &str = "99 of 100 answers come in time";

/// How something ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It holds.
    Pass,
    /// It does not.
    Fail,
    /// Nobody can tell: what it takes could not be read. It counts as not holding.
    Unknown,
}

/// A second of the load, or after it.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Second {
    /// From the beginning.
    pub second: u32,
    /// Requests that were due in it.
    pub due: u32,
    /// Requests whose last answer came in it.
    pub answered: u32,
    /// Of those, 202.
    pub accepted: u32,
    /// Of those, neither accepted nor told that nothing is left.
    pub failed: u32,
    /// Of those that were due in it.
    pub latency_ms: Latency,
    /// What the groups were behind, all together; null where nobody was asked.
    pub lag: Option<u64>,
    /// Coupon decisions made in it.
    pub decided: u32,
}
