//! JSON numbers as whole numbers. JSON knows one kind of number: `12`, `12.0` and `1.2e1` are the same, and several
//! languages write whole numbers in the longer ways.

/// What a JSON number is, seen as a whole one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Whole {
    /// This one.
    Number(i64),
    /// It has a fraction.
    Fraction,
    /// It does not fit in 64 bits.
    TooLarge,
}

/// Reads a JSON number exactly, by its digits: a float would change large ones.
pub(crate) fn whole(json: &str) -> Whole {
    let (sign, magnitude) = json.strip_prefix('-').map_or(("", json), |magnitude| ("-", magnitude));
    let (mantissa, exponent) = magnitude.split_once(['e', 'E']).unwrap_or((magnitude, "0"));
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = [before, after].concat();
    // zeros at either end are only places
    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        return Whole::Number(0);
    }
    let trailing = digits.len() - digits.trim_end_matches('0').len();
    // an exponent beyond 64 bits is beyond every number of digits that a body holds
    let beyond = if exponent.starts_with('-') { i64::MIN } else { i64::MAX };
    let exponent: i64 = exponent.parse().unwrap_or(beyond);
    let zeros = exponent.saturating_sub(after.len() as i64).saturating_add(trailing as i64);
    match usize::try_from(zeros) {
        Err(_) => Whole::Fraction,
        Ok(zeros) if zeros.saturating_add(significant.len()) > DIGITS_MAX => Whole::TooLarge,
        Ok(zeros) => {
            format!("{sign}{significant}{}", "0".repeat(zeros)).parse().map_or(Whole::TooLarge, Whole::Number)
        }
    }
}

/// Digits of 2⁶³.
const DIGITS_MAX: usize = 19;

#[cfg(test)]
mod tests {
    use super::*;

    /// A number is what it means, however it is written.
    #[test]
    fn numbers_are_read_exactly() {
        for (json, number) in [
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
            ("9223372036854775807.000", i64::MAX),
            ("-9.223372036854775808e18", i64::MIN),
            ("1.0", 1),
            ("-1.00", -1),
            ("1e3", 1000),
            ("1E+3", 1000),
            ("1.5e1", 15),
            ("120e-1", 12),
            ("1000.0e-3", 1),
            ("0.001e3", 1),
            ("-0", 0),
            ("-0.0", 0),
            ("0e999999999999999999999", 0),
            // exact where a float would not be
            ("9007199254740993.0", 9_007_199_254_740_993),
        ] {
            assert_eq!(whole(json), Whole::Number(number), "{json}");
        }
        for json in
            ["9223372036854775808", "-9223372036854775809", "1e19", "1E400", "-1e99999999999999999999"]
        {
            assert_eq!(whole(json), Whole::TooLarge, "{json}");
        }
        for json in ["1.5", "9223372036854775807.5", "1e-3", "12e-2", "1e-99999999999999999999"] {
            assert_eq!(whole(json), Whole::Fraction, "{json}");
        }
    }
}
