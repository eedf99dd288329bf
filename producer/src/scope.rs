//! What a client may be allowed to do.

use floodgate_schemas::EventType;

/// One thing that a client may be allowed to do. Names are part of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Write expectations.
    ExpectationWrite,
    /// Ask for a coupon.
    CouponIssue,
    /// Create coupons.
    CouponCreate,
    /// Like, and take it back.
    LikeWrite,
    /// Read all that can be read.
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

    /// What sending such an event needs.
    pub const fn of(event: EventType) -> Scope {
        match event {
            EventType::Expectation => Scope::ExpectationWrite,
            EventType::Coupon => Scope::CouponIssue,
            EventType::Like => Scope::LikeWrite,
        }
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
