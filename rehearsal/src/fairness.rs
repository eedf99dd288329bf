//! Whether those who came first were served first.
//!
//! **What is certain.** Who is answered 202 stands in line by then, and who sends a first try after that stands behind. So of two users
//! A and B, if A's answer had come before B's first try was sent, and A got none or a greater rank, and B got a piece: then B was served
//! before A, who came first. Nothing else is certain: two requests that were under way at the same time may be served in any order.
//! That is why
//!
//! * of A the *last* answer counts, the 202 after whatever was tried before it (503, 504, nothing at all): before it nobody can tell
//!   that A stood in line. Copies that were sent without patience are tries of one request;
//! * of B the *first* try counts, from when it was handed to a connection: it may have been stored, whatever its answer was. Nor does it matter what was answered in the end: with
//!   a piece it was served;
//! * A may have been told that nothing is left (409): it got none, and nobody who asks later may get one;
//! * who was told DUPLICATE has a piece by another request, which is looked at by itself, and so says nothing. Neither do requests without
//!   a decision: they are told elsewhere;
//! * requests of one user are not compared with each other, nor are those that other processes sent, by whose clocks nothing is certain.
//!
//! **How it is found.** Requests by when they were answered, and by when they were asked, are gone through together: at each B the
//! greatest rank of all As that were answered before is known, and of those of another user than that the greatest. So it takes
//! n·log n, and not a comparison of each with each.

use std::collections::{BTreeSet, HashMap};

use crate::found::Status;
use crate::observed::Observed;
use crate::record::Fate;
use crate::report::{Fairness, Instance};

/// A request, as far as its place in line is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// Its number.
    pub number: u32,
    /// Whose it is.
    pub user: u32,
    /// When its first try was sent.
    pub asked_us: u64,
    /// From when on it stood in line for certain, if it did.
    pub stood_us: Option<u64>,
    /// What it got.
    pub got: Got,
}

/// What somebody got, from the best to the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Got {
    /// A piece, and this rank.
    Rank(i64),
    /// Nothing: all were given out.
    Nothing,
}

/// Somebody who was served before somebody who came first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inversion {
    /// The request that was served.
    pub served: u32,
    /// The one that was answered before it was sent.
    pub before: u32,
}

/// Turns of which something can be said.
pub fn turns(observed: &Observed<'_>) -> Vec<Turn> {
    let turn = |(record, user): (&crate::record::Record, u32)| {
        let decision = observed.settled.decision(record.number);
        let got = match decision.map(|decision| (decision.status, decision.rank)) {
            Some((Status::Issued, Some(rank))) => Got::Rank(rank),
            Some((Status::SoldOut, _)) => Got::Nothing,
            None if record.fate == Fate::SoldOut => Got::Nothing,
            _ => return None,
        };
        let stands = matches!(record.fate, Fate::Accepted | Fate::SoldOut);
        let stood_us = stands.then_some(record.answered_us);
        Some(Turn { number: record.number, user, asked_us: record.asked_us, stood_us, got })
    };
    observed.asked().filter_map(turn).collect()
}

/// Everybody who was served before somebody who came first, each with one of those.
pub fn inversions(turns: &[Turn]) -> Vec<Inversion> {
    let mut stood: Vec<(u64, &Turn)> = turns.iter().filter_map(|turn| Some((turn.stood_us?, turn))).collect();
    stood.sort_unstable_by_key(|(stood_us, turn)| (*stood_us, turn.number));
    let mut asked: Vec<&Turn> = turns.iter().collect();
    asked.sort_unstable_by_key(|turn| (turn.asked_us, turn.number));
    let mut stood = stood.into_iter().peekable();
    let mut worst = Worst::default();
    let mut found = Vec::new();
    for turn in asked {
        // at the same moment is not before
        while let Some((_, before)) = stood.next_if(|(stood_us, _)| *stood_us < turn.asked_us) {
            worst.add(before);
        }
        if let Some(before) = worst.of_others(turn.user)
            && matches!(turn.got, Got::Rank(_))
            && before.got > turn.got
        {
            found.push(Inversion { served: turn.number, before: before.number });
        }
    }
    found
}

/// Who got least, and of all other users who did.
#[derive(Default)]
struct Worst<'a> {
    first: Option<&'a Turn>,
    second: Option<&'a Turn>,
}

impl<'a> Worst<'a> {
    fn add(&mut self, turn: &'a Turn) {
        let is_worse = |than: Option<&Turn>| than.is_none_or(|than| turn.got > than.got);
        let is_firsts = self.first.is_some_and(|first| first.user == turn.user);
        if is_worse(self.first) {
            self.second = if is_firsts { self.second } else { self.first };
            self.first = Some(turn);
        } else if !is_firsts && is_worse(self.second) {
            self.second = Some(turn);
        }
    }

    fn of_others(&self, user: u32) -> Option<&'a Turn> {
        if self.first.is_some_and(|first| first.user == user) { self.second } else { self.first }
    }
}

/// Who got a piece, by when their first requests were due: users have the numbers of those, and numbers are in the order of due times.
/// `None` if nobody asked, or nobody got one.
pub fn fairness(observed: &Observed<'_>) -> Option<Fairness> {
    let decided: BTreeSet<u32> = observed.decided().map(|(_, user, _)| user).collect();
    let mut asked: BTreeSet<u32> = observed.asked().map(|(_, user)| user).collect();
    asked.extend(&decided);
    let pieces = observed.pieces();
    let first: BTreeSet<u32> = asked.into_iter().take(pieces.len()).collect();
    if pieces.is_empty() {
        return None;
    }
    let won = first.iter().filter(|user| pieces.contains_key(*user)).count();
    // who was refused takes no place from those behind
    let places: HashMap<u32, i64> = decided.into_iter().zip(1..).collect();
    let displacements: Vec<u64> = observed
        .issued()
        .filter_map(|(_, user, decision)| Some(places.get(&user)?.abs_diff(decision.rank?)))
        .collect();
    Some(Fairness {
        winners_among_first: won as f64 / first.len() as f64,
        mean_displacement: displacements.iter().sum::<u64>() as f64 / displacements.len().max(1) as f64,
        largest_displacement: displacements.into_iter().max().unwrap_or_default(),
        instances: instances(observed, &first),
    })
}

fn instances(observed: &Observed<'_>, first: &BTreeSet<u32>) -> Vec<Instance> {
    let new = |url: &String| Instance { url: url.clone(), asked: 0, issued: 0, due: 0 };
    let mut instances: Vec<Instance> = observed.urls.iter().map(new).collect();
    for (record, user) in observed.asked() {
        let Some(instance) = instances.get_mut(usize::from(record.instance)) else { continue };
        let decision = observed.settled.decision(record.number);
        instance.asked += 1;
        instance.issued += u64::from(decision.is_some_and(|decision| decision.status == Status::Issued));
        instance.due += u64::from(user == record.number && first.contains(&user));
    }
    instances
}

#[cfg(test)]
mod tests;
