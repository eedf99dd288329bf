//! An event that exists is written and read as itself.

use floodgate_schemas::examples::{at, event_id};
use floodgate_schemas::{
    Accept, Codecs, Event, EventId, EventIdSource, IdempotencyKey, Mixed, Timestamp, codec,
};

/// What an ingress adds, at ten o'clock of the examples' day.
pub fn accept(key: Option<&IdempotencyKey>) -> Accept<'_> {
    let id = key.map_or(EventIdSource::Fresh(event_id(1)), EventIdSource::Key);
    Accept { id, accepted_at: at(0), latest: at(300_000_000) }
}

/// What a client may have sent: in Avro and in JSON.
pub fn is_the_same_again(event: &Mixed) {
    let (id, accepted_at) = match event {
        Mixed::Expectation(event) => in_avro(event),
        Mixed::Coupon(event) => in_avro(event),
        Mixed::Like(event) => in_avro(event),
    };
    // others' versions may be further ahead than any client's clock
    if matches!(event, Mixed::Expectation(event) if event.version > Timestamp::MAX.as_micros()) {
        return;
    }
    let mut json = event.to_json();
    let object = json.as_object_mut().expect("an event is an object");
    for (name, said) in [("eventId", id.to_string()), ("acceptedAt", accepted_at.to_string())] {
        assert_eq!(object.remove(name).expect("is said").as_str(), Some(&*said));
    }
    let again = Mixed::from_json(json.to_string().as_bytes(), |_| Accept {
        id: EventIdSource::Fresh(id),
        accepted_at,
        latest: Timestamp::MAX,
    });
    assert_eq!(again.as_ref(), Ok(event));
}

/// In Avro alone.
pub fn in_avro<E: Event + PartialEq>(event: &E) -> (EventId, Timestamp) {
    let mut bytes = Vec::new();
    codec::encode(event, &mut bytes);
    let read = |bytes: &[u8]| Codecs::builtin().decode::<E>(bytes).ok();
    assert_eq!(read(&bytes).as_ref(), Some(event));
    assert_eq!(read(&bytes[..bytes.len() - 1]), None, "cut short");
    bytes.push(0);
    assert_eq!(read(&bytes), None, "with something behind it");
    (event.event_id(), event.accepted_at())
}
