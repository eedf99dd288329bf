//! Points in time, as every wire form and table keeps them: whole microseconds, UTC.

use std::fmt;
use std::str::FromStr;

use jiff::SignedDuration;
use jiff::civil::DateTime;
use serde::Serialize;
use serde_json::{Value, json};

use crate::datum::{Datum, InvalidDatum};
use crate::describe::Described;
use crate::field::{Field, FromField};
use crate::invalid::Invalid;

/// Microseconds since 1970-01-01T00:00:00Z, between the years 1 and 9999 in UTC (what RFC 3339 can write and
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
    /// No calendar or clock shows it: February 30, 24:00, an offset of 24 hours.
    #[error("names a day, a time of day or an offset that does not exist")]
    NoSuchTime,
    /// A second 60. Clocks that count seconds since 1970 have none, nor have databases.
    #[error("names a leap second, which cannot be kept: send the second before or after it")]
    LeapSecond,
    /// Outside the years 1..9999.
    #[error("lies outside the years 0001 to 9999 (in UTC)")]
    OutOfRange,
}

impl Timestamp {
    /// 0001-01-01T00:00:00Z.
    pub const MIN: Timestamp = Timestamp(-62_135_596_800_000_000);
    /// 9999-12-31T23:59:59.999999Z.
    pub const MAX: Timestamp = Timestamp(253_402_300_799_999_999);

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

    /// The system clock, now. Logic takes a `Timestamp` or a [`Clock`](crate::Clock) instead of calling this; the edges call it.
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

impl Described for Timestamp {
    fn schema() -> Value {
        json!({
            "title": "Time", "type": "string", "format": "date-time",
            "description": "RFC 3339 with an offset, in the years 1 to 9999, to the microsecond; answers have it in UTC.",
            "examples": ["2026-01-02T03:04:05.000006Z"],
        })
    }
}

impl FromField for Timestamp {
    #[inline]
    fn from_field(field: Field<'_>) -> Result<Self, Invalid> {
        Timestamp::from_str(&field.text()?).map_err(|reason| field.value(reason))
    }
}

/// A long with logical type timestamp-micros.
impl Datum for Timestamp {
    fn write(&self, out: &mut Vec<u8>) {
        self.as_micros().write(out);
    }

    #[inline]
    fn read(from: &mut &[u8]) -> Result<Self, InvalidDatum> {
        let time = Timestamp::from_micros(i64::read(from)?);
        time.map_err(|error| InvalidDatum::new(format!("a time {error}")))
    }
}

/// 1970-01-01T00:00:00, from which microseconds are counted.
const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

impl FromStr for Timestamp {
    type Err = InvalidTime;

    /// Reads RFC 3339: date, `T`, time with seconds, offset; letters in either case, `-00:00` as UTC. Of the fraction
    /// the first six digits count: finer ones are cut off.
    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        let written = Rfc3339::read(text.as_bytes()).ok_or(InvalidTime::NotRfc3339)?;
        Self::from_micros(written.micros()?)
    }
}

/// What an RFC 3339 text says, number by number.
struct Rfc3339 {
    year: i16,
    /// Month, day, hour, minute, second.
    parts: [i8; 5],
    micros: i32,
    offset_is_negative: bool,
    /// Hours and minutes.
    offset: [i8; 2],
}

impl Rfc3339 {
    /// Reads the shape. Whether the numbers are any day's or clock's is seen later.
    fn read(text: &[u8]) -> Option<Self> {
        let two = |at: usize| match text.get(at..at + 2)? {
            [a @ b'0'..=b'9', b @ b'0'..=b'9'] => Some(((a - b'0') * 10 + (b - b'0')).cast_signed()),
            _ => None,
        };
        let is = |at: usize, wanted: &[u8]| text.get(at).is_some_and(|byte| wanted.contains(byte));
        let separated = is(4, b"-") && is(7, b"-") && is(10, b"Tt") && is(13, b":") && is(16, b":");
        let year = i16::from(two(0)?) * 100 + i16::from(two(2)?);
        let parts = [two(5)?, two(8)?, two(11)?, two(14)?, two(17)?];
        let (mut at, mut micros) = (19, 0);
        if is(at, b".") {
            let digits = text[at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            if digits == 0 {
                return None;
            }
            let digit =
                |place: usize| if place < digits { i32::from(text[at + 1 + place] - b'0') } else { 0 };
            micros = (0..6).fold(0, |sum, place| sum * 10 + digit(place));
            at += 1 + digits;
        }
        let (offset_is_negative, offset, end) = match text.get(at)? {
            b'Z' | b'z' => (false, [0, 0], at + 1),
            sign @ (b'+' | b'-') if is(at + 3, b":") => (*sign == b'-', [two(at + 1)?, two(at + 4)?], at + 6),
            _ => return None,
        };
        (separated && end == text.len()).then_some(Self { year, parts, micros, offset_is_negative, offset })
    }

    fn micros(&self) -> Result<i64, InvalidTime> {
        let Self { year, parts: [month, day, hour, minute, second], micros, .. } = *self;
        let [offset_hours, offset_minutes] = self.offset;
        if second == 60 && minute < 60 {
            return Err(InvalidTime::LeapSecond);
        }
        let written = DateTime::new(year, month, day, hour, minute, second, micros * 1000);
        let written = written.map_err(|_| InvalidTime::NoSuchTime)?;
        if offset_hours > 23 || offset_minutes > 59 {
            return Err(InvalidTime::NoSuchTime);
        }
        let offset = (i64::from(offset_hours) * 60 + i64::from(offset_minutes)) * 60_000_000;
        let offset = if self.offset_is_negative { -offset } else { offset };
        let since = written.duration_since(EPOCH);
        Ok(since.as_secs() * 1_000_000 + i64::from(since.subsec_micros()) - offset)
    }
}

impl fmt::Display for Timestamp {
    /// `2026-11-21T10:00:00.000000Z`: UTC, always six decimals.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match EPOCH.checked_add(SignedDuration::from_micros(self.0)) {
            Ok(time) => write!(f, "{time:.6}Z"),
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
            ("2026-11-21t10:00:00z", "2026-11-21T10:00:00.000000Z"),
            ("2026-11-21T10:00:00+00:00", "2026-11-21T10:00:00.000000Z"),
            ("2026-11-21T10:00:00-00:00", "2026-11-21T10:00:00.000000Z"),
            ("2026-11-21T10:00:00.5-03:30", "2026-11-21T13:30:00.500000Z"),
            ("2024-02-29T23:59:59.1+23:59", "2024-02-29T00:00:59.100000Z"),
            // cut, never rounded: also before 1970, and however many digits there are
            ("2026-11-21T10:00:00.123456789+09:00", "2026-11-21T01:00:00.123456Z"),
            ("2026-11-21T10:00:00.99999999999999999999Z", "2026-11-21T10:00:00.999999Z"),
            ("1969-12-31T23:59:59.9999999Z", "1969-12-31T23:59:59.999999Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z"),
            ("0001-01-01T09:00:00+09:00", "0001-01-01T00:00:00.000000Z"),
            ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59.000000Z"),
            ("9999-12-31T23:59:59.999999+09:00", "9999-12-31T14:59:59.999999Z"),
        ] {
            let time: Timestamp = text.parse().unwrap();
            assert_eq!(time.to_string(), shown);
            assert_eq!(shown.parse::<Timestamp>().unwrap(), time);
        }
        assert_eq!("0001-01-01T00:00:00Z".parse(), Ok(Timestamp::MIN));
        assert_eq!("9999-12-31T23:59:59.999999Z".parse(), Ok(Timestamp::MAX));
        assert_eq!("1970-01-01T00:00:00.000001Z".parse(), Timestamp::from_micros(1));
        assert_eq!("1969-12-31T23:59:59.999999Z".parse(), Timestamp::from_micros(-1));
    }

    #[test]
    fn refuses_by_reason() {
        use InvalidTime::{LeapSecond, NoSuchTime, NotRfc3339, OutOfRange};
        for (text, reason) in [
            ("", NotRfc3339),
            ("now", NotRfc3339),
            ("2026-11-21", NotRfc3339),
            ("2026-11-21T10:00", NotRfc3339),
            ("2026-11-21T10:00:00", NotRfc3339),
            ("2026-11-21 10:00:00Z", NotRfc3339),
            ("20261121T100000Z", NotRfc3339),
            ("2026-11-21T10:00:00+09", NotRfc3339),
            ("2026-11-21T10:00:00+0900", NotRfc3339),
            ("2026-11-21T10:00:00Zx", NotRfc3339),
            ("2026-11-21T10:00:00+09:00[Asia/Seoul]", NotRfc3339),
            ("2026-11-21T10:00:00.Z", NotRfc3339),
            ("2026-11-21T10:00:00,5Z", NotRfc3339),
            (" 2026-11-21T10:00:00Z", NotRfc3339),
            ("-0001-01-01T00:00:00Z", NotRfc3339),
            ("10000-01-01T00:00:00Z", NotRfc3339),
            ("２026-11-21T10:00:00Z", NotRfc3339),
            ("2026-13-01T00:00:00Z", NoSuchTime),
            ("2026-02-30T00:00:00Z", NoSuchTime),
            ("2025-02-29T00:00:00Z", NoSuchTime),
            ("2026-11-21T24:00:00Z", NoSuchTime),
            ("2026-11-21T10:60:00Z", NoSuchTime),
            ("2026-11-21T10:00:61Z", NoSuchTime),
            ("2026-11-21T10:00:00+24:00", NoSuchTime),
            ("2026-11-21T10:00:00+09:60", NoSuchTime),
            ("2016-12-31T23:59:60Z", LeapSecond),
            ("2017-01-01T08:59:60.5+09:00", LeapSecond),
            ("0000-12-31T00:00:00Z", OutOfRange),
            ("0001-01-01T00:00:00+00:01", OutOfRange),
            ("9999-12-31T23:59:59-00:01", OutOfRange),
        ] {
            assert_eq!(text.parse::<Timestamp>(), Err(reason), "{text:?}");
        }
        assert!(Timestamp::from_micros(i64::MAX).is_err());
        assert!(Timestamp::from_micros(i64::MIN).is_err());
    }
}
