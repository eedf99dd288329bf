//! The bytes on the topic: Avro single-object encoding.
//!
//! Ten bytes say which schema wrote the value (the marker `C3 01`, then the CRC-64-AVRO fingerprint of
//! the schema's canonical form, little-endian); the Avro datum follows. A reader that knows the
//! fingerprint needs nothing else, so no registry is involved.
//!
//! Every schema a type was ever published with stays in its [`Codec`], newest first: the first one
//! writes, all of them read, each with the schema the bytes were written with. A field that a later
//! schema adds therefore needs `#[serde(default)]` on the struct.
//!
//! Values go straight between serde and datum bytes; apache-avro's `Value` tree is never built.

use std::fmt;

use apache_avro::Schema;
use apache_avro::rabin::Rabin;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::writer::datum::GenericDatumWriter;

use crate::Event;

const MARKER: [u8; 2] = [0xc3, 0x01];
const HEADER_BYTES: usize = 10;

/// All schemas of one event type.
pub struct Codec {
    header: [u8; HEADER_BYTES],
    writer: GenericDatumWriter<'static>,
    readers: Vec<([u8; HEADER_BYTES], GenericDatumReader<'static>)>,
}

impl fmt::Debug for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Codec").field("header", &self.header).finish_non_exhaustive()
    }
}

/// The value cannot be written with its schema: a bug, as valid events always can.
#[derive(Debug, thiserror::Error)]
#[error("the event does not fit its schema: {0}")]
pub struct EncodeError(#[from] apache_avro::Error);

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
    Invalid(#[from] apache_avro::Error),
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

impl Codec {
    /// From schemas compiled in, the newest first.
    ///
    /// # Panics
    /// When `schemas` is empty or one does not parse: they are part of the program.
    #[expect(clippy::expect_used, reason = "compiled-in schemas; every codec is opened by a test")]
    pub(crate) fn of(schemas: &[&str]) -> Self {
        let parsed: Vec<&'static Schema> = schemas
            .iter()
            .map(|text| &*Box::leak(Box::new(Schema::parse_str(text).expect("a valid schema"))))
            .collect();
        let readers = parsed.iter().map(|schema| {
            let reader = GenericDatumReader::builder(schema).human_readable(true).build();
            (header_of(schema), reader.expect("a schema that resolves"))
        });
        let newest = parsed.first().expect("at least one schema");
        let writer = GenericDatumWriter::builder(newest).human_readable(true).build();
        Self {
            header: header_of(newest),
            writer: writer.expect("a schema that resolves"),
            readers: readers.collect(),
        }
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
///
/// # Errors
/// [`EncodeError`] when the event does not fit its schema; `out` may then hold a part of it.
pub fn encode<E: Event>(event: &E, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let codec = E::codec();
    out.extend_from_slice(&codec.header);
    codec.writer.write_ser(out, event)?;
    Ok(())
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
    let (_, reader) = known.ok_or(DecodeError::UnknownSchema(u64::from_le_bytes(fingerprint)))?;
    let event = reader.read_deser(&mut datum)?;
    match datum.len() {
        0 => Ok(event),
        trailing => Err(DecodeError::TrailingBytes(trailing)),
    }
}
