//! Schemas that are not built in: asked for once, compiled once, kept for ever.
//!
//! A number of a registry stands for one schema for ever, so that nothing that was learnt is ever forgotten or asked again.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};

use crate::avro::{Incompatible, Plan, Unread};
use crate::undecodable::{DecodeError, SchemaName, numbered};
use crate::whole::{nothing_left, whole};
use crate::{CouponIssue, Event, EventType, ExpectationWrite, Like};

/// A boxed future: one allocation per batch, command or request, which keeps traits object-safe.
pub type BoxFuture<'f, T> = Pin<Box<dyn Future<Output = T> + Send + 'f>>;

/// Who knows schemas by their numbers: a registry.
pub trait Schemas: fmt::Debug + Send + Sync {
    /// The text of a schema; `None` where it cannot be had now, or there is none. Asked again for every batch that names it: an
    /// implementation bounds how often it asks others and how long it takes, which counts from this call and not from when its
    /// future is polled, and tells what keeps it from knowing.
    fn text(&self, id: u32) -> BoxFuture<'_, Option<Arc<str>>>;

    /// A schema was seen for the first time: which of our types it is of, and why its events cannot be read, if they cannot.
    fn seen(&self, id: u32, of: Option<EventType>, why: Option<&Incompatible>);
}

/// How many schemas a batch asks for. Where one cannot be had its partition waits, so that more of them are asked for in vain:
/// bytes of garbage may name thousands.
const ASKED_AT_ONCE: usize = 64;

/// How many schemas are learnt. A registry that is shared with others may have more, and what comes with them waits.
const KNOWN_MAX: usize = 1000;

/// What was learnt of others' schemas.
#[derive(Debug)]
pub(crate) struct Learnt {
    source: Arc<dyn Schemas>,
    // few, and looked at for every event: the newest come last
    known: RwLock<Vec<(u32, Known)>>,
}

/// One schema.
#[derive(Debug)]
enum Known {
    /// One that is built in, by its place among its type's: read as that is.
    BuiltIn(EventType, usize),
    /// Of a type of ours, by its record's name, and how it is read.
    Ours(EventType, Result<Plan, Incompatible>),
    /// Of none, and why.
    Other(Incompatible),
}

impl Known {
    fn new(text: &str) -> Self {
        fn as_a<E: Event>(text: &str) -> Option<Known> {
            let ours = E::codec().text();
            if let Some(place) =
                E::codec().schemas.iter().position(|schema| Plan::are_of_the_same(text, schema.text))
            {
                return Some(Known::BuiltIn(E::TYPE, place));
            }
            Plan::is_of(text, ours).then(|| Known::Ours(E::TYPE, Plan::compile(text, ours)))
        }
        let ours = as_a::<Like>(text).or_else(|| as_a::<CouponIssue>(text));
        let ours = ours.or_else(|| as_a::<ExpectationWrite>(text));
        ours.unwrap_or_else(|| match Plan::compile(text, Like::codec().text()) {
            Err(why) => Known::Other(why),
            Ok(_) => Known::Other(Incompatible { reasons: vec!["of another record".to_owned()] }),
        })
    }

    /// Which of our types it is of, and why it cannot be read, if it cannot.
    fn verdict(&self) -> (Option<EventType>, Option<Incompatible>) {
        match self {
            Known::BuiltIn(of, _) => (Some(*of), None),
            Known::Ours(of, plan) => (Some(*of), plan.as_ref().err().cloned()),
            Known::Other(why) => (None, Some(why.clone())),
        }
    }
}

impl Learnt {
    pub(crate) fn new(source: Arc<dyn Schemas>) -> Self {
        Self { source, known: RwLock::default() }
    }

    /// Whether it is new, and there is room for it.
    fn is_to_be_asked(&self, id: u32) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.len() < KNOWN_MAX && known.iter().all(|(number, _)| *number != id)
    }

    /// Asks for what these values name and nobody here knows.
    pub(crate) async fn prepare<'v>(&self, values: impl Iterator<Item = &'v [u8]>) {
        let mut last = None;
        let numbers = values.filter_map(|value| numbered(value).map(|(id, _)| id));
        // most of a batch is of one schema
        let changes = numbers.filter(|id| last.replace(*id) != Some(*id));
        let mut new: Vec<u32> = Vec::new();
        for id in changes {
            if new.len() < ASKED_AT_ONCE && !new.contains(&id) && self.is_to_be_asked(id) {
                new.push(id);
            }
        }
        // all at once: each may take its time
        let asked: Vec<_> = new.into_iter().map(|id| (id, self.source.text(id))).collect();
        for (id, text) in asked {
            let Some(text) = text.await else { continue };
            let known = Known::new(&text);
            let (of, why) = known.verdict();
            let is_first = {
                let mut all = self.known.write().unwrap_or_else(PoisonError::into_inner);
                let is_first = all.iter().all(|(number, _)| *number != id);
                if is_first {
                    all.push((id, known));
                }
                is_first
            };
            if is_first {
                self.source.seen(id, of, why.as_ref());
            }
        }
    }

    pub(crate) fn decode<E: Event>(&self, id: u32, mut datum: &[u8]) -> Result<E, DecodeError> {
        let name = SchemaName::RegistryId(id);
        let not_yet = |why| DecodeError::NotYet(name, why);
        let all = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let known = all.iter().find(|(number, _)| *number == id).map(|(_, known)| known);
        let plan = match known {
            Some(Known::BuiltIn(of, place)) if *of == E::TYPE => {
                return whole(&E::codec().schemas[*place], datum);
            }
            Some(Known::BuiltIn(of, _)) => return Err(DecodeError::OtherType(*of)),
            Some(Known::Ours(of, Ok(plan))) if *of == E::TYPE => plan,
            Some(Known::Ours(of, _)) if *of != E::TYPE => return Err(DecodeError::OtherType(*of)),
            Some(Known::Ours(..)) => return Err(not_yet("fields that this build cannot read as its own")),
            Some(Known::Other(_)) => return Err(not_yet("a record that this build does not know")),
            None => return Err(DecodeError::UnknownSchema(name)),
        };
        let event = E::read_planned(plan, &mut datum).map_err(|unread| match unread {
            Unread::Invalid(invalid) => DecodeError::Invalid(invalid),
            Unread::NotYet(why) => not_yet(why),
        })?;
        nothing_left(event, datum)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::LikeAction;
    use crate::codec::{Codecs, encode};
    use crate::examples::{coupon_issue, like};

    /// Of which number, of which type, and why it cannot be read.
    type Seen = (u32, Option<EventType>, Option<String>);

    /// Knows the schemas that it was given, by their places from 1.
    #[derive(Debug, Default)]
    struct Given {
        texts: Mutex<Vec<Option<String>>>,
        asked: Mutex<Vec<u32>>,
        seen: Mutex<Vec<Seen>>,
    }

    impl Schemas for Given {
        fn text(&self, id: u32) -> BoxFuture<'_, Option<Arc<str>>> {
            self.asked.lock().unwrap().push(id);
            let text = self.texts.lock().unwrap().get(id as usize - 1).cloned().flatten();
            Box::pin(std::future::ready(text.map(|text| text.as_str().into())))
        }

        fn seen(&self, id: u32, of: Option<EventType>, why: Option<&Incompatible>) {
            self.seen.lock().unwrap().push((id, of, why.map(ToString::to_string)));
        }
    }

    /// What an event is as a record of the schema of this number.
    fn framed<E: Event>(id: u32, event: &E) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(event, &mut bytes);
        [&[0][..], &id.to_be_bytes(), &bytes[10..]].concat()
    }

    fn prepare(codecs: &Codecs, values: &[&[u8]]) {
        let ready = std::pin::pin!(codecs.prepare(values.iter().copied()));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(ready.poll(&mut context).is_ready());
    }

    #[test]
    fn schemas_are_asked_for_once_and_kept() {
        let likes = Like::codec().text();
        let given = Arc::new(Given::default());
        let codecs = Codecs::with(Arc::clone(&given) as _);
        let event = like(1, "star", "ann", LikeAction::Like, 5);
        let value = framed(1, &event);
        let unknown = DecodeError::UnknownSchema(SchemaName::RegistryId(1)).to_string();
        // it cannot be had yet
        for _ in 0..2 {
            prepare(&codecs, &[&value, &value]);
            assert_eq!(codecs.decode::<Like>(&value).unwrap_err().to_string(), unknown);
        }
        given.texts.lock().unwrap().push(Some(likes.to_owned()));
        // and nothing is asked by decoding
        assert_eq!(codecs.decode::<Like>(&value).unwrap_err().to_string(), unknown);
        for _ in 0..2 {
            prepare(&codecs, &[&value, b"poison", b"", &value]);
            assert_eq!(codecs.decode::<Like>(&value).unwrap(), event);
        }
        assert_eq!(*given.asked.lock().unwrap(), [1, 1, 1]);
        assert_eq!(*given.seen.lock().unwrap(), [(1, Some(EventType::Like), None)]);
        // what is built in needs no number
        let mut own = Vec::new();
        encode(&event, &mut own);
        assert_eq!(codecs.decode::<Like>(&own).unwrap(), event);
    }

    /// What a build cannot read waits; what is of another type, or broken, never will be.
    #[test]
    fn what_waits_is_told_from_what_never_will_be() {
        let given = Arc::new(Given::default());
        let newer = Like::codec().text().replace("\"occurredAt\"", "\"at\"");
        let optional = Like::codec().text().replace(
            r#"{"name": "targetOcid", "type": "string"}"#,
            r#"{"name": "source", "type": ["null", "string"], "default": null}, {"name": "targetOcid", "type": "string"}"#,
        );
        let texts = [newer.as_str(), CouponIssue::codec().text(), optional.as_str(), "{", "\"int\""];
        given.texts.lock().unwrap().extend(texts.map(|text| Some(text.to_owned())));
        let codecs = Codecs::with(Arc::clone(&given) as _);
        let event = like(1, "star", "ann", LikeAction::Like, 5);
        let with_source = |source: &[u8]| {
            let plain = framed(3, &event);
            let (head, tail) = plain.split_at(plain.windows(5).position(|five| five == b"\x08star").unwrap());
            [head, source, tail].concat()
        };
        let values = [1, 2, 4, 5].map(|id| framed(id, &event));
        let coupon = framed(2, &coupon_issue(1, "summer", "ann"));
        let sources = [with_source(&[0]), with_source(b"\x02\x06app")];
        prepare(&codecs, &values.iter().chain(&sources).map(Vec::as_slice).collect::<Vec<_>>());
        let reason = |value: &[u8]| codecs.decode::<Like>(value).map(|_| ()).unwrap_err();
        assert_eq!(reason(&values[0]).unknown_schema(), Some(SchemaName::RegistryId(1)));
        assert!(matches!(reason(&coupon), DecodeError::OtherType(EventType::Coupon)));
        assert_eq!(reason(&values[2]).unknown_schema(), Some(SchemaName::RegistryId(4)));
        assert_eq!(reason(&values[3]).unknown_schema(), Some(SchemaName::RegistryId(5)));
        // a field that is new is passed over, wherever it stands
        for value in &sources {
            assert_eq!(codecs.decode::<Like>(value).unwrap(), event);
        }
        assert!(matches!(reason(&[&sources[0][..], b"x"].concat()), DecodeError::TrailingBytes(1)));
        assert!(matches!(reason(&sources[0][..20]), DecodeError::Invalid(_)));
        let seen = given.seen.lock().unwrap();
        let told = |id: u32| seen.iter().find(|(number, ..)| *number == id).unwrap();
        assert!(told(1).2.as_ref().unwrap().contains("occurredAt"), "{seen:?}");
        assert_eq!((told(2).1, &told(2).2), (Some(EventType::Coupon), &None));
        assert_eq!((told(3).1, &told(3).2), (Some(EventType::Like), &None));
        assert!(told(4).2.as_ref().unwrap().contains("not a schema"), "{seen:?}");
    }
}
