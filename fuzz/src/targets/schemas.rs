//! Schemas that others wrote, and their data: the text of one, a zero byte, a datum. Behind form feeds in the text stand schemas
//! that it refers to, each a name, a line break and its text.

use std::sync::Arc;

use floodgate_schemas::{
    BoxFuture, Codecs, CouponIssue, Event, EventType, ExpectationWrite, Incompatible, Like, Schemas, codec,
};

use super::same::in_avro;

pub fn run(bytes: &[u8]) {
    let (text, datum) = match bytes.iter().position(|byte| *byte == 0) {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (bytes, &[][..]),
    };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let mut parts = text.split('\u{c}');
    let schema = parts.next().unwrap_or_default();
    let references: Vec<(String, String)> =
        parts.filter_map(|part| part.split_once('\n')).map(|(n, t)| (n.to_owned(), t.to_owned())).collect();
    let whole = codec::with_references(schema, &references).unwrap_or_else(|_| schema.to_owned());
    judged(&whole);
    decoded::<ExpectationWrite>(&whole, datum);
    decoded::<CouponIssue>(&whole, datum);
    decoded::<Like>(&whole, datum);
}

/// What is said of a schema agrees with itself.
fn judged(text: &str) {
    let is_schema = codec::check(text).is_ok();
    assert!(codec::are_the_same(text, text));
    for of in EventType::ALL {
        let losses = codec::losses(of, text);
        let unfit = codec::unfit(of, text, &[]);
        assert!(is_schema || losses.is_err() && !unfit.is_empty());
        if unfit.is_empty() {
            assert_eq!(losses, Ok(Vec::new()), "consumers read what is fit");
        }
        if codec::are_the_same(text, codec::schema_of(of)) {
            assert_eq!((codec::type_of(text), losses, unfit), (Some(of), Ok(Vec::new()), Vec::new()));
        }
    }
}

/// A registry with one schema.
#[derive(Debug)]
struct One(Arc<str>);

impl Schemas for One {
    fn text(&self, _: u32) -> BoxFuture<'_, Option<Arc<str>>> {
        let text = Arc::clone(&self.0);
        Box::pin(async { Some(text) })
    }

    fn seen(&self, _: u32, _: Option<EventType>, _: Option<&Incompatible>) {}
}

fn decoded<E: Event + PartialEq>(text: &str, datum: &[u8]) {
    let codecs = Codecs::with(Arc::new(One(text.into())));
    let value = [&[0, 0, 0, 0, 1], datum].concat();
    futures_executor::block_on(codecs.prepare([&*value].into_iter()));
    let Ok(event) = codecs.decode::<E>(&value) else { return };
    in_avro(&event);
    assert!(codec::losses(E::TYPE, text).is_ok() && codec::type_of(text) == Some(E::TYPE));
    if codec::are_the_same(text, codec::schema_of(E::TYPE)) {
        let mut ours = Vec::new();
        codec::encode(&event, &mut ours);
        let read = Codecs::builtin().decode::<E>(&[&ours[..10], datum].concat());
        assert_eq!(read.ok(), Some(event), "in either encoding");
    }
}
