//! Events that tests and benches of every crate share, and time and chance as tests want them.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use uuid::Uuid;

use crate::{
    Chance, CharacterId, Clock, Cost, CouponId, CouponIssue, EventId, ExpectationWrite, Like, LikeAction,
    LikerAccountId, PresetNo, TargetOcid, Timestamp, UserId,
};

/// An id that stands for `number` and orders like it.
pub fn event_id(number: u64) -> EventId {
    EventId::from(Uuid::from_u128(0x0193_0000_0000_7000_8000_0000_0000_0000 | u128::from(number)))
}

/// 2026-11-21T10:00:00Z and `micros` more.
#[expect(clippy::expect_used, reason = "examples are compiled into tests and benches only")]
pub fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(1_795_255_200_000_000 + micros).expect("within the years 1 to 9999")
}

/// A write to `character`'s `preset` (1..=3) of the given version; the costs follow from the version.
#[expect(clippy::expect_used, reason = "examples are compiled into tests and benches only")]
pub fn expectation(number: u64, character: i64, preset: i64, version: i64) -> ExpectationWrite {
    let cost = |factor: u128| {
        let hundredths = u128::from(version.unsigned_abs()) * factor % Cost::MAX.as_hundredths();
        Cost::from_hundredths(hundredths).expect("below the maximum")
    };
    ExpectationWrite {
        event_id: event_id(number),
        accepted_at: at(0),
        character_id: CharacterId::try_from(character).expect("a character"),
        preset_no: PresetNo::try_from(preset).expect("a preset"),
        total_expected_cost: cost(10_000),
        black_cube_cost: cost(1_000),
        red_cube_cost: cost(100),
        additional_cube_cost: cost(10),
        starforce_cost: cost(1),
        calculated_at: at(version),
        version,
    }
}

/// A request by `user` for `coupon`.
#[expect(clippy::expect_used, reason = "examples are compiled into tests and benches only")]
pub fn coupon_issue(number: u64, coupon: &str, user: &str) -> CouponIssue {
    CouponIssue {
        event_id: event_id(number),
        accepted_at: at(0),
        coupon_id: CouponId::try_from(coupon.to_owned()).expect("a coupon id"),
        user_id: UserId::try_from(user.to_owned()).expect("a user id"),
    }
}

/// `liker` likes or unlikes `target`, `micros` after ten o'clock.
#[expect(clippy::expect_used, reason = "examples are compiled into tests and benches only")]
pub fn like(number: u64, target: &str, liker: &str, action: LikeAction, micros: i64) -> Like {
    Like {
        event_id: event_id(number),
        accepted_at: at(0),
        target_ocid: TargetOcid::try_from(target.to_owned()).expect("a target"),
        liker_account_id: LikerAccountId::try_from(liker.to_owned()).expect("a liker"),
        action,
        occurred_at: at(micros),
    }
}

/// A clock that goes when it is told to.
#[derive(Debug)]
pub struct HandClock(AtomicI64);

impl HandClock {
    /// Stands at a time.
    pub fn new(now: Timestamp) -> Self {
        Self(AtomicI64::new(now.as_micros()))
    }

    /// Sets it, also back.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.as_micros(), Ordering::Release);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::Acquire)).unwrap_or(Timestamp::MIN)
    }
}

/// Counts instead of drawing: the ids are [`event_id`] of 1, 2 and so on.
#[derive(Debug, Default)]
pub struct Counted(AtomicU64);

impl Chance for Counted {
    fn event_id(&self) -> EventId {
        event_id(self.bits())
    }

    fn bits(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }
}
