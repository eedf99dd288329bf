//! What a client may be allowed to do.

use std::fmt;

use floodgate_schemas::EventType;
use serde::Deserialize;

/// One thing that a client may be allowed to do. Names are part of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
pub enum Scope {
    /// Write expectations.
    #[serde(rename = "expectation:write")]
    ExpectationWrite,
    /// Ask for a coupon.
    #[serde(rename = "coupon:issue")]
    CouponIssue,
    /// Create coupons.
    #[serde(rename = "coupon:create")]
    CouponCreate,
    /// Like, and take it back.
    #[serde(rename = "like:write")]
    LikeWrite,
    /// Read all that can be read.
    #[serde(rename = "read")]
    Read,
}

impl Scope {
    /// Every scope, in the order lists show them.
    pub const ALL: [Scope; 5] =
        [Scope::ExpectationWrite, Scope::CouponIssue, Scope::CouponCreate, Scope::LikeWrite, Scope::Read];

    /// The word for it in configuration, tokens and documents.
    pub const fn name(self) -> &'static str {
        match self {
            Scope::ExpectationWrite => "expectation:write",
            Scope::CouponIssue => "coupon:issue",
            Scope::CouponCreate => "coupon:create",
            Scope::LikeWrite => "like:write",
            Scope::Read => "read",
        }
    }

    /// The scope of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }

    /// What sending such an event needs.
    pub const fn of(event: EventType) -> Scope {
        match event {
            EventType::Expectation => Scope::ExpectationWrite,
            EventType::Coupon => Scope::CouponIssue,
            EventType::Like => Scope::LikeWrite,
        }
    }
}

/// Those a caller has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes(u8);

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Scopes {
    /// Whether this is one of them.
    pub const fn has(self, scope: Scope) -> bool {
        self.0 & (1 << scope as u8) != 0
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |all, scope| all | 1 << scope as u8))
    }
}

/// Who may use an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Anybody.
    Open,
    /// Who has this scope.
    Needs(Scope),
    /// Who has a scope to write; every event in the body needs its own.
    NeedsByEvent,
}

impl Access {
    /// The scopes of which one lets a request in.
    pub(crate) fn scopes(self) -> Vec<Scope> {
        match self {
            Access::Open => Vec::new(),
            Access::Needs(scope) => vec![scope],
            Access::NeedsByEvent => EventType::ALL.map(Scope::of).to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_contract() {
        let names = Scope::ALL.map(Scope::name);
        assert_eq!(names, ["expectation:write", "coupon:issue", "coupon:create", "like:write", "read"]);
        assert_eq!(names.map(Scope::named), Scope::ALL.map(Some));
        assert_eq!(Scope::named("write"), None);
        let some: Scopes = [Scope::Read, Scope::LikeWrite].into_iter().collect();
        assert_eq!(Scope::ALL.map(|scope| some.has(scope)), [false, false, false, true, true]);
    }
}
