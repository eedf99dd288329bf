//! Everything that is judged, in one place.

use std::collections::HashMap;

use crate::found::{Decision, Settled, Status};
use crate::plan::Kind;
use crate::record::{Fate, Record};
use crate::report::SlowReaders;
use crate::schedule::Schedule;
use crate::settle::Load;
use crate::shape::Shape;
use crate::watch::Lags;

/// What was planned, sent, measured and found.
#[derive(Debug, Clone, Copy)]
pub struct Observed<'a> {
    /// What the load was like.
    pub shape: &'a Shape,
    /// When it was due.
    pub schedule: &'a Schedule,
    /// What was asked for, and answered.
    pub load: &'a Load<'a>,
    /// What was found afterwards.
    pub settled: &'a Settled,
    /// Whom it was sent to; records name them by their place here.
    pub urls: &'a [String],
    /// By which it can be done again.
    pub seed: u64,
    /// Pieces that the coupon was created with.
    pub stock: u64,
    /// What groups were behind.
    pub lags: &'a Lags,
    /// What became of connections that hardly read, if the shape has some.
    pub readers: &'a SlowReaders,
    /// How late requests were sent, 99 of 100, in ms.
    pub slip_ms: f64,
    /// How long they waited for a connection, 99 of 100, in ms.
    pub wait_ms: f64,
    /// Whether that was so late that the figures say more about whoever sent them.
    pub generator_was_the_limit: bool,
}

impl<'a> Observed<'a> {
    /// Requests for the coupon that were sent here, with whose they are.
    pub(crate) fn asked(&self) -> impl Iterator<Item = (&'a Record, u32)> {
        let load = self.load;
        load.records.iter().filter_map(move |record| Some((record, user(load, record.number)?)))
    }

    /// Decisions, with whose requests they are about.
    pub(crate) fn decided(&self) -> impl Iterator<Item = (u32, u32, &'a Decision)> {
        let load = self.load;
        let decisions = self.settled.decisions();
        decisions.filter_map(move |(number, decision)| Some((number, user(load, number)?, decision)))
    }

    /// Those of them that gave a piece.
    pub(crate) fn issued(&self) -> impl Iterator<Item = (u32, u32, &'a Decision)> {
        self.decided().filter(|(_, _, decision)| decision.status == Status::Issued)
    }

    /// How many decisions say this.
    pub(crate) fn count(&self, status: Status) -> u64 {
        self.settled.decisions().filter(|(_, decision)| decision.status == status).count() as u64
    }

    /// How many requests ended so.
    pub(crate) fn ended(&self, so: impl Fn(Fate) -> bool) -> u64 {
        self.load.records.iter().filter(|record| so(record.fate)).count() as u64
    }

    /// Pieces of each user who has some, as the requests that were given them.
    pub(crate) fn pieces(&self) -> HashMap<u32, Vec<u32>> {
        let mut pieces: HashMap<u32, Vec<u32>> = HashMap::new();
        for (number, user, _) in self.issued() {
            pieces.entry(user).or_default().push(number);
        }
        pieces
    }
}

fn user(load: &Load<'_>, number: u32) -> Option<u32> {
    match load.plan.kind(number) {
        Kind::Coupon { user } => Some(user),
        Kind::Expectation | Kind::Like { .. } | Kind::Hot => None,
    }
}
