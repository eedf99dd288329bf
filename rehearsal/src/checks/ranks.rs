//! Ranks: 1, 2, 3 and so on, one each.

use std::collections::BTreeMap;

use super::words::{EXAMPLES, Which, check, request, requests};
use crate::found::Status;
use crate::observed::Observed;
use crate::report::Check;

/// Ranks that were given, up to the last.
pub(crate) struct Ranks {
    /// Requests that have one rank, for each such rank.
    doubled: Vec<Vec<u32>>,
    /// Given pieces without a rank, or with one that is none, and ranks without a piece.
    strange: Vec<u32>,
    /// Ranks that nobody has.
    missing: u64,
    /// The first of those.
    first_missing: Vec<i64>,
    last: i64,
}

impl Ranks {
    pub(crate) fn of(observed: &Observed<'_>) -> Self {
        let mut given: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
        let mut strange = Vec::new();
        for (number, _, decision) in observed.decided() {
            match (decision.status == Status::Issued, decision.rank) {
                (true, Some(rank)) if rank > 0 => given.entry(rank).or_default().push(number),
                (false, None) => {}
                _ => strange.push(number),
            }
        }
        let last = given.keys().next_back().copied().unwrap_or_default();
        let mut first_missing = Vec::new();
        let mut next = 1;
        for rank in given.keys().copied() {
            first_missing.extend((next..rank).take(EXAMPLES - first_missing.len().min(EXAMPLES)));
            next = rank + 1;
        }
        let missing = last as u64 - given.len() as u64;
        let doubled = given.into_values().filter(|numbers| numbers.len() > 1).collect();
        Self { doubled, strange, missing, first_missing, last }
    }

    /// Ranks that several have, and of the whole load those that nobody has.
    pub(crate) fn gaps(&self, observed: &Observed<'_>) -> u64 {
        self.doubled.len() as u64 + if observed.load.judges_whole { self.missing } else { 0 }
    }
}

pub(super) fn ranks(observed: &Observed<'_>) -> Check {
    let Ranks { doubled, strange, missing, first_missing, last } = Ranks::of(observed);
    let mut wrong = Which::new();
    for numbers in doubled {
        wrong.add(|| format!("{} have one rank", requests(observed, &numbers)));
    }
    for number in strange {
        wrong.add(|| {
            format!("{} has a piece without a rank, or a rank without a piece", request(observed, number))
        });
    }
    // whoever has a rank that is missing may be who could not be read
    let unread = observed.settled.unread();
    if observed.load.judges_whole && missing > unread as u64 {
        first_missing.iter().for_each(|rank| wrong.add(|| format!("nobody has rank {rank}")));
        wrong.many += missing - first_missing.len() as u64;
    }
    let (name, aim) = ("ranks are 1, 2, 3 and so on, one each", format!("1 to {last}, one each"));
    check(observed, name, &aim, &wrong, "wrong", unread, format!("1 to {last}"))
}
