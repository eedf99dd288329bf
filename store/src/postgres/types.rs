//! Times and costs in Postgres' binary form, so that the server neither parses nor rounds them.

use floodgate_schemas::{Cost, Timestamp};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueRef};
use sqlx::{Decode, Encode, Postgres, Type};

/// 2000-01-01T00:00:00Z, from which Postgres counts, in microseconds since 1970.
const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

/// `timestamptz`: microseconds since 2000.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Time(pub(super) Timestamp);

impl Type<Postgres> for Time {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(1184))
    }
}

impl PgHasArrayType for Time {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(1185))
    }
}

impl Encode<'_, Postgres> for Time {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let micros = self.0.as_micros() - POSTGRES_EPOCH_MICROS;
        buffer.extend_from_slice(&micros.to_be_bytes());
        Ok(IsNull::No)
    }
}

impl Decode<'_, Postgres> for Time {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        // all our queries are prepared, and those answer in binary
        let micros = i64::from_be_bytes(value.as_bytes()?.try_into()?);
        let since_1970 = micros.checked_add(POSTGRES_EPOCH_MICROS).ok_or("a time beyond all years")?;
        Ok(Time(Timestamp::from_micros(since_1970)?))
    }
}

/// `numeric`: digits of base 10,000, the greatest first. The fraction of a cost, two decimals, fills half a
/// digit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Amount(pub(super) Cost);

impl Type<Postgres> for Amount {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(1700))
    }
}

impl PgHasArrayType for Amount {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(1231))
    }
}

impl Amount {
    /// Digits of base 10,000 that `Cost::MAX` has: five whole ones and the fraction.
    const DIGITS: usize = 6;

    fn digits(self) -> [u16; Self::DIGITS] {
        let mut ten_thousandths = self.0.as_hundredths() * 100;
        let mut digits = [0; Self::DIGITS];
        for digit in digits.iter_mut().rev() {
            *digit = (ten_thousandths % 10_000) as u16;
            ten_thousandths /= 10_000;
        }
        digits
    }
}

impl Encode<'_, Postgres> for Amount {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let digits = self.digits();
        let zeros = digits.iter().take_while(|digit| **digit == 0).count();
        let significant = &digits[zeros..];
        let weight = significant.len() as i16 - 2;
        const POSITIVE: u16 = 0;
        const DECIMALS: u16 = 2;
        buffer.extend_from_slice(&(significant.len() as u16).to_be_bytes());
        buffer.extend_from_slice(&weight.to_be_bytes());
        buffer.extend_from_slice(&POSITIVE.to_be_bytes());
        buffer.extend_from_slice(&DECIMALS.to_be_bytes());
        for digit in significant {
            buffer.extend_from_slice(&digit.to_be_bytes());
        }
        Ok(IsNull::No)
    }
}
