//! Courses that are played: what operators meet, and what must not be mistaken for it.

use std::time::Duration;

use floodgate_buffer::{GroupLag, Offset, Partition, PartitionLag, Word};
use floodgate_schemas::EventType;
use proptest::prelude::*;

use crate::{Course, Desired, Status, Verdict};

/// A group that is read every two seconds.
struct Played {
    course: Course,
    now: Duration,
    members: Option<usize>,
    partitions: Vec<Part>,
}

/// A partition as it really is.
#[derive(Clone)]
struct Part {
    start: f64,
    end: f64,
    committed: Option<f64>,
    came_per_s: f64,
    applied_per_s: f64,
    held: Option<&'static str>,
    set_by_others: bool,
    /// Since when its head waits, in seconds of this course.
    known: bool,
}

const STEP: Duration = Duration::from_secs(2);

impl Part {
    fn new(came_per_s: f64, applied_per_s: f64) -> Self {
        Self {
            start: 0.0,
            end: 1000.0,
            committed: Some(1000.0),
            came_per_s,
            applied_per_s,
            held: None,
            set_by_others: false,
            known: true,
        }
    }

    fn lag(&self) -> f64 {
        self.end.floor() - self.committed.map_or(self.start, |committed| committed.max(self.start)).floor()
    }
}

impl Played {
    fn new(members: usize, partitions: Vec<Part>) -> Self {
        Self { course: Course::new(), now: Duration::ZERO, members: Some(members), partitions }
    }

    fn read(&mut self) -> Verdict {
        let now_ms = self.now.as_millis() as i64;
        let (mut partitions, mut unknown) = (Vec::new(), Vec::new());
        for (number, part) in self.partitions.iter().enumerate() {
            let number = Partition(number as i32);
            if !part.known {
                unknown.push((number, "no leader".to_owned()));
                continue;
            }
            // what came evenly is as old as it takes to come
            let age_s = if part.came_per_s > 0.0 { part.lag() / part.came_per_s } else { 3600.0 };
            partitions.push(PartitionLag {
                partition: number,
                start: Offset(part.start as i64),
                end: Offset(part.end as i64),
                readable: Offset(part.end as i64),
                committed: part.committed.map(|committed| Offset(committed as i64)),
                set_by_others: part.set_by_others,
                nothing_until: None,
                oldest_unapplied_ms: (part.lag() > 0.0).then_some(now_ms - (age_s * 1e3) as i64),
                member: None,
                word: part.held.map(Word::held),
            });
        }
        let lag = GroupLag {
            of: EventType::Like,
            group: "g".to_owned(),
            topic: "t".to_owned(),
            members: self.members,
            foreign_members: Vec::new(),
            partitions,
            unknown,
            queue: None,
        };
        self.course.add(self.now, &lag, now_ms);
        self.course.verdict().unwrap()
    }

    /// The same verdict once more.
    fn read_again(&self) -> Verdict {
        self.course.verdict().unwrap()
    }

    /// Lets time pass with a reading at every step, and returns the last verdict.
    fn plays(&mut self, seconds: u64) -> Verdict {
        let mut last = None;
        self.watched(seconds, |verdict| last = Some(verdict.clone()));
        last.unwrap()
    }

    fn watched(&mut self, seconds: u64, mut look: impl FnMut(&Verdict)) {
        for _ in 0..seconds.div_ceil(STEP.as_secs()) {
            self.passes(STEP);
            look(&self.read());
        }
    }

    fn passes(&mut self, time: Duration) {
        self.now += time;
        for part in &mut self.partitions {
            part.end += part.came_per_s * time.as_secs_f64();
            let applied = part.applied_per_s * time.as_secs_f64();
            if applied > 0.0 {
                let from = part.committed.unwrap_or(part.start).max(part.start);
                part.committed = Some((from + applied).min(part.end));
            }
        }
    }

    fn each(&mut self, change: impl FnMut(&mut Part)) {
        self.partitions.iter_mut().for_each(change);
    }
}

fn close(found: Option<f64>, wanted: f64) -> bool {
    found.is_some_and(|found| (found - wanted).abs() <= wanted * 0.15 + 1.0)
}

#[test]
fn a_group_that_keeps_up_is_well() {
    let mut group = Played::new(2, vec![Part::new(100.0, 200.0); 4]);
    let verdict = group.plays(60);
    assert_eq!((verdict.status, verdict.seconds_to_catch_up), (Status::Ok, Some(0.0)));
    assert_eq!(verdict.reason, "caught up, 400/s come");
    let idle = Played::new(2, vec![Part::new(0.0, 0.0)]).plays(4);
    assert_eq!((idle.status, &*idle.reason), (Status::Ok, "caught up"));
}

/// A burst of one second is what the product is for: it is never falling behind, and the time it takes to clear is told.
#[test]
fn a_burst_is_behind_and_recovers() {
    let mut group = Played::new(1, vec![Part::new(0.0, 250.0); 2]);
    group.plays(40);
    group.each(|part| part.end += 10_000.0);
    group.watched(70, |verdict| {
        assert!(matches!(verdict.status, Status::Lagging | Status::Ok), "{verdict:?}");
    });
    let mut again = Played::new(1, vec![Part::new(0.0, 250.0); 2]);
    again.plays(40);
    again.each(|part| part.end += 10_000.0);
    let verdict = again.plays(16);
    // 20,000 less 16 s of 500 a second
    assert!(close(verdict.seconds_to_catch_up, 24.0), "{verdict:?}");
    assert!(verdict.reason.contains("clear in"), "{verdict:?}");
    assert_eq!(again.plays(40).status, Status::Ok);
}

/// A burst of half a minute is falling behind while it lasts, and not for long after it.
#[test]
fn a_burst_that_is_over_is_no_falling_behind() {
    let mut group = Played::new(2, vec![Part::new(1000.0, 600.0); 2]);
    group.plays(40);
    assert_eq!(group.read_again().status, Status::FallingBehind);
    group.each(|part| part.came_per_s = 0.0);
    let verdict = group.plays(12);
    assert_eq!(verdict.status, Status::Lagging, "{verdict:?}");
    assert!(verdict.seconds_to_catch_up.is_some(), "{verdict:?}");
}

/// One partition that happens to lag in one reading has not been applied by one member alone.
#[test]
fn what_many_members_do_is_not_one_members() {
    let mut group = Played::new(5, vec![Part::new(500.0, 490.0); 10]);
    group.plays(60);
    group.each(|part| part.committed = Some(part.end));
    group.partitions[0].committed = Some(group.partitions[0].end - 50.0);
    let verdict = group.plays(2);
    let useful = verdict.useful_members.unwrap();
    assert!((6..=7).contains(&useful), "5,000/s come, and a member does about 1,000/s: {verdict:?}");
}

#[test]
fn a_slow_consumer_falls_behind_and_says_how_many_would_do() {
    let mut group = Played::new(1, vec![Part::new(250.0, 75.0); 4]);
    let verdict = group.plays(40);
    assert_eq!((verdict.status, verdict.seconds_to_catch_up), (Status::FallingBehind, None));
    assert_eq!(verdict.useful_members, Some(4));
    assert!(
        verdict.reason.contains("1,000/s come, 300/s are applied; 4 members instead of 1"),
        "{verdict:?}"
    );
    // and with enough of them it will be done
    group.each(|part| part.applied_per_s = 500.0);
    let verdict = group.plays(12);
    assert_eq!(verdict.status, Status::Lagging);
    assert!(verdict.seconds_to_catch_up.is_some(), "{verdict:?}");
}

#[test]
fn a_group_without_members_is_empty_and_one_that_applies_nothing_is_stalled() {
    let mut group = Played::new(0, vec![Part::new(10.0, 0.0); 2]);
    let verdict = group.plays(30);
    assert_eq!(verdict.status, Status::Empty);
    assert!(verdict.reason.starts_with("no members: 600 events wait"), "{verdict:?}");
    group.members = Some(2);
    let verdict = group.plays(14);
    assert_eq!(verdict.status, Status::Stalled);
    assert!(verdict.reason.starts_with("2 members, but nothing was applied for"), "{verdict:?}");
    assert_eq!(verdict.useful_members, None, "nobody knows how many it will take");
    group.members = None;
    assert!(group.plays(4).reason.starts_with("nothing was applied for"));
}

#[test]
fn a_partition_that_stands_is_named_while_others_go_on() {
    let mut group = Played::new(2, vec![Part::new(50.0, 100.0); 4]);
    group.plays(20);
    group.partitions[3].applied_per_s = 0.0;
    let verdict = group.plays(20);
    assert_eq!(verdict.status, Status::Stalled);
    assert!(verdict.reason.starts_with("partition 3 at offset 2000 stands for"), "{verdict:?}");
    assert!(verdict.reason.contains("while others go on"), "{verdict:?}");
    assert_eq!(verdict.partitions[&3].status, Status::Stalled);
    assert_eq!(verdict.partitions[&1].status, Status::Ok);
    assert_eq!(verdict.seconds_to_catch_up, None, "it never will");

    group.partitions[3].held = Some("too many bad records");
    let verdict = group.plays(2);
    assert_eq!((verdict.status, verdict.partitions[&3].status), (Status::Held, Status::Held));
    assert!(
        verdict.reason.contains("partition 3 at offset 2000 is held: too many bad records"),
        "{verdict:?}"
    );
    // over at once when it goes on
    group.partitions[3].held = None;
    group.partitions[3].applied_per_s = 400.0;
    assert_eq!(group.plays(2).status, Status::Lagging);
}

/// Whoever looks for three seconds sees a partition stand whose head is old, and no more than lag where it is young.
#[test]
fn a_short_look_sees_what_stands() {
    let standing = |came_per_s| {
        let mut group = Played::new(1, vec![Part::new(came_per_s, 0.0)]);
        group.partitions[0].end += 50.0;
        let mut last = group.read();
        for _ in 0..6 {
            group.passes(Duration::from_millis(500));
            last = group.read();
        }
        last
    };
    assert_eq!(standing(0.0).status, Status::Stalled);
    assert_eq!(standing(50.0).status, Status::Lagging);
    let mut once = Played::new(1, vec![Part::new(0.0, 0.0)]);
    once.partitions[0].end += 50.0;
    let verdict = once.read();
    assert_eq!(
        (verdict.status, verdict.rates_per_second, verdict.seconds_to_catch_up),
        (Status::Lagging, None, None)
    );
}

/// Offsets that are set, and records that expire, are no work that was done.
#[test]
fn what_is_no_movement_is_not_counted() {
    type Change = fn(&mut Part);
    let changes: [Change; 4] = [
        |part| part.committed = Some(500.0),
        |part| (part.committed, part.set_by_others) = (Some(part.end - 10.0), true),
        |part| part.start = part.end - 10.0,
        |part| (part.start, part.end, part.committed) = (0.0, 300.0, None),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut group = Played::new(1, vec![Part::new(10.0, 5.0)]);
        group.plays(40);
        group.partitions[0].applied_per_s = 0.0;
        group.each(change);
        let verdict = group.plays(2);
        assert_eq!(verdict.rates_per_second, None, "{number}: {verdict:?}");
        let rates = group.plays(6).rates_per_second.unwrap();
        assert!(rates.applied == 0.0 && (rates.came - 10.0).abs() < 1.0, "{number}: {rates:?}");
    }
}

#[test]
fn what_is_not_known_is_never_nothing() {
    let mut group = Played::new(1, vec![Part::new(10.0, 20.0); 3]);
    group.plays(10);
    group.partitions[1].known = false;
    let verdict = group.plays(2);
    assert_eq!((verdict.status, verdict.partitions[&1].status), (Status::Unknown, Status::Unknown));
    assert_eq!(verdict.seconds_to_catch_up, None);
    assert!(verdict.reason.ends_with("partition 1 is not known: no leader"), "{verdict:?}");
    group.each(|part| part.known = false);
    let verdict = group.plays(2);
    assert_eq!((verdict.status, verdict.rates_per_second), (Status::Unknown, None));
    assert!(verdict.reason.starts_with("its positions are not known"), "{verdict:?}");
    assert_eq!(Course::new().verdict(), None);
}

/// A backlog of thirty days is kept in as little memory as one of a minute, however often it is read.
#[test]
fn readings_are_bounded() {
    let mut group = Played::new(1, vec![Part::new(10.0, 5.0)]);
    for _ in 0..20_000 {
        group.passes(Duration::from_millis(20));
        group.read();
    }
    let debug = format!("{:?}", group.course);
    assert!(debug.matches("Point {").count() < 70, "{}", debug.matches("Point {").count());
}

proptest! {
    /// Whatever is read, and however irregularly: nothing waits exactly when everything known is applied, no time is negative,
    /// and members that are of use are some, and no more than there are partitions.
    #[test]
    fn any_course_makes_sense(
        parts in prop::collection::vec((0.0..500.0f64, 0.0..500.0f64, prop::bool::weighted(0.1)), 1..8),
        members in prop::option::of(0usize..5),
        turns in prop::collection::vec((0u8..12, 0usize..8, 0.0..2000.0f64, 1u64..90_000), 1..60),
    ) {
        let mut group = Played::new(0, parts.iter().map(|(came, applied, _)| Part::new(*came, *applied)).collect());
        group.members = members;
        for (part, (_, _, held)) in group.partitions.iter_mut().zip(&parts) {
            part.held = held.then_some("held");
        }
        for (what, which, number, milliseconds) in turns {
            group.passes(Duration::from_millis(milliseconds));
            let count = group.partitions.len();
            let part = &mut group.partitions[which % count];
            match what {
                0 => part.committed = Some((part.end - number).max(0.0)),
                1 => part.committed = None,
                2 => part.start = (part.start + number).min(part.end),
                3 => (part.start, part.end, part.committed) = (0.0, number, None),
                4 => part.known = !part.known,
                5 => part.applied_per_s = number,
                6 => part.came_per_s = number,
                7 => part.set_by_others = !part.set_by_others,
                _ => {}
            }
            let verdict = group.read();
            let known = group.partitions.iter().filter(|part| part.known);
            let waits = known.clone().any(|part| part.lag() > 0.0);
            match verdict.status {
                Status::Ok => prop_assert!(!waits && group.partitions.iter().all(|part| part.known)),
                Status::Lagging | Status::FallingBehind | Status::Stalled | Status::Held => prop_assert!(waits),
                Status::Empty => prop_assert_eq!(group.members, Some(0)),
                Status::Unknown => prop_assert!(!waits && group.partitions.iter().any(|part| !part.known)),
            }
            prop_assert!(verdict.seconds_to_catch_up.is_none_or(|seconds| seconds >= 0.0 && seconds.is_finite()));
            prop_assert!(verdict.useful_members.is_none_or(|useful| (1..=group.partitions.len()).contains(&useful)));
            if let Some(rates) = verdict.rates_per_second {
                prop_assert!(rates.came >= 0.0 && rates.applied >= 0.0, "{:?}", rates);
            }
            prop_assert_eq!(verdict.partitions.len(), group.partitions.len());
            prop_assert!(!verdict.reason.is_empty());
        }
    }

    /// However the load goes up and down around a level, an autoscaler is not sent up and down with it.
    #[test]
    fn what_is_desired_is_steady(seed in prop::collection::vec(0usize..3, 400), level in 1usize..20) {
        let mut desired = Desired::new();
        let (mut changes, mut before) = (0, None);
        for (turn, noise) in seed.iter().cycle().take(17_280).enumerate() {
            // a day, every five seconds: one level by day and twice as much in the evening
            let of_day = if (7000..12_000).contains(&turn) { 2 * level } else { level };
            let at = Duration::from_secs(5 * turn as u64);
            let now = desired.after(at, Some(of_day + noise));
            changes += usize::from(before.is_some() && now != before);
            before = now;
        }
        prop_assert!(changes <= 12, "{} changes", changes);
        prop_assert!(before.is_some_and(|now| (level..=level + 2).contains(&now)), "{:?}", before);
    }
}

#[test]
fn more_are_desired_soon_and_fewer_late() {
    let mut desired = Desired::new();
    let mut after = |seconds: u64, useful| desired.after(Duration::from_secs(seconds), useful);
    assert_eq!((after(0, None), after(1, Some(2))), (None, Some(2)));
    assert_eq!((after(2, Some(8)), after(5, Some(2))), (Some(2), Some(2)), "a moment is none");
    assert_eq!((after(6, Some(8)), after(12, Some(5)), after(16, Some(8))), (Some(2), Some(2), Some(5)));
    for seconds in (17..316).step_by(3) {
        assert_eq!(after(seconds, Some(1)), Some(5), "after {seconds} s");
    }
    assert_eq!((after(340, None), after(350, Some(1))), (Some(5), Some(1)));
}
