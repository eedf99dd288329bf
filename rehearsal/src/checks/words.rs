//! Checks in words, and what several of them look at.

use crate::found::{Effect, Found};
use crate::observed::Observed;
use crate::plan::Kind;
use crate::record::Record;
use crate::report::{Check, Verdict};

/// Examples in a check that does not hold.
pub(super) const EXAMPLES: usize = 3;

/// Something that there may be much of: how much, and some of it.
#[derive(Debug)]
pub(super) struct Which {
    pub(super) many: u64,
    examples: Vec<String>,
}

impl Which {
    pub(super) const fn new() -> Self {
        Self { many: 0, examples: Vec::new() }
    }

    pub(super) fn add(&mut self, example: impl FnOnce() -> String) {
        self.many += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(example());
        }
    }

    /// Of requests.
    pub(super) fn of(observed: &Observed<'_>, numbers: impl IntoIterator<Item = u32>) -> Self {
        let mut which = Self::new();
        numbers.into_iter().for_each(|number| which.add(|| request(observed, number)));
        which
    }

    pub(super) fn examples(&self) -> String {
        let more = if self.many > self.examples.len() as u64 { " …" } else { "" };
        format!("{}{more}", self.examples.join(", "))
    }
}

/// A check that fails with anything wrong, and of which nobody can tell if nothing is, but something could not be read.
pub(super) fn check(
    observed: &Observed<'_>,
    name: &str,
    aim: &str,
    wrong: &Which,
    what: &str,
    unread: usize,
    fine: String,
) -> Check {
    let (found, verdict) = match (wrong.many, unread) {
        (0, 0) => (fine, Verdict::Pass),
        (0, _) => (fine, Verdict::Unknown),
        (many, _) => (format!("{many} {what}: {}", wrong.examples()), Verdict::Fail),
    };
    Check {
        name: name.to_owned(),
        aim: aim.to_owned(),
        found: found + &told_unread(observed, unread),
        verdict,
    }
}

/// With why the last was not.
pub(super) fn told_unread(observed: &Observed<'_>, unread: usize) -> String {
    if unread == 0 {
        return String::new();
    }
    let trouble = observed.settled.trouble.iter().map(|trouble| format!(" ({trouble})"));
    format!("; {unread} could not be read{}", trouble.collect::<String>())
}

/// What a request is called: the id of a request for the coupon, else what is liked or written.
pub(super) fn request(observed: &Observed<'_>, number: u32) -> String {
    let plan = observed.load.plan;
    match plan.kind(number) {
        Kind::Coupon { .. } => plan.coupon_request(number).unwrap_or_default().to_string(),
        Kind::Expectation => format!("character {}", plan.character(number)),
        Kind::Like { .. } | Kind::Hot => plan.request(number).path,
    }
}

/// Several requests that have one thing together.
pub(super) fn requests(observed: &Observed<'_>, numbers: &[u32]) -> String {
    let names: Vec<String> = numbers.iter().take(EXAMPLES).map(|number| request(observed, *number)).collect();
    names.join(" and ")
}

/// Whether a request took effect, if that could be read.
pub(super) fn is_there(observed: &Observed<'_>, record: &Record) -> Option<bool> {
    if let Some(found) = observed.settled.requests.get(&record.number) {
        return match found {
            Found::Decided(_) => Some(true),
            Found::Open => Some(false),
            Found::Unread => None,
        };
    }
    match observed.settled.effects.get(&record.number)? {
        Effect::There | Effect::Altered(_) => Some(true),
        Effect::Absent => Some(false),
        Effect::Unread => None,
    }
}
