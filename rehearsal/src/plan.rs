//! What each request asks for: a function of the seed and the request's number, so that nothing has to be kept of it.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use uuid::Uuid;

use crate::shape::Shape;

/// Of ids that are made of keys (the reference, *Idempotency*).
const NAMESPACE: Uuid = Uuid::from_u128(0xcc65_2746_3b09_5df9_8fae_5088_0845_ac37);

/// Targets of likes that are not the hot one.
const TARGETS: u32 = 1000;

/// What chance is asked for. Each has its own.
#[derive(Debug, Clone, Copy)]
pub enum Salt {
    /// When it is due.
    Due,
    /// What it is.
    Kind,
    /// Who, of those who were there before; which of many.
    Which,
    /// Whether it is sent again without patience.
    Storm,
    /// How much longer than told a pause is.
    Pause,
}

/// A number from 0 to 1, without 1, that is the same whenever it is asked for.
pub fn chance(seed: u64, salt: Salt, number: u32) -> f64 {
    // splitmix64's finisher, by Steele, Lea and Flood ("Fast Splittable Pseudorandom Number Generators", 2014)
    let mut bits = seed ^ (u64::from(number) << 8 | salt as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    (bits ^ bits >> 31) as f64 / 2f64.powi(64).next_up()
}

/// Where a target's likes are counted.
pub fn count_path(target: &str) -> String {
    format!("/api/v6/characters/{target}/likes")
}

/// What all requests of a rehearsal are made of.
#[derive(Debug, Clone)]
pub struct Plan {
    shape: Shape,
    seed: u64,
    coupon: String,
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The coupon, for the user of this number: its own, or that of one before.
    Coupon {
        /// Whose.
        user: u32,
    },
    /// An expectation of a character of its own.
    Expectation,
    /// A like of one of many targets, by somebody else each time.
    Like {
        /// Which.
        target: u32,
    },
    /// A like of the one that everybody likes, by somebody else each time.
    Hot,
}

/// A request as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: &'static str,
    /// The path.
    pub path: String,
    /// The body; empty for none.
    pub body: String,
    /// The `Idempotency-Key`.
    pub key: String,
}

impl Plan {
    /// For a coupon of this id.
    pub fn new(shape: &Shape, seed: u64, coupon: String) -> Self {
        Self { shape: shape.clone(), seed, coupon }
    }

    /// The coupon's id.
    pub fn coupon(&self) -> &str {
        &self.coupon
    }

    /// Its path.
    pub fn coupon_path(&self) -> String {
        format!("/api/v6/coupons/{}", utf8_percent_encode(&self.coupon, NON_ALPHANUMERIC))
    }

    /// What a request asks for.
    pub fn kind(&self, number: u32) -> Kind {
        match self.drawn(number) {
            Drawn::Coupon => Kind::Coupon { user: number },
            // without anybody before it is a first request itself
            Drawn::Again => Kind::Coupon { user: self.somebody_before(number).unwrap_or(number) },
            Drawn::Expectation => Kind::Expectation,
            Drawn::Like => Kind::Like { target: self.of_many(number, TARGETS) },
            Drawn::Hot => Kind::Hot,
        }
    }

    /// A request as it is sent.
    pub fn request(&self, number: u32) -> Request {
        let key = self.key(number);
        match self.kind(number) {
            Kind::Coupon { user } => Request {
                method: "POST",
                path: format!("{}/issues", self.coupon_path()),
                body: format!("{{\"userId\":\"{}\"}}", self.user(user)),
                key,
            },
            Kind::Expectation => Request {
                method: "POST",
                path: "/api/v6/expectations".to_owned(),
                body: format!(
                    "{{\"characterId\":{},\"presetNo\":1,\"totalExpectedCost\":\"{}\",\"blackCubeCost\":\"1\",\
                     \"redCubeCost\":\"2\",\"additionalCubeCost\":\"3\",\"starforceCost\":\"4\",\
                     \"calculatedAt\":\"2026-01-01T00:00:00Z\"}}",
                    self.character(number),
                    self.cost(number),
                ),
                key,
            },
            Kind::Like { .. } | Kind::Hot => Request {
                method: "PUT",
                path: format!(
                    "/api/v6/characters/{}/likes/{}",
                    self.target(self.kind(number)).unwrap_or_default(),
                    self.user(number)
                ),
                // a like under a key has a time, or a late try could undo what came after
                body: "{\"occurredAt\":\"2026-01-01T00:00:00Z\"}".to_owned(),
                key,
            },
        }
    }

    /// The id of the event that a request for the coupon becomes, whether or not anybody answered.
    pub fn coupon_request(&self, number: u32) -> Option<Uuid> {
        let Kind::Coupon { user } = self.kind(number) else { return None };
        let name = format!("coupon\u{1f}{}\u{1f}{}\u{1f}{}", self.coupon, self.user(user), self.key(number));
        Some(Uuid::new_v5(&NAMESPACE, name.as_bytes()))
    }

    /// Where it is read whether a like or an expectation took effect.
    pub fn effect_path(&self, number: u32) -> Option<String> {
        match self.kind(number) {
            Kind::Coupon { .. } => None,
            Kind::Expectation => Some(format!("/api/v6/characters/{}/expectations", self.character(number))),
            // who put a like asks for it by the same path
            Kind::Like { .. } | Kind::Hot => Some(self.request(number).path),
        }
    }

    /// Whom a like is of.
    pub fn target(&self, kind: Kind) -> Option<String> {
        match kind {
            Kind::Like { target } => Some(format!("target-{:x}-{target}", self.seed)),
            Kind::Hot => Some(format!("target-{:x}-hot", self.seed)),
            Kind::Coupon { .. } | Kind::Expectation => None,
        }
    }

    /// The character of an expectation. Of each run others: what is read back is what this one wrote.
    pub fn character(&self, number: u32) -> u64 {
        // whole numbers that every JSON reader has exactly, and 2^21 runs apart
        (self.seed & 0x1f_ffff) << 32 | u64::from(number)
    }

    /// The cost that an expectation says.
    pub fn cost(&self, number: u32) -> String {
        format!("{number}.{:02}", self.of_many(number, 100))
    }

    /// How often a request is sent at once, under one key.
    pub fn copies(&self, number: u32) -> u32 {
        let is_impatient = chance(self.seed, Salt::Storm, number) < self.shape.retry.storm;
        if is_impatient { self.shape.retry.storm_times + 1 } else { 1 }
    }

    fn key(&self, number: u32) -> String {
        format!("burst-{:x}-{number}", self.seed)
    }

    fn user(&self, number: u32) -> String {
        format!("user-{:x}-{number}", self.seed)
    }

    fn of_many(&self, number: u32, many: u32) -> u32 {
        (chance(self.seed, Salt::Which, number) * f64::from(many)) as u32
    }

    fn somebody_before(&self, number: u32) -> Option<u32> {
        (0..=self.of_many(number, number))
            .rev()
            .find(|one| *one < number && self.drawn(*one) == Drawn::Coupon)
    }

    fn drawn(&self, number: u32) -> Drawn {
        let mix = self.shape.mix;
        let mut left = chance(self.seed, Salt::Kind, number);
        for (share, drawn) in [
            (mix.coupon, Drawn::Coupon),
            (mix.coupon_again, Drawn::Again),
            (mix.expectation, Drawn::Expectation),
            (mix.like, Drawn::Like),
        ] {
            if left < share {
                return drawn;
            }
            left -= share;
        }
        // shares add up to 1 but for the last digits
        if mix.hot > 0.0 { Drawn::Hot } else { Drawn::Coupon }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Drawn {
    Coupon,
    Again,
    Expectation,
    Like,
    Hot,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(mix: &str) -> Plan {
        let shape =
            format!("title = \"\"\nevery_s = 1.0\n[[stages]]\nseconds = 1.0\nusers = 1.0\n[mix]\n{mix}");
        Plan::new(&Shape::parse(&shape).unwrap(), 0x5eed, "summer/24".to_owned())
    }

    #[test]
    fn shares_are_kept() {
        let plan = plan("coupon = 0.4\ncoupon_again = 0.1\nexpectation = 0.2\nlike = 0.2\nhot = 0.1");
        let mut found = [0; 5];
        for number in 0..20_000 {
            let place = match plan.kind(number) {
                Kind::Coupon { user } if user == number => 0,
                Kind::Coupon { .. } => 1,
                Kind::Expectation => 2,
                Kind::Like { .. } => 3,
                Kind::Hot => 4,
            };
            found[place] += 1;
        }
        for (found, wanted) in found.into_iter().zip([8000, 2000, 4000, 4000, 2000]) {
            assert!(i32::abs(found - wanted) < 250, "{found} of {wanted}");
        }
    }

    /// Who asks again is somebody who asked before for itself.
    #[test]
    fn who_asks_again_was_there_before() {
        let plan = plan("coupon = 0.5\ncoupon_again = 0.5");
        for number in 1..2000 {
            if let Kind::Coupon { user } = plan.kind(number) {
                assert!(user <= number);
                assert_eq!(plan.kind(user), Kind::Coupon { user });
            }
        }
    }

    /// By the reference's rule, as `uuid.uuid5` of Python follows it.
    #[test]
    fn ids_are_those_of_the_reference() {
        let plan = plan("coupon = 1.0");
        let request = plan.request(3);
        assert_eq!(request.path, "/api/v6/coupons/summer%2F24/issues");
        assert_eq!(
            (request.body.as_str(), request.key.as_str()),
            ("{\"userId\":\"user-5eed-3\"}", "burst-5eed-3")
        );
        let id = Uuid::from_u128(0xe622_c53b_3f65_5a72_931e_d351_ec2c_c71d);
        assert_eq!(plan.coupon_request(3), Some(id));
    }

    #[test]
    fn chance_is_even() {
        for salt in [Salt::Due, Salt::Kind, Salt::Which, Salt::Storm, Salt::Pause] {
            let drawn: Vec<f64> = (0..10_000).map(|number| chance(1, salt, number)).collect();
            assert!(drawn.iter().all(|drawn| (0.0..1.0).contains(drawn)));
            let mean = drawn.iter().sum::<f64>() / 1e4;
            assert!((0.49..0.51).contains(&mean), "{mean}");
        }
    }
}
