//! The schemas that a type of event was ever published with, and what their bytes begin with ([`crate::codec`]).

use std::fmt;

use crate::InvalidDatum;

/// What the bytes of every event begin with.
pub(crate) const MARKER: [u8; 2] = [0xc3, 0x01];

/// The marker and the fingerprint of a schema.
pub(crate) const HEADER_BYTES: usize = 10;

/// Reads what follows the header from the front of the bytes.
pub(crate) type Read<E> = fn(&mut &[u8]) -> Result<E, InvalidDatum>;

/// A schema that events were written with, by what their bytes begin with, and who reads what follows.
pub(crate) struct Schema<E> {
    pub(crate) header: [u8; HEADER_BYTES],
    /// As it is in `avro/`.
    pub(crate) text: &'static str,
    pub(crate) read: Read<E>,
}

impl<E> Schema<E> {
    /// `fingerprint` is the CRC-64-AVRO of the schema's canonical form, which tests compute from the `.avsc`.
    pub(crate) const fn new(fingerprint: u64, text: &'static str, read: Read<E>) -> Self {
        let [a, b, c, d, e, f, g, h] = fingerprint.to_le_bytes();
        Self { header: [MARKER[0], MARKER[1], a, b, c, d, e, f, g, h], text, read }
    }
}

/// All schemas of one event type.
pub struct Codec<E: 'static> {
    /// Of the newest, which writes.
    pub(crate) header: [u8; HEADER_BYTES],
    pub(crate) schemas: &'static [Schema<E>],
}

impl<E> fmt::Debug for Codec<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Codec").field("header", &self.header).finish_non_exhaustive()
    }
}

impl<E> Codec<E> {
    /// From the schemas that events were ever published with, the newest first. Without any the build fails.
    pub(crate) const fn of(schemas: &'static [Schema<E>]) -> Self {
        Self { header: schemas[0].header, schemas }
    }

    /// The schema that writes, as text.
    pub(crate) fn text(&self) -> &'static str {
        self.schemas[0].text
    }

    /// Whether one of its schemas has this header.
    pub(crate) fn knows(&self, header: &[u8; HEADER_BYTES]) -> bool {
        self.schemas.iter().any(|schema| schema.header == *header)
    }
}
