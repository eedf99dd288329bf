//! Records as they stand on a topic: `e`xpectation, `c`oupon or `l`ike, a number of headers, each a name and a value behind the byte
//! that says its length (255: no value), and the value, in whatever encoding it is.

use std::sync::{Arc, LazyLock};

use floodgate_buffer::fuzzing::{checksum, take_checksum};
use floodgate_buffer::{Record, Topic};
use floodgate_schemas::dead_letter::{Header, Heading, Place};
use floodgate_schemas::examples::at;
use floodgate_schemas::{BoxFuture, Codecs, Event, EventType, Incompatible, Mixed, Schemas, codec};
use floodgate_traces::Parent;

use super::same::is_the_same_again;

pub fn run(bytes: &[u8]) {
    let [of, count, rest @ ..] = bytes else { return };
    let Some((headers, value)) = headers(usize::from(*count % 16), rest) else { return };
    match of {
        b'e' => decode(value, Mixed::Expectation),
        b'c' => decode(value, Mixed::Coupon),
        b'l' => decode(value, Mixed::Like),
        _ => {}
    }
    letters(&headers);
    checksums(&headers, value);
    for (_, value) in headers {
        if let Some(Parent { context, .. }) = value.and_then(Parent::parse) {
            let written = context.to_string();
            assert_eq!(Parent::parse(written.as_bytes()), Some(Parent { context, is_sampled: true }));
        }
    }
}

/// So many headers, and what stands behind them.
fn headers(count: usize, mut rest: &[u8]) -> Option<(Vec<Header<'_>>, &[u8])> {
    let mut part = || {
        let (length, after) = rest.split_first()?;
        let length = if *length == u8::MAX { 0 } else { usize::from(*length) };
        let (part, after) = after.split_at_checked(length)?;
        let is_none = rest[0] == u8::MAX;
        rest = after;
        Some((!is_none).then_some(part))
    };
    let mut headers = Vec::new();
    for _ in 0..count {
        headers.push((part()?.unwrap_or_default(), part()?));
    }
    Some((headers, rest))
}

/// A registry of schemas: ours as they are, and as others may have them.
#[derive(Debug)]
struct Registry(Vec<String>);

impl Schemas for Registry {
    fn text(&self, id: u32) -> BoxFuture<'_, Option<Arc<str>>> {
        let text = self.0.get(id as usize - 1).map(|text| Arc::from(&**text));
        Box::pin(async { text })
    }

    fn seen(&self, _: u32, _: Option<EventType>, _: Option<&Incompatible>) {}
}

static CODECS: LazyLock<Codecs> = LazyLock::new(|| {
    let mut schemas: Vec<String> = EventType::ALL.map(|of| codec::schema_of(of).to_owned()).to_vec();
    let others = schemas.iter().map(|text| {
        let first = text.find("\"fields\": [").expect("has fields") + "\"fields\": [".len();
        let (before, after) = text.split_at(first);
        let more = r#"{"name": "tags", "type": {"type": "map", "values": ["null", "string", {"type": "array", "items": "long"}]}},
            {"name": "self", "type": {"type": "record", "name": "Chain", "fields": [{"name": "next", "type": ["null", "Chain"]}]}},"#;
        format!("{before}{more}{after}")
    });
    schemas.extend(others.collect::<Vec<_>>());
    let ids = 1..=schemas.len() as u32;
    let codecs = Codecs::with(Arc::new(Registry(schemas)));
    let named: Vec<Vec<u8>> = ids.map(|id| [&[0][..], &id.to_be_bytes(), b"x"].concat()).collect();
    futures_executor::block_on(codecs.prepare(named.iter().map(Vec::as_slice)));
    codecs
});

/// What is on a topic is what a client could have sent.
fn decode<E: Event>(value: &[u8], of: fn(E) -> Mixed) {
    for codecs in [&Codecs::builtin(), &*CODECS] {
        if let Ok(event) = codecs.decode::<E>(value) {
            is_the_same_again(&of(event));
        }
    }
}

/// A letter of a letter says where the later one stood, and keeps what was there.
fn letters(headers: &[Header<'_>]) {
    let place = Place::read(headers);
    let now = Place { topic: "floodgate.like.v1", partition: 3, offset: 42, log: None };
    for place in place.into_iter().chain([now]) {
        let heading = Heading { place, group: "g", reason: "r", message: "m", failed_at: at(0) };
        heading.under(headers, |letter| {
            assert_eq!(letter[..headers.len()], *headers);
            let read = Place::read(letter).expect("says where it stood");
            assert_eq!(
                (read.topic, read.partition, read.offset),
                (place.topic, place.partition, place.offset)
            );
        });
    }
}

/// What is published is found whole, whatever stood there before; and not once a byte of it is another one.
fn checksums(headers: &[Header<'_>], value: &[u8]) {
    let _ = take_checksum(None, Some(value), &mut headers.to_vec());
    let record = Record { topic: Topic::Events(EventType::Like), key: None, value: Some(value), headers };
    let (name, sum) = checksum(&record);
    let mut with_sum = headers.to_vec();
    with_sum.push((name, Some(&sum)));
    let mut read = with_sum.clone();
    assert_eq!(take_checksum(None, Some(value), &mut read), Ok(()));
    assert_eq!(read, headers);
    let mut damaged = value.to_vec();
    if let Some(last) = damaged.last_mut() {
        *last ^= 1;
        assert!(take_checksum(None, Some(&damaged), &mut with_sum).is_err());
    }
}
