//! A checksum that travels with every record, if `buffer.kafka.checksums` says so.
//!
//! Kafka has one for each batch, which librdkafka 2.12.1 cannot be asked to check: its `check.crcs` goes on at a wrong place
//! behind a batch that fails. Damage on a broker's disk that leaves a batch's structure whole would be applied as if a
//! client had sent it. So whoever publishes adds a header, behind all others, and whoever reads looks whether the record is
//! what was published. To everybody else the header does not exist: it is added below [`crate::Record`] and taken away
//! before [`crate::Received`], so that a dead letter has its original's headers, and a checksum of its own.
//!
//! It is CRC-32C, as Kafka's, of what stands before it: key, value, and name and value of every header, each behind its
//! length in four bytes, big-endian; a part that is missing is a length of -1. A header that others add behind it changes
//! nothing. A record without one, of another program or an older build, is taken as it is.

use std::fmt::Write;

use crate::{Header, Record};

/// The header's name.
pub(super) const NAME: &str = "floodgate-crc32c";

/// In hexadecimal digits, so that every tool can show it.
const DIGITS: usize = 8;

/// What it adds to a record, in the bytes that limits count.
pub(super) const BYTES: usize = NAME.len() + DIGITS;

/// The header's value for a record.
pub(super) fn of(record: &Record<'_>) -> [u8; DIGITS] {
    text(sum(record.key, record.value, record.headers))
}

/// Takes the checksum, the last one if there are several, out of a record's headers. `Err` says what is wrong if the record
/// is not what it was made from.
pub(super) fn take(
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &mut Vec<Header<'_>>,
) -> Result<(), String> {
    let Some(place) = headers.iter().rposition(|(name, _)| *name == NAME.as_bytes()) else { return Ok(()) };
    let (_, said) = headers.remove(place);
    let said = said.unwrap_or_default();
    let found = text(sum(key, value, &headers[..place]));
    if said == found {
        return Ok(());
    }
    let (found, said) = (String::from_utf8_lossy(&found), String::from_utf8_lossy(said));
    let mut reason = format!("its CRC-32C is {found}, and was ");
    // it may be damaged itself
    said.chars().take(DIGITS).flat_map(char::escape_default).for_each(|letter| reason.push(letter));
    let _ = write!(reason, " when it was written");
    Err(reason)
}

fn sum(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[Header<'_>]) -> u32 {
    let sum = add(add(0, key), value);
    headers.iter().fold(sum, |sum, (name, value)| add(add(sum, Some(name)), *value))
}

fn add(sum: u32, part: Option<&[u8]>) -> u32 {
    // no part of a record is longer than an i32 can say: Kafka's own format has such lengths
    let length = part.map_or(-1, |part| i32::try_from(part.len()).unwrap_or(i32::MAX));
    let sum = crc32c::crc32c_append(sum, &length.to_be_bytes());
    part.map_or(sum, |part| crc32c::crc32c_append(sum, part))
}

fn text(sum: u32) -> [u8; DIGITS] {
    let digit = |place: usize| b"0123456789abcdef"[(sum >> (28 - 4 * place)) as usize & 15];
    std::array::from_fn(digit)
}

#[cfg(test)]
mod tests {
    use floodgate_schemas::EventType;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::Topic;

    type Part = Option<Vec<u8>>;
    type Parts = (Part, Part, Vec<(Vec<u8>, Part)>);

    fn part() -> impl Strategy<Value = Part> {
        proptest::option::of(vec(any::<u8>(), 0..20))
    }

    fn parts() -> impl Strategy<Value = Parts> {
        (part(), part(), vec((vec(any::<u8>(), 0..5), part()), 0..4))
    }

    fn headers(of: &Parts) -> Vec<Header<'_>> {
        of.2.iter().map(|(name, value)| (&name[..], value.as_deref())).collect()
    }

    fn checksum(of: &Parts) -> [u8; DIGITS] {
        let topic = Topic::Events(EventType::Like);
        let headers = headers(of);
        super::of(&Record { topic, key: of.0.as_deref(), value: of.1.as_deref(), headers: &headers })
    }

    proptest! {
        #[test]
        fn what_was_written_is_told_from_anything_else(
            written in parts(),
            read in parts(),
            behind in vec((vec(any::<u8>(), 0..5), part()), 0..2),
        ) {
            let sum = checksum(&written);
            for read in [&written, &read] {
                let mut found = headers(read);
                found.push((NAME.as_bytes(), Some(&sum)));
                found.extend(behind.iter().map(|(name, value)| (&name[..], value.as_deref())));
                let outcome = take(read.0.as_deref(), read.1.as_deref(), &mut found);
                prop_assert_eq!(outcome.is_ok(), *read == written, "{:?}", outcome);
                prop_assert_eq!(found.len(), read.2.len() + behind.len());
            }
        }

        /// CRC-32C finds every single bit that flips.
        #[test]
        fn every_bit_that_flips_is_found(value in vec(any::<u8>(), 1..300), bit in any::<prop::sample::Index>()) {
            let mut read = (None, Some(value), Vec::new());
            let sum = checksum(&read);
            let bits = read.1.as_mut().unwrap();
            let bit = bit.index(bits.len() * 8);
            bits[bit / 8] ^= 1 << (bit % 8);
            let mut found = vec![(NAME.as_bytes(), Some(&sum[..]))];
            prop_assert!(take(None, read.1.as_deref(), &mut found).is_err());
        }
    }

    /// The bytes others have to write: 0xe306_9283 is the check value of CRC-32C for "123456789" in all its catalogues, and
    /// what a record has is over lengths and parts.
    #[test]
    fn it_is_the_sum_that_is_documented() {
        assert_eq!(text(crc32c::crc32c(b"123456789")), *b"e3069283");
        let record: Parts = (Some(b"k".to_vec()), None, vec![(b"h".to_vec(), Some(Vec::new()))]);
        let laid_out = b"\x00\x00\x00\x01k\xff\xff\xff\xff\x00\x00\x00\x01h\x00\x00\x00\x00";
        assert_eq!(checksum(&record), text(crc32c::crc32c(laid_out)));
    }

    #[test]
    fn a_record_without_one_is_as_it_is_and_a_broken_one_is_damage() {
        let other: Header<'_> = (b"other", Some(b"1"));
        let mut found = vec![other];
        assert_eq!((take(None, Some(b"v"), &mut found), found), (Ok(()), vec![other]));
        for broken in [None, Some(&b""[..]), Some(b"zzzzzzzz\nand more")] {
            let reason = take(None, Some(b"v"), &mut vec![(NAME.as_bytes(), broken)]).unwrap_err();
            assert!(reason.contains("CRC-32C") && !reason.contains('\n'), "{reason}");
        }
    }
}
