//! What is honest passes, and every planted fault is found by the check that names it.

mod history;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use self::history::{History, honest};
use crate::found::{Decision, Effect, Found, Status};
use crate::plan::Kind;
use crate::record::{Fate, Unanswered};
use crate::report::{Report, Second, Verdict};
use crate::shape::Expect;

fn failed(report: &Report) -> Vec<&str> {
    let failed = report.checks.iter().filter(|check| check.verdict == Verdict::Fail);
    failed.map(|check| check.name.as_str()).collect()
}

#[track_caller]
fn assert_check(report: &Report, name: &str, verdict: Verdict, found: &str) {
    let check = report.checks.iter().find(|check| check.name == name);
    let check = check.unwrap_or_else(|| panic!("{name}: {:#?}", report.checks));
    assert_eq!((check.verdict, check.found.as_str()), (verdict, found), "{name}");
}

#[test]
fn what_the_shape_expects_is_checked() {
    let mut history = History::prompt(100, 10);
    history.shape.expect = Expect {
        accepted_share: Some(0.97),
        error_share: Some(0.03),
        p95_ms: Some(200.0),
        p99_ms: Some(200.0),
        lag: Some(5000),
        drain_seconds: Some(1.0),
    };
    let names = [
        "requests are accepted, or told that nothing is left",
        "requests end with an error, or without an answer",
        "95 of 100 answers come in time",
        "99 of 100 answers come in time",
        "everything accepted takes effect soon after the last 202",
    ];
    let report = history.judged();
    for (name, found) in
        names.into_iter().zip(["100 of 100, 100 %", "0 of 100, 0 %", "0.0 ms", "0.0 ms", "after 0.0 s"])
    {
        assert_check(&report, name, Verdict::Pass, found);
    }
    assert_check(
        &report,
        "no group is far behind",
        Verdict::Unknown,
        "nobody said anything while the load ran",
    );
    // exactly as many as may fail
    history.records[97..].iter_mut().for_each(|record| record.fate = Fate::NotStored(503));
    assert_check(&history.judged(), names[1], Verdict::Pass, "3 of 100, 3 %");
    for record in &mut history.records[90..] {
        record.fate = Fate::Unknown(Unanswered::Time);
        record.answered_us += 2_000_000;
    }
    history.settled.drained = None;
    let report = history.judged();
    let found = ["90 of 100, 90 %", "10 of 100, 10 %", "2000.9 ms", "2000.9 ms", "not in the time there was"];
    for (name, found) in names.into_iter().zip(found) {
        assert_check(&report, name, Verdict::Fail, found);
    }
    assert_eq!((report.accepted, report.unknown, report.verdict), (90, 10, Verdict::Fail));
}

#[test]
fn examples_name_requests() {
    let mut history = History::prompt(100, 10);
    let number = history.of(Status::SoldOut)[0];
    history.settled.requests.insert(number, Found::Open);
    let id = history.plan.coupon_request(number).unwrap();
    let report = history.judged();
    assert_check(&report, "every 202 is decided", Verdict::Fail, &format!("1 without a decision: {id}"));
    assert_eq!(report.undecided, 1);
}

#[test]
fn fairness_is_told_by_due_time() {
    let mut history = History::prompt(200, 10);
    let fairness = history.judged().fairness.unwrap();
    assert_eq!(
        (fairness.winners_among_first, fairness.mean_displacement, fairness.largest_displacement),
        (1.0, 0.0, 0)
    );
    let [one, two] = &fairness.instances[..] else { panic!("{fairness:?}") };
    assert_eq!((one.due + two.due, one.issued + two.issued), (10, 10));
    assert_eq!((one.due, one.url.as_str()), (one.issued, "http://one"));
    // the first gives its place to the first who got none
    let (first, then) = (history.of(Status::Issued)[0], history.of(Status::SoldOut)[0]);
    let (won, lost) = (*history.decision(first), *history.decision(then));
    (*history.decision(first), *history.decision(then)) = (lost, won);
    let fairness = history.judged().fairness.unwrap();
    assert_eq!(
        (fairness.winners_among_first, fairness.mean_displacement, fairness.largest_displacement),
        (0.9, 1.0, 10)
    );
}

/// A fault, planted where the history has a place for it; whether it has.
type Fault = fn(&mut History) -> bool;

const ISSUED: &str = "as many pieces are given out as there are, or users who asked";

/// Each with the check that has to find it, and a figure that is not 0 then.
const FAULTS: [(&str, &str, Fault); 18] = [
    ("an over-issue", "no piece is given out beyond the stock", |history| {
        let Some(number) = history.of(Status::SoldOut).first().copied() else { return false };
        let rank = Some(history.stock as i64 + 1);
        let decision = history.decision(number);
        (decision.status, decision.rank) = (Status::Issued, rank);
        true
    }),
    ("a lost 202", "every 202 is decided", |history| {
        let accepted: Vec<_> =
            history.records.iter().filter(|record| record.fate == Fate::Accepted).collect();
        let number = accepted
            .iter()
            .map(|record| record.number)
            .find(|number| history.settled.requests.contains_key(number));
        number.is_some_and(|number| history.settled.requests.insert(number, Found::Open).is_some())
    }),
    ("a doubled rank", "ranks are 1, 2, 3 and so on, one each", |history| {
        let &[.., before, last] = &history.of(Status::Issued)[..] else { return false };
        history.decision(last).rank = history.decision(before).rank;
        true
    }),
    ("a gap", "ranks are 1, 2, 3 and so on, one each", |history| {
        let Some(last) = history.of(Status::Issued).last().copied() else { return false };
        let rank = history.decision(last).rank.map(|rank| rank + 1);
        history.decision(last).rank = rank;
        true
    }),
    ("no rank", "ranks are 1, 2, 3 and so on, one each", |history| {
        let Some(last) = history.of(Status::Issued).last().copied() else { return false };
        history.decision(last).rank = None;
        true
    }),
    ("an unfair rank", "nobody is served before somebody who was answered before they asked", |history| {
        let Some((first, then)) = in_order(history) else { return false };
        let ranks = (history.decision(then).rank, history.decision(first).rank);
        (history.decision(first).rank, history.decision(then).rank) = ranks;
        true
    }),
    ("an unfair piece", "nobody is served before somebody who was answered before they asked", |history| {
        let Some((first, _)) = in_order(history) else { return false };
        let decision = history.decision(first);
        (decision.status, decision.rank) = (Status::SoldOut, None);
        true
    }),
    ("a stored 503", "nothing that was refused is stored", |history| {
        let refused: Vec<_> =
            history.records.iter().filter(|record| matches!(record.fate, Fate::NotStored(_))).collect();
        let Some(number) = refused.iter().map(|record| record.number).next() else { return false };
        let decided = Decision { status: Status::SoldOut, rank: None, decided_us: 0 };
        match history.settled.requests.get_mut(&number) {
            Some(found) => *found = Found::Decided(decided),
            None => drop(history.settled.effects.insert(number, Effect::There)),
        }
        true
    }),
    ("a second piece", "no user has two pieces", |history| {
        let Some(number) = history.of(Status::Duplicate).first().copied() else { return false };
        let rank = Some(history.of(Status::Issued).len() as i64 + 1);
        let decision = history.decision(number);
        (decision.status, decision.rank) = (Status::Issued, rank);
        true
    }),
    ("a piece that is kept", ISSUED, |history| {
        let Some(last) = history.of(Status::Issued).last().copied() else { return false };
        let decision = history.decision(last);
        (decision.status, decision.rank) = (Status::SoldOut, None);
        true
    }),
    (
        "nothing left while something is",
        "nobody is told that nothing is left while something is",
        |history| {
            history.stock += 1;
            history.settled.coupon.iter_mut().for_each(|coupon| coupon.stock += 1);
            !history.of(Status::SoldOut).is_empty()
        },
    ),
    ("a piece that nobody has", "whoever is told to have a piece has one", |history| {
        let Some(number) = history.of(Status::SoldOut).first().copied() else { return false };
        history.decision(number).status = Status::Duplicate;
        true
    }),
    ("a coupon that is not open", "the coupon is there, and open to everybody", |history| {
        let Some(number) = history.of(Status::SoldOut).first().copied() else { return false };
        history.decision(number).status = Status::NotOpen;
        true
    }),
    (
        "a coupon that counts otherwise",
        "the coupon itself counts the pieces that were given out",
        |history| {
            let is_asked = !history.settled.requests.is_empty();
            history.settled.coupon.iter_mut().for_each(|coupon| coupon.issued += 1000);
            is_asked
        },
    ),
    ("a like that is not counted", "counters count every like once", |history| {
        let counter = history.settled.counters.iter_mut().find(|counter| counter.accepted > 0);
        counter.and_then(|counter| counter.count.as_mut()).map(|count| *count -= 1).is_some()
    }),
    ("a like that is counted twice", "counters count every like once", |history| {
        let open =
            history.settled.effects.values().filter(|effect| **effect == Effect::Absent).count() as u64;
        let counter = history.settled.counters.first_mut();
        counter.and_then(|counter| counter.count.as_mut()).map(|count| *count += open + 1).is_some()
    }),
    ("a lost like beside one that is counted twice", "every like that was accepted is there", |history| {
        let is_like = |number| history.plan.target(history.plan.kind(number)).is_some();
        let mut accepted = history.records.iter().filter(|record| record.fate == Fate::Accepted);
        let like = accepted.find(|record| is_like(record.number)).map(|record| record.number);
        like.is_some_and(|like| history.settled.effects.insert(like, Effect::Absent).is_some())
    }),
    ("another cost", "expectations are as they were written", |history| {
        let accepted: Vec<_> =
            history.records.iter().filter(|record| record.fate == Fate::Accepted).collect();
        let number = accepted
            .iter()
            .map(|record| record.number)
            .find(|number| history.plan.kind(*number) == Kind::Expectation);
        let Some(number) = number else { return false };
        history.settled.effects.insert(number, Effect::Altered("7.77".into()));
        true
    }),
];

/// Two that were given a piece, of which one was answered before the other asked.
fn in_order(history: &History) -> Option<(u32, u32)> {
    let mut issued: Vec<_> =
        history.of(Status::Issued).into_iter().map(|number| history.record(number)).collect();
    issued.sort_by_key(|record| record.asked_us);
    let accepted = issued.iter().filter(|record| record.fate == Fate::Accepted);
    let first = accepted.min_by_key(|record| record.answered_us)?;
    let then = issued.iter().find(|record| record.asked_us > first.answered_us)?;
    Some((first.number, then.number))
}

/// A test that plants nothing proves nothing.
#[test]
fn every_fault_has_a_place() {
    let mut runner = TestRunner::deterministic();
    let mut planted = [0; FAULTS.len()];
    for _ in 0..50 {
        let history = honest().new_tree(&mut runner).unwrap().current();
        for ((_, _, plant), planted) in FAULTS.iter().zip(&mut planted) {
            *planted += u32::from(plant(&mut history.clone()));
        }
    }
    for ((fault, ..), planted) in FAULTS.iter().zip(planted) {
        assert!(planted >= 10, "{fault}: {planted} of 50");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn what_is_honest_passes(history in honest()) {
        let report = history.judged();
        prop_assert_eq!(report.verdict, Verdict::Pass, "{:#?}", report.checks);
        prop_assert_eq!((report.over_issued, report.rank_gaps, report.inversions), (0, 0, 0));
        prop_assert_eq!(report.sent, report.accepted + report.refused + report.unknown);
        let sum = |of: fn(&Second) -> u32| report.series.iter().map(|second| u64::from(of(second))).sum::<u64>();
        prop_assert_eq!((sum(|second| second.due), sum(|second| second.answered)), (report.sent, report.sent));
        prop_assert_eq!(sum(|second| second.accepted), report.accepted);
        prop_assert_eq!(sum(|second| second.failed), report.sent - report.accepted - report.told_sold_out);
        prop_assert_eq!(sum(|second| second.decided), report.issued + report.sold_out + report.duplicates);
    }

    #[test]
    fn every_fault_is_found_by_the_check_that_names_it(history in honest()) {
        for (fault, name, plant) in FAULTS {
            let mut history = history.clone();
            if plant(&mut history) {
                let report = history.judged();
                prop_assert!(failed(&report).contains(&name), "{}: {:#?}", fault, report.checks);
                prop_assert_eq!(report.verdict, Verdict::Fail);
            }
        }
    }

    /// Each of two processes, one of which judges the whole load.
    #[test]
    fn a_part_of_what_is_honest_passes(history in honest(), judges_whole: bool) {
        let report = history.half(judges_whole).judged();
        prop_assert_eq!(report.verdict, Verdict::Pass, "{:#?}", report.checks);
        prop_assert_eq!(report.rank_gaps, 0);
        // of half of the winners nobody can say who came first
        prop_assert!(judges_whole || report.fairness.is_none());
    }

    /// What cannot be read neither passes nor fails.
    #[test]
    fn what_cannot_be_read_is_told_as_such(history in honest(), every in 1..5usize) {
        let mut history = history;
        for found in history.settled.requests.values_mut().step_by(every) {
            *found = Found::Unread;
        }
        for effect in history.settled.effects.values_mut().step_by(every) {
            *effect = Effect::Unread;
        }
        history.settled.drained = None;
        let report = history.judged();
        // the first one is unread, if there is any
        let is_any = !history.settled.requests.is_empty() || !history.settled.effects.is_empty();
        let wanted = if is_any { Verdict::Unknown } else { Verdict::Pass };
        prop_assert_eq!(report.verdict, wanted, "{:#?}", report.checks);
    }
}

/// How many of others' likes were accepted nobody here knows.
#[test]
fn a_count_that_others_share_in_is_a_range() {
    let history = History::prompt(100, 10).half(true);
    let likes = |is_ours: bool| {
        let targets = (0..100u32).filter(|number| number.is_multiple_of(2) == is_ours);
        targets.filter(|number| history.plan.target(history.plan.kind(*number)).is_some()).count()
    };
    let (ours, others) = (likes(true), likes(false));
    assert!(ours > 0 && others > 0);
    let report = history.judged();
    let check = report.checks.iter().find(|check| check.name == "counters count every like once").unwrap();
    assert_eq!(check.aim, format!("{ours} to {}: other processes sent {others}", ours + others));
    assert!(
        check.found.contains(&format!(" {} likes, and each of this process", ours + others)),
        "{check:?}"
    );
}

/// Of a load of twelve seconds, with so many behind in these.
fn lag_check(seconds: &[(u32, u64)], trouble: Option<&str>) -> (Verdict, String) {
    let mut history = History::prompt(100, 10);
    history.shape.expect.lag = Some(50);
    history.shape.stages[0].seconds = 12.0;
    history.schedule = crate::Schedule::new(&history.shape, 7).unwrap();
    history.lags = crate::watch::Lags {
        by_second: seconds.to_vec(),
        max: seconds.iter().map(|(_, lag)| *lag).max(),
        readings: seconds.len() as u64,
        trouble: trouble.map(str::to_owned),
        ..crate::watch::Lags::default()
    };
    let report = history.judged();
    let check = report.checks.into_iter().find(|check| check.name == "no group is far behind").unwrap();
    (check.verdict, check.found)
}

#[test]
fn a_lag_is_only_known_where_it_was_read() {
    let known = [(1, 3), (4, 50), (8, 2), (11, 0)];
    assert_eq!(lag_check(&known, Some("gone")), (Verdict::Pass, "50, in 4 readings".to_owned()));
    assert_eq!(lag_check(&[(2, 51)], None), (Verdict::Fail, "51, in 1 reading".to_owned()));
    let found = "50, in 2 readings; for 8 s of the load nothing new was said: gone".to_owned();
    assert_eq!(lag_check(&known[..2], Some("gone")), (Verdict::Unknown, found));
    assert_eq!(lag_check(&[], Some("gone")), (Verdict::Unknown, "gone".to_owned()));
}

/// Between two readings nobody sees what groups are behind, and decisions say it all the same.
#[test]
fn what_waits_for_a_decision_is_counted_all_the_time() {
    let mut history = History::prompt(100, 10);
    history.shape.expect.lag = Some(2);
    history.lags.max = Some(0);
    assert_eq!(history.judged().max_waiting, Some(0));
    // three are decided a second late, at times that overlap, and one never
    let numbers: Vec<u32> = history.of(Status::SoldOut)[..4].to_vec();
    for number in &numbers[..3] {
        let decided_us = history::BEGAN_UNIX_US + history.record(*number).answered_us as i64 + 1_000_000;
        history.decision(*number).decided_us = decided_us;
    }
    assert_eq!(history.judged().max_waiting, Some(3));
    history.settled.requests.insert(numbers[3], Found::Open);
    let report = history.judged();
    assert_eq!(report.max_waiting, Some(4));
    let found = "0, in 0 readings; by when they were made 4 decisions were waited for";
    assert_check(&report, "no group is far behind", Verdict::Unknown, found);
}

#[test]
fn slow_readers_that_were_none_are_told() {
    let mut history = History::prompt(100, 10);
    history.shape.slow_readers = 2;
    history.readers.failed = 9;
    history.readers.trouble = Some("refused".to_owned());
    let (name, found) =
        ("some connections hardly read", "0 answered, 0 of them closed by the server; 9 failed: refused");
    assert_check(&history.judged(), name, Verdict::Unknown, found);
    (history.readers.answered, history.readers.ended) = (4, 2);
    let found = "4 answered, 2 of them closed by the server; 9 failed: refused";
    assert_check(&history.judged(), name, Verdict::Pass, found);
}
