//! Amounts of money, exact: DECIMAL(20,2).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

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
    pub const MAX: Cost = Cost(99_999_999_999_999_999_999);

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

    /// Reads what JSON writes as a number, less sign and exponent: `0`, `12`, `12.5`, `12.50`.
    fn from_str(text: &str) -> Result<Self, InvalidCost> {
        if let Some(magnitude) = text.strip_prefix('-') {
            let plain = magnitude.bytes().all(|b| b.is_ascii_digit() || b == b'.');
            return Err(if plain { InvalidCost::Negative } else { InvalidCost::NotPlainDecimal });
        }
        let (whole, fraction) = match text.split_once('.') {
            Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
            Some(_) => return Err(InvalidCost::NotPlainDecimal),
            None => (text, ""),
        };
        let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
            return Err(InvalidCost::NotPlainDecimal);
        }
        if whole.len() > 1 && whole.starts_with('0') {
            return Err(InvalidCost::NotPlainDecimal);
        }
        if fraction.len() > 2 {
            return Err(InvalidCost::TooManyDecimals);
        }
        if whole.len() > 18 {
            return Err(InvalidCost::TooLarge);
        }
        let digits = whole.bytes().chain(fraction.bytes().chain(*b"00").take(2));
        Ok(Self(digits.fold(0, |sum, digit| sum * 10 + u128::from(digit - b'0'))))
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

/// Avro's decimal on bytes: the unscaled value, two's complement, big-endian, as few bytes as keep the sign.
impl Serialize for Cost {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes = self.0.to_be_bytes();
        let zeros = bytes.iter().take_while(|b| **b == 0).count().min(bytes.len() - 1);
        // a leading one bit would read as a negative number: keep one zero byte before it
        let start = if bytes[zeros] >= 0x80 { zeros - 1 } else { zeros };
        serializer.serialize_bytes(&bytes[start..])
    }
}

impl<'de> Deserialize<'de> for Cost {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(UnscaledBytes)
    }
}

struct UnscaledBytes;

impl serde::de::Visitor<'_> for UnscaledBytes {
    type Value = Cost;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the unscaled bytes of a decimal(20,2)")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Cost, E> {
        let Some(first) = bytes.first() else {
            return Err(E::custom("a cost without bytes"));
        };
        if *first >= 0x80 {
            return Err(E::custom("a cost is negative"));
        }
        let too_large = bytes.iter().rev().skip(16).any(|b| *b != 0);
        let value = bytes.iter().rev().take(16).rev().fold(0u128, |sum, b| sum << 8 | u128::from(*b));
        match Cost::from_hundredths(value) {
            Ok(cost) if !too_large => Ok(cost),
            _ => Err(E::custom("a cost exceeds 999999999999999999.99")),
        }
    }

    fn visit_byte_buf<E: serde::de::Error>(self, bytes: Vec<u8>) -> Result<Cost, E> {
        self.visit_bytes(&bytes)
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
    fn bytes_are_read_whatever_their_number() {
        use serde::de::value::{BytesDeserializer, Error};
        let read =
            |bytes: &[u8]| Cost::deserialize(BytesDeserializer::<Error>::new(bytes)).map(|cost| cost.0);
        let long = |first: u8, last: u8| [&[first], [0; 18].as_slice(), &[last]].concat();
        assert_eq!((read(&[5]), read(&[0, 0xff]), read(&long(0, 7))), (Ok(5), Ok(255), Ok(7)));
        let refused = |bytes: &[u8]| read(bytes).map_err(|error| error.to_string());
        assert_eq!(refused(&[]), Err("a cost without bytes".to_owned()));
        assert_eq!(refused(&[0xff]), Err("a cost is negative".to_owned()));
        assert_eq!(refused(&long(1, 7)), Err("a cost exceeds 999999999999999999.99".to_owned()));
        let number = serde::de::value::U8Deserializer::<Error>::new(5);
        let told = Cost::deserialize(number).map_err(|error| error.to_string());
        assert!(told.is_err_and(|told| told.contains("the unscaled bytes of a decimal(20,2)")));
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
            ("NaN", InvalidCost::NotPlainDecimal),
            ("١", InvalidCost::NotPlainDecimal),
        ] {
            assert_eq!(text.parse::<Cost>(), Err(reason), "{text:?}");
        }
        let digits = "9".repeat(400);
        assert_eq!(digits.parse::<Cost>(), Err(InvalidCost::TooLarge));
    }
}
