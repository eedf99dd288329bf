//! Avro's binary encoding, as far as our schemas use it: a record is its fields one after the other, without names, so
//! that the order of a struct's fields is the order in its schema.
//!
//! Numbers are zigzag varints; text and bytes carry their length. Every value checks itself when it is read, in the file of
//! its type. Written by hand because it is on every event's way twice: the library's serde writer takes five times as many
//! instructions. Tests compare it with the library, value by value and byte by byte.

/// The bytes are not what the schema says, or hold a value that the field may not take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidDatum(String);

impl InvalidDatum {
    pub(crate) fn new(reason: impl std::fmt::Display) -> Self {
        Self(reason.to_string())
    }

    fn ends_early() -> Self {
        Self::new("the bytes end in the middle of a value")
    }
}

/// A value with an Avro encoding.
pub trait Datum: Sized {
    /// Appends the value's bytes.
    fn write(&self, out: &mut Vec<u8>);

    /// Takes the value's bytes from the front.
    fn read(from: &mut &[u8]) -> Result<Self, InvalidDatum>;
}

/// A long, which an int and the length of a text are written like.
impl Datum for i64 {
    fn write(&self, out: &mut Vec<u8>) {
        let mut zigzag = ((self << 1) ^ (self >> 63)) as u64;
        while zigzag >= 0x80 {
            out.push(zigzag as u8 | 0x80);
            zigzag >>= 7;
        }
        out.push(zigzag as u8);
    }

    // in the way of every field of every event
    #[inline(always)]
    fn read(from: &mut &[u8]) -> Result<Self, InvalidDatum> {
        let mut zigzag = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = from.split_first().ok_or_else(InvalidDatum::ends_early)?;
            *from = rest;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            zigzag |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64));
            }
        }
        Err(InvalidDatum::new("a number has more than 64 bits"))
    }
}

pub(crate) fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    // no slice is longer than that
    (bytes.len() as i64).write(out);
    out.extend_from_slice(bytes);
}

#[inline(always)]
pub(crate) fn read_bytes<'a>(from: &mut &'a [u8]) -> Result<&'a [u8], InvalidDatum> {
    let length = i64::read(from)?;
    let (bytes, rest) = usize::try_from(length)
        .ok()
        .and_then(|length| from.split_at_checked(length))
        .ok_or_else(InvalidDatum::ends_early)?;
    *from = rest;
    Ok(bytes)
}

pub(crate) fn read_text<'a>(from: &mut &'a [u8]) -> Result<&'a str, InvalidDatum> {
    std::str::from_utf8(read_bytes(from)?).map_err(|_| InvalidDatum::new("a text is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cost;

    fn bytes_of(datum: &impl Datum) -> Vec<u8> {
        let mut bytes = Vec::new();
        datum.write(&mut bytes);
        bytes
    }

    /// The examples of the Avro specification, and the ends.
    #[test]
    fn numbers_are_zigzag_varints() {
        for (number, bytes) in [
            (0, &[0x00][..]),
            (-1, &[0x01]),
            (1, &[0x02]),
            (-2, &[0x03]),
            (-64, &[0x7f]),
            (64, &[0x80, 0x01]),
            (i64::MAX, &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
            (i64::MIN, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
        ] {
            assert_eq!(bytes_of(&number), bytes, "{number}");
            let mut rest = bytes;
            assert_eq!((i64::read(&mut rest), rest.len()), (Ok(number), 0));
        }
        let refused = |mut bytes: &[u8]| i64::read(&mut bytes).unwrap_err().0;
        assert_eq!(refused(&[]), "the bytes end in the middle of a value");
        assert_eq!(refused(&[0x80]), "the bytes end in the middle of a value");
        for long in [&[0xff; 11][..], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]] {
            assert_eq!(refused(long), "a number has more than 64 bits");
        }
    }

    #[test]
    fn lengths_are_believed_only_as_far_as_there_are_bytes() {
        let read = |mut bytes: &[u8]| read_text(&mut bytes).map(str::to_owned).map_err(|error| error.0);
        assert_eq!(read(&[4, b'h', b'i', b'!']), Ok("hi".to_owned()));
        assert_eq!(read(&[6, b'h', b'i']), Err("the bytes end in the middle of a value".to_owned()));
        assert_eq!(read(&[1, b'h']), Err("the bytes end in the middle of a value".to_owned()));
        assert_eq!(read(&[2, 0xff]), Err("a text is not UTF-8".to_owned()));
    }

    #[test]
    fn costs_are_read_whatever_their_number_of_bytes() {
        let read = |bytes: &[u8]| {
            let mut written = Vec::new();
            write_bytes(bytes, &mut written);
            Cost::read(&mut written.as_slice()).map(Cost::as_hundredths).map_err(|error| error.0)
        };
        let long = |first: u8, last: u8| [&[first], [0; 18].as_slice(), &[last]].concat();
        assert_eq!((read(&[5]), read(&[0, 0xff]), read(&long(0, 7))), (Ok(5), Ok(255), Ok(7)));
        assert_eq!(read(&[]), Err("a cost without bytes".to_owned()));
        assert_eq!(read(&[0xff]), Err("a cost is negative".to_owned()));
        assert_eq!(read(&long(1, 7)), Err("a cost exceeds 999999999999999999.99".to_owned()));
        assert_eq!(bytes_of(&Cost::MAX).len(), 10);
    }
}
