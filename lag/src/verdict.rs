//! What the readings mean, in a status, a sentence and a few numbers.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::points::{Point, Points, Spot};
use crate::rates::Rates;
use crate::words::{count, many, partitions, rate, seconds};

/// How long nothing may be applied of a partition though records wait there before it stands: several batches, and tries of
/// one that fails.
const STANDS_AFTER: Duration = Duration::from_secs(10);

/// Whoever looks but a moment has seen it stand for so long at least, and records that are older than [`STANDS_AFTER`].
const SEEN_STANDING: Duration = Duration::from_millis(2500);

/// How long a backlog must have grown, and how old its head must be, before a group falls behind: bursts of a second are
/// what this product is for.
const GROWS_FOR: Duration = Duration::from_secs(10);
const BEHIND_SECONDS: f64 = 2.0;

/// Within which time what waits should be cleared, where members are counted by it.
const CLEARED_WITHIN_SECONDS: f64 = 60.0;

/// How much of what a member can do is planned with.
const UTILISATION: f64 = 0.8;

/// How a group, or a partition of it, stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Everything is applied.
    Ok,
    /// Records wait, and they are being applied.
    Lagging,
    /// More comes than is applied, and has for a while.
    FallingBehind,
    /// Records wait, and nothing is applied.
    Stalled,
    /// Nobody consumes.
    Empty,
    /// Whoever consumes says that it takes nothing more for now, and why.
    Held,
    /// It could not be read.
    Unknown,
}

impl Status {
    /// All of them.
    pub const ALL: [Status; 7] = [
        Status::Ok,
        Status::Lagging,
        Status::FallingBehind,
        Status::Stalled,
        Status::Empty,
        Status::Held,
        Status::Unknown,
    ];

    /// As reports and metrics spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Status::Ok => "OK",
            Status::Lagging => "LAGGING",
            Status::FallingBehind => "FALLING_BEHIND",
            Status::Stalled => "STALLED",
            Status::Empty => "EMPTY",
            Status::Held => "HELD",
            Status::Unknown => "UNKNOWN",
        }
    }
}

/// What is to be said of a group.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// How it stands.
    pub status: Status,
    /// The same in a sentence, without the group's name.
    pub reason: String,
    /// What came and what was applied lately; `None` before a second reading.
    pub rates_per_second: Option<Rates>,
    /// After how many seconds nothing waits any more, at these rates: 0 when nothing does, `None` for never, or not known.
    pub seconds_to_catch_up: Option<f64>,
    /// How many members have something to do: as many as it takes to keep up and to clear what waits within a minute, and no more
    /// than there are partitions that go on. `None` where that is not known.
    pub useful_members: Option<usize>,
    /// Every partition that was named in the last reading.
    pub partitions: BTreeMap<i32, PartitionVerdict>,
}

impl Verdict {
    /// Of a group of which nothing is known.
    pub fn unknown() -> Self {
        Self {
            status: Status::Unknown,
            reason: "not known".to_owned(),
            rates_per_second: None,
            seconds_to_catch_up: None,
            useful_members: None,
            partitions: BTreeMap::new(),
        }
    }
}

/// What is to be said of one partition.
#[derive(Debug, Clone, PartialEq)]
pub struct PartitionVerdict {
    /// How it stands.
    pub status: Status,
    /// What came and what was applied lately.
    pub rates_per_second: Option<Rates>,
    /// For how long nothing of it was applied though records wait there, if that is worth telling.
    pub stands_for: Option<Duration>,
}

/// What the readings up to `now` mean, where a member was seen to apply as much as `capacity` in a second.
pub(crate) fn judge(points: &Points, now: &Point, capacity: Option<f64>) -> Verdict {
    let known =
        now.partitions.iter().map(|(number, spot)| (*number, of_partition(points, now, *number, spot)));
    let unknown = now.unknown.keys().map(|number| (*number, PartitionVerdict::unknown()));
    let verdicts: BTreeMap<i32, PartitionVerdict> = known.chain(unknown).collect();
    let group = Group { points, now, capacity, verdicts: &verdicts };
    let rates_per_second = Rates::sum(verdicts.values().map(|verdict| verdict.rates_per_second));
    let seconds_to_catch_up = group.seconds_to_catch_up(rates_per_second);
    let useful_members = group.useful_members(rates_per_second);
    let status = group.status(rates_per_second);
    let reason = group.reason(status, rates_per_second, seconds_to_catch_up, useful_members);
    Verdict { status, reason, rates_per_second, seconds_to_catch_up, useful_members, partitions: verdicts }
}

impl PartitionVerdict {
    fn unknown() -> Self {
        Self { status: Status::Unknown, rates_per_second: None, stands_for: None }
    }
}

fn of_partition(points: &Points, now: &Point, number: i32, spot: &Spot) -> PartitionVerdict {
    let rates_per_second = Rates::of(points, now, number, spot);
    let stands_for = stands_for(points, now, spot);
    let status = match () {
        () if spot.lag == 0 => Status::Ok,
        () if now.members == Some(0) => Status::Empty,
        () if spot.is_held() => Status::Held,
        () if stands_for.is_some() => Status::Stalled,
        () if grows(points, rates_per_second, spot.oldest_seconds, |point| {
            point.partitions.get(&number).map(|of| of.lag)
        }) =>
        {
            Status::FallingBehind
        }
        () => Status::Lagging,
    };
    PartitionVerdict { status, rates_per_second, stands_for: stands_for.filter(|_| status != Status::Empty) }
}

/// For how long nothing of a partition was applied, if that is long enough to be told.
fn stands_for(points: &Points, now: &Point, spot: &Spot) -> Option<Duration> {
    let stood = now.at - spot.stands_since?;
    let was_seen_only_standing = stood >= SEEN_STANDING && stood >= points.span();
    let is_old = spot.oldest_seconds.is_some_and(|age| age >= STANDS_AFTER.as_secs_f64());
    (stood >= STANDS_AFTER || was_seen_only_standing && is_old).then_some(stood)
}

/// Whether a backlog grows: more came than was applied, and what waited was more in the second half of the time than in the first. Commits
/// come in steps, so that single readings say little.
fn grows(
    points: &Points,
    rates: Option<Rates>,
    oldest_seconds: Option<f64>,
    lag: impl Fn(&Point) -> Option<u64>,
) -> bool {
    let gains = rates.is_some_and(|Rates { came, applied }| came > applied * 1.01);
    if !gains || points.span() < GROWS_FOR || oldest_seconds.is_none_or(|age| age < BEHIND_SECONDS) {
        return false;
    }
    // a burst is one step up and then many down
    let lately: Vec<u64> = points.lately().filter_map(&lag).collect();
    let ups = lately.windows(2).filter(|pair| pair[0] < pair[1]).count();
    if ups < 2 || ups * 2 < lately.len().saturating_sub(1) {
        return false;
    }
    let middle = points.latest().map_or(Duration::ZERO, |last| last.at - points.span() / 2);
    let mean = |is_later: bool| {
        let half = points.iter().filter(|point| (point.at > middle) == is_later).filter_map(&lag);
        let (sum, count) = half.fold((0, 0), |(sum, count), lag| (sum + lag, count + 1));
        (count > 0).then(|| sum as f64 / f64::from(count))
    };
    matches!((mean(false), mean(true)), (Some(earlier), Some(later)) if later > earlier)
}

struct Group<'c> {
    points: &'c Points,
    now: &'c Point,
    capacity: Option<f64>,
    verdicts: &'c BTreeMap<i32, PartitionVerdict>,
}

impl Group<'_> {
    fn waiting(&self) -> u64 {
        self.now.waiting()
    }

    fn of_status(&self, status: Status) -> Vec<i32> {
        let of_it = self.verdicts.iter().filter(|(_, verdict)| verdict.status == status);
        of_it.map(|(number, _)| *number).collect()
    }

    fn status(&self, rates: Option<Rates>) -> Status {
        let is_any = |status| self.verdicts.values().any(|verdict| verdict.status == status);
        let nothing_known = self.now.partitions.is_empty() && self.now.queue.is_none();
        match () {
            () if nothing_known => Status::Unknown,
            () if self.now.members == Some(0) => Status::Empty,
            () if is_any(Status::Held) => Status::Held,
            () if is_any(Status::Stalled) => Status::Stalled,
            () if grows(self.points, rates, self.now.oldest_seconds, |point| Some(point.waiting())) => {
                Status::FallingBehind
            }
            () if self.waiting() > 0 => Status::Lagging,
            () if is_any(Status::Unknown) => Status::Unknown,
            () => Status::Ok,
        }
    }

    /// What waits on partitions that stand is not cleared by others.
    fn seconds_to_catch_up(&self, rates: Option<Rates>) -> Option<f64> {
        if self.waiting() == 0 {
            return self.now.unknown.is_empty().then_some(0.0);
        }
        let stands = |verdict: &PartitionVerdict| {
            matches!(verdict.status, Status::Held | Status::Stalled | Status::Empty | Status::Unknown)
        };
        if self.verdicts.values().any(stands) {
            return None;
        }
        let Rates { came, applied } = rates?;
        let gained = applied - came;
        // what is within a hundredth of what comes may as well be none
        (gained > came / 100.0).then(|| self.waiting() as f64 / gained)
    }

    fn useful_members(&self, rates: Option<Rates>) -> Option<usize> {
        let goes_on = |number: &i32| {
            let verdict = self.verdicts.get(number);
            verdict.is_some_and(|verdict| !matches!(verdict.status, Status::Held | Status::Stalled))
        };
        let on: Vec<_> = self.now.partitions.iter().filter(|(number, _)| goes_on(number)).collect();
        // while nothing goes on nobody can tell how many it will take
        if self.waiting() > 0 && on.iter().all(|(_, spot)| spot.lag == 0) {
            return None;
        }
        let comes = |number: &i32| {
            let rates = self.verdicts.get(number).and_then(|verdict| verdict.rates_per_second);
            rates.is_some_and(|rates| rates.came > 0.0)
        };
        let busy = on.iter().filter(|(number, spot)| spot.lag > 0 || comes(number)).count().max(1);
        let members = self.now.members?;
        let Some(each) = self.capacity else {
            // those that are there do what there is to do, as far as anybody knows
            return Some(members.clamp(1, busy));
        };
        let waiting: u64 = on.iter().map(|(_, spot)| spot.lag).sum();
        let came = rates.map_or(0.0, |rates| rates.came);
        let needed = (came + waiting as f64 / CLEARED_WITHIN_SECONDS) / (each * UTILISATION);
        Some((needed.ceil() as usize).clamp(1, busy))
    }

    fn reason(
        &self,
        status: Status,
        rates: Option<Rates>,
        seconds_to_catch_up: Option<f64>,
        useful_members: Option<usize>,
    ) -> String {
        let mut told = match status {
            Status::Unknown if self.now.partitions.is_empty() => "its positions are not known".to_owned(),
            Status::Ok | Status::Unknown => match rates.filter(|rates| rates.came > 0.0) {
                Some(rates) => format!("caught up, {} come", rate(rates.came)),
                None => "caught up".to_owned(),
            },
            Status::Empty if self.waiting() == 0 => "no members, and nothing waits".to_owned(),
            Status::Empty => format!("no members: {}", self.what_waits()),
            Status::Lagging => self.lagging(rates, seconds_to_catch_up),
            Status::FallingBehind => self.falling_behind(rates, useful_members),
            Status::Stalled => self.stalled(),
            Status::Held => self.held(),
        };
        if let Some((number, why)) = self.now.unknown.iter().next() {
            let numbers: Vec<_> = self.now.unknown.keys().copied().collect();
            told += &match numbers.len() {
                1 => format!("; partition {number} is not known: {why}"),
                _ => format!("; {} are not known, of {number}: {why}", partitions(&numbers)),
            };
        }
        told
    }

    /// `6,850 events wait, the oldest for 3 min`.
    fn what_waits(&self) -> String {
        let waiting = self.waiting();
        let oldest = match self.now.oldest_seconds {
            Some(age) if waiting == 1 => format!(" for {}", seconds(age)),
            Some(age) => format!(", the oldest for {}", seconds(age)),
            None => String::new(),
        };
        format!("{} {}{oldest}", many(waiting, "event"), if waiting == 1 { "waits" } else { "wait" })
    }

    fn behind(&self) -> String {
        match self.now.oldest_seconds {
            Some(age) => format!("behind {}", seconds(age)),
            None => format!("behind by {}", many(self.waiting(), "event")),
        }
    }

    fn lagging(&self, rates: Option<Rates>, seconds_to_catch_up: Option<f64>) -> String {
        let keeps_up = self.now.oldest_seconds.is_some_and(|age| age < BEHIND_SECONDS);
        match (seconds_to_catch_up, rates) {
            _ if keeps_up => format!("{}, keeping up", self.behind()),
            (Some(left), _) => format!("{}, clear in {}", self.behind(), seconds(left)),
            (None, Some(Rates { came, applied })) => {
                format!("{}: {} come, {} are applied", self.behind(), rate(came), rate(applied))
            }
            (None, None) => format!("{}: {} waiting", self.behind(), count(self.waiting())),
        }
    }

    fn falling_behind(&self, rates: Option<Rates>, useful_members: Option<usize>) -> String {
        let Rates { came, applied } = rates.unwrap_or(Rates { came: 0.0, applied: 0.0 });
        let more = match (useful_members, self.now.members) {
            (Some(useful), Some(members)) if useful > members => {
                format!("; {useful} members instead of {members} have work")
            }
            _ => String::new(),
        };
        format!("{} and growing: {} come, {} are applied{more}", self.behind(), rate(came), rate(applied))
    }

    fn stalled(&self) -> String {
        let stalled = self.of_status(Status::Stalled);
        let longest = stalled.iter().filter_map(|number| self.verdicts.get(number)?.stands_for).max();
        let for_long =
            longest.map_or(String::new(), |stood| format!(" for {}", seconds(stood.as_secs_f64())));
        let (word, waits) = (self.word_of(&stalled), self.what_waits());
        let applies =
            |verdict: &PartitionVerdict| verdict.rates_per_second.is_some_and(|rates| rates.applied > 0.0);
        let others_go_on = self.verdicts.values().any(applies);
        let reader = self.reader_of(&stalled);
        // that is of no partition or member more than of another
        if !others_go_on && (reader.is_none() || stalled.len() == self.verdicts.len()) {
            let members = match self.now.members {
                Some(members) => format!("{}, but nothing", many(members as u64, "member")),
                None => "nothing".to_owned(),
            };
            return format!("{members} was applied{for_long}{word}; {waits}");
        }
        let which = match (&stalled[..], reader) {
            ([number], _) => format!("{} stands{for_long}", self.place(*number)),
            (_, Some(reader)) => {
                format!("{}, all read by {reader}, stand{for_long}", partitions(&stalled))
            }
            (_, None) => format!("{} stand{for_long}", partitions(&stalled)),
        };
        let others = if others_go_on { ", while others go on" } else { "" };
        format!("{which}{others}{word}; {waits}")
    }

    /// Who reads all of them, if that is one member.
    fn reader_of(&self, numbers: &[i32]) -> Option<&str> {
        let mut readers = numbers
            .iter()
            .map(|number| self.now.partitions.get(number).and_then(|spot| spot.member.as_deref()));
        let first = readers.next()??;
        readers.all(|reader| reader == Some(first)).then_some(first)
    }

    fn held(&self) -> String {
        let held = self.of_status(Status::Held);
        let told = self.word_of(&held);
        let which = match held[..] {
            [number] => format!("{} is held{told}", self.place(number)),
            _ => format!("{} are held{told}", partitions(&held)),
        };
        format!("{which}; {}", self.what_waits())
    }

    /// What the member of the first of them says that says anything.
    fn word_of(&self, numbers: &[i32]) -> String {
        let words = numbers.iter().filter_map(|number| self.now.partitions.get(number)?.word.as_ref());
        words.map(|word| format!(": {}", word.why)).next().unwrap_or_default()
    }

    /// `partition 3 at offset 1234, read by …`.
    fn place(&self, number: i32) -> String {
        let spot = self.now.partitions.get(&number);
        let offset = spot.map_or(String::new(), |spot| format!(" at offset {}", spot.next));
        let member = spot.and_then(|spot| spot.member.as_deref());
        let member = member.map_or(String::new(), |member| format!(", read by {member},"));
        format!("partition {number}{offset}{member}")
    }
}
