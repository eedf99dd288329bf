//! Likes and expectations.

use std::collections::HashMap;

use super::words::{Which, check, is_there, request};
use crate::found::{Counter, Effect};
use crate::observed::Observed;
use crate::plan::Kind;
use crate::record::Fate;
use crate::report::{Check, Verdict};

/// Exactly what was accepted, and of what nobody answered what took effect. Of what other processes sent any part may have: then only
/// that each like of this one is there says that none is lost.
pub(super) fn counters(observed: &Observed<'_>) -> Check {
    // of each target: known to be in, and possibly
    let mut unanswered: HashMap<String, (u64, u64)> = HashMap::new();
    let load = observed.load;
    for record in load.records.iter().filter(|record| matches!(record.fate, Fate::Unknown(_))) {
        if let Some(target) = load.plan.target(load.plan.kind(record.number)) {
            let (inside, possible) = unanswered.entry(target).or_default();
            match is_there(observed, record) {
                Some(true) => *inside += 1,
                Some(false) | None => *possible += 1,
            }
        }
    }
    let (mut wrong, mut unread, mut late, mut sum) = (Which::new(), 0, 0, 0);
    let (mut least_sum, mut others_sum) = (0, 0);
    for Counter { target, accepted, others, count } in &observed.settled.counters {
        let Some(count) = *count else {
            unread += 1;
            continue;
        };
        let (inside, possible) = unanswered.get(target).copied().unwrap_or_default();
        let least = accepted + inside;
        sum += count;
        least_sum += least;
        others_sum += others;
        if !(least..=least + possible + others).contains(&count) {
            wrong.add(|| format!("{target} has {count} instead of {least}"));
        } else if count > least + others {
            late += 1;
        }
    }
    let mut fine = format!("{} targets with {sum} likes", observed.settled.counters.len());
    let mut aim = "exactly what was accepted".to_owned();
    if others_sum > 0 {
        aim = format!("{least_sum} to {}: other processes sent {others_sum}", least_sum + others_sum);
        fine += ", and each of this process is read by itself";
    }
    let mut check =
        check(observed, "counters count every like once", &aim, &wrong, "not exact", unread, fine);
    if check.verdict == Verdict::Pass && late > 0 {
        check.verdict = Verdict::Unknown;
        check.found = format!("{late} count likes without an answer that were not there a moment before");
    }
    check
}

/// Each by itself: one that is lost does not make up for one that is counted twice.
pub(super) fn likes(observed: &Observed<'_>) -> Check {
    accepted(observed, is_like, "every like that was accepted is there")
}

pub(super) fn expectations(observed: &Observed<'_>) -> Check {
    accepted(observed, |kind| kind == Kind::Expectation, "expectations are as they were written")
}

fn accepted(observed: &Observed<'_>, is: fn(Kind) -> bool, name: &str) -> Check {
    let (mut wrong, mut unread, mut many) = (Which::new(), 0, 0);
    let accepted = observed.load.records.iter().filter(|record| record.fate == Fate::Accepted);
    for record in accepted.filter(|record| is(observed.load.plan.kind(record.number))) {
        let named = || request(observed, record.number);
        match observed.settled.effects.get(&record.number) {
            Some(Effect::There) => many += 1,
            Some(Effect::Altered(found)) => {
                let cost = observed.load.plan.cost(record.number);
                wrong.add(|| format!("{} has {found} instead of {cost}", named()));
            }
            Some(Effect::Absent) => wrong.add(|| format!("{} is not there", named())),
            Some(Effect::Unread) | None => unread += 1,
        }
    }
    let said = format!("{many} read back, all that were accepted");
    check(observed, name, "all that were accepted", &wrong, "not as written", unread, said)
}

pub(super) fn is_like(kind: Kind) -> bool {
    matches!(kind, Kind::Like { .. } | Kind::Hot)
}
