//! What a caller may do, and what a request takes.

use std::fmt;

use axum::http::Method;
use floodgate_schemas::EventType;
use serde::Deserialize;

/// One permission. Names are part of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
pub enum Scope {
    /// Writing expectations.
    #[serde(rename = "expectation:write")]
    ExpectationWrite,
    /// Asking for coupons.
    #[serde(rename = "coupon:issue")]
    CouponIssue,
    /// Creating coupons.
    #[serde(rename = "coupon:create")]
    CouponCreate,
    /// Giving and taking likes.
    #[serde(rename = "like:write")]
    LikeWrite,
    /// Reading whatever can be read.
    #[serde(rename = "read")]
    Read,
}

/// Those a caller has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes(u8);

impl Scope {
    /// Every scope.
    pub const ALL: [Scope; 5] =
        [Self::ExpectationWrite, Self::CouponIssue, Self::CouponCreate, Self::LikeWrite, Self::Read];

    /// The word for it in configuration, tokens and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ExpectationWrite => "expectation:write",
            Self::CouponIssue => "coupon:issue",
            Self::CouponCreate => "coupon:create",
            Self::LikeWrite => "like:write",
            Self::Read => "read",
        }
    }

    /// The scope of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }

    /// What writing an event of a type takes.
    pub(crate) const fn to_write(of: EventType) -> Self {
        match of {
            EventType::Expectation => Self::ExpectationWrite,
            EventType::Coupon => Self::CouponIssue,
            EventType::Like => Self::LikeWrite,
        }
    }

    /// What a request takes by its head; `None` where that depends on its body, and where there is nothing.
    pub(crate) fn of_request(method: &Method, path: &str) -> Option<Self> {
        if matches!(*method, Method::GET | Method::HEAD) {
            return Some(Self::Read);
        }
        let (kind, rest) = path.strip_prefix("/api/v6/")?.split_once('/').unwrap_or_default();
        match (path.strip_prefix("/api/v6/")?, kind, rest) {
            ("expectations", ..) => Some(Self::ExpectationWrite),
            ("coupons", ..) => Some(Self::CouponCreate),
            (_, "coupons", rest) if rest.ends_with("/issues") => Some(Self::CouponIssue),
            (_, "characters", rest) if rest.contains("/likes/") => Some(Self::LikeWrite),
            _ => None,
        }
    }
}

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

    #[test]
    fn a_request_takes_what_its_route_does() {
        let of = |method: Method, path| Scope::of_request(&method, path);
        for (method, path, scope) in [
            (Method::POST, "/api/v6/expectations", Some(Scope::ExpectationWrite)),
            (Method::POST, "/api/v6/coupons", Some(Scope::CouponCreate)),
            (Method::POST, "/api/v6/coupons/summer/issues", Some(Scope::CouponIssue)),
            (Method::PUT, "/api/v6/characters/star/likes/fan", Some(Scope::LikeWrite)),
            (Method::DELETE, "/api/v6/characters/star/likes/fan", Some(Scope::LikeWrite)),
            (Method::GET, "/api/v6/characters/star/likes/fan", Some(Scope::Read)),
            (Method::HEAD, "/api/v6/coupons/summer", Some(Scope::Read)),
            (Method::POST, "/api/v6/events", None),
            (Method::POST, "/api/v6/nothing", None),
            (Method::POST, "/elsewhere", None),
        ] {
            assert_eq!(of(method.clone(), path), scope, "{method} {path}");
        }
    }
}
