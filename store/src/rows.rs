//! What the reads return: rows, in the terms of events.

use floodgate_schemas::{
    CharacterId, Cost, CouponId, Described, EventId, Field, FromField, Invalid, PresetNo, Timestamp, UserId,
};
use serde::Serialize;
use serde_json::{Value, json};

/// The expectation that stands on one preset of a character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectationRow {
    /// The character.
    pub character_id: CharacterId,
    /// The preset.
    pub preset_no: PresetNo,
    /// The sum the client computed.
    pub total_expected_cost: Cost,
    /// Share of black cubes.
    pub black_cube_cost: Cost,
    /// Share of red cubes.
    pub red_cube_cost: Cost,
    /// Share of additional cubes.
    pub additional_cube_cost: Cost,
    /// Share of star force.
    pub starforce_cost: Cost,
    /// Orders writes to one preset.
    pub version: i64,
    /// When the client computed it.
    pub calculated_at: Timestamp,
    /// The event that wrote the row.
    pub event_id: EventId,
    /// When it was written.
    pub updated_at: Timestamp,
}

/// How many of a coupon there are to give out: 0..=2³¹−1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Stock(i32);

/// A number that is no [`Stock`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be between 0 and 2147483647")]
pub struct InvalidStock;

impl Stock {
    const MIN: i32 = 0;

    /// The stock as a number, at least 0.
    pub const fn get(self) -> i32 {
        self.0
    }
}

impl TryFrom<i64> for Stock {
    type Error = InvalidStock;
    fn try_from(number: i64) -> Result<Self, InvalidStock> {
        match i32::try_from(number) {
            Ok(number) if number >= Self::MIN => Ok(Self(number)),
            _ => Err(InvalidStock),
        }
    }
}

impl Described for Stock {
    fn schema() -> Value {
        json!({
            "title": "Stock", "type": "integer", "format": "int32",
            "minimum": Self::MIN, "maximum": i32::MAX, "examples": [1000],
        })
    }
}

impl FromField for Stock {
    fn from_field(field: Field<'_>) -> Result<Self, Invalid> {
        field.number()
    }
}

/// A coupon to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCoupon {
    /// Names it.
    pub coupon_id: CouponId,
    /// How many there are.
    pub stock: Stock,
    /// Requests accepted before are decided NOT_OPEN; `None`: open from the start.
    pub opens_at: Option<Timestamp>,
    /// Requests accepted at this time or later are decided NOT_OPEN; `None`: never closes.
    pub closes_at: Option<Timestamp>,
}

/// What came of creating a coupon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CouponCreated {
    /// It exists now.
    Created,
    /// It existed before, with the same stock and times.
    SameExists,
    /// Another of this id exists and was left as it is.
    DifferentExists,
}

/// A coupon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coupon {
    /// What it was created with.
    pub terms: NewCoupon,
    /// How many are given out, at most the stock.
    pub issued: Stock,
}

impl Coupon {
    /// How many are left.
    pub const fn remaining(&self) -> i32 {
        self.terms.stock.get() - self.issued.get()
    }

    /// What it means for creating a coupon with `terms` that this one exists.
    pub(crate) fn compared_with(&self, terms: &NewCoupon) -> CouponCreated {
        if self.terms == *terms { CouponCreated::SameExists } else { CouponCreated::DifferentExists }
    }
}

/// The decision on a coupon request; the first one is final.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The request, named by its event.
    pub request_id: EventId,
    /// The coupon asked for.
    pub coupon_id: CouponId,
    /// Who asked.
    pub user_id: UserId,
    /// What was decided.
    pub status: DecisionStatus,
    /// The place in line (1..=stock), if issued.
    pub rank: Option<i32>,
    /// When the decision was made.
    pub decided_at: Timestamp,
}

/// What was decided on a coupon request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DecisionStatus {
    /// Granted.
    Issued,
    /// None left.
    SoldOut,
    /// The user already held one.
    Duplicate,
    /// Outside the opening hours.
    NotOpen,
    /// There was no such coupon.
    UnknownCoupon,
}

impl DecisionStatus {
    /// Every status.
    pub const ALL: [DecisionStatus; 5] =
        [Self::Issued, Self::SoldOut, Self::Duplicate, Self::NotOpen, Self::UnknownCoupon];

    /// The word for it in JSON and in the tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Issued => "ISSUED",
            Self::SoldOut => "SOLD_OUT",
            Self::Duplicate => "DUPLICATE",
            Self::NotOpen => "NOT_OPEN",
            Self::UnknownCoupon => "UNKNOWN_COUPON",
        }
    }

    /// The status of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stock_is_a_natural_number_of_31_bits() {
        assert_eq!(Stock::try_from(0).map(Stock::get), Ok(0));
        assert_eq!(Stock::try_from(2_147_483_647).map(Stock::get), Ok(i32::MAX));
        assert_eq!(Stock::try_from(2_147_483_648), Err(InvalidStock));
        assert_eq!(Stock::try_from(-1), Err(InvalidStock));
    }

    #[test]
    fn statuses_are_read_as_written() {
        for status in DecisionStatus::ALL {
            assert_eq!(DecisionStatus::named(status.name()), Some(status));
        }
        assert_eq!(DecisionStatus::named("PENDING"), None);
    }
}
