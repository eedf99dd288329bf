//! The bytes on the topic: Avro single-object encoding.
//!
//! Ten bytes say which schema wrote the value (the marker `C3 01`, then the CRC-64-AVRO fingerprint of
//! the schema's canonical form, little-endian); the Avro datum follows. A reader that knows the
//! fingerprint needs nothing else, so no registry is involved.
//!
//! Every schema a type was ever published with stays in its [`Codec`], newest first, each with the function that reads
//! what was written with it: the newest writes, all of them read. A field that a later schema adds gets its value for
//! older events in the older schema's function.
//!
//! Three kinds of bytes cannot be read here, and must not be confused. *No event*: nothing marks them as one, or they break
//! the schema they name. *Another type's event*: a schema of ours that has no business on this topic. Neither will ever be
//! read. But a whole marker with a schema that this build does not know is what a *newer build* writes: it passes, as soon
//! as the readers are as new as the writers.

use std::fmt;

pub use crate::schema::Codec;
use crate::schema::{HEADER_BYTES, MARKER};
use crate::{CouponIssue, Event, EventType, ExpectationWrite, InvalidDatum, Like};

/// What the Confluent wire format begins with; the number of a schema in a registry follows, in four bytes.
const CONFLUENT_MAGIC: u8 = 0;

/// A schema that this build does not know, as the bytes name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaName {
    /// By its CRC-64-AVRO fingerprint (single-object encoding).
    Fingerprint(u64),
    /// By its number in a schema registry (Confluent wire format), from 1 to 2²⁴ − 1.
    RegistryId(u32),
}

impl fmt::Display for SchemaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fingerprint(fingerprint) => write!(f, "fingerprint {fingerprint:016x}"),
            Self::RegistryId(id) => write!(f, "schema registry id {id}"),
        }
    }
}

/// The bytes are no event of the type asked for, as far as this build can tell.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// They begin with no marker of an encoding of events.
    #[error("not Avro single-object encoding (no C3 01 marker)")]
    NotSingleObject,
    /// They were written with a schema that this build does not know: a newer one may. The only error that passes.
    #[error("written with an unknown schema, {0}")]
    UnknownSchema(SchemaName),
    /// They were written with a schema of another type, which this one's topic never takes.
    #[error("an event of another type: {0}")]
    OtherType(EventType),
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
            DecodeError::OtherType(_) | DecodeError::Invalid(_) | DecodeError::TrailingBytes(_) => {
                "undecodable"
            }
        }
    }

    /// The schema, where a build that knows it could read the bytes.
    pub const fn unknown_schema(&self) -> Option<SchemaName> {
        match self {
            DecodeError::UnknownSchema(name) => Some(*name),
            _ => None,
        }
    }
}

/// What events are read with: every schema that this process knows. Handed in like time and chance, and cheap to clone.
///
/// Decoding asks nobody, so that it costs an event nothing but itself; whatever has to be asked for first is asked for by
/// [`Codecs::prepare`], once for a batch.
#[derive(Debug, Clone)]
pub struct Codecs(());

impl Codecs {
    /// The schemas that are built in, and no others.
    pub const fn builtin() -> Self {
        Self(())
    }

    /// Makes ready to decode these values. What is built in always is; a schema that cannot be had stays unknown.
    pub async fn prepare<'v>(&self, _values: impl Iterator<Item = &'v [u8]>) {}

    /// The event that `bytes` stand for.
    ///
    /// # Errors
    /// [`DecodeError`]: this build cannot read these bytes as an `E`. Unless it says [`DecodeError::UnknownSchema`] none ever
    /// will.
    pub fn decode<E: Event>(&self, bytes: &[u8]) -> Result<E, DecodeError> {
        decode(bytes)
    }
}

/// Appends the event's bytes to `out`.
pub fn encode<E: Event>(event: &E, out: &mut Vec<u8>) {
    out.extend_from_slice(&E::codec().header);
    event.write(out);
}

/// By the schemas that are built in.
fn decode<E: Event>(bytes: &[u8]) -> Result<E, DecodeError> {
    let Some((header, mut datum)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Err(unmarked(bytes));
    };
    if !header.starts_with(&MARKER) {
        return Err(unmarked(bytes));
    }
    let known = E::codec().schemas.iter().find(|schema| schema.header == *header);
    let schema = known.ok_or_else(|| unknown(header))?;
    let event = (schema.read)(&mut datum)?;
    match datum.len() {
        0 => Ok(event),
        trailing => Err(DecodeError::TrailingBytes(trailing)),
    }
}

/// Bytes without the marker: of an encoding that builds with a registry write, or nothing that was ever an event.
fn unmarked(bytes: &[u8]) -> DecodeError {
    match *bytes {
        // registries count from 1, and none comes to sixteen million: other bytes behind a zero are garbage
        [CONFLUENT_MAGIC, 0, b, c, d, _, ..] if [b, c, d] != [0; 3] => {
            DecodeError::UnknownSchema(SchemaName::RegistryId(u32::from_be_bytes([0, b, c, d])))
        }
        _ => DecodeError::NotSingleObject,
    }
}

/// A header that is none of the type's own.
fn unknown(header: &[u8; HEADER_BYTES]) -> DecodeError {
    let others = [
        (EventType::Expectation, ExpectationWrite::codec().knows(header)),
        (EventType::Coupon, CouponIssue::codec().knows(header)),
        (EventType::Like, Like::codec().knows(header)),
    ];
    if let Some((of, _)) = others.into_iter().find(|(_, knows)| *knows) {
        return DecodeError::OtherType(of);
    }
    let [_, _, fingerprint @ ..] = *header;
    DecodeError::UnknownSchema(SchemaName::Fingerprint(u64::from_le_bytes(fingerprint)))
}
