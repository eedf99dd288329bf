//! Two reports beside each other: what is better now, and what is worse.
//!
//! No two runs are the same, so a figure counts as *the same* within what chance does to it: a tenth of a time, a little more of the
//! longest. What must not be there at all has no such room.

use std::fmt::Write;

use crate::report::{Report, Verdict};
use crate::told;
use crate::words::{UNKNOWN, count, ms, places, seconds, share, stamp};

/// What became of the figures of an earlier report.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// When the earlier run began.
    pub before: String,
    /// Why its figures may say something else.
    pub notes: Vec<String>,
    /// Figure by figure; what neither knows is left out.
    pub rows: Vec<Row>,
}

/// A figure.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Which.
    pub figure: String,
    /// In the earlier report.
    pub before: String,
    /// In this one.
    pub now: String,
    /// From one to the other; empty where there is nothing to say.
    pub change: String,
    /// What to think of it.
    pub trend: Trend,
}

/// What to think of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trend {
    /// As one would have it.
    Better,
    /// The opposite.
    Worse,
    /// Within what chance does.
    Same,
    /// Neither is better, or one is not known.
    Differs,
}

impl Trend {
    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Same => "same",
            Self::Differs => "differs",
        }
    }
}

/// How a figure is told, and what chance does to it.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Of 1; same within so much.
    Share(f64),
    /// Same within such a part of it, or 1 ms.
    Ms(f64),
    /// Same within a tenth, or a second.
    Seconds,
    /// Same within such a part of it, or so many.
    Count(f64, f64),
}

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Wish {
    More,
    Less,
    None,
}

/// A figure of both.
struct Pair {
    figure: &'static str,
    kind: Kind,
    wish: Wish,
    before: Option<f64>,
    now: Option<f64>,
}

/// What of a report is compared.
type Figure = (&'static str, Kind, Wish, fn(&Report) -> Option<f64>);

const FIGURES: [Figure; 19] = [
    ("sent", Kind::Count(0.01, 0.0), Wish::None, |report| Some(report.sent as f64)),
    ("accepted", Kind::Share(0.001), Wish::More, |report| part(report.accepted, report)),
    ("errors and unknown", Kind::Share(0.001), Wish::Less, |report| part(errors(report), report)),
    ("tries for a request", Kind::Count(0.02, 0.01), Wish::Less, |report| part(report.tries, report)),
    ("latency p50", Kind::Ms(0.1), Wish::Less, |report| Some(report.latency_ms.p50)),
    ("latency p95", Kind::Ms(0.1), Wish::Less, |report| Some(report.latency_ms.p95)),
    ("latency p99", Kind::Ms(0.1), Wish::Less, |report| Some(report.latency_ms.p99)),
    ("longest latency", Kind::Ms(0.25), Wish::Less, |report| Some(report.latency_ms.max)),
    // what did not end took longer than anything that did
    ("drained after", Kind::Seconds, Wish::Less, |report| report.drain_seconds.or(Some(f64::INFINITY))),
    ("lag at most", Kind::Count(0.1, 100.0), Wish::Less, |report| report.max_lag.map(|lag| lag as f64)),
    ("waited for a decision", Kind::Count(0.1, 100.0), Wish::Less, |report| {
        report.max_waiting.map(|waiting| waiting as f64)
    }),
    ("undecided", Kind::Count(0.0, 0.0), Wish::Less, |report| Some(report.undecided as f64)),
    ("issued too many", Kind::Count(0.0, 0.0), Wish::Less, |report| Some(report.over_issued as f64)),
    ("missing or double ranks", Kind::Count(0.0, 0.0), Wish::Less, |report| Some(report.rank_gaps as f64)),
    ("served out of turn", Kind::Count(0.0, 0.0), Wish::Less, |report| Some(report.inversions as f64)),
    ("first ones that got a piece", Kind::Share(0.005), Wish::More, |report| {
        report.fairness.as_ref().map(|fairness| fairness.winners_among_first)
    }),
    ("places off, on average", Kind::Count(0.1, 1.0), Wish::Less, |report| {
        report.fairness.as_ref().map(|fairness| fairness.mean_displacement)
    }),
    ("places off, at most", Kind::Count(0.25, 10.0), Wish::Less, |report| {
        report.fairness.as_ref().map(|fairness| fairness.largest_displacement as f64)
    }),
    ("sent late, 99 of 100 within", Kind::Ms(0.1), Wish::Less, |report| Some(report.slip_ms)),
];

fn part(part: u64, report: &Report) -> Option<f64> {
    (report.sent > 0).then(|| part as f64 / report.sent as f64)
}

fn errors(report: &Report) -> u64 {
    report.refused.saturating_sub(report.told_sold_out).saturating_add(report.unknown)
}

/// Puts an earlier report beside one.
pub fn compare(before: &Report, now: &Report) -> Comparison {
    let mut rows: Vec<Row> = FIGURES
        .into_iter()
        .map(|(figure, kind, wish, of)| Pair { figure, kind, wish, before: of(before), now: of(now) })
        .filter(|pair| pair.before.is_some() || pair.now.is_some())
        .map(|pair| pair.row())
        .collect();
    rows.extend(checks(before, now));
    Comparison { before: before.started_at.clone(), notes: notes(before, now), rows }
}

/// Checks of both that ended otherwise than before.
fn checks<'r>(before: &'r Report, now: &'r Report) -> impl Iterator<Item = Row> + 'r {
    now.checks.iter().filter_map(|check| {
        let earlier = before.checks.iter().find(|earlier| earlier.name == check.name)?;
        let trend = match (earlier.verdict, check.verdict) {
            (before, now) if before == now => return None,
            (_, Verdict::Pass) => Trend::Better,
            (Verdict::Pass, _) => Trend::Worse,
            _ => Trend::Differs,
        };
        let told = |verdict| told::word(verdict).to_owned();
        let (before, now) = (told(earlier.verdict), told(check.verdict));
        Some(Row { figure: check.name.clone(), before, now, change: String::new(), trend })
    })
}

fn notes(before: &Report, now: &Report) -> Vec<String> {
    let mut differences = Vec::new();
    if before.title != now.title {
        differences.push(format!("then “{}”, now “{}”", before.title, now.title));
    }
    if differ(before.seconds, now.seconds, 0.01) {
        differences.push(format!("it took {}, and takes {}", seconds(before.seconds), seconds(now.seconds)));
    }
    if differ(before.sent as f64, now.sent as f64, 0.01) {
        differences.push(format!("{} requests, and {}", count(before.sent), count(now.sent)));
    }
    if before.urls.len() != now.urls.len() {
        differences.push(format!("{} addresses, and {}", before.urls.len(), now.urls.len()));
    }
    let mut notes = Vec::new();
    if !differences.is_empty() {
        notes.push(format!("Not the same load: {}.", differences.join("; ")));
    }
    let which = match (before.generator_was_the_limit, now.generator_was_the_limit) {
        (false, false) => return notes,
        (true, false) => "earlier run",
        (false, true) => "run now",
        (true, true) => "run then and now",
    };
    notes.push(format!(
        "The generator was the limit of the {which}: times say more about whoever sent the load."
    ));
    notes
}

fn differ(before: f64, now: f64, tolerance: f64) -> bool {
    let is_near = (before - now).abs() <= tolerance * before.abs();
    !(before == now || is_near || before.is_nan() && now.is_nan())
}

impl Comparison {
    /// How many are better and worse, in a sentence.
    pub fn summary(&self) -> String {
        let number = |trend| self.rows.iter().filter(|row| row.trend == trend).count();
        let mut told = format!("Since the run of {}: ", stamp(&self.before));
        match (number(Trend::Better), number(Trend::Worse)) {
            (0, 0) => told.push_str("nothing is better or worse beyond what chance does"),
            // writing to a String cannot fail
            (better, 0) => drop(write!(told, "{better} better, nothing worse")),
            (0, worse) => drop(write!(told, "{worse} worse, nothing better")),
            (better, worse) => drop(write!(told, "{better} better, {worse} worse")),
        }
        told + "."
    }
}

impl Pair {
    fn row(&self) -> Row {
        let told = |value: Option<f64>| value.map_or_else(|| UNKNOWN.to_owned(), |value| self.told(value));
        Row {
            figure: self.figure.to_owned(),
            before: told(self.before),
            now: told(self.now),
            change: self.change(),
            trend: self.trend(),
        }
    }

    fn told(&self, value: f64) -> String {
        match self.kind {
            Kind::Share(_) => share(value),
            Kind::Ms(_) => ms(value),
            Kind::Seconds if value == f64::INFINITY => "not in time".to_owned(),
            Kind::Seconds => seconds(value),
            Kind::Count(..) if value.fract() == 0.0 => count(value as u64),
            Kind::Count(..) => places(value),
        }
    }

    /// Numbers that both have.
    fn known(&self) -> Option<(f64, f64)> {
        self.before.zip(self.now).filter(|(before, now)| !before.is_nan() && !now.is_nan())
    }

    fn trend(&self) -> Trend {
        let Some((before, now)) = self.known() else { return Trend::Differs };
        if before == now {
            return Trend::Same;
        }
        let (part, least) = match self.kind {
            Kind::Share(least) => (0.0, least),
            Kind::Ms(part) => (part, 1.0),
            Kind::Seconds => (0.1, 1.0),
            Kind::Count(part, least) => (part, least),
        };
        // the first error is no matter of chance, and neither is being rid of the last one
        let is_first = matches!(self.kind, Kind::Share(_)) && self.wish == Wish::Less && before * now == 0.0;
        let difference = (now - before).abs();
        if !is_first && difference.is_finite() && difference <= least.max(part * before.abs()) {
            return Trend::Same;
        }
        match self.wish {
            Wish::None => Trend::Differs,
            Wish::More if now > before => Trend::Better,
            Wish::Less if now < before => Trend::Better,
            Wish::More | Wish::Less => Trend::Worse,
        }
    }

    fn change(&self) -> String {
        let Some((before, now)) = self.known().filter(|(before, now)| (now - before).is_finite()) else {
            return String::new();
        };
        let difference = now - before;
        let sign = if difference < 0.0 { "−" } else { "+" };
        match self.kind {
            _ if difference == 0.0 => "0".to_owned(),
            Kind::Share(_) => match places(difference.abs() * 100.0).as_str() {
                "0" => format!("{sign}under 0.01 points"),
                points => format!("{sign}{points} points"),
            },
            Kind::Ms(_) | Kind::Seconds if before > 0.0 && now >= before * 3.0 => {
                format!("{} times", places((now / before * 10.0).round() / 10.0))
            }
            Kind::Ms(_) | Kind::Seconds if before > 0.0 => {
                format!("{sign}{:.0} %", difference.abs() / before * 100.0)
            }
            _ => format!("{sign}{}", self.told(difference.abs())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example;

    fn row(comparison: &Comparison, figure: &str) -> Row {
        comparison.rows.iter().find(|row| row.figure == figure).unwrap().clone()
    }

    #[test]
    fn a_run_is_the_same_as_itself() {
        let report = example::report();
        let found = compare(&report, &report);
        assert!(found.notes.is_empty());
        assert!(found.rows.iter().all(|row| row.trend == Trend::Same), "{found:?}");
        assert!(found.summary().ends_with("nothing is better or worse beyond what chance does."));
    }

    #[test]
    fn chance_is_no_change() {
        let (before, mut now) = (example::report(), example::report());
        now.latency_ms.p95 = 19.0;
        now.latency_ms.p99 = 410.0;
        now.latency_ms.p50 = 1.5;
        now.max_lag = Some(2000);
        let found = compare(&before, &now);
        assert_eq!(row(&found, "latency p50").trend, Trend::Same, "less than a millisecond");
        assert_eq!(row(&found, "latency p95").trend, Trend::Same, "less than a tenth");
        let p99 = row(&found, "latency p99");
        assert_eq!((p99.before.as_str(), p99.now.as_str()), ("41 ms", "410 ms"));
        assert_eq!((p99.change.as_str(), p99.trend), ("10 times", Trend::Worse));
        let lag = row(&found, "lag at most");
        assert_eq!((lag.change.as_str(), lag.trend), ("−4,120", Trend::Better));
        assert!(found.summary().ends_with("1 better, 1 worse."));
    }

    #[test]
    fn the_first_error_is_no_chance() {
        let (mut before, mut now) = (example::report(), example::report());
        (before.refused, before.accepted) = (0, 7800);
        (now.refused, now.accepted) = (1, 7799);
        let found = row(&compare(&before, &now), "errors and unknown");
        assert_eq!((found.now.as_str(), found.trend), ("0.01 %", Trend::Worse));
        now.over_issued = 1;
        assert_eq!(row(&compare(&before, &now), "issued too many").trend, Trend::Worse);
    }

    #[test]
    fn what_did_not_end_is_worse_than_what_did() {
        let (before, mut now) = (example::report(), example::report());
        now.drain_seconds = None;
        let found = row(&compare(&before, &now), "drained after");
        assert_eq!((found.now.as_str(), found.trend), ("not in time", Trend::Worse));
        let found = row(&compare(&now, &before), "drained after");
        assert_eq!((found.change.as_str(), found.trend), ("", Trend::Better));
        now.max_lag = None;
        assert_eq!(row(&compare(&before, &now), "lag at most").trend, Trend::Differs);
    }

    #[test]
    fn another_load_is_told_of() {
        let (before, mut now) = (example::report(), example::report());
        now.title = "LT-001".to_owned();
        now.seconds = 3.0;
        now.generator_was_the_limit = true;
        let notes = compare(&before, &now).notes;
        assert!(notes[0].starts_with("Not the same load: then “PT-001: "), "{notes:?}");
        assert!(notes[0].contains("it took 30 s, and takes 3.0 s"));
        assert!(notes[1].contains("of the run now"));
    }

    #[test]
    fn a_check_that_turned_is_a_row() {
        let (before, mut now) = (example::report(), example::report());
        now.checks[0].verdict = Verdict::Fail;
        now.checks[5].verdict = Verdict::Pass;
        let found = compare(&before, &now);
        assert_eq!(row(&found, "every 202 is decided").trend, Trend::Worse);
        assert_eq!(row(&found, "no group is far behind").now, "PASS");
    }

    #[test]
    fn nothing_is_compared_without_a_fault() {
        for (before, now) in [
            (example::nothing(), example::report()),
            (example::report(), example::nothing()),
            (example::hostile(), example::nothing()),
        ] {
            assert!(compare(&before, &now).rows.len() > 10);
        }
    }
}
