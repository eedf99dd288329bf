//! A report for a terminal of 80 columns: the verdict first, what does not hold next.

use crate::columns::{COLUMNS, shortened, table, wrapped};
use crate::compare::{Comparison, Trend};
use crate::report::{Report, Verdict};
use crate::told;
use crate::words::harmless;

/// The whole report, beside an earlier one if there is one; in colours where those are wanted.
pub fn terminal(report: &Report, comparison: Option<&Comparison>, in_colours: bool) -> String {
    let paint = Paint { in_colours };
    let mut text =
        paint.line(shortened(&harmless(&told::verdict(report)), COLUMNS).trim_end(), report.verdict);
    text += &paragraph(&report.title);
    if !report.checks.is_empty() {
        text.push('\n');
        text += &checks(report, paint);
    }
    text.push('\n');
    let figures: Vec<_> =
        told::figures(report).into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    text += &table(&figures, &[12]).concat();
    let fairness = told::fairness(report);
    if !fairness.is_empty() {
        text.push('\n');
        text.extend(fairness.iter().map(|sentence| paragraph(sentence)));
    }
    text.push('\n');
    text += &paragraph(&told::generator(report));
    if let Some(comparison) = comparison {
        text.push('\n');
        text += &compared(comparison, paint);
    }
    text
}

fn checks(report: &Report, paint: Paint) -> String {
    let checks = told::in_order(report);
    let head = ["", "CHECK", "EXPECTED", "FOUND"].map(str::to_owned).to_vec();
    let rows = checks.iter().map(|check| {
        let mark = match check.verdict {
            Verdict::Pass => "ok",
            Verdict::Fail => "FAIL",
            Verdict::Unknown => "?",
        };
        vec![mark.to_owned(), harmless(&check.name), harmless(&check.aim), harmless(&check.found)]
    });
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    let verdicts = std::iter::once(Verdict::Pass).chain(checks.iter().map(|check| check.verdict));
    // what holds stays as it is: colours are for what does not
    let lines = table(&rows, &[4, 28, 18]).into_iter().zip(verdicts);
    lines
        .map(|(row, verdict)| if verdict == Verdict::Pass { row } else { paint.line(&row, verdict) })
        .collect()
}

fn compared(comparison: &Comparison, paint: Paint) -> String {
    let mut text = paragraph(&comparison.summary());
    text.extend(comparison.notes.iter().map(|note| paragraph(note)));
    let head = ["FIGURE", "BEFORE", "NOW", "CHANGE", ""].map(str::to_owned).to_vec();
    let rows = comparison.rows.iter().map(|row| {
        let texts = [&row.figure, &row.before, &row.now, &row.change].map(|text| harmless(text));
        texts.into_iter().chain([row.trend.word().to_owned()]).collect()
    });
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    let trends = std::iter::once(Trend::Same).chain(comparison.rows.iter().map(|row| row.trend));
    for (row, trend) in table(&rows, &[28, 13, 13, 10]).into_iter().zip(trends) {
        text += &match trend {
            Trend::Worse => paint.line(&row, Verdict::Fail),
            Trend::Better => paint.line(&row, Verdict::Pass),
            Trend::Same | Trend::Differs => row,
        };
    }
    text
}

fn paragraph(text: &str) -> String {
    let lines = wrapped(&harmless(text), COLUMNS);
    lines.into_iter().filter(|line| !line.is_empty()).map(|line| line + "\n").collect()
}

/// Whether colours are wanted.
#[derive(Clone, Copy)]
struct Paint {
    in_colours: bool,
}

impl Paint {
    /// Lines in the colour of a verdict.
    fn line(self, text: &str, verdict: Verdict) -> String {
        let text = text.trim_end_matches('\n');
        let colour = match verdict {
            Verdict::Pass => "32",
            Verdict::Fail => "31",
            Verdict::Unknown => "35",
        };
        if self.in_colours { format!("\u{1b}[{colour}m{text}\u{1b}[0m\n") } else { format!("{text}\n") }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::columns::width;
    use crate::compare::compare;
    use crate::example;

    fn fits(text: &str) {
        for line in text.lines() {
            assert!(width(line) <= COLUMNS, "{} columns: {line}", width(line));
            assert_eq!(line, line.trim_end(), "ends with spaces");
            assert!(!line.contains(char::is_control), "{line:?}");
        }
    }

    #[test]
    fn the_verdict_is_first_and_what_fails_is_next() {
        let report = example::report();
        let text = terminal(&report, None, false);
        fits(&text);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "FAIL: 1 of 7 does not hold: no group is far behind");
        assert_eq!(lines[1], report.title);
        assert!(lines[3].trim_start().starts_with("CHECK"));
        assert!(lines[4].starts_with("FAIL  no group is far behind"), "{text}");
        assert!(lines[5].starts_with("ok    every 202 is decided"), "{text}");
        for part in
            ["99 of 100 requests within 1.2 ms", "3.6 s after the last 202", "p95 18 ms", "1,560 issued"]
        {
            assert!(text.contains(part), "{part} is missing: {text}");
        }
    }

    #[test]
    fn columns_stand_below_each_other() {
        let text = terminal(&example::report(), None, false);
        let at = |line: usize, word: &str| text.lines().nth(line).and_then(|line| line.find(word));
        assert_eq!(at(3, "EXPECTED"), at(4, "at most 5,000"));
        assert_eq!(at(3, "FOUND"), at(4, "6,120"));
    }

    #[test]
    fn nothing_overflows_and_nothing_is_obeyed() {
        let (good, nothing, hostile) = (example::report(), example::nothing(), example::hostile());
        for now in [&good, &nothing, &hostile] {
            for before in [&good, &nothing, &hostile] {
                fits(&terminal(now, Some(&compare(before, now)), false));
            }
        }
    }

    #[test]
    fn colours_are_only_there_when_they_are_wanted() {
        let report = example::report();
        let comparison = compare(&example::nothing(), &report);
        let plain = terminal(&report, Some(&comparison), false);
        let painted = terminal(&report, Some(&comparison), true);
        assert!(painted.starts_with("\u{1b}[31mFAIL"));
        let mut stripped = painted.replace("\u{1b}[0m", "");
        for colour in ["\u{1b}[31m", "\u{1b}[32m", "\u{1b}[35m"] {
            stripped = stripped.replace(colour, "");
        }
        assert_eq!(stripped, plain);
    }

    #[test]
    fn differences_are_told_beside_each_other() {
        let (mut before, now) = (example::report(), example::report());
        before.latency_ms.p99 = 4.0;
        let text = terminal(&now, Some(&compare(&before, &now)), false);
        let line = text.lines().find(|line| line.starts_with("latency p99")).unwrap();
        let words: Vec<_> = line.split("  ").map(str::trim).filter(|word| !word.is_empty()).collect();
        assert_eq!(words, ["latency p99", "4.0 ms", "41 ms", "10.3 times", "worse"]);
    }

    proptest! {
        #[test]
        fn any_words_fit(name in ".{0,120}", aim in ".{0,60}", found in ".{0,300}", title in ".{0,200}") {
            let mut report = example::report();
            (report.checks[5].name, report.checks[0].aim, report.checks[0].found) = (name, aim, found);
            report.title = title;
            fits(&terminal(&report, None, false));
        }
    }
}
