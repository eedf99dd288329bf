//! Amounts of money, exact: DECIMAL(20,2).

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde_json::{Value, json};

use crate::datum::{Datum, InvalidDatum, read_bytes, write_bytes};
use crate::describe::Described;
use crate::field::{Field, FromField};
use crate::invalid::Invalid;

/// An amount between 0.00 and 999999999999999999.99, held as whole hundredths; never a float.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cost(u128);

/// Why a text or a number of hundredths is no [`Cost`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCost {
    /// Not plain decimal digits with at most one point: exponents, signs and spaces among them.
    #[error("is not a plain decimal number (digits, at most one point, no exponent)")]
    NotPlainDecimal,
    /// Below zero.
    #[error("is negative")]
    Negative,
    /// More than two digits after the point.
    #[error("has more than two decimals")]
    TooManyDecimals,
    /// More than 18 digits before the point.
    #[error("exceeds 999999999999999999.99")]
    TooLarge,
}

impl Cost {
    /// 999999999999999999.99, the greatest DECIMAL(20,2).
    pub const MAX: Cost = Cost(10_u128.pow((Self::WHOLE_DIGITS + Self::DECIMALS) as u32) - 1);

    /// Digits before the point, at most.
    pub const WHOLE_DIGITS: usize = 18;

    /// Digits after the point, at most; when shown, always.
    pub const DECIMALS: usize = 2;

    /// From whole hundredths.
    ///
    /// # Errors
    /// [`InvalidCost::TooLarge`] above [`Cost::MAX`].
    pub const fn from_hundredths(hundredths: u128) -> Result<Self, InvalidCost> {
        if hundredths > Self::MAX.0 {
            return Err(InvalidCost::TooLarge);
        }
        Ok(Self(hundredths))
    }

    /// Whole hundredths.
    pub const fn as_hundredths(self) -> u128 {
        self.0
    }
}

impl FromStr for Cost {
    type Err = InvalidCost;

    /// Reads what JSON writes as a number, less exponent and what is below zero: `0`, `12`, `12.5`, `12.50`, `-0`.
    fn from_str(text: &str) -> Result<Self, InvalidCost> {
        match text.strip_prefix('-') {
            None => Self::from_magnitude(text),
            Some(magnitude) => match Self::from_magnitude(magnitude) {
                Ok(Cost(0)) => Ok(Cost(0)),
                Err(InvalidCost::NotPlainDecimal | InvalidCost::Negative) => {
                    Err(InvalidCost::NotPlainDecimal)
                }
                _ => Err(InvalidCost::Negative),
            },
        }
    }
}

impl Cost {
    fn from_magnitude(text: &str) -> Result<Self, InvalidCost> {
        let (whole, whole_digits, rest) = leading_digits(text.as_bytes());
        let (fraction, fraction_digits, rest) = match rest {
            [b'.', rest @ ..] => match leading_digits(rest) {
                (_, 0, _) => return Err(InvalidCost::NotPlainDecimal),
                digits => digits,
            },
            _ => (0, 0, rest),
        };
        let leading_zero = whole_digits > 1 && text.starts_with('0');
        if whole_digits == 0 || !rest.is_empty() || leading_zero {
            return Err(InvalidCost::NotPlainDecimal);
        }
        if fraction_digits > Self::DECIMALS {
            return Err(InvalidCost::TooManyDecimals);
        }
        if whole_digits > Self::WHOLE_DIGITS {
            return Err(InvalidCost::TooLarge);
        }
        let hundredths = if fraction_digits == 1 { fraction * 10 } else { fraction };
        Ok(Self(u128::from(whole) * 100 + u128::from(hundredths)))
    }
}

/// The number that the text begins with (anything, if it has more than 18 digits), how many digits it has, and the rest.
fn leading_digits(text: &[u8]) -> (u64, usize, &[u8]) {
    let (mut number, mut count) = (0_u64, 0);
    while let Some(digit @ b'0'..=b'9') = text.get(count) {
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
        count += 1;
    }
    (number, count, &text[count..])
}

/// As clients send it.
impl Described for Cost {
    fn schema() -> Value {
        let (more, decimals) = (Self::WHOLE_DIGITS - 1, Self::DECIMALS);
        let fraction = format!(r"(\.[0-9]{{1,{decimals}}})?");
        let pattern = format!(r"^(-0(\.0{{1,{decimals}}})?|(0|[1-9][0-9]{{0,{more}}}){fraction})$");
        json!({
            "title": "Cost",
            "description": format!("Read exactly from its digits, of which at most {decimals} stand behind the point; no exponent."),
            "anyOf": [
                { "type": "string", "pattern": pattern },
                { "type": "number", "minimum": 0, "exclusiveMaximum": 10_i64.pow(Self::WHOLE_DIGITS as u32) },
            ],
            "examples": ["1250000.50"],
        })
    }
}

impl FromField for Cost {
    /// As a string or a number, exactly as its digits say.
    #[inline]
    fn from_field(field: Field<'_>) -> Result<Self, Invalid> {
        let text = if field.is_number() {
            Cow::Borrowed(field.raw)
        } else {
            field.text().map_err(|_| field.shape("must be a decimal, as a string or a number"))?
        };
        Cost::from_str(&text).map_err(|reason| field.value(reason))
    }
}

/// Bytes with logical type decimal: the unscaled value, two's complement, big-endian, as few bytes as keep the sign.
impl Datum for Cost {
    fn write(&self, out: &mut Vec<u8>) {
        let bytes = self.as_hundredths().to_be_bytes();
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count().min(bytes.len() - 1);
        // a leading one bit would read as a negative number: keep one zero byte before it
        let start = if bytes[zeros] >= 0x80 { zeros - 1 } else { zeros };
        write_bytes(&bytes[start..], out);
    }

    #[inline]
    fn read(from: &mut &[u8]) -> Result<Self, InvalidDatum> {
        let bytes = read_bytes(from)?;
        let Some(first) = bytes.first() else {
            return Err(InvalidDatum::new("a cost without bytes"));
        };
        if *first >= 0x80 {
            return Err(InvalidDatum::new("a cost is negative"));
        }
        // what is too large for the type is too large for a cost
        let fold = |sum: u128, byte: &u8| sum.checked_mul(256).map(|sum| sum + u128::from(*byte));
        let hundredths = bytes.iter().try_fold(0, fold);
        let cost = hundredths.and_then(|hundredths| Cost::from_hundredths(hundredths).ok());
        cost.ok_or_else(|| InvalidDatum::new("a cost exceeds 999999999999999999.99"))
    }
}

impl fmt::Display for Cost {
    /// Always two decimals: `12.50`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

impl fmt::Debug for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_exactly_and_writes_two_places() {
        for (text, hundredths, shown) in [
            ("0", 0, "0.00"),
            ("0.1", 10, "0.10"),
            ("0.01", 1, "0.01"),
            // what some languages write for a zero that was computed
            ("-0", 0, "0.00"),
            ("-0.0", 0, "0.00"),
            ("12345678901234567.89", 1_234_567_890_123_456_789, "12345678901234567.89"),
            ("999999999999999999.99", Cost::MAX.0, "999999999999999999.99"),
        ] {
            let cost: Cost = text.parse().unwrap();
            assert_eq!(cost.as_hundredths(), hundredths);
            assert_eq!(cost.to_string(), shown);
        }
    }

    #[test]
    fn hundredths_end_at_the_greatest_cost() {
        assert_eq!(Cost::from_hundredths(Cost::MAX.0), Ok(Cost::MAX));
        assert_eq!(Cost::from_hundredths(Cost::MAX.0 + 1), Err(InvalidCost::TooLarge));
        assert_eq!(format!("{:?}", Cost(12)), "0.12");
    }

    #[test]
    fn refuses_by_reason() {
        for (text, reason) in [
            ("-1", InvalidCost::Negative),
            ("-0.001", InvalidCost::Negative),
            ("1.005", InvalidCost::TooManyDecimals),
            ("1000000000000000000", InvalidCost::TooLarge),
            ("", InvalidCost::NotPlainDecimal),
            ("1e3", InvalidCost::NotPlainDecimal),
            ("1E30", InvalidCost::NotPlainDecimal),
            ("+1", InvalidCost::NotPlainDecimal),
            ("01", InvalidCost::NotPlainDecimal),
            (".5", InvalidCost::NotPlainDecimal),
            ("5.", InvalidCost::NotPlainDecimal),
            (" 1", InvalidCost::NotPlainDecimal),
            ("1_000", InvalidCost::NotPlainDecimal),
            ("--1", InvalidCost::NotPlainDecimal),
            ("-1e3", InvalidCost::NotPlainDecimal),
            ("-", InvalidCost::NotPlainDecimal),
            ("NaN", InvalidCost::NotPlainDecimal),
            ("١", InvalidCost::NotPlainDecimal),
        ] {
            assert_eq!(text.parse::<Cost>(), Err(reason), "{text:?}");
        }
        let digits = "9".repeat(400);
        assert_eq!(digits.parse::<Cost>(), Err(InvalidCost::TooLarge));
    }
}
