//! A record as an element of a list.
//!
//! `1`, then when it was appended (milliseconds since the Unix epoch, 8 bytes), key, value, the number of headers (2 bytes) and
//! their names and contents. Each part is its length (4 bytes) and its bytes; a length of `ff ff ff ff` is a part that is not
//! there. All numbers are little-endian.

use crate::{Header, Record};

const VERSION: u8 = 1;
const ABSENT: u32 = u32::MAX;

/// How many bytes from the start tell when a record was appended.
pub(super) const STAMP_BYTES: usize = 9;

/// A record that was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Element<'e> {
    pub(super) appended_at_ms: i64,
    pub(super) key: Option<&'e [u8]>,
    pub(super) value: Option<&'e [u8]>,
    pub(super) headers: Vec<Header<'e>>,
}

/// Writes a record that is appended now.
pub(super) fn write(record: &Record<'_>, now_ms: i64, into: &mut Vec<u8>) {
    let part = |into: &mut Vec<u8>, part: Option<&[u8]>| {
        let length = part.map_or(ABSENT, |part| u32::try_from(part.len()).unwrap_or(ABSENT));
        into.extend_from_slice(&length.to_le_bytes());
        into.extend_from_slice(part.unwrap_or_default());
    };
    into.push(VERSION);
    into.extend_from_slice(&now_ms.to_le_bytes());
    part(into, record.key);
    part(into, record.value);
    // more than anybody sends; the rest would make it unreadable
    let headers = &record.headers[..record.headers.len().min(usize::from(u16::MAX))];
    into.extend_from_slice(&(headers.len() as u16).to_le_bytes());
    for (name, content) in headers {
        part(into, Some(name));
        part(into, *content);
    }
}

/// When the record that begins so was appended.
pub(super) fn appended_at_ms(start: &[u8]) -> Option<i64> {
    let (version, rest) = start.split_first()?;
    let stamp = rest.first_chunk()?;
    (*version == VERSION).then(|| i64::from_le_bytes(*stamp))
}

/// Reads a record; `None` when it is none.
pub(super) fn read(element: &[u8]) -> Option<Element<'_>> {
    let appended_at_ms = appended_at_ms(element)?;
    let mut rest = &element[STAMP_BYTES..];
    let (key, value) = (part(&mut rest)?, part(&mut rest)?);
    let (count, after) = rest.split_first_chunk()?;
    rest = after;
    let mut headers = Vec::new();
    for _ in 0..u16::from_le_bytes(*count) {
        headers.push((part(&mut rest)??, part(&mut rest)?));
    }
    rest.is_empty().then_some(Element { appended_at_ms, key, value, headers })
}

/// The next part of what is left.
fn part<'e>(rest: &mut &'e [u8]) -> Option<Option<&'e [u8]>> {
    let (length, after) = rest.split_first_chunk()?;
    let (part, after) = match u32::from_le_bytes(*length) {
        ABSENT => (None, after),
        length => after.split_at_checked(length as usize).map(|(part, after)| (Some(part), after))?,
    };
    *rest = after;
    Some(part)
}

#[cfg(test)]
mod tests {
    use floodgate_schemas::EventType;
    use proptest::prelude::*;

    use super::*;
    use crate::Topic;

    type Part = Option<Vec<u8>>;

    fn part() -> impl Strategy<Value = Part> {
        prop::option::of(prop::collection::vec(any::<u8>(), 0..20))
    }

    proptest! {
        /// What is written is read, and nothing that is cut off or goes on is.
        #[test]
        fn records_are_read_as_they_were_written(
            key in part(),
            value in part(),
            headers in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..9), part()), 0..4),
            now in any::<i64>(),
        ) {
            let headers: Vec<Header<'_>> = headers.iter().map(|(n, c)| (n.as_slice(), c.as_deref())).collect();
            let topic = Topic::Events(EventType::Like);
            let record = Record { topic, key: key.as_deref(), value: value.as_deref(), headers: &headers };
            let mut written = Vec::new();
            write(&record, now, &mut written);
            let read_back = read(&written).unwrap();
            prop_assert_eq!((read_back.key, read_back.value), (record.key, record.value));
            prop_assert_eq!(&read_back.headers, &headers);
            prop_assert_eq!((read_back.appended_at_ms, appended_at_ms(&written[..STAMP_BYTES])), (now, Some(now)));
            for cut in 0..written.len() {
                prop_assert_eq!(read(&written[..cut]), None);
            }
            written.push(0);
            prop_assert_eq!(read(&written), None);
        }
    }

    #[test]
    fn what_is_no_record_is_not_read() {
        for other in [&b""[..], b"\x02", b"hello, I was pushed by hand", &[1; 8], &[1; 30]] {
            assert_eq!(read(other), None, "{other:?}");
        }
    }
}
