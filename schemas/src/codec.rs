//! The bytes on the topic, read: Avro single-object encoding, or Confluent's wire format.
//!
//! In the first ten bytes say which schema wrote the value (the marker `C3 01`, then the CRC-64-AVRO fingerprint of
//! the schema's canonical form, little-endian); the Avro datum follows. A reader that knows the
//! fingerprint needs nothing else, so no registry is involved. In the second it is five (a zero, and the number of the schema
//! in a registry), and what that number stands for has to be learnt ([`Codecs::with`]).
//!
//! Every schema a type was ever published with stays in its [`Codec`], newest first, each with the function that reads
//! what was written with it: the newest writes, all of them read. A field that a later schema adds gets its value for
//! older events in the older schema's function.
//!
//! Three kinds of bytes cannot be read here, and must not be confused. *No event*: nothing marks them as one, or they break
//! the schema they name. *Another type's event*: a schema of ours that has no business on this topic. Neither will ever be
//! read. But a whole marker with a schema that this build does not know is what a *newer build* writes: it passes, as soon
//! as the readers are as new as the writers.

use std::sync::Arc;

use crate::avro::{Incompatible, InvalidSchema, Plan, inline};
use crate::learnt::{Learnt, Schemas};
pub use crate::schema::Codec;
use crate::schema::{HEADER_BYTES, MARKER};
use crate::undecodable::numbered;
pub use crate::undecodable::{DecodeError, SchemaName};
use crate::whole::whole;
use crate::{CouponIssue, Event, EventType, ExpectationWrite, Like};

/// What events are read with: every schema that this process knows. Handed in like time and chance, and cheap to clone.
///
/// Decoding asks nobody, so that it costs an event nothing but itself; whatever has to be asked for first is asked for by
/// [`Codecs::prepare`], once for a batch.
#[derive(Debug, Clone)]
pub struct Codecs(Option<Arc<Learnt>>);

impl Codecs {
    /// The schemas that are built in, and no others.
    pub const fn builtin() -> Self {
        Self(None)
    }

    /// Those and what somebody knows of others, by their numbers in a registry.
    pub fn with(source: Arc<dyn Schemas>) -> Self {
        Self(Some(Arc::new(Learnt::new(source))))
    }

    /// Makes ready to decode these values. What is built in always is; a schema that cannot be had stays unknown.
    pub async fn prepare<'v>(&self, values: impl Iterator<Item = &'v [u8]>) {
        if let Some(learnt) = &self.0 {
            learnt.prepare(values).await;
        }
    }

    /// The event that `bytes` stand for.
    ///
    /// # Errors
    /// [`DecodeError`]: this build cannot read these bytes as an `E`. Unless it says [`DecodeError::UnknownSchema`] none ever
    /// will.
    pub fn decode<E: Event>(&self, bytes: &[u8]) -> Result<E, DecodeError> {
        match &self.0 {
            Some(learnt) if let Some((id, datum)) = numbered(bytes) => learnt.decode(id, datum),
            _ => decode(bytes),
        }
    }
}

/// The schema that this build writes a type with, as text.
pub fn schema_of(of: EventType) -> &'static str {
    match of {
        EventType::Expectation => ExpectationWrite::codec().text(),
        EventType::Coupon => CouponIssue::codec().text(),
        EventType::Like => Like::codec().text(),
    }
}

/// Whether a text is a schema at all.
///
/// # Errors
/// Why it is none, or one that is too large to be looked at.
pub fn check(schema: &str) -> Result<(), InvalidSchema> {
    Plan::parses(schema)
}

/// Which of the types a schema is of, by its record's name; `None` where it is of none, or no schema.
pub fn type_of(schema: &str) -> Option<EventType> {
    EventType::ALL.into_iter().find(|of| Plan::is_of(schema, schema_of(*of)))
}

/// Why a schema cannot become a type's next one, all of it in words; nothing where it can. Stricter than registries and than
/// Avro's libraries: what they would read as another value is no fit. `written` are schemas, each with a name for it, that events
/// on the topic were written with besides those that are built in.
pub fn unfit(of: EventType, schema: &str, written: &[(&str, &str)]) -> Vec<String> {
    fn unfit<E: Event>(schema: &str, written: &[(&str, &str)]) -> Vec<String> {
        let ours = E::codec();
        let told = |plan: Result<Plan, Incompatible>, what: &str| {
            let reasons = plan.map_or_else(|error| error.reasons, |plan| plan.losses().to_vec());
            reasons.into_iter().map(|reason| format!("{what}: {reason}")).collect::<Vec<_>>()
        };
        let mut all = told(Plan::compile(schema, ours.text()), "consumers of this build could not read it");
        for written in ours.schemas {
            all.extend(told(Plan::compile(written.text, schema), "it could not read what is on the topic"));
        }
        for (name, written) in written {
            all.extend(told(Plan::compile(written, schema), &format!("it could not read what {name} wrote")));
        }
        all.dedup();
        all
    }
    match of {
        EventType::Expectation => unfit::<ExpectationWrite>(schema, written),
        EventType::Coupon => unfit::<CouponIssue>(schema, written),
        EventType::Like => unfit::<Like>(schema, written),
    }
}

/// The schemas of a type that are built in, the newest first, each with its fingerprint.
pub fn builtin(of: EventType) -> Vec<(u64, &'static str)> {
    fn all<E: Event>() -> Vec<(u64, &'static str)> {
        let fingerprint = |[_, _, fingerprint @ ..]: [u8; HEADER_BYTES]| u64::from_le_bytes(fingerprint);
        E::codec().schemas.iter().map(|schema| (fingerprint(schema.header), schema.text)).collect()
    }
    match of {
        EventType::Expectation => all::<ExpectationWrite>(),
        EventType::Coupon => all::<CouponIssue>(),
        EventType::Like => all::<Like>(),
    }
}

/// Reads a type's events that another schema wrote: what of them could not be read, or would be something else, in words.
///
/// # Errors
/// [`Incompatible`]: none of them can be read.
pub fn losses(of: EventType, written: &str) -> Result<Vec<String>, Incompatible> {
    Plan::compile(written, schema_of(of)).map(|plan| plan.losses().to_vec())
}

/// One schema of one that refers to others by their full names.
///
/// # Errors
/// One of them is too large, or no schema.
pub fn with_references(schema: &str, references: &[(String, String)]) -> Result<String, InvalidSchema> {
    inline(schema, references)
}

/// Whether two schemas say the same: fields, types, names, what values mean and what they are by default, whatever the order of
/// what is said, and the words. What is no schema is the same as itself only.
pub fn are_the_same(one: &str, other: &str) -> bool {
    one == other || Plan::are_of_the_same(one, other)
}

/// Appends the event's bytes in single-object encoding to `out`.
pub fn encode<E: Event>(event: &E, out: &mut Vec<u8>) {
    out.extend_from_slice(&E::codec().header);
    event.write(out);
}

/// By the schemas that are built in.
fn decode<E: Event>(bytes: &[u8]) -> Result<E, DecodeError> {
    let Some((header, datum)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Err(unmarked(bytes));
    };
    if !header.starts_with(&MARKER) {
        return Err(unmarked(bytes));
    }
    let known = E::codec().schemas.iter().find(|schema| schema.header == *header);
    whole(known.ok_or_else(|| unknown(header))?, datum)
}

/// Bytes without the marker: of an encoding that builds with a registry write, or nothing that was ever an event.
fn unmarked(bytes: &[u8]) -> DecodeError {
    match numbered(bytes) {
        Some((id, _)) => DecodeError::UnknownSchema(SchemaName::RegistryId(id)),
        None => DecodeError::NotSingleObject,
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
