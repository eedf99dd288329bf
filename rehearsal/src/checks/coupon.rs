//! Users who asked for the coupon: what they were told.

use std::collections::BTreeMap;

use super::words::{Which, check, request, requests};
use crate::fairness::{inversions, turns};
use crate::found::{Found, Status};
use crate::observed::Observed;
use crate::record::Fate;
use crate::report::Check;

pub(super) fn decided(observed: &Observed<'_>) -> Check {
    let (mut open, mut unread, mut many) = (Which::new(), 0, 0);
    for (record, _) in observed.asked().filter(|(record, _)| record.fate == Fate::Accepted) {
        many += 1;
        match observed.settled.requests.get(&record.number) {
            Some(Found::Decided(_)) => {}
            Some(Found::Open) => open.add(|| request(observed, record.number)),
            Some(Found::Unread) | None => unread += 1,
        }
    }
    let fine = format!(
        "{many} accepted; of all decisions {} gave a piece, {} say that nothing is left, {} that the user has one",
        observed.count(Status::Issued),
        observed.count(Status::SoldOut),
        observed.count(Status::Duplicate),
    );
    check(observed, "every 202 is decided", "all of them", &open, "without a decision", unread, fine)
}

pub(super) fn open(observed: &Observed<'_>) -> Check {
    let is_wrong = |status| matches!(status, Status::NotOpen | Status::UnknownCoupon);
    let wrong = observed.decided().filter(|(_, _, decision)| is_wrong(decision.status));
    let wrong = Which::of(observed, wrong.map(|(number, ..)| number));
    let (name, what) = ("the coupon is there, and open to everybody", "told that there is none, or not now");
    check(observed, name, "no decision says otherwise", &wrong, what, 0, "none does".to_owned())
}

pub(super) fn second_pieces(observed: &Observed<'_>) -> Check {
    let pieces: BTreeMap<u32, Vec<u32>> = observed.pieces().into_iter().collect();
    let mut wrong = Which::new();
    for pieces in pieces.values().filter(|pieces| pieces.len() > 1) {
        wrong.add(|| requests(observed, pieces));
    }
    check(
        observed,
        "no user has two pieces",
        "one each at most",
        &wrong,
        "users have more than one",
        observed.settled.unread(),
        format!("{} users have one each", pieces.len()),
    )
}

/// Of the whole load alone: the piece may be another process's request's.
pub(super) fn duplicates(observed: &Observed<'_>) -> Check {
    let pieces = observed.pieces();
    let duplicates = observed.decided().filter(|(_, _, decision)| decision.status == Status::Duplicate);
    let without = duplicates.filter(|(_, user, _)| !pieces.contains_key(user));
    let mut wrong = Which::of(observed, without.map(|(number, ..)| number));
    // it may be one that could not be read
    let unread = if wrong.many > 0 { observed.settled.unread() } else { 0 };
    if unread > 0 {
        wrong = Which::new();
    }
    let fine = format!("{} told so", observed.count(Status::Duplicate));
    check(
        observed,
        "whoever is told to have a piece has one",
        "all of them",
        &wrong,
        "have none",
        unread,
        fine,
    )
}

pub(super) fn order(observed: &Observed<'_>) -> Check {
    let turns = turns(observed);
    let mut wrong = Which::new();
    for found in inversions(&turns) {
        wrong.add(|| {
            let (served, before) = (request(observed, found.served), request(observed, found.before));
            format!("{served} before {before}")
        });
    }
    check(
        observed,
        "nobody is served before somebody who was answered before they asked",
        "nobody",
        &wrong,
        "were",
        observed.settled.unread(),
        format!("none of {}", turns.len()),
    )
}
