//! Points in time, as every wire form and table keeps them: whole microseconds, UTC.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// Microseconds since 1970-01-01T00:00:00Z, between the years 1 and 9999 (what RFC 3339 can write and
/// every supported database can hold).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

/// The text or number is not a time between the years 1 and 9999.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTime {
    /// Not RFC 3339 with an offset, e.g. `2026-11-21T10:00:00Z`.
    #[error("is not an RFC 3339 time such as 2026-11-21T10:00:00.000000Z")]
    NotRfc3339,
    /// Outside the years 1..9999.
    #[error("lies outside the years 0001 to 9999")]
    OutOfRange,
}

impl Timestamp {
    /// 0001-01-01T00:00:00Z.
    pub const MIN: Timestamp = Timestamp(-62_135_596_800_000_000);
    /// 9999-12-30T21:59:59.999999Z: about the last moment that is in the year 9999 at every offset.
    pub const MAX: Timestamp = Timestamp(253_402_207_199_999_999);

    /// From microseconds since the Unix epoch.
    ///
    /// # Errors
    /// [`InvalidTime::OutOfRange`] outside [`Timestamp::MIN`]..=[`Timestamp::MAX`].
    pub const fn from_micros(micros: i64) -> Result<Self, InvalidTime> {
        if micros < Self::MIN.0 || micros > Self::MAX.0 {
            return Err(InvalidTime::OutOfRange);
        }
        Ok(Self(micros))
    }

    /// Microseconds since the Unix epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// The system clock, now. Logic takes a `Timestamp` instead of calling this; the edges call it.
    pub fn now() -> Self {
        let micros = jiff::Timestamp::now().as_microsecond();
        Self(micros.clamp(Self::MIN.0, Self::MAX.0))
    }

    /// This time and `micros` more, held within the range.
    pub const fn saturating_add_micros(self, micros: i64) -> Self {
        let sum = self.0.saturating_add(micros);
        if sum > Self::MAX.0 {
            Self::MAX
        } else if sum < Self::MIN.0 {
            Self::MIN
        } else {
            Self(sum)
        }
    }

    /// Seconds from `earlier` to this time; negative when `earlier` is later.
    pub fn seconds_since(self, earlier: Timestamp) -> f64 {
        (self.0 - earlier.0) as f64 / 1e6
    }
}

impl TryFrom<i64> for Timestamp {
    type Error = InvalidTime;
    fn try_from(micros: i64) -> Result<Self, InvalidTime> {
        Self::from_micros(micros)
    }
}

impl From<Timestamp> for i64 {
    fn from(timestamp: Timestamp) -> i64 {
        timestamp.0
    }
}

impl FromStr for Timestamp {
    type Err = InvalidTime;

    /// Reads RFC 3339: date, `T`, time with seconds, at most nanoseconds (cut to microseconds), offset.
    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        // jiff also reads ISO 8601 forms that RFC 3339 leaves out (basic dates, bracketed zones,
        // offsets without minutes); the shape is held to RFC 3339 before its values are read.
        if !has_rfc3339_shape(text.as_bytes()) {
            return Err(InvalidTime::NotRfc3339);
        }
        let parsed: jiff::Timestamp = text.parse().map_err(|_| InvalidTime::NotRfc3339)?;
        Self::from_micros(parsed.as_microsecond())
    }
}

fn has_rfc3339_shape(text: &[u8]) -> bool {
    let digits = |range: std::ops::Range<usize>| {
        text.get(range).is_some_and(|part| part.iter().all(u8::is_ascii_digit))
    };
    let at = |index: usize, wanted: &[u8]| text.get(index).is_some_and(|b| wanted.contains(b));
    let date = digits(0..4) && at(4, b"-") && digits(5..7) && at(7, b"-") && digits(8..10);
    let time = digits(11..13) && at(13, b":") && digits(14..16) && at(16, b":") && digits(17..19);
    if !(date && at(10, b"Tt") && time) {
        return false;
    }
    let mut rest = &text[19..];
    if let [b'.', fraction @ ..] = rest {
        let count = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
        if count == 0 || count > 9 {
            return false;
        }
        rest = &fraction[count..];
    }
    match rest {
        [b'Z' | b'z'] => true,
        [b'+' | b'-', h1, h2, b':', m1, m2] => [h1, h2, m1, m2].iter().all(|b| b.is_ascii_digit()),
        _ => false,
    }
}

impl fmt::Display for Timestamp {
    /// `2026-11-21T10:00:00.000000Z`: UTC, always six decimals.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(timestamp) => write!(f, "{timestamp:.6}"),
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_and_reads_rfc3339_with_microseconds() {
        for (text, shown) in [
            ("2026-11-21T10:00:00Z", "2026-11-21T10:00:00.000000Z"),
            ("2026-11-21T10:00:00.123456789+09:00", "2026-11-21T01:00:00.123456Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z"),
            ("9999-12-30T21:59:59.999999Z", "9999-12-30T21:59:59.999999Z"),
        ] {
            let time: Timestamp = text.parse().unwrap();
            assert_eq!(time.to_string(), shown);
            assert_eq!(shown.parse::<Timestamp>().unwrap(), time);
        }
        assert_eq!("0001-01-01T00:00:00Z".parse(), Ok(Timestamp::MIN));
        assert_eq!("9999-12-30T21:59:59.999999Z".parse(), Ok(Timestamp::MAX));
    }

    #[test]
    fn refuses_other_shapes_and_years() {
        for text in [
            "",
            "now",
            "2026-11-21",
            "2026-11-21T10:00",
            "2026-11-21T10:00:00",
            "20261121T100000Z",
            "2026-11-21T10:00:00+09",
            "2026-11-21T10:00:00[Asia/Seoul]",
            "2026-13-01T00:00:00Z",
            "2026-02-30T00:00:00Z",
            "2026-11-21T25:00:00Z",
            "2026-11-21T10:00:00.Z",
            "2026-11-21T10:00:00.1234567890Z",
            " 2026-11-21T10:00:00Z",
            "-0001-01-01T00:00:00Z",
            "10000-01-01T00:00:00Z",
            "0000-12-31T00:00:00Z",
        ] {
            assert!(text.parse::<Timestamp>().is_err(), "{text:?} was read");
        }
        assert!(Timestamp::from_micros(i64::MAX).is_err());
        assert!(Timestamp::from_micros(i64::MIN).is_err());
    }
}
