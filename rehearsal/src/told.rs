//! What a report says, in sentences and figures: the same words for terminal and page.
//!
//! Texts of others (titles, addresses, what checks found) are as they are: whoever shows them makes them harmless for its place.

use crate::report::{Check, Fairness, Report, SlowReaders, Verdict};
use crate::words::{UNKNOWN, count, many, ms, places, seconds, share, share_of};

/// The word for how something ended.
pub(crate) fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "PASS",
        Verdict::Fail => "FAIL",
        Verdict::Unknown => "UNKNOWN",
    }
}

/// What the verdict rests on: `all 14 checks hold`, `2 of 14 do not hold`.
fn tally(report: &Report) -> String {
    let number = |verdict| report.checks.iter().filter(|check| check.verdict == verdict).count() as u64;
    let (failed, unknown) = (number(Verdict::Fail), number(Verdict::Unknown));
    let all = report.checks.len() as u64;
    let hold = |number| if number == 1 { "does" } else { "do" };
    match (failed, unknown) {
        _ if all == 0 => "nothing was checked".to_owned(),
        (0, 0) if all == 1 => "the one check holds".to_owned(),
        (0, 0) => format!("all {} checks hold", count(all)),
        (failed, 0) => format!("{} of {} {} not hold", count(failed), count(all), hold(failed)),
        (0, unknown) => format!("{} of {} cannot be told", count(unknown), count(all)),
        (failed, unknown) => format!(
            "{} of {} {} not hold, {} cannot be told",
            count(failed),
            count(all),
            hold(failed),
            count(unknown)
        ),
    }
}

/// The same, and the names of what does not hold.
pub(crate) fn headline(report: &Report) -> String {
    let names: Vec<&str> = in_order(report)
        .into_iter()
        .filter(|check| check.verdict != Verdict::Pass)
        .map(|check| check.name.as_str())
        .collect();
    let tally = tally(report);
    if names.is_empty() { tally } else { format!("{tally}: {}", names.join(", ")) }
}

/// The verdict in a line.
pub(crate) fn verdict(report: &Report) -> String {
    format!("{}: {}", word(report.verdict), headline(report))
}

/// Checks, those first that do not hold.
pub(crate) fn in_order(report: &Report) -> Vec<&Check> {
    let mut checks: Vec<&Check> = report.checks.iter().collect();
    checks.sort_by_key(|check| match check.verdict {
        Verdict::Fail => 0,
        Verdict::Unknown => 1,
        Verdict::Pass => 2,
    });
    checks
}

/// The whole in one sentence, for those who read no other.
pub(crate) fn summary(report: &Report) -> String {
    if report.sent == 0 {
        return "No request was sent.".to_owned();
    }
    let share = |part| share_of(part, report.sent);
    let told = match report.told_sold_out {
        0 => String::new(),
        told => format!(" and {} told that nothing is left", share(told)),
    };
    let answered = format!(
        "{} were sent in {}; {} were accepted{told}, half of all answers came within {}, 99 of 100 within {}",
        many(report.sent, "request"),
        seconds(report.seconds),
        share(report.accepted),
        ms(report.latency_ms.p50),
        ms(report.latency_ms.p99),
    );
    let drained = match report.drain_seconds {
        Some(drain) => {
            format!("everything accepted had taken effect {} after the last 202", seconds(drain))
        }
        None => "not everything accepted had taken effect in the time there was".to_owned(),
    };
    format!("{answered}; {drained}.")
}

/// Figures by name.
pub(crate) fn figures(report: &Report) -> Vec<(&'static str, String)> {
    let of_sent = |part| format!("{} ({})", count(part), share_of(part, report.sent));
    let latency = report.latency_ms;
    let drained = report.drain_seconds.map_or_else(
        || "not in the time there was".to_owned(),
        |drain| format!("{} after the last 202", seconds(drain)),
    );
    let (sent, tries) = (many(report.sent, "request"), report.tries);
    let mut figures = vec![
        ("Sent", format!("{sent} in {}, tried {} times", seconds(report.seconds), count(tries))),
        ("Accepted", of_sent(report.accepted)),
        (
            "Refused",
            format!(
                "{}; {} of them told that nothing is left",
                of_sent(report.refused),
                count(report.told_sold_out)
            ),
        ),
        ("Unknown", of_sent(report.unknown)),
        (
            "Latency",
            format!(
                "p50 {}, p95 {}, p99 {}, longest {}",
                ms(latency.p50),
                ms(latency.p95),
                ms(latency.p99),
                ms(latency.max)
            ),
        ),
        ("Drained", drained),
        ("Lag", lag(report)),
        (
            "Decisions",
            format!(
                "{} issued, {} sold out, {}, {} undecided",
                count(report.issued),
                count(report.sold_out),
                many(report.duplicates, "duplicate"),
                count(report.undecided)
            ),
        ),
        (
            "Wrong",
            format!(
                "{} issued too many, {}, {} served out of turn",
                count(report.over_issued),
                many(report.rank_gaps, "missing or double rank"),
                count(report.inversions)
            ),
        ),
    ];
    figures.extend(report.slow_readers.as_ref().map(|readers| ("Slow readers", slow_readers(readers))));
    figures
}

/// What became of connections that hardly read.
pub(crate) fn slow_readers(readers: &SlowReaders) -> String {
    let SlowReaders { answered, ended, failed, trouble } = readers;
    let told = format!(
        "{} answered, {} of them closed by the server; {} failed",
        count(*answered),
        count(*ended),
        count(*failed)
    );
    trouble.iter().fold(told, |told, trouble| format!("{told}: {trouble}"))
}

/// How far behind groups were, and how far that could be seen.
fn lag(report: &Report) -> String {
    let told = match report.max_lag {
        Some(lag) => format!("{} at most in {}", count(lag), many(report.lag_readings, "reading")),
        None => format!("{UNKNOWN} at most"),
    };
    match report.max_waiting {
        Some(waiting) => format!("{told}; {} waited for a decision at most", many(waiting, "request")),
        None => told,
    }
}

/// How fair it was, a sentence each.
pub(crate) fn fairness(report: &Report) -> Vec<String> {
    let turns = match report.inversions {
        0 => "Nobody was served before somebody who had been answered before they asked.".to_owned(),
        1 => "One user was served before somebody who had been answered before they asked.".to_owned(),
        some => {
            format!(
                "{} users were served before somebody who had been answered before they asked.",
                count(some)
            )
        }
    };
    let Some(Fairness { winners_among_first, mean_displacement, largest_displacement, instances }) =
        &report.fairness
    else {
        return Vec::new();
    };
    let mut told = vec![
        turns,
        format!(
            "Of the {} whose requests were due first, as many as got a piece, {} got one.",
            count(report.issued),
            share(*winners_among_first)
        ),
        format!(
            "A winner's rank lies {} from its place by due time on average, and {} at most.",
            number_of_places(*mean_displacement),
            many(*largest_displacement, "place")
        ),
    ];
    if instances.len() > 1 {
        let most =
            instances.iter().rev().max_by_key(|one| (i128::from(one.issued) - i128::from(one.due)).abs());
        told.extend(most.map(|one| {
            let (issued, due) = (count(one.issued), count(one.due));
            format!(
                "Which address was asked made most of a difference at {}: {issued} got a piece there, and {due} would have by due time.",
                one.url
            )
        }));
    }
    told
}

fn number_of_places(number: f64) -> String {
    let told = places(number);
    if told == "1" { "1 place".to_owned() } else { format!("{told} places") }
}

/// What can be said of whoever sent the load.
pub(crate) fn generator(report: &Report) -> String {
    let (slip, wait) = (ms(report.slip_ms), ms(report.wait_ms));
    if report.sent == 0 {
        "Nothing can be said of the generator.".to_owned()
    } else if report.generator_was_the_limit && report.wait_ms > report.slip_ms {
        format!(
            "The generator was the limit: 1 request in 100 waited for more than {wait} until one of its connections was free, though answers \
             came at once, so that the figures say more about whoever sent them. Use more --connections."
        )
    } else if report.generator_was_the_limit {
        format!(
            "The generator was the limit: 1 request in 100 was sent more than {slip} after it was due, so that the figures say more \
             about whoever sent them. Use more processes, or another machine than the server's."
        )
    } else {
        format!("The load was sent on time: 99 of 100 requests within {slip} of when they were due.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example;

    #[test]
    fn the_verdict_names_what_does_not_hold() {
        let mut report = example::report();
        assert_eq!(verdict(&report), "FAIL: 1 of 7 does not hold: no group is far behind");
        report.checks[0].verdict = Verdict::Unknown;
        report.checks[1].verdict = Verdict::Fail;
        assert_eq!(
            verdict(&report),
            "FAIL: 2 of 7 do not hold, 1 cannot be told: no piece beyond the stock, no group is far behind, every 202 is decided"
        );
        report.checks.iter_mut().for_each(|check| check.verdict = Verdict::Pass);
        report.verdict = Verdict::Pass;
        assert_eq!(verdict(&report), "PASS: all 7 checks hold");
        report.checks.truncate(1);
        assert_eq!(verdict(&report), "PASS: the one check holds");
        assert_eq!(verdict(&example::nothing()), "UNKNOWN: nothing was checked");
    }

    #[test]
    fn one_sentence_tells_the_whole() {
        let mut report = example::report();
        assert_eq!(
            summary(&report),
            "7,800 requests were sent in 30 s; 99.85 % were accepted, half of all answers came within 2.4 ms, 99 of 100 within 41 ms; \
             everything accepted had taken effect 3.6 s after the last 202."
        );
        (report.accepted, report.refused, report.told_sold_out) = (1950, 5850, 5850);
        report.drain_seconds = None;
        let told = summary(&report);
        assert!(told.contains("25 % were accepted and 75 % told that nothing is left,"), "{told}");
        assert!(
            told.ends_with("; not everything accepted had taken effect in the time there was."),
            "{told}"
        );
        assert_eq!(summary(&example::nothing()), "No request was sent.");
    }

    #[test]
    fn what_is_not_known_is_no_zero() {
        let told = figures(&example::nothing());
        let of = |name: &str| told.iter().find(|(one, _)| *one == name).map(|(_, value)| value.as_str());
        assert_eq!(of("Lag"), Some("? at most"));
        assert_eq!(of("Accepted"), Some("0 (?)"));
        assert!(of("Latency").is_some_and(|latency| latency.starts_with("p50 ?")));
        assert!(fairness(&example::nothing()).is_empty());
    }

    #[test]
    fn fairness_is_told_in_sentences() {
        let mut report = example::report();
        let told = fairness(&report);
        assert_eq!(told.len(), 4);
        assert_eq!(told[0], "Nobody was served before somebody who had been answered before they asked.");
        assert!(told[1].starts_with("Of the 1,560 ") && told[1].ends_with(" 99.36 % got one."));
        assert!(told[3].contains("8080: 786 got a piece there, and 780 would"));
        report.inversions = 12;
        assert!(fairness(&report)[0].starts_with("12 users were served before"));
    }

    #[test]
    fn a_generator_that_was_the_limit_is_told_of() {
        let mut report = example::report();
        assert!(generator(&report).contains("on time: 99 of 100 requests within 1.2 ms"));
        report.generator_was_the_limit = true;
        assert!(generator(&report).contains("Use more processes"));
        report.wait_ms = 300.0;
        assert!(generator(&report).contains("more than 300 ms until one of its connections was free"));
        assert!(generator(&report).ends_with("Use more --connections."));
        assert_eq!(generator(&example::nothing()), "Nothing can be said of the generator.");
    }
}
