//! From when on a certificate is good, and until when: the one thing of it that is told.
//!
//! A certificate is nested values of DER, each a tag, a length and as many bytes. What is wanted stands at a fixed place:
//! certificate, what was signed of it, and there behind a version (which may be missing), a number, an algorithm and an issuer.

use floodgate_schemas::Timestamp;

/// When a certificate is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first moment.
    pub from: Timestamp,
    /// The last.
    pub until: Timestamp,
}

impl Validity {
    /// That of a certificate. `None` where it is not found.
    pub(crate) fn of(certificate: &[u8]) -> Option<Self> {
        let (certificate, _) = value(certificate, SEQUENCE)?;
        let (mut signed, _) = value(certificate, SEQUENCE)?;
        if let Some((_, rest)) = value(signed, VERSION) {
            signed = rest;
        }
        for before in [INTEGER, SEQUENCE, SEQUENCE] {
            (_, signed) = value(signed, before)?;
        }
        let (validity, _) = value(signed, SEQUENCE)?;
        let (from, rest) = time(validity)?;
        let (until, _) = time(rest)?;
        Some(Self { from, until })
    }

    /// Why it is not good now, if it is not.
    pub fn trouble(&self, now: Timestamp) -> Option<String> {
        let Self { from, until } = self;
        match () {
            () if now > *until => Some(format!("expired {until}")),
            () if now < *from => Some(format!("is not good before {from}")),
            () => None,
        }
    }
}

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// The value at the beginning, which must have this tag, and what stands behind it.
fn value(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = bytes.split_first()?;
    let (short, rest) = rest.split_first()?;
    if *found != tag {
        return None;
    }
    let digits = usize::from(short & 0x7f);
    let (length, rest) = match short & 0x80 {
        0 => (digits, rest),
        _ if digits > 4 => return None,
        _ => {
            let (length, rest) = rest.split_at_checked(digits)?;
            (length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
    };
    rest.split_at_checked(length)
}

/// A time of either kind: `YYMMDDHHMMSSZ`, of the years from 1950 on, or with four digits for the year.
fn time(bytes: &[u8]) -> Option<(Timestamp, &[u8])> {
    let short = value(bytes, UTC_TIME);
    let (digits, rest) = short.or_else(|| value(bytes, GENERALIZED_TIME))?;
    let digits = std::str::from_utf8(digits).ok()?.strip_suffix('Z')?;
    let century = match short {
        Some(_) if digits >= "50" => "19",
        Some(_) => "20",
        None => "",
    };
    let all = format!("{century}{digits}");
    if all.len() != 14 || !all.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part = |from: usize| &all[from..from + 2];
    let (month, day, hour, minute, second) = (part(4), part(6), part(8), part(10), part(12));
    let time = format!("{}-{month}-{day}T{hour}:{minute}:{second}Z", &all[..4]);
    Some((time.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn der(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = content.len();
        let head = match length {
            0..128 => vec![tag, length as u8],
            _ => vec![tag, 0x82, (length >> 8) as u8, length as u8],
        };
        [head, content.to_vec()].concat()
    }

    fn certificate(version: bool, until: &[u8]) -> Vec<u8> {
        let from = der(UTC_TIME, b"200101000000Z");
        let validity = der(SEQUENCE, &[from, until.to_vec()].concat());
        let version = if version { der(VERSION, &der(INTEGER, &[2])) } else { Vec::new() };
        let (number, names) = (der(INTEGER, &[1, 2, 3]), der(SEQUENCE, &[0; 300]));
        let signed = [version, number, names.clone(), names, validity, vec![1; 50]].concat();
        der(SEQUENCE, &der(SEQUENCE, &signed))
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn the_end_of_the_validity_is_told() {
        for version in [true, false] {
            let told = |tag, time: &[u8]| {
                let validity = Validity::of(&certificate(version, &der(tag, time)))?;
                assert_eq!(validity.from, at("2020-01-01T00:00:00Z"));
                Some(validity.until)
            };
            assert_eq!(told(UTC_TIME, b"261129100433Z"), Some(at("2026-11-29T10:04:33Z")));
            assert_eq!(told(UTC_TIME, b"991231235959Z"), Some(at("1999-12-31T23:59:59Z")));
            assert_eq!(told(GENERALIZED_TIME, b"20500101000000Z"), Some(at("2050-01-01T00:00:00Z")));
            assert_eq!(told(UTC_TIME, b"2611291004Z"), None);
            assert_eq!(told(UTC_TIME, b"261329100433Z"), None);
            assert_eq!(told(UTC_TIME, "26112910043\u{e9}Z".as_bytes()), None);
            assert_eq!(told(INTEGER, b"261129100433Z"), None);
        }
    }

    #[test]
    fn it_is_good_from_its_first_moment_to_its_last() {
        let [from, until] = ["2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"].map(at);
        let validity = Validity { from, until };
        assert_eq!([from, until].map(|now| validity.trouble(now)), [None, None]);
        let early = validity.trouble(from.saturating_add_micros(-1));
        assert_eq!(early.as_deref(), Some("is not good before 2026-01-01T00:00:00.000000Z"));
        let late = validity.trouble(until.saturating_add_micros(1));
        assert_eq!(late.as_deref(), Some("expired 2026-02-01T00:00:00.000000Z"));
    }

    #[test]
    fn whatever_else_it_is_nothing_is_told() {
        let whole = certificate(true, &der(UTC_TIME, b"261129100433Z"));
        for length in 0..whole.len() {
            assert_eq!(Validity::of(&whole[..length]), None, "the first {length} bytes");
        }
        assert_eq!(Validity::of(&[SEQUENCE, 0x85, 1, 1, 1, 1, 1]), None);
        assert_eq!(Validity::of(b"no certificate"), None);
    }
}
