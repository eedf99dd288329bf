//! The bytes on the topics: pinned, round-tripped, and hostile.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use apache_avro::Schema;
use apache_avro::rabin::Rabin;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use floodgate_schemas::codec::{Codecs, DecodeError, SchemaName, builtin, encode, schema_of};
use floodgate_schemas::examples::{coupon_issue, event_id, expectation, like};
use floodgate_schemas::{
    CharacterId, Cost, CouponId, CouponIssue, Event, EventId, EventType, ExpectationWrite, Like, LikeAction,
    LikerAccountId, PresetNo, TargetOcid, Timestamp, UserId,
};
use proptest::prelude::*;
use uuid::Uuid;

fn bytes_of<E: Event>(event: &E) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(event, &mut bytes);
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Golden bytes: what is on topics today must be readable for ever, so these constants never change.
/// A changed schema gets new constants beside them.
#[test]
fn golden_bytes() {
    let golden = include_str!("golden.txt");
    let mut lines = golden.lines().filter(|line| !line.starts_with('#'));
    let mut check = |name: &str, bytes: Vec<u8>| {
        assert_eq!(lines.next(), Some(format!("{name} {}", hex(&bytes)).as_str()));
    };
    check("ExpectationWrite", bytes_of(&expectation(1, 4711, 2, 77)));
    check("CouponIssue", bytes_of(&coupon_issue(2, "summer-가", "ann")));
    check("Like", bytes_of(&like(3, "target", "liker", LikeAction::Unlike, -5)));
    assert_eq!(lines.next(), None);
}

/// Those that code says, of every schema that events were ever written with.
#[test]
fn fingerprints_are_those_of_the_schemas() {
    for (said, text) in EventType::ALL.into_iter().flat_map(builtin) {
        let bytes = fingerprint(&Schema::parse_str(text).unwrap());
        let computed = u64::from_le_bytes(bytes.try_into().unwrap());
        assert_eq!(said, computed, "it is {computed:#x} of {text}");
    }
}

fn timestamp() -> impl Strategy<Value = Timestamp> {
    (Timestamp::MIN.as_micros()..=Timestamp::MAX.as_micros())
        .prop_map(|micros| Timestamp::from_micros(micros).unwrap())
}

fn id() -> impl Strategy<Value = EventId> {
    any::<u128>().prop_map(|bits| EventId::from(Uuid::from_u128(bits)))
}

fn cost() -> impl Strategy<Value = Cost> {
    let small = 0..=70_000u128;
    let any = 0..=Cost::MAX.as_hundredths();
    prop_oneof![small, any].prop_map(|hundredths| Cost::from_hundredths(hundredths).unwrap())
}

fn text() -> impl Strategy<Value = String> {
    proptest::collection::vec(any::<char>().prop_filter("control", |c| !c.is_control()), 1..=128)
        .prop_map(String::from_iter)
}

prop_compose! {
    fn any_expectation()(
        event_id in id(), accepted_at in timestamp(), character in 1..=i64::MAX, preset in 1..=3i64,
        costs in proptest::array::uniform5(cost()), calculated_at in timestamp(), version: i64,
    ) -> ExpectationWrite {
        let [total_expected_cost, black_cube_cost, red_cube_cost, additional_cube_cost, starforce_cost] = costs;
        ExpectationWrite {
            event_id, accepted_at,
            character_id: CharacterId::try_from(character).unwrap(),
            preset_no: PresetNo::try_from(preset).unwrap(),
            total_expected_cost, black_cube_cost, red_cube_cost, additional_cube_cost, starforce_cost,
            calculated_at, version,
        }
    }
}

prop_compose! {
    fn any_coupon_issue()(event_id in id(), accepted_at in timestamp(), coupon in text(), user in text()) -> CouponIssue {
        CouponIssue {
            event_id, accepted_at,
            coupon_id: CouponId::try_from(coupon).unwrap(),
            user_id: UserId::try_from(user).unwrap(),
        }
    }
}

prop_compose! {
    fn any_like()(
        event_id in id(), accepted_at in timestamp(), target in text(), liker in text(),
        liked: bool, occurred_at in timestamp(),
    ) -> Like {
        // nobody likes oneself
        let target = if target == liker { "nobody".to_owned() } else { target };
        Like {
            event_id, accepted_at,
            target_ocid: TargetOcid::try_from(target).unwrap(),
            liker_account_id: LikerAccountId::try_from(liker).unwrap(),
            action: if liked { LikeAction::Like } else { LikeAction::Unlike },
            occurred_at,
        }
    }
}

proptest! {
    #[test]
    fn expectations_round_trip(event in any_expectation()) {
        prop_assert_eq!(Codecs::builtin().decode::<ExpectationWrite>(&bytes_of(&event)).unwrap(), event);
    }

    #[test]
    fn coupon_issues_round_trip(event in any_coupon_issue()) {
        prop_assert_eq!(Codecs::builtin().decode::<CouponIssue>(&bytes_of(&event)).unwrap(), event);
    }

    #[test]
    fn likes_round_trip(event in any_like()) {
        prop_assert_eq!(Codecs::builtin().decode::<Like>(&bytes_of(&event)).unwrap(), event);
    }

    /// Another implementation finds in our bytes what the event says, and would have written the same.
    #[test]
    fn the_avro_library_agrees(
        expectation in any_expectation(), coupon in any_coupon_issue(), like in any_like(),
    ) {
        agree(&expectation, &expectation.to_json());
        agree(&coupon, &coupon.to_json());
        agree(&like, &like.to_json());
    }

    /// Whatever stands on a topic is read or refused, never a panic; what is read writes back the same.
    #[test]
    fn damaged_bytes_never_panic(event in any_expectation(), at in any::<prop::sample::Index>(), to: u8, keep in any::<prop::sample::Index>()) {
        let mut bytes = bytes_of(&event);
        let at = at.index(bytes.len());
        bytes[at] = to;
        bytes.truncate(keep.index(bytes.len()) + 1);
        if let Ok(read) = Codecs::builtin().decode::<ExpectationWrite>(&bytes) {
            prop_assert_eq!(Codecs::builtin().decode::<ExpectationWrite>(&bytes_of(&read)).unwrap(), read);
        }
    }
}

/// Of the canonical form as the specification (and Java, and fastavro) writes it: apache-avro 0.22 leaves
/// `{"type":"string"}` where a logical type was stripped, which has to be a bare `"string"`.
fn fingerprint(schema: &Schema) -> Vec<u8> {
    let mut canonical = schema.canonical_form();
    for primitive in ["null", "boolean", "int", "long", "float", "double", "bytes", "string"] {
        canonical = canonical.replace(&format!(r#"{{"type":"{primitive}"}}"#), &format!(r#""{primitive}""#));
    }
    Schema::parse_str(&canonical).unwrap().fingerprint::<Rabin>().bytes
}

fn agree<E: Event>(event: &E, says: &serde_json::Value) {
    let schema = Schema::parse_str(schema_of(E::TYPE)).unwrap();
    let bytes = bytes_of(event);
    let (header, datum) = bytes.split_at(10);
    assert_eq!(header[..2], [0xc3, 0x01]);
    assert_eq!(hex(&header[2..]), hex(&fingerprint(&schema)), "another schema's fingerprint, little-endian");
    let mut rest = datum;
    let value = GenericDatumReader::builder(&schema).build().unwrap().read_value(&mut rest).unwrap();
    assert!(rest.is_empty());
    let Value::Record(fields) = &value else { panic!("{value:?}") };
    for (name, value) in fields {
        let found = match value {
            Value::Uuid(uuid) => uuid.to_string(),
            Value::String(text) | Value::Enum(_, text) => text.clone(),
            Value::TimestampMicros(micros) => Timestamp::from_micros(*micros).unwrap().to_string(),
            Value::Long(number) => number.to_string(),
            Value::Int(number) => number.to_string(),
            Value::Decimal(decimal) => {
                let bytes = Vec::<u8>::try_from(decimal).unwrap();
                let hundredths = bytes.iter().fold(0, |sum, byte| sum * 256 + u128::from(*byte));
                Cost::from_hundredths(hundredths).unwrap().to_string()
            }
            other => panic!("{name}: {other:?}"),
        };
        let said = says[name].as_str().map_or_else(|| says[name].to_string(), str::to_owned);
        assert_eq!(found, said, "{name}");
    }
    let writer = GenericDatumWriter::builder(&schema).build().unwrap();
    assert_eq!(hex(&writer.write_value_to_vec(value).unwrap()), hex(datum));
}

#[test]
fn refuses_what_is_no_event_of_the_type() {
    let bytes = bytes_of(&coupon_issue(1, "c", "u"));
    assert!(matches!(
        Codecs::builtin().decode::<Like>(&bytes),
        Err(DecodeError::OtherType(EventType::Coupon))
    ));
    assert!(matches!(Codecs::builtin().decode::<CouponIssue>(b"{}"), Err(DecodeError::NotSingleObject)));
    assert!(matches!(
        Codecs::builtin().decode::<CouponIssue>(b"{\"couponId\":1}"),
        Err(DecodeError::NotSingleObject)
    ));
    let longer = [bytes.as_slice(), b"x"].concat();
    assert!(matches!(Codecs::builtin().decode::<CouponIssue>(&longer), Err(DecodeError::TrailingBytes(1))));
    assert!(matches!(
        Codecs::builtin().decode::<CouponIssue>(&bytes[..bytes.len() - 1]),
        Err(DecodeError::Invalid(_))
    ));
}

/// What a newer build writes can be told from what nobody will ever read: by a whole marker with an unknown schema.
#[test]
fn a_schema_of_a_newer_build_is_told_from_garbage() {
    let unknown = |bytes: &[u8]| Codecs::builtin().decode::<Like>(bytes).unwrap_err().unknown_schema();
    let single_object = [&[0xc3, 0x01][..], &0x0123_4567_89ab_cdef_u64.to_le_bytes(), b"whatever"].concat();
    let name = unknown(&single_object).unwrap();
    assert_eq!(name, SchemaName::Fingerprint(0x0123_4567_89ab_cdef));
    assert_eq!(name.to_string(), "fingerprint 0123456789abcdef");
    let name = unknown(&[0, 0, 0, 1, 2, b'x']).unwrap();
    assert_eq!(name, SchemaName::RegistryId(258));
    assert_eq!(name.to_string(), "schema registry id 258");

    let coupon = bytes_of(&coupon_issue(1, "c", "u"));
    let like = bytes_of(&like(1, "t", "l", LikeAction::Like, 1));
    let never: [&[u8]; 10] = [
        b"",
        b"garbage that is long enough",
        &single_object[..9],
        &[0xc3, 0x02, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        &[0, 0, 0, 0, 0, 0],
        &[0, 1, 0, 0, 1, b'x'],
        b"\x00poison",
        &[0, 0, 0, 1, 2],
        &coupon,
        &like[..like.len() - 1],
    ];
    for bytes in never {
        assert_eq!(unknown(bytes), None, "{bytes:x?}");
    }
}

/// Producers other than ours may write anything their schema allows: values are checked on reading too.
#[test]
fn values_are_checked_on_reading() {
    let id = event_id(1).to_string();
    let bytes = bytes_of(&coupon_issue(1, "c", "u"));
    let with_nul = [&bytes[..bytes.len() - 1], &[0]].concat();
    let refused = Codecs::builtin().decode::<CouponIssue>(&with_nul).unwrap_err();
    assert!(refused.to_string().contains("control character"), "{refused}");

    let like_bytes = bytes_of(&like(1, "t", "l", LikeAction::Like, 0));
    let at = like_bytes.windows(id.len()).position(|w| w == id.as_bytes()).unwrap();
    let mut bad_id = like_bytes;
    bad_id[at] = b'x';
    assert!(matches!(Codecs::builtin().decode::<Like>(&bad_id), Err(DecodeError::Invalid(_))));

    // what the fields must not be together
    let of_oneself = bytes_of(&like(1, "t", "t", LikeAction::Like, 0));
    let refused = Codecs::builtin().decode::<Like>(&of_oneself).unwrap_err();
    assert!(refused.to_string().contains("likes itself"), "{refused}");
}

#[test]
fn partition_keys_follow_the_contract() {
    use floodgate_schemas::{CouponKey, Keying};
    fn key<E: Event>(event: &E, coupon: CouponKey) -> String {
        let mut key = String::new();
        event.write_partition_key(Keying { coupon }, &mut key);
        key
    }
    assert_eq!(key(&expectation(1, 42, 1, 1), CouponKey::Coupon), "42");
    assert_eq!(key(&coupon_issue(1, "c", "u"), CouponKey::Coupon), "c");
    assert_eq!(key(&coupon_issue(1, "c", "u"), CouponKey::User), "u");
    assert_eq!(key(&like(1, "t", "l", LikeAction::Like, 0), CouponKey::Coupon), "t\u{1f}l");
}
