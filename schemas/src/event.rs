//! What the three event types have in common: type, id, keys, and what acceptance adds to a client's words.

use std::fmt;
use std::hash::Hasher;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::Timestamp;
use crate::datum::{Datum, InvalidDatum, read_bytes, write_bytes};
use crate::describe::Described;
use crate::field::{Field, FromField};
use crate::invalid::Invalid;
use crate::key::{KEY_SEPARATOR, Keying};
use crate::record::Planned;
use crate::schema::Codec;

/// One write that a client asked for.
pub trait Event: Datum + Planned + Clone + fmt::Debug + Send + Sync + 'static {
    /// Which of the types this is.
    const TYPE: EventType;

    /// The schemas this type was ever published with, the newest first.
    fn codec() -> &'static Codec<Self>;

    /// The id under which the event takes effect once.
    fn event_id(&self) -> EventId;

    /// When the ingress took it.
    fn accepted_at(&self) -> Timestamp;

    /// The version or time that decides on its row, in microseconds; `None` where something else does.
    fn ranked_at(&self) -> Option<i64>;

    /// Hashes what the client said beyond the natural key: two events under one idempotency key are the same if it is.
    fn hash_words<H: Hasher>(&self, state: &mut H);

    /// Writes the partition key: events with the same key keep their order.
    fn write_partition_key(&self, keying: Keying, key: &mut String);
}

/// The types of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventType {
    /// [`crate::ExpectationWrite`].
    Expectation,
    /// [`crate::CouponIssue`].
    Coupon,
    /// [`crate::Like`].
    Like,
}

impl EventType {
    /// Every type, in the order lists show them.
    pub const ALL: [EventType; 3] = [EventType::Expectation, EventType::Coupon, EventType::Like];

    /// The word for it in JSON, metrics and configuration.
    pub const fn name(self) -> &'static str {
        match self {
            EventType::Expectation => "expectation",
            EventType::Coupon => "coupon",
            EventType::Like => "like",
        }
    }

    /// Its topic, before any configured prefix.
    pub const fn topic(self) -> &'static str {
        match self {
            EventType::Expectation => "floodgate.expectation.v1",
            EventType::Coupon => "floodgate.coupon.v1",
            EventType::Like => "floodgate.like.v1",
        }
    }

    /// The consumer group that applies it.
    pub const fn group(self) -> &'static str {
        match self {
            EventType::Expectation => "floodgate.expectation",
            EventType::Coupon => "floodgate.coupon",
            EventType::Like => "floodgate.like",
        }
    }
}

impl Described for EventType {
    fn schema() -> Value {
        json!({ "title": "EventType", "type": "string", "enum": Self::ALL.map(Self::name) })
    }
}

impl FromField for EventType {
    fn from_field(field: Field<'_>) -> Result<Self, Invalid> {
        let named = field.text()?;
        Self::ALL.into_iter().find(|of| of.name() == named).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            field.value(format!("must be one of {names}"))
        })
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Names one event for ever. The order of ids breaks ties, as bytes compare.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(Uuid);

/// Namespace of the name-based ids: the UUIDv5 of the URL namespace and the text `floodgate:event`. Part
/// of the contract with clients that retry: never changed.
const NAMESPACE: Uuid = Uuid::from_u128(0xcc65_2746_3b09_5df9_8fae_5088_0845_ac37);

/// Namespace of keys that are a source and an id: the UUIDv5 of the URL namespace and the text `floodgate:cloudevent`. Never
/// changed either.
const SOURCES: Uuid = Uuid::from_u128(0x14ef_d9c0_755a_5fed_904b_4bbb_ffa9_c7ae);

impl EventId {
    /// A new id (UUIDv7), for an event without an idempotency key. Logic draws it from a [`Chance`](crate::Chance) instead.
    pub fn fresh() -> Self {
        Self(Uuid::now_v7())
    }

    /// The id that an idempotency key fixes: a name-based UUID (v5) of type, natural key and key, the
    /// same on every instance.
    pub fn from_idempotency_key(of: EventType, natural_key: &str, key: &IdempotencyKey) -> Self {
        let mut name = String::with_capacity(16 + natural_key.len() + key.0.len());
        name.push_str(of.name());
        name.push(KEY_SEPARATOR);
        name.push_str(natural_key);
        name.push(KEY_SEPARATOR);
        name.push_str(&key.0);
        Self(Uuid::new_v5(&NAMESPACE, name.as_bytes()))
    }

    /// Whether an idempotency key fixed it.
    pub const fn is_from_key(self) -> bool {
        self.0.get_version_num() == 5
    }

    /// The id as a UUID.
    pub const fn as_uuid(self) -> Uuid {
        self.0
    }
}

impl Described for EventId {
    fn schema() -> Value {
        json!({
            "title": "EventId", "type": "string", "format": "uuid",
            "examples": ["e93641c4-3915-527e-8007-ed73382f0647"],
        })
    }
}

/// A string with logical type uuid.
impl Datum for EventId {
    fn write(&self, out: &mut Vec<u8>) {
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        write_bytes(self.as_uuid().hyphenated().encode_lower(&mut text).as_bytes(), out);
    }

    #[inline]
    fn read(from: &mut &[u8]) -> Result<Self, InvalidDatum> {
        let uuid = Uuid::try_parse_ascii(read_bytes(from)?);
        uuid.map(EventId::from).map_err(|error| InvalidDatum::new(format!("an id is no UUID: {error}")))
    }
}

impl From<Uuid> for EventId {
    fn from(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

impl std::str::FromStr for EventId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        Uuid::parse_str(text).map(Self::from)
    }
}

impl fmt::Display for EventId {
    /// Lower-case, hyphenated.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What a client sends along to make a retry the same event: 8..=128 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(Box<str>);

impl IdempotencyKey {
    const CHARS: RangeInclusive<usize> = 8..=128;

    /// The key, or `None` when it is shorter than 8, longer than 128, or holds anything but visible ASCII.
    pub fn new(text: &str) -> Option<Self> {
        let fits = Self::CHARS.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        fits.then(|| Self(text.into()))
    }

    /// The key that stands for a source and an id of whatever form: a name-based UUID (v5) of both, the same on every instance.
    /// How long the source is stands before it, so that no two sources meet.
    pub fn of_source(source: &str, id: &str) -> Self {
        let name = format!("{}:{source}{id}", source.len());
        Self(Uuid::new_v5(&SOURCES, name.as_bytes()).hyphenated().to_string().into())
    }
}

impl Described for IdempotencyKey {
    fn schema() -> Value {
        json!({
            "title": "IdempotencyKey", "type": "string",
            "minLength": Self::CHARS.start(), "maxLength": Self::CHARS.end(),
            // what `is_ascii_graphic` lets pass
            "pattern": "^[!-~]*$", "examples": ["order-4711"],
        })
    }
}

impl FromField for IdempotencyKey {
    fn from_field(field: Field<'_>) -> Result<Self, Invalid> {
        Self::new(&field.text()?).ok_or_else(|| field.value("must be 8 to 128 visible ASCII characters"))
    }
}

/// Where an event's id comes from.
#[derive(Debug, Clone, Copy)]
pub enum EventIdSource<'a> {
    /// No key was sent: this id, made for the occasion.
    Fresh(EventId),
    /// The client's key fixes it.
    Key(&'a IdempotencyKey),
}

/// What the ingress adds to a client's words: the id, the time of acceptance, and how far ahead of it a
/// client's clock may be.
#[derive(Debug, Clone, Copy)]
pub struct Accept<'a> {
    /// Where the id comes from.
    pub id: EventIdSource<'a>,
    /// When the ingress took the event; strictly increasing within a process.
    pub accepted_at: Timestamp,
    /// The latest time a client may name, and in microseconds the greatest version: one bad clock must not freeze a key.
    pub latest: Timestamp,
}

impl Accept<'_> {
    /// The event's id; `natural_key` is asked for only where a key fixes it.
    pub(crate) fn event_id(&self, of: EventType, natural_key: impl FnOnce() -> String) -> EventId {
        match self.id {
            EventIdSource::Fresh(id) => id,
            EventIdSource::Key(key) => EventId::from_idempotency_key(of, &natural_key(), key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_are_what_their_docs_say() {
        assert_eq!(NAMESPACE, Uuid::new_v5(&Uuid::NAMESPACE_URL, b"floodgate:event"));
        assert_eq!(SOURCES, Uuid::new_v5(&Uuid::NAMESPACE_URL, b"floodgate:cloudevent"));
    }

    #[test]
    fn an_idempotency_key_fixes_the_id_per_natural_key() {
        let key = IdempotencyKey::new("order-4711").unwrap();
        let id = |of, natural| EventId::from_idempotency_key(of, natural, &key);
        assert_eq!(id(EventType::Coupon, "c\u{1f}u"), id(EventType::Coupon, "c\u{1f}u"));
        assert_ne!(id(EventType::Coupon, "c\u{1f}u"), id(EventType::Coupon, "c\u{1f}v"));
        assert_ne!(id(EventType::Coupon, "c\u{1f}u"), id(EventType::Like, "c\u{1f}u"));
        // retries reach instances of other builds: the value itself is pinned
        assert_eq!(
            id(EventType::Coupon, "summer\u{1f}ann").to_string(),
            "e93641c4-3915-527e-8007-ed73382f0647"
        );
    }

    /// What was sent once is sent again to instances of other builds: the values themselves are pinned.
    #[test]
    fn a_source_and_its_id_are_a_key() {
        let key = |source, id| IdempotencyKey::of_source(source, id).0;
        assert_eq!(&*key("/services/likes", "가 4711"), "73d76d78-4fa9-5a52-8ae8-6ce3660046ef");
        assert_eq!(&*key("a", "b"), "123e233c-39ee-56da-80f3-a28a27b481d2");
        assert_ne!(key("ab", "c"), key("a", "bc"));
        assert!(IdempotencyKey::new(&key("a", &"b".repeat(100_000))).is_some(), "it is a key like any other");
    }

    #[test]
    fn idempotency_keys_have_their_limits() {
        assert!(IdempotencyKey::new("12345678").is_some());
        assert!(IdempotencyKey::new("1234567").is_none());
        assert!(IdempotencyKey::new(&"x".repeat(128)).is_some());
        assert!(IdempotencyKey::new(&"x".repeat(129)).is_none());
        assert!(IdempotencyKey::new("with space").is_none());
        assert!(IdempotencyKey::new("schlüssel").is_none());
    }
}
