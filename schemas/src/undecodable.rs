//! Bytes that are no event, or none yet.

use std::fmt;

use crate::{EventType, InvalidDatum};

/// What the Confluent wire format begins with; the number of a schema in a registry follows, in four bytes.
pub(crate) const CONFLUENT_MAGIC: u8 = 0;

/// Registries count from 1, and none comes to sixteen million: other bytes behind a zero are garbage.
pub(crate) const REGISTRY_ID_MAX: u32 = (1 << 24) - 1;

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
    /// They were written with a schema that this build does not know: a newer one may. Passes with such a build.
    #[error("written with an unknown schema, {0}")]
    UnknownSchema(SchemaName),
    /// The schema is known, and says more than this build can read: a newer one may. Passes like that.
    #[error("written with {0}, and holds {1}")]
    NotYet(SchemaName, &'static str),
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
    /// Every [`DecodeError::reason`].
    pub const REASONS: [&'static str; 3] = ["not-avro", "unknown-schema", "undecodable"];

    /// A short, stable word for metrics and dead-letter headers.
    pub const fn reason(&self) -> &'static str {
        match self {
            DecodeError::NotSingleObject => Self::REASONS[0],
            DecodeError::UnknownSchema(_) | DecodeError::NotYet(..) => Self::REASONS[1],
            DecodeError::OtherType(_) | DecodeError::Invalid(_) | DecodeError::TrailingBytes(_) => {
                Self::REASONS[2]
            }
        }
    }

    /// The schema, where a build that knows it could read the bytes.
    pub const fn unknown_schema(&self) -> Option<SchemaName> {
        match self {
            DecodeError::UnknownSchema(name) | DecodeError::NotYet(name, _) => Some(*name),
            _ => None,
        }
    }
}

/// The number of a schema in a registry, and the datum behind it, where the bytes are of the Confluent wire format.
pub(crate) fn numbered(bytes: &[u8]) -> Option<(u32, &[u8])> {
    match bytes {
        [CONFLUENT_MAGIC, a, b, c, d, datum @ ..] if !datum.is_empty() => {
            let id = u32::from_be_bytes([*a, *b, *c, *d]);
            (1..=REGISTRY_ID_MAX).contains(&id).then_some((id, datum))
        }
        _ => None,
    }
}
