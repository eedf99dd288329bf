//! Latencies, and the course of a load second by second.

use hdrhistogram::Histogram;

use crate::observed::Observed;
use crate::record::{Fate, Record};
use crate::report::{Latency, Second};

/// Clocks that are further apart draw no course.
const SECONDS_MAX: u64 = 7 * 86_400;

/// Of records, from when they were due.
pub(crate) fn latency<'a>(records: impl IntoIterator<Item = &'a Record>) -> Latency {
    // three digits; it grows with what it is given, so that nothing is out of its range
    let Ok(mut histogram) = Histogram::<u64>::new(3) else { return Latency::default() };
    for record in records {
        histogram.record(record.latency_us()).unwrap_or_default();
    }
    let ms = |us: u64| us as f64 / 1000.0;
    let quantile = |quantile: f64| ms(histogram.value_at_quantile(quantile));
    Latency { p50: quantile(0.5), p95: quantile(0.95), p99: quantile(0.99), max: ms(histogram.max()) }
}

/// Every second, from the beginning of the load until the last in which anything happened.
pub(crate) fn series(observed: &Observed<'_>) -> Vec<Second> {
    let load = observed.load;
    let decided: Vec<u64> = observed
        .settled
        .decisions()
        .filter_map(|(_, decision)| u64::try_from(decision.decided_us - load.began_unix_us).ok())
        .map(second)
        .collect();
    let lag = observed.lags.seconds();
    let happened = load.records.iter().flat_map(|record| [second(record.due_us), second(record.answered_us)]);
    let happened = happened.chain(decided.iter().copied()).filter(|second| *second < SECONDS_MAX);
    let many = happened.map(|second| second + 1).max().unwrap_or_default().max(lag.len() as u64);
    let mut series: Vec<Second> =
        (0..many as u32).map(|second| Second { second, ..Second::default() }).collect();
    for (second, lag) in series.iter_mut().zip(lag) {
        second.lag = lag;
    }
    for decided in decided {
        change(&mut series, decided, |second| second.decided += 1);
    }
    for record in load.records {
        change(&mut series, second(record.due_us), |second| second.due += 1);
        change(&mut series, second(record.answered_us), |second| {
            second.answered += 1;
            second.accepted += u32::from(record.fate == Fate::Accepted);
            second.failed += u32::from(!matches!(record.fate, Fate::Accepted | Fate::SoldOut));
        });
    }
    let mut records: Vec<&Record> = load.records.iter().collect();
    records.sort_unstable_by_key(|record| record.due_us);
    for records in records.chunk_by(|one, next| second(one.due_us) == second(next.due_us)) {
        let latency = latency(records.iter().copied());
        let due = records.first().map_or(0, |record| second(record.due_us));
        change(&mut series, due, |second| second.latency_ms = latency);
    }
    series
}

/// The most requests for the coupon that had been accepted at one time and were not decided, by the server's clock; `None` if nothing is
/// decided.
pub(crate) fn waiting(observed: &Observed<'_>) -> Option<u64> {
    observed.settled.decisions().next()?;
    let mut changes: Vec<(u64, i64)> = Vec::new();
    for (record, _) in observed.asked().filter(|(record, _)| record.fate == Fate::Accepted) {
        let decision = observed.settled.decision(record.number);
        let decided = decision.map(|decision| decision.decided_us - observed.load.began_unix_us);
        // what was decided before its answer came did not wait
        if decided.is_none_or(|decided| decided > record.answered_us as i64) {
            changes.push((record.answered_us, 1));
            changes.extend(decided.map(|decided| (decided as u64, -1)));
        }
    }
    changes.sort_unstable();
    let mut waiting = 0;
    changes
        .iter()
        .map(|(_, change)| {
            waiting += change;
            waiting as u64
        })
        .max()
        .or(Some(0))
}

fn second(us: u64) -> u64 {
    us / 1_000_000
}

fn change(series: &mut [Second], second: u64, change: impl FnOnce(&mut Second)) {
    if let Some(second) = usize::try_from(second).ok().and_then(|second| series.get_mut(second)) {
        change(second);
    }
}

#[cfg(test)]
mod tests;
