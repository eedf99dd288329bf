//! The rules at their edges: names that are fixed, limits, and what makes two events the same words.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::hash::{DefaultHasher, Hasher};

use floodgate_schemas::codec::{Codecs, encode};
use floodgate_schemas::examples::{at, coupon_issue, event_id, expectation, like};
use floodgate_schemas::{
    Accept, CharacterId, CouponId, CouponIssue, Event, EventId, EventIdSource, EventType, ExpectationWrite,
    Fields, IdempotencyKey, Invalid, InvalidKind, InvalidMixed, Like, LikeAction, Mixed, Timestamp,
};

#[test]
fn names_are_fixed() {
    let names = EventType::ALL.map(|of| (of.to_string(), of.topic(), of.group()));
    let wanted = [
        ("expectation", "floodgate.expectation.v1", "floodgate.expectation"),
        ("coupon", "floodgate.coupon.v1", "floodgate.coupon"),
        ("like", "floodgate.like.v1", "floodgate.like"),
    ];
    assert_eq!(names, wanted.map(|(name, topic, group)| (name.to_owned(), topic, group)));
    assert_eq!(format!("{:?}", event_id(1)), event_id(1).to_string());
    assert!(format!("{:?}", Like::codec()).contains("header"));
}

#[test]
fn what_cannot_be_read_has_a_stable_reason() {
    let mut coupon = Vec::new();
    encode(&coupon_issue(1, "c", "u"), &mut coupon);
    let reason = |bytes: &[u8]| Codecs::builtin().decode::<Like>(bytes).unwrap_err().reason();
    assert_eq!((reason(b"none"), reason(&coupon)), ("not-avro", "undecodable"));
    coupon[2] ^= 0xff;
    assert_eq!(reason(&coupon), "unknown-schema");
    let mut short = Vec::new();
    encode(&like(1, "t", "l", LikeAction::Like, 1), &mut short);
    short.pop();
    assert_eq!(reason(&short), "undecodable");
}

#[test]
fn ids_end_where_they_should() {
    let fits = |id: String| CouponId::try_from(id).is_ok();
    assert!(fits("x".repeat(128)) && !fits("x".repeat(129)));
    // characters count, not bytes
    assert!(fits("ü".repeat(128)) && !fits("ü".repeat(129)));
    assert!(CharacterId::try_from(1).is_ok() && CharacterId::try_from(0).is_err());
}

#[test]
fn times_end_where_they_should() {
    let until = |time: &str| {
        let json = format!(r#"{{"occurredAt":"{time}"}}"#);
        let fields = Fields::parse(&Like::BODY, json.as_bytes()).unwrap();
        fields.get(&Like::OCCURRED_AT).unwrap().unwrap().until(at(0)).map_err(|invalid| invalid.kind)
    };
    assert_eq!(until("2026-11-21T10:00:00Z"), Ok(at(0)));
    assert_eq!(until("2026-11-21T09:59:59.999999Z"), Ok(at(-1)));
    assert_eq!(until("2026-11-21T10:00:00.000001Z"), Err(InvalidKind::Value));
}

/// A version is bounded like the time it stands for, on the single route and in batches; counters are far below.
#[test]
fn versions_lie_no_further_ahead_than_times() {
    let costs = ["totalExpectedCost", "blackCubeCost", "redCubeCost", "additionalCubeCost", "starforceCost"];
    let json = |version: &str| {
        let costs: String = costs.iter().map(|name| format!("\"{name}\":0,")).collect();
        format!(
            "{{\"characterId\":1,\"presetNo\":1,{costs}\"calculatedAt\":\"2026-11-21T10:00:00Z\",\"version\":{version}}}"
        )
    };
    let told = |invalid: Invalid| (invalid.kind, invalid.field.unwrap_or_default().into_owned());
    let single = |version: &str| {
        let read = ExpectationWrite::from_json(json(version).as_bytes(), &accept(None));
        read.map(|event| event.version).map_err(told)
    };
    let in_batch = |version: &str| {
        let json = json(version).replace('{', "{\"type\":\"expectation\",");
        match Mixed::from_json(json.as_bytes(), accept) {
            Ok(Mixed::Expectation(event)) => Ok(event.version),
            Ok(other) => panic!("{other:?}"),
            Err(InvalidMixed { invalid, .. }) => Err(told(invalid)),
        }
    };
    let latest = at(0).as_micros();
    for version in [i64::MIN, -1, 0, 1, 2, 3, latest - 1, latest] {
        assert_eq!(single(&version.to_string()), Ok(version));
        assert_eq!(in_batch(&version.to_string()), Ok(version));
    }
    assert_eq!(single("null"), Ok(latest), "without one it is the time");
    for version in [(latest + 1).to_string(), i64::MAX.to_string(), "9.2e18".to_owned()] {
        let refused = Err((InvalidKind::Value, "version".to_owned()));
        assert_eq!(single(&version), refused, "{version}");
        assert_eq!(in_batch(&version), refused, "{version}");
    }
}

#[test]
fn what_is_wrong_with_json_is_told_apart() {
    let detail = |json: &str| Fields::parse(&CouponIssue::BODY, json.as_bytes()).unwrap_err().detail;
    assert_eq!(detail("[]"), "is not a JSON object");
    assert!(detail("{").starts_with("is not valid JSON"), "{}", detail("{"));
    let fields = Fields::parse(&CouponIssue::BODY, br#"{"userId":"\ud800"}"#).unwrap();
    let refused = fields.get(&CouponIssue::USER_ID).unwrap_err();
    assert_eq!((refused.kind, refused.field.as_deref()), (InvalidKind::Malformed, Some("userId")));
    // a name that is no name is none of ours
    let unnamed = br#"{"type":"coupon","couponId":"c","userId":"u","":1}"#;
    let told = Mixed::from_json(unnamed, accept).unwrap_err().invalid.detail;
    assert!(told.starts_with("is not a field here"), "{told}");
}

fn accept<'k>(_: Option<&'k IdempotencyKey>) -> Accept<'k> {
    Accept { id: EventIdSource::Fresh(EventId::fresh()), accepted_at: at(0), latest: at(0) }
}

fn words<E: Event>(event: &E) -> u64 {
    let mut hasher = DefaultHasher::new();
    event.hash_words(&mut hasher);
    hasher.finish()
}

/// What acceptance adds is not the client's word.
#[test]
fn words_are_what_the_client_said() {
    let (first, again) = (expectation(1, 7, 1, 5), expectation(2, 7, 1, 5));
    assert_eq!(words(&first), words(&again));
    assert_ne!(words(&first), words(&expectation(1, 7, 1, 6)));
    let on = |occurred_at| like(1, "t", "l", LikeAction::Like, occurred_at);
    assert_eq!(words(&on(1)), words(&on(1)));
    assert_ne!(words(&on(1)), words(&on(2)));
    assert!(on(1).liked() && !like(1, "t", "l", LikeAction::Unlike, 1).liked());

    let key = IdempotencyKey::new("key-0001").unwrap();
    let keyed = EventId::from_idempotency_key(EventType::Like, "t", &key);
    assert!(keyed.is_from_key() && !EventId::fresh().is_from_key());
}

#[test]
fn times_are_counted_and_bounded() {
    assert_eq!((at(3).as_micros() - at(0).as_micros(), at(0).as_micros() % 1_000_000), (3, 0));
    assert_eq!(at(2_500_000).seconds_since(at(0)), 2.5);
    assert_eq!(at(0).seconds_since(at(2_500_000)), -2.5);
    assert_eq!(at(1).saturating_add_micros(2), at(3));
    assert_eq!(
        (Timestamp::MAX.saturating_add_micros(1), Timestamp::MIN.saturating_add_micros(-1)),
        (Timestamp::MAX, Timestamp::MIN)
    );
    assert_eq!(Timestamp::MAX.saturating_add_micros(-1).saturating_add_micros(1), Timestamp::MAX);
    assert_eq!(format!("{:?}", at(1)), at(1).to_string());
}
