//! Loads that went as they should, made of whims.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use super::super::judge;
use crate::found::{Counter, Coupon, Decision, Effect, Found, Settled, Status};
use crate::observed::Observed;
use crate::plan::{Kind, Plan};
use crate::record::{Fate, Record, Unanswered};
use crate::report::{Report, SlowReaders};
use crate::schedule::Schedule;
use crate::settle::Load;
use crate::shape::Shape;
use crate::watch::Lags;

pub(super) const BEGAN_UNIX_US: i64 = 1_767_225_600_000_000;
const MIX: &str = "[mix]\ncoupon = 0.6\ncoupon_again = 0.15\nexpectation = 0.1\nlike = 0.05\nhot = 0.1\n";

/// How it went with one request.
#[derive(Debug, Clone)]
pub(super) struct Whim {
    late_us: u64,
    took_us: u64,
    /// Where between question and answer it came into line.
    place: f64,
    outcome: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Outcome {
    Accepted,
    /// Told that nothing is left, if nothing is.
    Door,
    NotStored,
    UnknownIn,
    UnknownOut,
    Rejected,
}

/// Everything that is judged.
#[derive(Debug, Clone)]
pub(super) struct History {
    pub(super) shape: Shape,
    pub(super) plan: Plan,
    pub(super) schedule: Schedule,
    pub(super) records: Vec<Record>,
    pub(super) settled: Settled,
    pub(super) stock: u64,
    pub(super) lags: Lags,
    pub(super) readers: SlowReaders,
    pub(super) judges_whole: bool,
}

fn whim() -> impl Strategy<Value = Whim> {
    let outcome = prop_oneof![
        10 => Just(Outcome::Accepted),
        2 => Just(Outcome::Door),
        1 => Just(Outcome::NotStored),
        1 => Just(Outcome::UnknownIn),
        1 => Just(Outcome::UnknownOut),
        1 => Just(Outcome::Rejected),
    ];
    (0..2000u64, 0..50_000u64, 0.0..=1.0, outcome).prop_map(|(late_us, took_us, place, outcome)| Whim {
        late_us,
        took_us,
        place,
        outcome,
    })
}

/// Any that is honest.
pub(super) fn honest() -> impl Strategy<Value = History> {
    (any::<u64>(), 0..40u64, prop::collection::vec(whim(), 1..120)).prop_map(|(seed, stock, mut whims)| {
        // something is accepted
        whims[0].outcome = Outcome::Accepted;
        History::honest(seed, stock, &whims)
    })
}

impl History {
    /// Everybody asks when it is due, and is answered at once.
    pub(super) fn prompt(many: usize, stock: u64) -> Self {
        let whim = Whim { late_us: 0, took_us: 0, place: 0.0, outcome: Outcome::Accepted };
        Self::honest(7, stock, &vec![whim; many])
    }

    /// Everybody is decided in the order in which they came into line.
    fn honest(seed: u64, stock: u64, whims: &[Whim]) -> Self {
        let stages = format!("[[stages]]\nseconds = 1.0\nusers = {}.0\n", whims.len());
        let shape = Shape::parse(&format!("title = \"any\"\nevery_s = 1.0\n{stages}{MIX}")).unwrap();
        let plan = Plan::new(&shape, seed, "any".to_owned());
        let schedule = Schedule::new(&shape, seed).unwrap();
        let mut line: Vec<(u64, Record, Outcome)> = (0..)
            .zip(whims)
            .map(|(number, whim)| {
                let due_us = schedule.due(number).as_micros() as u64;
                let asked_us = due_us + whim.late_us;
                let answered_us = asked_us + whim.took_us;
                let stood_us = asked_us + (whim.place * whim.took_us as f64) as u64;
                let fate = Fate::Accepted;
                (
                    stood_us,
                    Record {
                        number,
                        due_us,
                        asked_us,
                        answered_us,
                        tries: 1,
                        instance: number as u16 % 2,
                        fate,
                    },
                    whim.outcome,
                )
            })
            .collect();
        line.sort_unstable_by_key(|(stood_us, record, _)| (*stood_us, record.number));
        let mut history = Self {
            shape,
            plan,
            schedule,
            records: Vec::new(),
            settled: Settled::default(),
            stock,
            lags: Lags::default(),
            readers: SlowReaders::default(),
            judges_whole: true,
        };
        let mut holders = HashSet::new();
        let mut likes: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for (stood_us, mut record, outcome) in line {
            let kind = history.plan.kind(record.number);
            let is_sold_out = holders.len() as u64 == stock;
            record.fate = match (outcome, kind) {
                (Outcome::Door, Kind::Coupon { .. }) if is_sold_out => Fate::SoldOut,
                (Outcome::Accepted | Outcome::Door, _) => Fate::Accepted,
                (Outcome::NotStored, _) => Fate::NotStored(503),
                (Outcome::UnknownIn, _) => Fate::Unknown(Unanswered::Status(504)),
                (Outcome::UnknownOut, _) => Fate::Unknown(Unanswered::Time),
                (Outcome::Rejected, _) => Fate::Rejected(422),
            };
            let is_in = record.fate == Fate::Accepted || outcome == Outcome::UnknownIn;
            history.found(&record, is_in, stood_us, &mut holders);
            if let Some(target) = history.plan.target(kind) {
                let (accepted, count) = likes.entry(target).or_default();
                *accepted += u64::from(record.fate == Fate::Accepted);
                *count += u64::from(is_in);
            }
            history.records.push(record);
        }
        let counter =
            |(target, (accepted, count))| Counter { target, accepted, others: 0, count: Some(count) };
        history.settled.counters = likes.into_iter().map(counter).collect();
        history.settled.coupon = Some(Coupon { stock, issued: holders.len() as u64 });
        history.settled.drained = Some(Duration::from_millis(5));
        history
    }

    fn found(&mut self, record: &Record, is_in: bool, stood_us: u64, holders: &mut HashSet<u32>) {
        let (number, decided_us) = (record.number, BEGAN_UNIX_US + stood_us as i64);
        match self.plan.kind(number) {
            Kind::Coupon { user } => {
                let is_sold_out = holders.len() as u64 == self.stock;
                let (status, rank) = match (holders.contains(&user), is_sold_out) {
                    (true, _) => (Status::Duplicate, None),
                    (false, true) => (Status::SoldOut, None),
                    (false, false) => (Status::Issued, Some(holders.len() as i64 + 1)),
                };
                let decided = Found::Decided(Decision { status, rank, decided_us });
                if is_in && status == Status::Issued {
                    holders.insert(user);
                }
                self.settled.requests.insert(number, if is_in { decided } else { Found::Open });
            }
            Kind::Expectation | Kind::Like { .. } | Kind::Hot => {
                self.settled.effects.insert(number, if is_in { Effect::There } else { Effect::Absent });
            }
        }
    }

    /// What one of two processes knows.
    pub(super) fn half(mut self, judges_whole: bool) -> Self {
        let is_ours = |number: u32| number.is_multiple_of(2);
        for counter in &mut self.settled.counters {
            let likes = self.records.iter().filter(|record| {
                self.plan.target(self.plan.kind(record.number)).as_ref() == Some(&counter.target)
            });
            let (ours, others): (Vec<&Record>, Vec<&Record>) =
                likes.partition(|record| is_ours(record.number));
            counter.accepted = ours.iter().filter(|record| record.fate == Fate::Accepted).count() as u64;
            counter.others = others.len() as u64;
        }
        self.records.retain(|record| is_ours(record.number));
        self.settled.effects.retain(|number, _| is_ours(*number));
        self.settled.requests.retain(|number, _| judges_whole || is_ours(*number));
        self.judges_whole = judges_whole;
        self
    }

    pub(super) fn judged(&self) -> Report {
        let whole = if self.judges_whole { 0..0 } else { 0..self.schedule.total() };
        let load = Load {
            plan: &self.plan,
            records: &self.records,
            whole,
            judges_whole: self.judges_whole,
            began: Instant::now(),
            began_unix_us: BEGAN_UNIX_US,
        };
        judge(&Observed {
            shape: &self.shape,
            schedule: &self.schedule,
            load: &load,
            settled: &self.settled,
            urls: &["http://one".to_owned(), "http://two".to_owned()],
            seed: 1,
            stock: self.stock,
            lags: &self.lags,
            readers: &self.readers,
            slip_ms: 0.0,
            wait_ms: 0.0,
            generator_was_the_limit: false,
        })
    }

    /// Requests of which this was decided, by their rank, or number.
    pub(super) fn of(&self, status: Status) -> Vec<u32> {
        let mut decided: Vec<_> =
            self.settled.decisions().filter(|(_, decision)| decision.status == status).collect();
        decided.sort_by_key(|(number, decision)| (decision.rank, *number));
        decided.into_iter().map(|(number, _)| number).collect()
    }

    pub(super) fn decision(&mut self, number: u32) -> &mut Decision {
        match self.settled.requests.get_mut(&number) {
            Some(Found::Decided(decision)) => decision,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn record(&self, number: u32) -> Record {
        *self.records.iter().find(|record| record.number == number).unwrap()
    }
}
