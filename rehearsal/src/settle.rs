//! After the load: asks for everything that was promised, until nothing is open any more.
//!
//! 1. Everything accepted is looked at, and again while it is open and there is time. The newest comes first: it takes effect last, and
//!    by then most of what is looked at after it has, too.
//! 2. What others sent is looked at, until nothing more of it is decided: nobody here knows what was accepted.
//! 3. Requests without an answer are looked at. They may come late: what is not there is looked at again, until some time has
//!    passed since the last answer.
//! 4. What was refused is looked at last: whatever could have been stored with it has taken effect by then. So do counters, and the
//!    coupon, which count what was looked at before.
//!
//! **How long it took.** What was seen open took effect when it was seen to have. What had taken effect when it was first looked at did so
//! before: if the server says when, that counts, unless it lies ahead. So a drain is not longer because there is much to look at, and a
//! server's clock that is behind makes it shorter only where nothing was seen open.
//!
//! **What cannot be read** is told as such. It is neither lost nor there.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::time::{Instant, sleep};

use crate::ask::Ask;
use crate::found::{Counter, Effect, Found, Settled, Status};
use crate::look::{Looker, Sight, Thing};
use crate::plan::{Kind, Plan};
use crate::record::{Fate, Record};

/// Between two looks at the same thing, at least.
const PAUSE: Duration = Duration::from_millis(100);
/// Between two looks at what others sent.
const QUIET: Duration = Duration::from_secs(1);
/// How long counters may take to say what they will say: what is counted may be older by a moment than what was looked at.
const COUNTS: Duration = Duration::from_secs(3);

/// A load that is over.
#[derive(Debug)]
pub struct Load<'a> {
    /// What it asked for.
    pub plan: &'a Plan,
    /// What became of it, as far as answers said.
    pub records: &'a [Record],
    /// Numbers of the whole load. Those without a record others sent; none, if there are no others.
    pub whole: Range<u32>,
    /// Whether what others sent is judged here, too; else what can only be said of the whole load is not.
    pub judges_whole: bool,
    /// When it began.
    pub began: Instant,
    /// The same, in microseconds since 1970.
    pub began_unix_us: i64,
}

impl Load<'_> {
    /// Whether the coupon is asked for, here or by others.
    pub(crate) fn asks_for_coupon(&self) -> bool {
        let ours = self.records.iter().map(|record| record.number);
        ours.chain(self.whole.clone()).any(|number| matches!(self.plan.kind(number), Kind::Coupon { .. }))
    }
}

/// How far asking goes.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For how long after the last 202 is waited for what was accepted.
    pub drain: Duration,
    /// For how long after the last answer something may still come that nobody answered.
    pub doubt: Duration,
    /// What reading may take once nothing is waited for any more: what is still open then is what has to be told.
    pub last_looks: Duration,
    /// So many are asked for at once.
    pub at_once: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            drain: Duration::from_secs(300),
            doubt: Duration::from_secs(10),
            last_looks: Duration::from_secs(60),
            at_once: 256,
        }
    }
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// So many things are settled.
    pub settled: usize,
    /// Of so many.
    pub of: usize,
}

/// Asks for everything. Returns when nothing is open, or the time is over.
pub async fn settle<A: Ask>(
    load: &Load<'_>,
    addresses: &[A],
    limits: &Limits,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Settled {
    let things = Things::of(load);
    let targets = things.counters.iter().map(|counter| counter.target.clone()).collect();
    let looker = Looker::new(addresses, load.plan, targets);
    let last = |is: fn(&&Record) -> bool| {
        let answered = load.records.iter().filter(is).map(|record| record.answered_us).max();
        load.began + Duration::from_micros(answered.unwrap_or_default())
    };
    // requests that are refused to the end are answered long after, and delay nothing
    let (last_accepted, last_answer) = (last(|record| record.fate == Fate::Accepted), last(|_| true));
    let deadline = last_accepted + limits.drain;
    let doubt = last_answer + limits.doubt.min(limits.drain);
    let mut settling = Settling {
        looker,
        at_once: limits.at_once.max(1),
        notes: Notes {
            load,
            progress,
            at: Progress { settled: 0, of: things.len() },
            last_effect: last_accepted,
            wanted: things.counters.iter().map(|counter| counter.accepted).collect(),
            settled: Settled { counters: things.counters, ..Settled::default() },
        },
    };
    let mut open = settling.follow(things.accepted, deadline, deadline).await;
    // what there was no time for is looked at once more: it may have taken effect long before
    let enough = deadline.max(doubt).max(Instant::now()) + limits.last_looks;
    open = settling.follow(open, Instant::now(), enough).await;
    let drained = Some(settling.notes.last_effect - last_accepted).filter(|took| *took <= limits.drain);
    settling.notes.settled.drained = drained.filter(|_| open.is_empty());
    settling.notes.step(open.len());
    settling.others(things.others, doubt, last_answer + limits.drain, enough).await;
    settling.look_last(things.unknown, doubt, enough).await;
    settling.look_last(things.refused, Instant::now(), enough).await;
    settling.notes.want_what_is_there();
    let counters = (0..settling.notes.settled.counters.len()).map(Thing::Counter).collect();
    settling.follow(counters, Instant::now() + COUNTS, enough).await;
    if load.asks_for_coupon() {
        settling.notes.settled.coupon = settling.looker.coupon(enough).await;
    }
    settling.notes.settled.trouble = settling.looker.trouble();
    settling.notes.settled
}

/// What is to be looked at, in order.
struct Things {
    accepted: Vec<Thing>,
    others: Vec<Thing>,
    unknown: Vec<Thing>,
    refused: Vec<Thing>,
    counters: Vec<Counter>,
}

impl Things {
    fn len(&self) -> usize {
        self.accepted.len() + self.others.len() + self.unknown.len() + self.refused.len()
    }

    fn of(load: &Load<'_>) -> Self {
        let counters = counters(load);
        let mut records: Vec<&Record> = load.records.iter().collect();
        records.sort_unstable_by_key(|record| std::cmp::Reverse((record.answered_us, record.number)));
        let [mut requests, mut expectations, mut likes] = [const { Vec::new() }; 3];
        let (mut unknown, mut refused) = (Vec::new(), Vec::new());
        for record in records {
            let kind = load.plan.kind(record.number);
            let thing = thing(kind, record.number);
            match (record.fate, kind) {
                (Fate::Accepted, Kind::Coupon { .. }) => requests.push(thing),
                (Fate::Accepted, Kind::Expectation) => expectations.push(thing),
                (Fate::Accepted, Kind::Like { .. } | Kind::Hot) => likes.push(thing),
                (Fate::Unknown(_), _) => unknown.push(thing),
                (Fate::NotStored(_) | Fate::SoldOut | Fate::Rejected(_), _) => refused.push(thing),
            }
        }
        let counted = counters.iter().enumerate().filter(|(_, counter)| counter.accepted > 0);
        let mut accepted: Vec<Thing> = counted.map(|(index, _)| Thing::Counter(index)).collect();
        accepted.extend(likes);
        accepted.extend(expectations);
        accepted.extend(requests);
        Self { accepted, others: others(load), unknown, refused, counters }
    }
}

fn thing(kind: Kind, number: u32) -> Thing {
    match kind {
        Kind::Coupon { .. } => Thing::Request(number),
        Kind::Expectation | Kind::Like { .. } | Kind::Hot => Thing::Effect(number),
    }
}

/// Numbers that have no record here.
fn without_record(load: &Load<'_>) -> impl Iterator<Item = u32> {
    let mut ours: Vec<u32> = load.records.iter().map(|record| record.number).collect();
    ours.sort_unstable();
    load.whole.clone().filter(move |number| ours.binary_search(number).is_err())
}

fn others(load: &Load<'_>) -> Vec<Thing> {
    let is_coupon =
        |number: &u32| load.judges_whole && matches!(load.plan.kind(*number), Kind::Coupon { .. });
    without_record(load).filter(is_coupon).map(Thing::Request).collect()
}

fn counters(load: &Load<'_>) -> Vec<Counter> {
    // accepted, and others'
    let mut likes: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for record in load.records {
        if let Some(target) = load.plan.target(load.plan.kind(record.number)) {
            likes.entry(target).or_default().0 += u64::from(record.fate == Fate::Accepted);
        }
    }
    for number in without_record(load) {
        if let Some(target) = load.plan.target(load.plan.kind(number)) {
            likes.entry(target).or_default().1 += 1;
        }
    }
    likes
        .into_iter()
        .map(|(target, (accepted, others))| Counter { target, accepted, others, count: None })
        .collect()
}

struct Settling<'a, A> {
    looker: Looker<'a, A>,
    at_once: usize,
    notes: Notes<'a>,
}

impl<A: Ask> Settling<'_, A> {
    /// Looks at things until none is open. What is open is looked at again until `again_until`, and nothing is read after
    /// `read_until`. Returns what is open then.
    async fn follow(
        &mut self,
        mut open: Vec<Thing>,
        again_until: Instant,
        read_until: Instant,
    ) -> Vec<Thing> {
        let mut was_open = false;
        while !open.is_empty() {
            let mut left = Vec::new();
            let looker = &self.looker;
            let is_last = Instant::now() >= again_until;
            let looks = stream::iter(open).map(|thing| looker.look(thing, read_until, is_last));
            let mut looks = looks.buffer_unordered(self.at_once);
            while let Some(sight) = looks.next().await {
                left.extend(self.notes.note(sight, Instant::now(), was_open));
            }
            drop(looks);
            open = left;
            if open.is_empty() || Instant::now() >= again_until {
                break;
            }
            was_open = true;
            sleep(PAUSE).await;
        }
        open
    }

    /// The same; whatever is open then stays so.
    async fn look_last(&mut self, things: Vec<Thing>, again_until: Instant, read_until: Instant) {
        let open = self.follow(things, again_until, read_until).await;
        self.notes.step(open.len());
    }

    /// What others sent, until a look finds nothing new, and the coupon has given out no piece that nobody is known to have.
    async fn others(&mut self, mut open: Vec<Thing>, doubt: Instant, deadline: Instant, read_until: Instant) {
        while !open.is_empty() {
            let before = open.len();
            open = self.follow(open, Instant::now(), read_until).await;
            let given = self.notes.given();
            let coupon = self.looker.coupon(read_until).await;
            let is_known = coupon.is_none_or(|coupon| coupon.issued <= given);
            let now = Instant::now();
            if now >= deadline || now >= doubt && is_known && open.len() == before {
                break;
            }
            sleep(QUIET).await;
        }
        self.notes.step(open.len());
    }
}

/// What was seen so far.
struct Notes<'a> {
    load: &'a Load<'a>,
    progress: &'a mut (dyn FnMut(Progress) + Send),
    at: Progress,
    last_effect: Instant,
    /// How much each counter has to count, as far as is known.
    wanted: Vec<u64>,
    settled: Settled,
}

impl Notes<'_> {
    /// Notes what was seen, and returns the thing if it is still open.
    fn note(&mut self, sight: Sight, now: Instant, was_open: bool) -> Option<Thing> {
        // when it took effect, if that is told and it was not seen open
        let by_told = |told: Option<i64>| told.and_then(|told_us| self.by_our_clock(told_us)).unwrap_or(now);
        let (thing, is_done, at) = match &sight {
            Sight::Request(number, found) => {
                let told_us = found.decision().map(|decision| decision.decided_us);
                (Thing::Request(*number), told_us.is_some(), by_told(told_us))
            }
            // a like says nothing of it, but was counted before
            Sight::Effect(number, effect, None) => {
                (Thing::Effect(*number), *effect == Effect::There, self.last_effect)
            }
            Sight::Effect(number, effect, told_us) => {
                (Thing::Effect(*number), *effect == Effect::There, by_told(*told_us))
            }
            Sight::Count(index, count) => (Thing::Counter(*index), self.is_count(*index, *count), now),
        };
        match sight {
            Sight::Request(number, found) => self.keep_request(number, found),
            Sight::Effect(number, effect, _) => self.keep_effect(number, effect),
            Sight::Count(index, count) => self.keep_count(index, count),
        }
        if !is_done {
            return Some(thing);
        }
        self.last_effect = self.last_effect.max(if was_open { now } else { at.min(now) });
        self.step(1);
        None
    }

    /// What was read once is worth more than that nothing could be read later.
    fn keep_request(&mut self, number: u32, found: Found) {
        let kept = self.settled.requests.entry(number).or_insert(found);
        *kept = if found == Found::Unread { *kept } else { found };
    }

    /// Has counters count all likes that are there.
    fn want_what_is_there(&mut self) {
        let plan = self.load.plan;
        self.wanted.fill(0);
        for (number, _) in self.settled.effects.iter().filter(|(_, effect)| **effect == Effect::There) {
            let Some(target) = plan.target(plan.kind(*number)) else { continue };
            let index = self.settled.counters.binary_search_by(|counter| counter.target.cmp(&target));
            if let Some(wanted) = index.ok().and_then(|index| self.wanted.get_mut(index)) {
                *wanted += 1;
            }
        }
    }

    fn keep_effect(&mut self, number: u32, effect: Effect) {
        if effect == Effect::Unread {
            self.settled.effects.entry(number).or_insert(effect);
        } else {
            self.settled.effects.insert(number, effect);
        }
    }

    fn keep_count(&mut self, index: usize, count: Option<u64>) {
        if let Some(counter) = self.settled.counters.get_mut(index) {
            counter.count = count.or(counter.count);
        }
    }

    /// Whether a counter counts all that it has to.
    fn is_count(&self, index: usize, count: Option<u64>) -> bool {
        self.wanted.get(index).is_none_or(|wanted| count.is_some_and(|count| count >= *wanted))
    }

    /// When that was, by the clock of this process.
    fn by_our_clock(&self, unix_us: i64) -> Option<Instant> {
        let since = u64::try_from(unix_us - self.load.began_unix_us).unwrap_or_default();
        self.load.began.checked_add(Duration::from_micros(since))
    }

    /// Decisions that gave a piece.
    fn given(&self) -> u64 {
        self.settled.decisions().filter(|(_, decision)| decision.status == Status::Issued).count() as u64
    }

    fn step(&mut self, by: usize) {
        self.at.settled = (self.at.settled + by).min(self.at.of);
        (self.progress)(self.at);
    }
}

#[cfg(test)]
mod tests;
