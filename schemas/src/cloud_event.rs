//! CloudEvents 1.0: an event in an envelope that says who sent it, when, and under which id.
//!
//! An envelope comes as one JSON object with its data ([`Mixed::from_cloud_event`]) or beside them ([`Envelope::read`]).
//! Its type is the event's topic, its data are the event's fields as a batch has them. Source and id together are the
//! idempotency key, so that an event of the same source and id is the same event on every instance. All other attributes
//! say nothing about what is stored, and are passed over.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use serde_json::{Value, json};

use crate::describe::Described;
use crate::field::{Field, FromField};
use crate::fields;
use crate::{
    Accept, ByClock, CouponIssue, EventType, ExpectationWrite, Fields, IdempotencyKey, Invalid, InvalidKind,
    InvalidMixed, Like, Mixed, Timestamp,
};

/// The attributes that mean something here, and the data of an envelope in JSON.
struct Members;

fields! {
    Members {
        SPECVERSION: String = "specversion", "The version of CloudEvents: 1.0.";
        TYPE: String = "type", "The type of event, which is its topic's name.";
        SOURCE: String = "source", "Who sends it. Together with `id` it makes a retry the same event.";
        ID: String = "id", "Names the event within its source.";
        TIME: Option<Timestamp> = "time", "When a like happened whose data do not say so.";
        DATACONTENTTYPE: Option<String> = "datacontenttype", "JSON, which it is where it is left out.";
        DATA: Option<CloudEventData> = "data", "The event's fields.";
        DATA_BASE64: Option<String> = "data_base64", "The same as the bytes of a JSON object, in Base64.";
    }
}

/// The fields of an event of any type.
pub struct CloudEventData;

impl Described for CloudEventData {
    fn schema() -> Value {
        json!({ "oneOf": [
            ExpectationWrite::FIELDS.schema("ExpectationData"),
            CouponIssue::FIELDS.schema("CouponData"),
            Like::FIELDS.schema("LikeData"),
        ] })
    }
}

impl FromField for CloudEventData {
    fn from_field(_: Field<'_>) -> Result<Self, Invalid> {
        Ok(Self)
    }
}

/// How an envelope in JSON looks.
pub struct CloudEvent;

impl Described for CloudEvent {
    fn schema() -> Value {
        let mut schema = Members::FIELDS.schema("CloudEvent");
        let properties = &mut schema["properties"];
        properties["specversion"]["const"] = "1.0".into();
        properties["type"]["enum"] = EventType::ALL.map(EventType::topic).to_vec().into();
        properties["source"]["minLength"] = 1.into();
        properties["id"]["minLength"] = 1.into();
        schema["additionalProperties"] = Value::Bool(false);
        // extensions
        schema["patternProperties"] = json!({ EXTENSION: true });
        schema["examples"] = json!([{
            "specversion": "1.0", "type": EventType::Coupon.topic(), "source": "/shop", "id": "order-4711",
            "data": { "couponId": "summer", "userId": "ann" },
        }]);
        schema
    }
}

const MEMBERS: usize = Members::FIELDS.names().len();

/// What names of extensions look like.
const EXTENSION: &str = "^[a-z0-9]+$";

/// Whether a member of an envelope in JSON is an attribute that means nothing here, an extension's most likely. Others are
/// most likely misspelt.
fn is_passed_over(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// Whether a media type, without its parameters, says that its content is JSON.
pub fn is_json(media_type: &str) -> bool {
    let media_type = media_type.to_ascii_lowercase();
    media_type.split_once('/').is_some_and(|(_, subtype)| subtype == "json" || subtype.ends_with("+json"))
}

/// What stands around an event's data.
#[derive(Debug)]
pub struct Envelope {
    of: EventType,
    key: IdempotencyKey,
    time: Option<String>,
}

impl Envelope {
    /// Reads the attributes, each as `attribute` gives it by its name.
    ///
    /// # Errors
    /// [`InvalidMixed`] names the attribute at fault.
    pub fn read(
        attribute: impl Fn(&'static str) -> Result<Option<String>, Invalid>,
    ) -> Result<Self, InvalidMixed> {
        let required = |name| {
            let refused = |kind, detail| Err(Invalid::field(kind, name, detail));
            match attribute(name)? {
                None => refused(InvalidKind::Shape, "is required"),
                Some(text) if text.is_empty() => refused(InvalidKind::Value, "must not be empty"),
                Some(text) => Ok(text),
            }
        };
        let of = required("type").and_then(|named| event_type(&named));
        let of = of.map_err(|invalid| InvalidMixed { of: None, invalid })?;
        let rest = || {
            if required("specversion")? != "1.0" {
                return Err(Invalid::field(InvalidKind::Value, "specversion", "must be 1.0"));
            }
            let key = IdempotencyKey::of_source(&required("source")?, &required("id")?);
            Ok(Self { of, key, time: attribute("time")? })
        };
        rest().map_err(|invalid| InvalidMixed { of: Some(of), invalid })
    }

    /// The type of its event.
    pub const fn of(&self) -> EventType {
        self.of
    }

    /// The event that its data, a JSON object, say. `accept` is asked once.
    ///
    /// # Errors
    /// [`InvalidMixed`] names the attribute, or the field of the data, at fault.
    pub fn event(
        &self,
        data: &[u8],
        accept: impl for<'k> FnOnce(Option<&'k IdempotencyKey>) -> Accept<'k>,
    ) -> Result<Mixed, InvalidMixed> {
        let accept = accept(Some(&self.key));
        let event = match self.of {
            EventType::Expectation => {
                ExpectationWrite::from_json(data, &accept).map(Mixed::Expectation).map_err(in_data)
            }
            EventType::Coupon => Fields::parse(&CouponIssue::FIELDS, data)
                .and_then(|fields| CouponIssue::from_fields(&fields, &accept))
                .map(Mixed::Coupon)
                .map_err(in_data),
            EventType::Like => self.like(data, &accept).map(Mixed::Like),
        };
        event.map_err(|invalid| InvalidMixed { of: Some(self.of), invalid })
    }

    /// A like happened when its envelope says, unless its data say otherwise.
    fn like(&self, data: &[u8], accept: &Accept<'_>) -> Result<Like, Invalid> {
        let fields = Fields::parse(&Like::FIELDS, data).map_err(in_data)?;
        let time = match (fields.sent_as(Like::OCCURRED_AT.name()), &self.time) {
            (Some(_), _) => None,
            (None, Some(time)) => Some(ByClock::sent(time, Members::TIME.name())?.until(accept.latest)?),
            (None, None) => {
                let detail = "or `data.occurredAt` is required: a late retry must not undo a newer change";
                return Err(Invalid::field(InvalidKind::Value, "time", detail));
            }
        };
        Like::from_fields_at(&fields, time, accept).map_err(in_data)
    }
}

fn event_type(named: &str) -> Result<EventType, Invalid> {
    EventType::ALL.into_iter().find(|of| of.topic() == named).ok_or_else(|| {
        let names = EventType::ALL.map(EventType::topic).join(", ");
        Invalid::field(InvalidKind::Value, "type", format!("must be one of {names}"))
    })
}

/// What is wrong with the data, as seen from the envelope.
fn in_data(invalid: Invalid) -> Invalid {
    let field = invalid.field.map_or("data".into(), |field| format!("data.{field}").into());
    Invalid { field: Some(field), ..invalid }
}

impl Mixed {
    /// Reads and checks a client's JSON object that is an envelope with its data. `accept` is asked once.
    ///
    /// # Errors
    /// [`InvalidMixed`] names the attribute, or the field of the data, at fault.
    pub fn from_cloud_event(
        json: &[u8],
        accept: impl for<'k> FnOnce(Option<&'k IdempotencyKey>) -> Accept<'k>,
    ) -> Result<Self, InvalidMixed> {
        let members = Fields::parse_beside(&Members::FIELDS, is_passed_over, json)
            .map_err(|invalid| InvalidMixed { of: None, invalid })?;
        let text = |name| members.sent_as(name).map(String::from_field).transpose();
        let envelope = Envelope::read(text)?;
        let decoded;
        let data = match json_data(&members) {
            Ok(Sent::Json(json)) => json,
            Ok(Sent::Decoded(bytes)) => {
                decoded = bytes;
                &decoded
            }
            Err(invalid) => return Err(InvalidMixed { of: Some(envelope.of), invalid }),
        };
        envelope.event(data, accept)
    }
}

/// The data of an envelope in JSON: as they stand there, or as the bytes that some senders make of them.
enum Sent<'a> {
    Json(&'a [u8]),
    Decoded(Vec<u8>),
}

fn json_data<'a>(members: &Fields<'a, MEMBERS>) -> Result<Sent<'a>, Invalid> {
    if let Some(declared) = members.sent_as(Members::DATACONTENTTYPE.name()) {
        let declared = declared.text()?;
        let media_type = declared.split_once(';').map_or(&*declared, |(media_type, _)| media_type);
        if !is_json(media_type.trim()) {
            let detail = "must be application/json, which it is where it is left out";
            return Err(Invalid::field(InvalidKind::Value, "datacontenttype", detail));
        }
    }
    match (members.sent_as(Members::DATA.name()), members.sent_as(Members::DATA_BASE64.name())) {
        (Some(_), Some(both)) => Err(Invalid::field(
            InvalidKind::Shape,
            both.name,
            "is given besides data; only one of them may be",
        )),
        (None, Some(encoded)) => STANDARD.decode(&*encoded.text()?).map(Sent::Decoded).map_err(|error| {
            Invalid::field(InvalidKind::Value, encoded.name, format!("is not valid Base64: {error}"))
        }),
        (Some(data), None) => Ok(Sent::Json(data.json())),
        (None, None) => Err(Invalid::field(InvalidKind::Shape, Members::DATA.name(), "is required")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EventId, EventIdSource};
    use proptest::prelude::*;

    fn accept(key: Option<&IdempotencyKey>) -> Accept<'_> {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let id = EventIdSource::Key(key.expect("every envelope has one"));
        Accept { id, accepted_at: now, latest: now }
    }

    fn read(envelope: &Value) -> Result<Mixed, InvalidMixed> {
        Mixed::from_cloud_event(envelope.to_string().as_bytes(), accept)
    }

    /// An envelope around these data.
    fn around(of: EventType, data: Value) -> Value {
        json!({"specversion": "1.0", "type": of.topic(), "source": "/shop", "id": "4711", "data": data})
    }

    fn coupon() -> Value {
        around(EventType::Coupon, json!({"couponId": "c", "userId": "u"}))
    }

    fn like(time: Option<&str>, occurred_at: Option<&str>) -> Value {
        let mut data = json!({"targetOcid": "t", "likerAccountId": "l", "action": "LIKE"});
        if let Some(occurred_at) = occurred_at {
            data["occurredAt"] = json!(occurred_at);
        }
        let mut envelope = around(EventType::Like, data);
        envelope["time"] = json!(time);
        envelope
    }

    /// Each type is what it is in a batch, under the key that source and id are.
    #[test]
    fn an_envelope_is_its_event() {
        let key = "c575ae6f-6828-57d7-bf04-98d31d14553e";
        assert_eq!(IdempotencyKey::of_source("/shop", "4711"), IdempotencyKey::new(key).unwrap());
        let expectation = json!({
            "characterId": 7, "presetNo": 3, "totalExpectedCost": "10.50", "blackCubeCost": "1.00", "redCubeCost": 2,
            "additionalCubeCost": "0.00", "starforceCost": "7.25", "calculatedAt": "2026-01-02T03:04:04Z",
        });
        for envelope in
            [coupon(), around(EventType::Expectation, expectation), like(None, Some("2026-01-02T03:04:04Z"))]
        {
            let of = EventType::ALL.into_iter().find(|of| envelope["type"] == of.topic()).unwrap();
            let mut item = envelope["data"].clone();
            item["type"] = json!(of.name());
            item["idempotencyKey"] = json!(key);
            let native = Mixed::from_json(item.to_string().as_bytes(), accept).unwrap();
            assert_eq!(read(&envelope), Ok(native.clone()));
            // what means nothing here, and what is null
            let mut adorned = envelope.clone();
            for (name, value) in [
                ("subject", json!("s")),
                ("dataschema", json!("https://example.com/1")),
                ("traceparent", json!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")),
                ("sequence2", json!(7)),
                ("sampled", json!(true)),
                ("time", json!("2026-01-02T03:04:03Z")),
                ("data_base64", Value::Null),
                ("datacontenttype", json!("Application/Vnd.Floodgate+JSON; charset=utf-8")),
            ] {
                adorned[name] = value;
            }
            assert_eq!(read(&adorned), Ok(native.clone()));
            // the data as bytes, which need not be as a program would write them
            let bytes = format!(" {} ", envelope["data"]);
            let mut encoded = envelope.clone();
            encoded.as_object_mut().unwrap().remove("data");
            encoded["data_base64"] = json!(STANDARD.encode(bytes));
            assert_eq!(read(&encoded), Ok(native));
        }
    }

    #[test]
    fn a_like_happened_when_its_data_or_its_envelope_say() {
        let occurred = |envelope: &Value| match read(envelope) {
            Ok(Mixed::Like(like)) => Ok(like.occurred_at.to_string()),
            Ok(other) => panic!("{other:?}"),
            Err(refused) => Err(refused.invalid.field.unwrap().into_owned()),
        };
        let (early, late) = ("2026-01-02T03:00:00.000000Z", "2026-01-02T03:04:00.000000Z");
        assert_eq!(occurred(&like(Some(late), None)), Ok(late.to_owned()));
        assert_eq!(occurred(&like(Some(late), Some(early))), Ok(early.to_owned()));
        assert_eq!(occurred(&like(Some("yesterday"), Some(early))), Ok(early.to_owned()), "nobody asks");
        for (time, occurred_at, field) in [
            (None, None, "time"),
            (Some("yesterday"), None, "time"),
            (Some("2026-01-02T03:04:06Z"), None, "time"),
            (Some(early), Some("2026-01-02T03:04:06Z"), "data.occurredAt"),
        ] {
            assert_eq!(occurred(&like(time, occurred_at)), Err(field.to_owned()), "{time:?} {occurred_at:?}");
        }
    }

    #[test]
    fn what_is_at_fault_is_named() {
        let with = |name: &str, value: Value| {
            let mut envelope = coupon();
            envelope[name] = value;
            envelope
        };
        let coupon_of = Some(EventType::Coupon);
        use InvalidKind::{Malformed, Shape, Value as OfValue};
        for (envelope, of, kind, field) in [
            (json!({}), None, Shape, "type"),
            (with("type", json!("floodgate.gift.v1")), None, OfValue, "type"),
            (with("type", json!("coupon")), None, OfValue, "type"),
            (with("type", json!(7)), None, Shape, "type"),
            (with("type", Value::Null), None, Shape, "type"),
            (with("Subject", json!("s")), None, Shape, "Subject"),
            (with("dataContentType", json!("text/plain")), None, Shape, "dataContentType"),
            (with("user_id", json!("u")), None, Shape, "user_id"),
            (with("specversion", json!("0.3")), coupon_of, OfValue, "specversion"),
            (with("specversion", json!(1.0)), coupon_of, Shape, "specversion"),
            (with("specversion", Value::Null), coupon_of, Shape, "specversion"),
            (with("id", json!("")), coupon_of, OfValue, "id"),
            (with("id", json!(4711)), coupon_of, Shape, "id"),
            (with("source", json!("")), coupon_of, OfValue, "source"),
            (with("source", Value::Null), coupon_of, Shape, "source"),
            (with("time", json!(7)), coupon_of, Shape, "time"),
            (with("datacontenttype", json!("text/plain")), coupon_of, OfValue, "datacontenttype"),
            (with("datacontenttype", json!("application/xml")), coupon_of, OfValue, "datacontenttype"),
            (with("data", Value::Null), coupon_of, Shape, "data"),
            (with("data", json!("{}")), coupon_of, Malformed, "data"),
            (with("data", json!([])), coupon_of, Malformed, "data"),
            (with("data", json!({})), coupon_of, Shape, "data.couponId"),
            (with("data", json!({"couponId": "c", "userId": ""})), coupon_of, OfValue, "data.userId"),
            (with("data", json!({"type": "coupon"})), coupon_of, Shape, "data.type"),
            (with("data", json!({"idempotencyKey": "12345678"})), coupon_of, Shape, "data.idempotencyKey"),
            (with("data_base64", json!("e30=")), coupon_of, Shape, "data_base64"),
        ] {
            let InvalidMixed { of: told, invalid } = read(&envelope).unwrap_err();
            let told = (told, invalid.kind, invalid.field.unwrap_or_default().into_owned());
            assert_eq!(told, (of, kind, field.to_owned()), "{envelope}");
        }
        for (encoded, kind, field) in
            [("e30", OfValue, "data_base64"), ("e30=", Shape, "data.couponId"), ("/w==", Malformed, "data")]
        {
            let mut envelope = coupon();
            envelope.as_object_mut().unwrap().remove("data");
            envelope["data_base64"] = json!(encoded);
            let invalid = read(&envelope).unwrap_err().invalid;
            assert_eq!((invalid.kind, invalid.field.as_deref()), (kind, Some(field)), "{encoded}");
        }
        let twice = r#"{"specversion":"1.0","id":"1","id":"2"}"#;
        let invalid = Mixed::from_cloud_event(twice.as_bytes(), accept).unwrap_err().invalid;
        assert_eq!((invalid.kind, invalid.field.as_deref()), (Shape, Some("id")));
        // nobody looks into what is passed over
        let deep = format!(r#"{{"extension":{}1{},"type":7}}"#, "[".repeat(200_000), "]".repeat(200_000));
        let invalid = Mixed::from_cloud_event(deep.as_bytes(), accept).unwrap_err().invalid;
        assert_eq!((invalid.kind, invalid.field.as_deref()), (Shape, Some("type")));
        for no_object in ["", "[]", "{", "null"] {
            let invalid = Mixed::from_cloud_event(no_object.as_bytes(), accept).unwrap_err().invalid;
            assert_eq!((invalid.kind, invalid.field), (Malformed, None), "{no_object}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever an envelope carries besides, and whether it comes in one piece or beside its data, it is the same event;
        /// and of another source or id it is another.
        #[test]
        fn source_and_id_alone_name_the_event(
            (source, id) in (".{1,300}", ".{1,300}"),
            others in prop::collection::btree_map("[a-z0-9]{1,20}", ".*", 0..5),
            cut in 0..300_usize,
        ) {
            let mut envelope = coupon();
            for (name, value) in &others {
                if !Members::FIELDS.names().contains(&name.as_str()) {
                    envelope[name] = json!(value);
                }
            }
            envelope["source"] = json!(source);
            envelope["id"] = json!(id);
            let in_one = read(&envelope).unwrap();
            let text = |name: &str| Ok(envelope[name].as_str().map(str::to_owned));
            let beside = Envelope::read(text).unwrap();
            prop_assert_eq!(beside.event(envelope["data"].to_string().as_bytes(), accept).unwrap(), in_one.clone());
            let key = IdempotencyKey::of_source(&source, &id);
            let Mixed::Coupon(coupon) = in_one else { panic!("{in_one:?}") };
            prop_assert_eq!(coupon.event_id, EventId::from_idempotency_key(EventType::Coupon, "c\u{1f}u", &key));
            // the same characters, cut elsewhere, are another source
            let both = format!("{source}{id}");
            if let Some((other, rest)) = both.split_at_checked(cut)
                && other != source
            {
                prop_assert_ne!(IdempotencyKey::of_source(other, rest), key);
            }
        }
    }
}
