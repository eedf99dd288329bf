//! What the shape expects, besides what always has to hold.

use std::time::Duration;

use crate::figures::waiting;
use crate::found::Found;
use crate::observed::Observed;
use crate::record::Fate;
use crate::report::{Check, LAG, Latency, Verdict};
use crate::words::many;

/// What groups are behind is read every two seconds, if nobody chose otherwise. What a reading says holds for so long at most.
const SILENCE_MAX_S: u32 = 5;

/// As many checks as the shape has expectations.
pub(crate) fn expected(observed: &Observed<'_>, latency: Latency) -> Vec<Check> {
    let expect = observed.shape.expect;
    let sent = observed.load.records.len() as u64;
    let answered = observed.ended(|fate| matches!(fate, Fate::Accepted | Fate::SoldOut));
    let checks = [
        expect.accepted_share.map(|aim| {
            let name = "requests are accepted, or told that nothing is left";
            let aim_told = format!("at least {}", percent(aim));
            check(name, &aim_told, told(answered, sent), share(answered, sent) >= aim)
        }),
        expect.error_share.map(|aim| {
            let (name, failed) = ("requests end with an error, or without an answer", sent - answered);
            let aim_told = format!("at most {}", percent(aim));
            check(name, &aim_told, told(failed, sent), share(failed, sent) <= aim)
        }),
        expect.p95_ms.map(|aim| answers(observed, "95 of 100 answers come in time", aim, latency.p95)),
        expect.p99_ms.map(|aim| answers(observed, "99 of 100 answers come in time", aim, latency.p99)),
        expect.lag.map(|aim| lag(observed, aim)),
        expect.drain_seconds.map(|aim| drain(observed, aim)),
    ];
    checks.into_iter().flatten().collect()
}

fn answers(observed: &Observed<'_>, name: &str, aim: f64, found_ms: f64) -> Check {
    let mut check = check(name, &format!("at most {aim} ms"), format!("{found_ms:.1} ms"), found_ms <= aim);
    if check.verdict == Verdict::Fail && observed.generator_was_the_limit {
        check.found +=
            &format!("; but requests were sent up to {:.1} ms late", observed.slip_ms + observed.wait_ms);
        check.verdict = Verdict::Unknown;
    }
    check
}

fn lag(observed: &Observed<'_>, aim: u64) -> Check {
    let (name, aim_told) = (LAG, format!("at most {aim}"));
    let lags = observed.lags;
    let trouble = lags.trouble.as_deref();
    let Some(lag) = lags.max else {
        return unknown(name, &aim_told, trouble.unwrap_or("nobody said anything while the load ran"));
    };
    let mut found = format!("{lag}, in {}", many(lags.readings, "reading"));
    let waiting = waiting(observed).unwrap_or_default();
    let silence = lags.silence(observed.schedule.duration().as_secs() as u32);
    if lag > aim {
        return check(name, &aim_told, found, false);
    }
    if silence > SILENCE_MAX_S {
        let trouble = trouble.map_or_else(String::new, |trouble| format!(": {trouble}"));
        found += &format!("; for {silence} s of the load nothing new was said{trouble}");
        return unknown(name, &aim_told, &found);
    }
    // by two clocks, which may differ
    if waiting > aim {
        return unknown(
            name,
            &aim_told,
            &format!("{found}; by when they were made {waiting} decisions were waited for"),
        );
    }
    check(name, &aim_told, found, true)
}

fn drain(observed: &Observed<'_>, aim: f64) -> Check {
    let name = "everything accepted takes effect soon after the last 202";
    let aim_told = format!("within {aim} s");
    match observed.settled.drained {
        Some(took) => {
            check(name, &aim_told, format!("after {:.1} s", took.as_secs_f64()), took <= seconds(aim))
        }
        None if observed.settled.requests.values().any(|found| *found == Found::Unread) => {
            unknown(name, &aim_told, "not everything could be read")
        }
        None => check(name, &aim_told, "not in the time there was".to_owned(), false),
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

fn share(part: u64, of: u64) -> f64 {
    part as f64 / of.max(1) as f64
}

fn told(part: u64, of: u64) -> String {
    format!("{part} of {of}, {}", percent(share(part, of)))
}

/// With two digits behind the point at most.
fn percent(share: f64) -> String {
    format!("{} %", (share * 10_000.0).round() / 100.0)
}

fn check(name: &str, aim: &str, found: String, holds: bool) -> Check {
    let verdict = if holds { Verdict::Pass } else { Verdict::Fail };
    Check { name: name.to_owned(), aim: aim.to_owned(), found, verdict }
}

fn unknown(name: &str, aim: &str, found: &str) -> Check {
    Check { verdict: Verdict::Unknown, ..check(name, aim, found.to_owned(), false) }
}
