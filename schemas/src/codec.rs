//! The bytes on the topic: Avro single-object encoding.
//!
//! Ten bytes say which schema wrote the value (the marker `C3 01`, then the CRC-64-AVRO fingerprint of
//! the schema's canonical form, little-endian); the Avro datum follows. A reader that knows the
//! fingerprint needs nothing else, so no registry is involved.
//!
//! Every schema a type was ever published with stays in its [`Codec`], newest first, each with the function that reads
//! what was written with it: the newest writes, all of them read. A field that a later schema adds gets its value for
//! older events in the older schema's function.

use std::fmt;

use apache_avro::Schema;
use apache_avro::rabin::Rabin;

use crate::{Event, InvalidDatum};

const MARKER: [u8; 2] = [0xc3, 0x01];
const HEADER_BYTES: usize = 10;

/// Reads what follows the header from the front of the bytes.
pub(crate) type Read<E> = fn(&mut &[u8]) -> Result<E, InvalidDatum>;

/// All schemas of one event type.
pub struct Codec<E> {
    header: [u8; HEADER_BYTES],
    readers: Vec<([u8; HEADER_BYTES], Read<E>)>,
}

impl<E> fmt::Debug for Codec<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Codec").field("header", &self.header).finish_non_exhaustive()
    }
}

/// The bytes are no event of the type asked for, and never will be.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// They do not begin with the marker of single-object encoding.
    #[error("not Avro single-object encoding (no C3 01 marker)")]
    NotSingleObject,
    /// They were written with a schema this type never had.
    #[error("written with an unknown schema, fingerprint {0:016x}")]
    UnknownSchema(u64),
    /// They do not follow the schema, or hold a value the field may not take.
    #[error("not a valid event: {0}")]
    Invalid(#[from] InvalidDatum),
    /// The value is complete but bytes follow.
    #[error("{0} bytes follow the event")]
    TrailingBytes(usize),
}

impl DecodeError {
    /// A short, stable word for metrics and dead-letter headers.
    pub const fn reason(&self) -> &'static str {
        match self {
            DecodeError::NotSingleObject => "not-avro",
            DecodeError::UnknownSchema(_) => "unknown-schema",
            DecodeError::Invalid(_) | DecodeError::TrailingBytes(_) => "undecodable",
        }
    }
}

impl<E> Codec<E> {
    /// From schemas compiled in, the newest first, and who reads what was written with each.
    ///
    /// # Panics
    /// When `schemas` is empty or one does not parse: they are part of the program.
    #[expect(clippy::expect_used, reason = "compiled-in schemas; every codec is opened by a test")]
    pub(crate) fn of(schemas: &[(&str, Read<E>)]) -> Self {
        let readers = schemas.iter().map(|(text, read)| {
            let schema = Schema::parse_str(text).expect("a valid schema");
            (header_of(&schema), *read)
        });
        let readers: Vec<_> = readers.collect();
        let (header, _) = readers.first().expect("at least one schema");
        Self { header: *header, readers }
    }
}

/// Primitive types, which the canonical form writes as a bare name.
const PRIMITIVES: [&str; 8] = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"];

#[expect(clippy::expect_used, reason = "compiled-in schemas; every codec is opened by a test")]
fn header_of(schema: &Schema) -> [u8; HEADER_BYTES] {
    // apache-avro 0.22 leaves `{"type":"string"}` in the canonical form where a logical type was stripped;
    // the Avro specification and every other implementation write `"string"`, and hash that
    let mut canonical = schema.canonical_form();
    for primitive in PRIMITIVES {
        canonical = canonical.replace(&format!(r#"{{"type":"{primitive}"}}"#), &format!(r#""{primitive}""#));
    }
    let canonical = Schema::parse_str(&canonical).expect("a canonical form is a schema");
    // its bytes come little-endian, as the header wants them
    let fingerprint = canonical.fingerprint::<Rabin>();
    let mut header = [0; HEADER_BYTES];
    header[..2].copy_from_slice(&MARKER);
    header[2..].copy_from_slice(&fingerprint.bytes);
    header
}

/// Appends the event's bytes to `out`.
pub fn encode<E: Event>(event: &E, out: &mut Vec<u8>) {
    out.extend_from_slice(&E::codec().header);
    event.write(out);
}

/// The event that `bytes` stand for.
///
/// # Errors
/// [`DecodeError`]: these bytes can never be read as an `E`.
pub fn decode<E: Event>(bytes: &[u8]) -> Result<E, DecodeError> {
    let (header, mut datum) =
        bytes.split_first_chunk::<HEADER_BYTES>().ok_or(DecodeError::NotSingleObject)?;
    let [m1, m2, fingerprint @ ..] = *header;
    if [m1, m2] != MARKER {
        return Err(DecodeError::NotSingleObject);
    }
    let known = E::codec().readers.iter().find(|(known, _)| known == header);
    let (_, read) = known.ok_or(DecodeError::UnknownSchema(u64::from_le_bytes(fingerprint)))?;
    let event = read(&mut datum)?;
    match datum.len() {
        0 => Ok(event),
        trailing => Err(DecodeError::TrailingBytes(trailing)),
    }
}
