//! A report for tests: a shortened coupon drop that went well but for its lag.

use crate::report::{Check, Fairness, Instance, LAG, Latency, P95, Report, Second, Verdict};

/// What was found.
pub(crate) fn report() -> Report {
    let series: Vec<Second> = (0..34).map(second).collect();
    let check = |name: &str, aim: &str, found: &str, verdict| Check {
        name: name.to_owned(),
        aim: aim.to_owned(),
        found: found.to_owned(),
        verdict,
    };
    Report {
        title: "PT-001: a coupon drop with a spike of 5,000 users".to_owned(),
        urls: vec!["http://127.0.0.1:8080".to_owned(), "http://127.0.0.1:8081".to_owned()],
        seed: 24_301,
        started_at: "2026-11-27T14:40:00Z".to_owned(),
        seconds: 30.0,
        sent: 7800,
        accepted: 7788,
        refused: 12,
        told_sold_out: 0,
        unknown: 0,
        tries: 7830,
        latency_ms: Latency { p50: 2.4, p95: 18.2, p99: 41.0, max: 187.4 },
        drain_seconds: Some(3.6),
        max_lag: Some(6120),
        lag_readings: 17,
        max_waiting: Some(6240),
        issued: 1560,
        sold_out: 5838,
        duplicates: 390,
        undecided: 0,
        over_issued: 0,
        rank_gaps: 0,
        inversions: 0,
        fairness: Some(Fairness {
            winners_among_first: 0.9936,
            mean_displacement: 3.2,
            largest_displacement: 41,
            instances: vec![
                Instance { url: "http://127.0.0.1:8080".to_owned(), asked: 3901, issued: 786, due: 780 },
                Instance { url: "http://127.0.0.1:8081".to_owned(), asked: 3899, issued: 774, due: 780 },
            ],
        }),
        slow_readers: None,
        generator_was_the_limit: false,
        slip_ms: 1.2,
        wait_ms: 0.1,
        checks: vec![
            check("every 202 is decided", "all of them", "7,788 of 7,788", Verdict::Pass),
            check("no piece beyond the stock", "1,560 issued", "1,560 issued", Verdict::Pass),
            check("ranks are 1 to n, each once", "no gap", "none", Verdict::Pass),
            check("accepted, or told that nothing is left", "at least 97 %", "99.85 %", Verdict::Pass),
            check(P95, "at most 200 ms", "18 ms", Verdict::Pass),
            check(LAG, "at most 5,000", "6,120 (coupon, after 8 s)", Verdict::Fail),
            check("drained", "within 5 min", "3.6 s", Verdict::Pass),
        ],
        verdict: Verdict::Fail,
        series,
    }
}

fn second(second: u32) -> Second {
    let due = match second {
        0..6 => 200,
        6..8 => 1000,
        8..18 => 400,
        18..30 => 100,
        _ => 0,
    };
    let wave = f64::from(second * 7919 % 13) / 13.0;
    let load = f64::from(due) / 100.0;
    let is_idle = due == 0;
    let p50 = if is_idle { 0.0 } else { rounded(1.6 + wave + load / 4.0) };
    let failed = if second == 7 { 12 } else { 0 };
    let lag = match second {
        0..6 => 40 + u64::from(second * 7919 % 13) * 6,
        6..9 => u64::from(second - 5) * 2040,
        9..22 => 6120 - u64::from(second - 9) * 470,
        _ => 0,
    };
    Second {
        second,
        due,
        answered: due,
        accepted: due - failed,
        failed,
        latency_ms: Latency {
            p50,
            p95: rounded(p50 * 4.0 * (1.0 + wave)),
            p99: rounded(p50 * 11.0),
            max: rounded(p50 * 20.0),
        },
        lag: Some(lag),
        decided: if second < 24 { 180 + second * 7919 % 13 * 20 } else { 0 },
    }
}

/// JSON does not keep the last digits of a number.
fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

/// One in which there was nothing: as bad as it gets for whoever draws it.
pub(crate) fn nothing() -> Report {
    Report {
        title: String::new(),
        urls: Vec::new(),
        seconds: f64::NAN,
        sent: 0,
        accepted: 0,
        refused: 0,
        tries: 0,
        latency_ms: Latency { p50: f64::NAN, p95: f64::INFINITY, p99: 0.0, max: -1.0 },
        drain_seconds: None,
        max_lag: None,
        lag_readings: 0,
        max_waiting: None,
        issued: 0,
        sold_out: 0,
        duplicates: 0,
        fairness: None,
        slip_ms: f64::NAN,
        wait_ms: f64::NAN,
        checks: Vec::new(),
        verdict: Verdict::Unknown,
        series: Vec::new(),
        ..report()
    }
}

/// One whose texts mean harm, and whose numbers are large.
pub(crate) fn hostile() -> Report {
    let text = "</title><script>alert(1)</script>\"'&\u{1b}[2J\u{202e}".repeat(3);
    let mut report = report();
    report.title = text.clone();
    report.started_at = text.clone();
    report.urls = vec![text.clone()];
    report.sent = u64::MAX;
    report.seconds = 1e300;
    report.max_lag = Some(u64::MAX);
    for check in &mut report.checks {
        (check.name, check.aim, check.found) = (text.clone(), text.clone(), text.clone());
    }
    for instance in report.fairness.iter_mut().flat_map(|fairness| &mut fairness.instances) {
        instance.url = text.clone();
        (instance.issued, instance.due) = (u64::MAX, 0);
    }
    report
}
