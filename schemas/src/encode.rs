//! What events are written with.
//!
//! Without a registry a value begins with the fingerprint of its schema (Avro single-object encoding, ten bytes). With one it
//! begins with the number that the registry has for it (Confluent's wire format, five bytes), which somebody has to have asked
//! for first: [`SchemaIds`] is where that is told, and until then nothing can be written.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::codec::encode;
use crate::undecodable::{CONFLUENT_MAGIC, REGISTRY_ID_MAX};
use crate::{Event, EventType};

/// What events are written with. Handed in like time and chance, and cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Encoder(Option<Arc<SchemaIds>>);

impl Encoder {
    /// With the schemas' fingerprints.
    pub const fn single_object() -> Self {
        Self(None)
    }

    /// With their numbers in a registry.
    pub const fn registered(ids: Arc<SchemaIds>) -> Self {
        Self(Some(ids))
    }

    /// Appends the event's bytes to `out`.
    ///
    /// # Errors
    /// [`NoSchemaId`]: its schema has no number yet, and nothing was appended.
    pub fn encode<E: Event>(&self, event: &E, out: &mut Vec<u8>) -> Result<(), NoSchemaId> {
        match &self.0 {
            None => encode(event, out),
            Some(ids) => {
                let id = ids.get(E::TYPE).ok_or_else(|| ids.why_none())?;
                out.push(CONFLUENT_MAGIC);
                out.extend_from_slice(&id.to_be_bytes());
                event.write(out);
            }
        }
        Ok(())
    }

    /// Whether events of every type can be written.
    ///
    /// # Errors
    /// [`NoSchemaId`].
    pub fn ready(&self) -> Result<(), NoSchemaId> {
        match &self.0 {
            Some(ids) if EventType::ALL.into_iter().any(|of| ids.get(of).is_none()) => Err(ids.why_none()),
            _ => Ok(()),
        }
    }
}

/// A schema has no number yet, and why: passes as soon as the registry gives it one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the schema registry has given no id yet, and without one no event can be written: {0}")]
pub struct NoSchemaId(String);

/// The numbers of the schemas that this build writes with.
#[derive(Debug, Default)]
pub struct SchemaIds {
    /// By the types' places; 0 is none.
    ids: [AtomicU32; EventType::ALL.len()],
    why_none: Mutex<String>,
}

impl SchemaIds {
    /// The number of a type's schema, if it has one.
    pub fn get(&self, of: EventType) -> Option<u32> {
        match self.ids[of as usize].load(Ordering::Relaxed) {
            0 => None,
            id => Some(id),
        }
    }

    /// From here on a type's events are written with this number. Returns the one before.
    ///
    /// # Errors
    /// What is wrong with it: readers would not know it as one, so that it is not taken.
    pub fn set(&self, of: EventType, id: u32) -> Result<Option<u32>, String> {
        if !(1..=REGISTRY_ID_MAX).contains(&id) {
            return Err(format!("its id, {id}, is none that readers take for one (1 to {REGISTRY_ID_MAX})"));
        }
        let before = self.ids[of as usize].swap(id, Ordering::Relaxed);
        Ok((before != 0).then_some(before))
    }

    /// Why those that are missing are.
    pub fn tell(&self, why_none: &str) {
        why_none.clone_into(&mut self.why_none.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn why_none(&self) -> NoSchemaId {
        NoSchemaId(self.why_none.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LikeAction;
    use crate::codec::Codecs;
    use crate::examples::like;

    #[test]
    fn events_are_marked_by_fingerprint_or_by_number() {
        let event = like(1, "star", "ann", LikeAction::Like, 5);
        let (mut plain, mut numbered) = (Vec::new(), Vec::new());
        Encoder::single_object().encode(&event, &mut plain).unwrap();
        assert_eq!(Codecs::builtin().decode::<crate::Like>(&plain).unwrap(), event);

        let ids = Arc::new(SchemaIds::default());
        let encoder = Encoder::registered(Arc::clone(&ids));
        ids.tell("nobody answered");
        let none = encoder.encode(&event, &mut numbered).unwrap_err();
        assert!(none.to_string().ends_with("nobody answered") && numbered.is_empty(), "{none}");
        assert_eq!(ids.set(EventType::Like, 0x01_02_03), Ok(None));
        encoder.encode(&event, &mut numbered).unwrap();
        assert_eq!(numbered[..5], [0, 0, 1, 2, 3]);
        assert_eq!(numbered[5..], plain[10..]);
        // the others have none yet
        assert_eq!(encoder.ready(), Err(none));
        for of in EventType::ALL {
            ids.set(of, 7).unwrap();
        }
        assert_eq!(encoder.ready(), Ok(()));
        assert_eq!(ids.set(EventType::Like, 8), Ok(Some(7)));
        for wrong in [0, REGISTRY_ID_MAX + 1] {
            assert!(ids.set(EventType::Like, wrong).is_err());
        }
        assert_eq!(ids.get(EventType::Like), Some(8));
    }
}
