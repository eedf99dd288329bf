//! One thing that was looked at, and what was found of it.

use std::fmt::Display;

/// How much something that was found matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Weight {
    /// It is as it should be.
    Well,
    /// It works, and is worth a word.
    Told,
    /// It cannot be used from here, now: which another machine, or another time, may change.
    Away,
    /// It will not work until somebody changes something.
    Wrong,
}

/// Something that was found.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) weight: Weight,
    pub(crate) why: String,
    /// What to do next; empty where nothing is to be done.
    pub(crate) next: String,
}

/// One thing that was looked at.
#[derive(Debug)]
pub(crate) struct Check {
    pub(crate) what: &'static str,
    /// Where it is, for people; empty where that says nothing.
    pub(crate) place: String,
    pub(crate) findings: Vec<Finding>,
}

impl Check {
    pub(crate) fn of(what: &'static str, place: impl Into<String>) -> Self {
        Self { what, place: place.into(), findings: Vec::new() }
    }

    /// The most that was found.
    pub(crate) fn weight(&self) -> Weight {
        self.findings.iter().map(|finding| finding.weight).max().unwrap_or(Weight::Well)
    }

    pub(crate) fn well(&mut self, why: impl Display) {
        self.found(Weight::Well, why, "");
    }

    pub(crate) fn told(&mut self, why: impl Display, next: impl Into<String>) {
        self.found(Weight::Told, why, next);
    }

    pub(crate) fn away(&mut self, why: impl Display, next: impl Into<String>) {
        self.found(Weight::Away, why, next);
    }

    pub(crate) fn wrong(&mut self, why: impl Display, next: impl Into<String>) {
        self.found(Weight::Wrong, why, next);
    }

    fn found(&mut self, weight: Weight, why: impl Display, next: impl Into<String>) {
        self.findings.push(Finding { weight, why: why.to_string(), next: next.into() });
    }
}
