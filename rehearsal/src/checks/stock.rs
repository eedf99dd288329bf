//! The stock: how many pieces are given out.

use std::collections::BTreeSet;

use super::words::{Which, check, told_unread};
use crate::found::{Found, Status};
use crate::observed::Observed;
use crate::record::Fate;
use crate::report::{Check, Verdict};

/// Pieces given out beyond the stock, and second ones.
pub(crate) fn over_issued(observed: &Observed<'_>) -> u64 {
    let seconds: usize = observed.pieces().values().map(|pieces| pieces.len() - 1).sum();
    observed.count(Status::Issued).saturating_sub(observed.stock) + seconds as u64
}

pub(super) fn pieces(observed: &Observed<'_>) -> Check {
    let mut issued: Vec<_> = observed.issued().map(|(number, _, decision)| (decision.rank, number)).collect();
    issued.sort_unstable();
    let (given, unread) = (issued.len() as u64, observed.settled.unread());
    let beyond = issued.into_iter().skip(usize::try_from(observed.stock).unwrap_or(usize::MAX));
    check(
        observed,
        "no piece is given out beyond the stock",
        &format!("at most {}", observed.stock),
        &Which::of(observed, beyond.map(|(_, number)| number)),
        "beyond it",
        if given + unread as u64 > observed.stock { unread } else { 0 },
        format!("{given} given out"),
    )
}

/// Exactly as many as there are, or as there are users whose requests took effect. Of the whole load alone.
pub(super) fn as_many(observed: &Observed<'_>) -> Check {
    let users = observed.decided().map(|(_, user, _)| user).collect::<BTreeSet<_>>().len() as u64;
    let (given, unread) = (observed.count(Status::Issued), observed.settled.unread());
    let wanted = observed.stock.min(users);
    let verdict = if given > observed.stock || given + (unread as u64) < wanted {
        Verdict::Fail
    } else if unread == 0 || given == observed.stock {
        passes(given == wanted)
    } else {
        Verdict::Unknown
    };
    Check {
        name: "as many pieces are given out as there are, or users who asked".to_owned(),
        aim: format!("{wanted}: there are {} pieces, and {users} users who took part", observed.stock),
        found: format!("{given}{}", told_unread(observed, unread)),
        verdict,
    }
}

/// Of the whole load alone.
pub(super) fn own_count(observed: &Observed<'_>) -> Check {
    let (given, unread) = (observed.count(Status::Issued), observed.settled.unread());
    let name = "the coupon itself counts the pieces that were given out".to_owned();
    let aim = format!("{given} of {}", observed.stock);
    let Some(coupon) = observed.settled.coupon else {
        let trouble = observed.settled.trouble.iter().map(|trouble| format!(" ({trouble})"));
        let found = format!("it could not be read{}", trouble.collect::<String>());
        return Check { name, aim, found, verdict: Verdict::Unknown };
    };
    let is_late = |number| observed.settled.requests.get(&number) == Some(&Found::Open);
    let unanswered = observed.load.records.iter().filter(|record| matches!(record.fate, Fate::Unknown(_)));
    // what nobody answered may have come between both looks
    let late = unanswered.filter(|record| is_late(record.number)).count();
    let most = given + (unread + late) as u64;
    let verdict = if coupon.stock != observed.stock || !(given..=most).contains(&coupon.issued) {
        Verdict::Fail
    } else if coupon.issued == given && unread == 0 {
        Verdict::Pass
    } else {
        Verdict::Unknown
    };
    let found = format!("{} of {}{}", coupon.issued, coupon.stock, told_unread(observed, unread));
    Check { name, aim, found, verdict }
}

pub(super) fn sold_out(observed: &Observed<'_>) -> Check {
    let told = observed.asked().filter(|(record, _)| record.fate == Fate::SoldOut);
    let decided = observed.decided().filter(|(_, _, decision)| decision.status == Status::SoldOut);
    let numbers = told.map(|(record, _)| record.number).chain(decided.map(|(number, ..)| number));
    let told = Which::of(observed, numbers);
    let given = observed.count(Status::Issued);
    let says = observed.settled.coupon.map_or(given, |coupon| coupon.issued.max(given));
    let is_so = told.many == 0 || says >= observed.stock;
    // others' pieces, and those that could not be read, are counted by the coupon alone
    let is_known = observed.settled.coupon.is_some()
        || observed.load.judges_whole && says + (observed.settled.unread() as u64) < observed.stock;
    let found = format!("{} were told so, {says} of {} are given out", told.many, observed.stock);
    Check {
        name: "nobody is told that nothing is left while something is".to_owned(),
        aim: "nobody".to_owned(),
        found: if is_so { found } else { format!("{found}: {}", told.examples()) },
        verdict: if is_so || is_known { passes(is_so) } else { Verdict::Unknown },
    }
}

fn passes(holds: bool) -> Verdict {
    if holds { Verdict::Pass } else { Verdict::Fail }
}
