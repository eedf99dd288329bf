//! What answers promised: that something is stored, or is not.

use super::words::{Which, check, is_there, request};
use crate::observed::Observed;
use crate::record::{Fate, Record};
use crate::report::{Check, Verdict};

/// Where every request was refused all that follows holds of nothing.
pub(super) fn accepted(observed: &Observed<'_>) -> Check {
    let (sent, accepted) = (observed.load.records.len(), observed.ended(|fate| fate == Fate::Accepted));
    let sold_out = observed.ended(|fate| fate == Fate::SoldOut);
    Check {
        name: "something was accepted".to_owned(),
        aim: "one request at least, or told that nothing is left".to_owned(),
        found: format!("{accepted} of {sent} accepted, {sold_out} told that nothing is left"),
        verdict: if accepted + sold_out > 0 { Verdict::Pass } else { Verdict::Fail },
    }
}

pub(super) fn refused(observed: &Observed<'_>) -> Check {
    let (mut stored, mut unread, mut many) = (Which::new(), 0, 0);
    for record in observed.load.records {
        if matches!(record.fate, Fate::NotStored(_) | Fate::SoldOut | Fate::Rejected(_)) {
            many += 1;
            match is_there(observed, record) {
                Some(true) => stored.add(|| request(observed, record.number)),
                Some(false) => {}
                None => unread += 1,
            }
        }
    }
    check(
        observed,
        "nothing that was refused is stored",
        "none of those answered 4xx or 503",
        &stored,
        "stored all the same",
        unread,
        format!("{many} refused, none stored"),
    )
}

/// A request that nobody answered is out if there is no decision though everything that was accepted after it was asked for is decided.
pub(super) fn unanswered(observed: &Observed<'_>) -> Check {
    let records = observed.load.records;
    let is_open = |record: &&Record| {
        record.fate == Fate::Accepted
            && observed.settled.requests.get(&record.number).is_some_and(|found| found.decision().is_none())
    };
    let last_open = records.iter().filter(is_open).map(|record| record.answered_us).max();
    let [mut inside, mut outside, mut unresolved] = [const { Which::new() }; 3];
    for record in records.iter().filter(|record| matches!(record.fate, Fate::Unknown(_))) {
        let is_coupon = observed.settled.requests.contains_key(&record.number);
        let may_come = is_coupon && last_open.is_some_and(|open| open > record.asked_us);
        match is_there(observed, record) {
            Some(true) => inside.add(|| request(observed, record.number)),
            Some(false) if !may_come => outside.add(|| request(observed, record.number)),
            Some(false) | None => unresolved.add(|| request(observed, record.number)),
        }
    }
    let told = |which: &Which, what| match which.many {
        0 => format!("{what}: none"),
        many => format!("{what}: {many} ({})", which.examples()),
    };
    let mut found = format!("{}; {}", told(&inside, "took effect"), told(&outside, "did not"));
    if inside.many + outside.many + unresolved.many == 0 {
        found = "there are none".to_owned();
    }
    if unresolved.many > 0 {
        found += &format!("; {}", told(&unresolved, "nobody can tell"));
    }
    Check {
        name: "every request without an answer is known to be in or out".to_owned(),
        aim: "all of them".to_owned(),
        found,
        verdict: if unresolved.many == 0 { Verdict::Pass } else { Verdict::Unknown },
    }
}
