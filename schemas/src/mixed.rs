//! One event of a mixed batch: an object that says itself of which type it is.

use serde_json::{Value, json};

use crate::codec::{Codecs, DecodeError};
use crate::describe::Described;
use crate::event::EventType;
use crate::fields;
use crate::fields::Row;
use crate::{
    Accept, CouponIssue, ExpectationWrite, Fields, IdempotencyKey, Invalid, InvalidKind, Like, Table,
};

/// An event of any type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mixed {
    /// `"type":"expectation"`.
    Expectation(ExpectationWrite),
    /// `"type":"coupon"`.
    Coupon(CouponIssue),
    /// `"type":"like"`.
    Like(Like),
}

/// Why an object is none, and of which type it wanted to be, if it said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidMixed {
    /// The type it names.
    pub of: Option<EventType>,
    /// What is wrong with it.
    pub invalid: Invalid,
}

/// The fields that every type has here.
struct Common;

fields! {
    Common {
        TYPE: EventType = "type", "Which type of event it is.";
        IDEMPOTENCY_KEY: Option<IdempotencyKey> = "idempotencyKey",
            "Makes a retry the same event: it takes effect once however often it is sent.";
    }
}

/// All fields of all types.
const FIELDS: Table<FIELD_COUNT> = {
    let mut all = [Common::TYPE.row(); FIELD_COUNT];
    let end = put(&mut all, 0, Common::FIELDS.rows());
    let end = put(&mut all, end, ExpectationWrite::FIELDS.rows());
    let end = put(&mut all, end, CouponIssue::FIELDS.rows());
    put(&mut all, end, Like::FIELDS.rows());
    Table::of(all)
};

const FIELD_COUNT: usize = Common::FIELDS.names().len()
    + ExpectationWrite::FIELDS.names().len()
    + CouponIssue::FIELDS.names().len()
    + Like::FIELDS.names().len();

/// Copies fields in, and returns where the next ones go.
const fn put(all: &mut [Row; FIELD_COUNT], mut at: usize, rows: &[Row]) -> usize {
    let mut index = 0;
    while index < rows.len() {
        all[at] = rows[index];
        at += 1;
        index += 1;
    }
    at
}

impl Mixed {
    /// Which of the types it is.
    pub fn event_type(&self) -> EventType {
        match self {
            Self::Expectation(_) => EventType::Expectation,
            Self::Coupon(_) => EventType::Coupon,
            Self::Like(_) => EventType::Like,
        }
    }

    /// The event of type `of` that `bytes` from its topic stand for.
    ///
    /// # Errors
    /// [`DecodeError`]: these bytes can never be read as such an event.
    pub fn decode(of: EventType, bytes: &[u8], codecs: &Codecs) -> Result<Self, DecodeError> {
        Ok(match of {
            EventType::Expectation => Self::Expectation(codecs.decode(bytes)?),
            EventType::Coupon => Self::Coupon(codecs.decode(bytes)?),
            EventType::Like => Self::Like(codecs.decode(bytes)?),
        })
    }

    /// The event as clients write it in a batch, with its id and the time of its acceptance.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Expectation(event) => event.to_json(),
            Self::Coupon(event) => event.to_json(),
            Self::Like(event) => event.to_json(),
        }
    }

    /// Reads and checks a client's JSON object. `accept` is asked once, with the object's own key.
    ///
    /// # Errors
    /// [`InvalidMixed`] names the field at fault.
    pub fn from_json(
        json: &[u8],
        accept: impl for<'k> FnOnce(Option<&'k IdempotencyKey>) -> Accept<'k>,
    ) -> Result<Self, InvalidMixed> {
        let untyped = |invalid| InvalidMixed { of: None, invalid };
        let fields = Fields::parse(&FIELDS, json).map_err(untyped)?;
        let of = fields.get(&Common::TYPE).map_err(untyped)?;
        Self::of_type(of, &fields, accept).map_err(|invalid| InvalidMixed { of: Some(of), invalid })
    }

    fn of_type(
        of: EventType,
        fields: &Fields<'_, FIELD_COUNT>,
        accept: impl for<'k> FnOnce(Option<&'k IdempotencyKey>) -> Accept<'k>,
    ) -> Result<Self, Invalid> {
        let own: &[&str] = match of {
            EventType::Expectation => ExpectationWrite::FIELDS.names(),
            EventType::Coupon => CouponIssue::FIELDS.names(),
            EventType::Like => Like::FIELDS.names(),
        };
        if let Some(foreign) =
            fields.sent().find(|name| !Common::FIELDS.names().contains(name) && !own.contains(name))
        {
            let detail = format!("is not a field of type {of}; its fields are {}", own.join(", "));
            return Err(Invalid::field(InvalidKind::Shape, foreign, detail));
        }
        let key = fields.get(&Common::IDEMPOTENCY_KEY)?;
        let accept = accept(key.as_ref());
        Ok(match of {
            EventType::Expectation => Self::Expectation(ExpectationWrite::from_fields(fields, &accept)?),
            EventType::Coupon => Self::Coupon(CouponIssue::from_fields(fields, &accept)?),
            EventType::Like => Self::Like(Like::from_fields(fields, &accept)?),
        })
    }
}

/// As clients send it: the fields of one type.
impl Described for Mixed {
    fn schema() -> Value {
        let of_type = |of: EventType, title: &str, own: Value| {
            let mut schema = Common::FIELDS.schema(title);
            schema["properties"]["type"] = json!({ "const": of.name() });
            for (name, property) in own["properties"].as_object().into_iter().flatten() {
                schema["properties"][name] = property.clone();
            }
            if let (Some(required), Some(own)) =
                (schema["required"].as_array_mut(), own["required"].as_array())
            {
                required.extend_from_slice(own);
            }
            schema
        };
        let types = [
            of_type(EventType::Expectation, "ExpectationEvent", ExpectationWrite::FIELDS.schema("")),
            of_type(EventType::Coupon, "CouponEvent", CouponIssue::FIELDS.schema("")),
            of_type(EventType::Like, "LikeEvent", Like::FIELDS.schema("")),
        ];
        json!({ "title": "Event", "oneOf": types })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::encode;
    use crate::{EventId, EventIdSource, Timestamp};

    fn read(json: &str) -> Result<Mixed, InvalidMixed> {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        Mixed::from_json(json.as_bytes(), |key| {
            let id = key.map_or_else(|| EventIdSource::Fresh(EventId::fresh()), EventIdSource::Key);
            Accept { id, accepted_at: now, latest: now }
        })
    }

    #[test]
    fn reads_each_type_and_the_key_fixes_the_id() {
        let coupon = read(r#"{"type":"coupon","couponId":"c","userId":"u","idempotencyKey":"order-4711"}"#);
        let Ok(Mixed::Coupon(coupon)) = coupon else { panic!("{coupon:?}") };
        let key = IdempotencyKey::new("order-4711").unwrap();
        let id = EventId::from_idempotency_key(EventType::Coupon, "c\u{1f}u", &key);
        assert_eq!(coupon.event_id, id);
        let like = read(r#"{"type":"like","targetOcid":"t","likerAccountId":"l","action":"UNLIKE"}"#);
        assert!(matches!(like, Ok(Mixed::Like(like)) if !like.liked()));
    }

    /// What is on a topic can be shown, and reads like what a client could have sent.
    #[test]
    fn events_are_shown_as_clients_write_them() {
        let sent = [
            r#"{"type":"coupon","couponId":"c","userId":"u"}"#,
            r#"{"type":"like","targetOcid":"t","likerAccountId":"l","action":"UNLIKE"}"#,
            r#"{"type":"expectation","characterId":7,"presetNo":3,"totalExpectedCost":"10.50","blackCubeCost":"1.00",
                "redCubeCost":"2.25","additionalCubeCost":"0.00","starforceCost":"7.25",
                "calculatedAt":"2026-01-02T03:04:04.000006Z"}"#,
        ];
        for json in sent {
            let event = read(json).unwrap();
            let mut bytes = Vec::new();
            let of = match &event {
                Mixed::Expectation(event) => {
                    encode(event, &mut bytes);
                    EventType::Expectation
                }
                Mixed::Coupon(event) => {
                    encode(event, &mut bytes);
                    EventType::Coupon
                }
                Mixed::Like(event) => {
                    encode(event, &mut bytes);
                    EventType::Like
                }
            };
            let decoded = Mixed::decode(of, &bytes, &Codecs::builtin()).unwrap();
            assert_eq!(decoded, event);
            let shown = decoded.to_json();
            let sent: serde_json::Value = serde_json::from_str(json).unwrap();
            for (name, value) in sent.as_object().unwrap() {
                assert_eq!(&shown[name], value, "{name} of {shown}");
            }
            assert_eq!(shown["acceptedAt"], "2026-01-02T03:04:05.000000Z");
            assert!(Mixed::decode(of, b"no event", &Codecs::builtin()).is_err());
        }
    }

    #[test]
    fn names_type_and_field_at_fault() {
        let refused = |json| {
            let InvalidMixed { of, invalid } = read(json).unwrap_err();
            (of, invalid.kind, invalid.field.unwrap_or_default().into_owned())
        };
        let cases = [
            ("{}", None, InvalidKind::Shape, "type"),
            (r#"{"type":1}"#, None, InvalidKind::Shape, "type"),
            (r#"{"type":"Like"}"#, None, InvalidKind::Value, "type"),
            (r#"{"type":"like","userId":"u"}"#, Some(EventType::Like), InvalidKind::Shape, "userId"),
            (
                r#"{"type":"like","targetOcid":"t","likerAccountId":"l","action":"like"}"#,
                Some(EventType::Like),
                InvalidKind::Value,
                "action",
            ),
            (
                r#"{"type":"coupon","couponId":"c","userId":"u","idempotencyKey":"short"}"#,
                Some(EventType::Coupon),
                InvalidKind::Value,
                "idempotencyKey",
            ),
            (
                r#"{"type":"like","targetOcid":"t","likerAccountId":"l","action":"LIKE","idempotencyKey":"12345678"}"#,
                Some(EventType::Like),
                InvalidKind::Value,
                "occurredAt",
            ),
        ];
        for (json, of, kind, field) in cases {
            assert_eq!(refused(json), (of, kind, field.to_owned()), "{json}");
        }
    }
}
