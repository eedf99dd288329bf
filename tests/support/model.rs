//! What the database must hold after a recorded load, and how what it holds differs.
//!
//! Every check is about ids: each accepted write is the row, superseded by a greater one, or decided; each write that
//! was not stored is nowhere; nothing is there that nobody sent.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::{Debug, Write as _};

use anyhow::{Result, bail};
use uuid::Uuid;

use super::load::{Recording, Verdict};
use super::plan::{Plan, Write, costs, coupon_id, liker_account_id, target_ocid, user_id};
use super::state::{Decision, Expectation, Like, State};

/// As many as a reader can take in.
const SHOWN: usize = 20;

/// Which states a row may have: that of the greatest accepted write, or of a greater one whose answer is unknown.
#[derive(Debug, Default)]
struct Allowed {
    /// Indexes into the plan.
    accepted: Option<usize>,
    unknown: Vec<usize>,
}

/// What is known of the order in which coupon requests are decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// All of them went one way: first come, first served.
    Kept,
    /// They went through two logs, which are decided side by side.
    WithinEachLog,
}

/// Compares a state with what a recording allows. Writes whose ids are in `dead_lettered` must have no effect.
pub fn check(recording: &Recording, state: &State, dead_lettered: &HashSet<Uuid>) -> Result<()> {
    check_with(Order::Kept, recording, state, dead_lettered)
}

/// The same where the order of coupon requests is what `order` says.
pub fn check_with(
    order: Order,
    recording: &Recording,
    state: &State,
    dead_lettered: &HashSet<Uuid>,
) -> Result<()> {
    let checker = Checker { recording, plan: &recording.plan, state, dead_lettered };
    let mut differences = Differences::default();
    checker.expectations(&mut differences);
    checker.likes(&mut differences);
    checker.counts(&mut differences);
    checker.coupons(&mut differences);
    if order == Order::Kept {
        checker.order(&mut differences);
    }
    differences.none(recording.plan.seed)
}

#[derive(Default)]
struct Differences {
    total: usize,
    shown: Vec<String>,
}

impl Differences {
    fn push(&mut self, what: &dyn Debug, text: String) {
        self.total += 1;
        if self.shown.len() < SHOWN {
            self.shown.push(format!("{what:?}: {text}"));
        }
    }

    fn none(self, seed: u64) -> Result<()> {
        if self.total == 0 {
            return Ok(());
        }
        let mut text = format!("seed {seed}: the state differs from the model in {} places", self.total);
        for difference in &self.shown {
            let _ = write!(text, "\n  {difference}");
        }
        bail!(text)
    }
}

struct Checker<'a> {
    recording: &'a Recording,
    plan: &'a Plan,
    state: &'a State,
    dead_lettered: &'a HashSet<Uuid>,
}

impl Checker<'_> {
    /// The writes that have, or may have, an effect, with their ids.
    fn effective(&self) -> impl Iterator<Item = (usize, &Write, Uuid, Verdict)> {
        let writes = self.plan.writes.iter().zip(&self.recording.fates).enumerate();
        writes
            .filter(|(_, (_, fate))| matches!(fate.verdict, Verdict::Accepted | Verdict::Unknown))
            .map(|(index, (write, fate))| (index, write, self.plan.event_id(index), fate.verdict))
            .filter(|(_, _, id, _)| !self.dead_lettered.contains(id))
    }

    /// For every key, which writes may stand.
    fn allowed<K: std::hash::Hash + Eq>(&self, key: impl Fn(&Write) -> Option<K>) -> HashMap<K, Allowed> {
        let mut allowed: HashMap<K, Allowed> = HashMap::new();
        for (index, write, _, verdict) in self.effective() {
            let Some(key) = key(write) else { continue };
            let allowed = allowed.entry(key).or_default();
            match verdict {
                Verdict::Unknown => allowed.unknown.push(index),
                _ if allowed.accepted.is_none_or(|standing| self.rank(standing) < self.rank(index)) => {
                    allowed.accepted = Some(index);
                }
                _ => {}
            }
        }
        allowed
    }

    /// What decides between writes to one row: the greatest stands.
    fn rank(&self, index: usize) -> (i64, Uuid) {
        let first = match self.plan.writes[index] {
            Write::Expectation { version, calculated_at, .. } => version.unwrap_or(calculated_at),
            Write::Like { occurred_at, .. } => occurred_at,
            Write::Coupon { .. } => 0,
        };
        (first, self.plan.event_id(index))
    }

    /// Compares the rows of one table with what may stand; `row` is what a write leaves.
    fn rows<K, R>(
        &self,
        differences: &mut Differences,
        found: &HashMap<K, R>,
        mut allowed: HashMap<K, Allowed>,
        same: impl Fn(&R, usize) -> bool,
    ) where
        K: std::hash::Hash + Eq + Debug,
        R: Debug,
    {
        for (key, row) in found {
            let Some(Allowed { accepted, unknown }) = allowed.remove(key) else {
                differences.push(key, format!("nobody wrote this, but there is {row:?}"));
                continue;
            };
            let newer =
                |index: &&usize| accepted.is_none_or(|accepted| self.rank(accepted) < self.rank(**index));
            if accepted.iter().chain(unknown.iter().filter(newer)).any(|index| same(row, *index)) {
                continue;
            }
            let wanted = accepted.map(|index| (self.plan.event_id(index), &self.plan.writes[index]));
            differences.push(key, format!("should be {wanted:?}, is {row:?}"));
        }
        for (key, Allowed { accepted, .. }) in allowed {
            if let Some(index) = accepted {
                let (id, write) = (self.plan.event_id(index), &self.plan.writes[index]);
                differences.push(&key, format!("is missing; accepted was {id} {write:?}"));
            }
        }
    }

    fn expectations(&self, differences: &mut Differences) {
        let allowed = self.allowed(|write| match *write {
            Write::Expectation { character, preset, .. } => Some((i64::from(character), preset)),
            _ => None,
        });
        let same = |row: &Expectation, index: usize| match self.plan.writes[index] {
            Write::Expectation { calculated_at, hundredths, .. } => {
                let (version, event_id) = self.rank(index);
                *row == Expectation { version, event_id, costs: costs(hundredths), calculated_at }
            }
            _ => false,
        };
        self.rows(differences, &self.state.expectations, allowed, same);
    }

    fn likes(&self, differences: &mut Differences) {
        let allowed = self.allowed(|write| match *write {
            Write::Like { target, liker, .. } => Some((target_ocid(target), liker_account_id(liker))),
            _ => None,
        });
        let same = |row: &Like, index: usize| match self.plan.writes[index] {
            Write::Like { liked, .. } => {
                row.liked == liked && row.rank.is_none_or(|rank| rank == self.rank(index))
            }
            _ => false,
        };
        // over HTTP a pair without a row reads as one that is not liked
        let standing = |(pair, like): (&(String, String), &Like)| {
            let must_be = allowed.get(pair).is_some_and(|allowed| allowed.accepted.is_some());
            let is_row = like.rank.is_some() || like.liked || must_be;
            is_row.then(|| (pair.clone(), *like))
        };
        let found: HashMap<_, _> = self.state.likes.iter().filter_map(standing).collect();
        self.rows(differences, &found, allowed, same);
    }

    /// Counters equal a recount of the rows there are.
    fn counts(&self, differences: &mut Differences) {
        let mut recount: BTreeMap<&str, i64> = BTreeMap::new();
        for ((target, _), like) in &self.state.likes {
            *recount.entry(target).or_default() += i64::from(like.liked);
        }
        for (target, count) in &self.state.counts {
            let recounted = recount.remove(target.as_str()).unwrap_or(0);
            if *count != recounted {
                differences.push(target, format!("the counter is {count}, a recount gives {recounted}"));
            }
        }
        for (target, recounted) in recount.into_iter().filter(|(_, recounted)| *recounted != 0) {
            differences.push(&target, format!("there is no counter, a recount gives {recounted}"));
        }
    }

    fn coupons(&self, differences: &mut Differences) {
        let mut sent: HashMap<Uuid, (String, String)> = HashMap::new();
        for (_, write, id, verdict) in self.effective() {
            let Write::Coupon { coupon, user } = *write else { continue };
            sent.insert(id, (coupon_id(coupon), user_id(user)));
            if verdict == Verdict::Accepted && !self.state.decisions.contains_key(&id) {
                differences.push(&id, format!("accepted and not decided: {write:?}"));
            }
        }
        for (id, decision) in &self.state.decisions {
            let Decision { coupon, user, outcome, rank } = decision;
            if sent.get(id) != Some(&(coupon.clone(), user.clone())) {
                differences.push(id, format!("nobody asked for this: {decision:?}"));
            }
            if rank.is_some() != (outcome == "ISSUED") {
                differences.push(id, format!("a rank with another outcome, or none: {decision:?}"));
            }
        }
        for (number, stock) in self.plan.stocks.iter().enumerate() {
            self.coupon(differences, &coupon_id(number as u16), *stock);
        }
        self.issues(differences);
    }

    /// One coupon: as many as there are or are wanted, without a gap in the ranks, and each user once.
    fn coupon(&self, differences: &mut Differences, coupon: &str, stock: i32) {
        let decisions = || self.state.decisions.iter().filter(|(_, decision)| decision.coupon == coupon);
        let users: HashSet<&str> = decisions().map(|(_, decision)| decision.user.as_str()).collect();
        let wanted = stock.min(users.len() as i32);
        if self.state.coupons.get(coupon) != Some(&(stock, wanted)) {
            let found = self.state.coupons.get(coupon);
            differences.push(&coupon, format!("should have issued {wanted} of {stock}, has {found:?}"));
        }
        let mut ranks: Vec<i32> = decisions().filter_map(|(_, decision)| decision.rank).collect();
        ranks.sort_unstable();
        if !ranks.iter().copied().eq(1..=wanted) {
            let gap = ranks.iter().zip(1..).find(|(rank, place)| *rank != place);
            let count = ranks.len();
            differences
                .push(&coupon, format!("ranks are not 1 to {wanted}: {count} ranks, first at {gap:?}"));
        }
        let mut issued: HashMap<&str, usize> = HashMap::new();
        for (_, decision) in decisions().filter(|(_, decision)| decision.outcome == "ISSUED") {
            *issued.entry(&decision.user).or_default() += 1;
        }
        for (id, decision) in decisions() {
            let holds = issued.get(decision.user.as_str()).copied().unwrap_or(0);
            let fits = match decision.outcome.as_str() {
                "ISSUED" | "DUPLICATE" => holds == 1,
                "SOLD_OUT" => holds == 0,
                _ => false,
            };
            if !fits {
                differences.push(id, format!("{decision:?}, and the user was issued {holds}"));
            }
        }
    }

    /// The rows of `coupon_issues` say the same as the decisions.
    fn issues(&self, differences: &mut Differences) {
        let Some(issues) = &self.state.issues else { return };
        let decided = self.state.decisions.iter().filter(|(_, decision)| decision.outcome == "ISSUED");
        let mut decided: HashMap<&Uuid, &Decision> = decided.collect();
        for issue in issues {
            let same = decided.remove(&issue.request).is_some_and(|decision| {
                decision.coupon == issue.coupon
                    && decision.user == issue.user
                    && decision.rank == Some(issue.rank)
            });
            if !same {
                differences.push(&issue.request, format!("{issue:?} has no decision that says so"));
            }
        }
        for (request, decision) in decided {
            differences.push(request, format!("{decision:?} has no row in coupon_issues"));
        }
    }

    /// First come, first served: a request that was answered before another was sent is also served before it.
    fn order(&self, differences: &mut Differences) {
        // a decision's place in the line; all that came too late stand behind all that did not
        let place = |decision: &Decision| match decision.outcome.as_str() {
            "ISSUED" => decision.rank,
            "SOLD_OUT" => Some(i32::MAX),
            _ => None,
        };
        let mut lines: BTreeMap<&str, Vec<(i32, u32, u32, Uuid)>> = BTreeMap::new();
        for (index, _, id, verdict) in self.effective() {
            let Some(decision) = self.state.decisions.get(&id) else { continue };
            let Some(place) = place(decision) else { continue };
            let fate = &self.recording.fates[index];
            let answered = if verdict == Verdict::Accepted { fate.accepted } else { u32::MAX };
            lines.entry(&decision.coupon).or_default().push((place, fate.first_sent, answered, id));
        }
        for line in lines.values_mut() {
            line.sort_unstable();
            // from the back: the earliest answer among those served later
            let (mut earliest, mut behind, mut last) =
                ((u32::MAX, Uuid::nil()), (u32::MAX, Uuid::nil()), i32::MAX);
            for (place, sent, answered, id) in line.iter().rev() {
                if *place < last {
                    (earliest, last) = (behind.min(earliest), *place);
                }
                if *place < i32::MAX && earliest.0 < *sent {
                    let other = earliest.1;
                    differences.push(
                        id,
                        format!("was served before {other}, which was answered before it was sent"),
                    );
                }
                behind = behind.min((*answered, *id));
            }
        }
    }
}
