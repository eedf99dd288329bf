//! Judges a load by what was found after it: figures, checks, and whether all of them hold.

use crate::checks::{Ranks, always, expected, over_issued};
use crate::fairness::{fairness, inversions, turns};
use crate::figures::{latency, series, waiting};
use crate::found::Status;
use crate::observed::Observed;
use crate::record::Fate;
use crate::report::{Check, Report, Verdict};

/// Everything that can be said of it.
pub fn judge(observed: &Observed<'_>) -> Report {
    let records = observed.load.records;
    let latency_ms = latency(records);
    let mut checks = always(observed);
    checks.extend(expected(observed, latency_ms));
    let undecided = observed.asked().filter(|(record, _)| {
        record.fate == Fate::Accepted && observed.settled.decision(record.number).is_none()
    });
    Report {
        title: observed.shape.title.clone(),
        urls: observed.urls.to_vec(),
        seed: observed.seed,
        started_at: time(observed.load.began_unix_us),
        seconds: observed.schedule.duration().as_secs_f64(),
        sent: records.len() as u64,
        accepted: observed.ended(|fate| fate == Fate::Accepted),
        refused: observed
            .ended(|fate| matches!(fate, Fate::SoldOut | Fate::NotStored(_) | Fate::Rejected(_))),
        told_sold_out: observed.ended(|fate| fate == Fate::SoldOut),
        unknown: observed.ended(|fate| matches!(fate, Fate::Unknown(_))),
        tries: records.iter().map(|record| u64::from(record.tries)).sum(),
        latency_ms,
        drain_seconds: observed.settled.drained.map(|drained| drained.as_secs_f64()),
        max_lag: observed.lags.max,
        lag_readings: observed.lags.readings,
        max_waiting: waiting(observed),
        issued: observed.count(Status::Issued),
        sold_out: observed.count(Status::SoldOut),
        duplicates: observed.count(Status::Duplicate),
        undecided: undecided.count() as u64,
        over_issued: over_issued(observed),
        rank_gaps: Ranks::of(observed).gaps(observed),
        inversions: inversions(&turns(observed)).len() as u64,
        fairness: observed.load.judges_whole.then(|| fairness(observed)).flatten(),
        slow_readers: (observed.shape.slow_readers > 0).then(|| observed.readers.clone()),
        generator_was_the_limit: observed.generator_was_the_limit,
        slip_ms: observed.slip_ms,
        wait_ms: observed.wait_ms,
        verdict: verdict(&checks),
        checks,
        series: series(observed),
    }
}

/// That of all checks together.
pub fn verdict(checks: &[Check]) -> Verdict {
    let any = |verdict| checks.iter().any(|check| check.verdict == verdict);
    match (any(Verdict::Fail), any(Verdict::Unknown)) {
        (true, _) => Verdict::Fail,
        (false, true) => Verdict::Unknown,
        (false, false) => Verdict::Pass,
    }
}

fn time(unix_us: i64) -> String {
    jiff::Timestamp::from_microsecond(unix_us).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests;
