//! One event of a mixed batch: an object that says itself of which type it is.

use crate::codec::{Codecs, DecodeError};
use crate::event::EventType;
use crate::{Accept, CouponIssue, ExpectationWrite, Fields, IdempotencyKey, Invalid, InvalidKind, Like};

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
const COMMON: [&str; 2] = ["type", "idempotencyKey"];

/// All fields of all types.
const FIELDS: [&str; FIELD_COUNT] = {
    let mut all = [""; FIELD_COUNT];
    let end = put(&mut all, 0, &COMMON);
    let end = put(&mut all, end, &ExpectationWrite::FIELDS);
    let end = put(&mut all, end, &CouponIssue::FIELDS);
    put(&mut all, end, &Like::FIELDS);
    all
};

const FIELD_COUNT: usize =
    COMMON.len() + ExpectationWrite::FIELDS.len() + CouponIssue::FIELDS.len() + Like::FIELDS.len();

/// Copies names in, and returns where the next ones go.
const fn put(all: &mut [&'static str; FIELD_COUNT], mut at: usize, names: &[&'static str]) -> usize {
    let mut index = 0;
    while index < names.len() {
        all[at] = names[index];
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
    pub fn to_json(&self) -> serde_json::Value {
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
        let of = event_type(&fields).map_err(untyped)?;
        Self::of_type(of, &fields, accept).map_err(|invalid| InvalidMixed { of: Some(of), invalid })
    }

    fn of_type(
        of: EventType,
        fields: &Fields<'_, FIELD_COUNT>,
        accept: impl for<'k> FnOnce(Option<&'k IdempotencyKey>) -> Accept<'k>,
    ) -> Result<Self, Invalid> {
        let own: &[&str] = match of {
            EventType::Expectation => &ExpectationWrite::FIELDS,
            EventType::Coupon => &CouponIssue::FIELDS,
            EventType::Like => &Like::FIELDS,
        };
        if let Some(foreign) = fields.sent().find(|name| !COMMON.contains(name) && !own.contains(name)) {
            let detail = format!("is not a field of type {of}; its fields are {}", own.join(", "));
            return Err(Invalid::field(InvalidKind::Shape, foreign, detail));
        }
        let key = fields.optional("idempotencyKey").map(idempotency_key).transpose()?;
        let accept = accept(key.as_ref());
        Ok(match of {
            EventType::Expectation => Self::Expectation(ExpectationWrite::from_fields(fields, &accept)?),
            EventType::Coupon => Self::Coupon(CouponIssue::from_fields(fields, &accept)?),
            EventType::Like => Self::Like(Like::from_fields(fields, &accept)?),
        })
    }
}

fn event_type<const N: usize>(fields: &Fields<'_, N>) -> Result<EventType, Invalid> {
    let field = fields.required("type")?;
    let named = field.text()?;
    EventType::ALL.into_iter().find(|of| of.name() == named).ok_or_else(|| {
        let names = EventType::ALL.map(EventType::name).join(", ");
        Invalid::field(InvalidKind::Value, "type", format!("must be one of {names}"))
    })
}

fn idempotency_key(field: crate::Field<'_>) -> Result<IdempotencyKey, Invalid> {
    IdempotencyKey::new(&field.text()?).ok_or_else(|| {
        Invalid::field(InvalidKind::Value, field.name, "must be 8 to 128 visible ASCII characters")
    })
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
