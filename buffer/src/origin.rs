//! Where a record of an event stood, as people write it: the one spelling that every command has for it.

use std::fmt;

use floodgate_schemas::EventType;
use serde::Serialize;

use crate::{Offset, Partition, Strategy, Topic};

/// Where the record of an event stood: what [`crate::Origin`] is, on topics of events only. Sorts by type, partition and offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventOrigin {
    /// On the topic of these events.
    pub of: EventType,
    /// In this partition.
    pub partition: Partition,
    /// At this offset.
    pub offset: Offset,
}

/// The same under its topic's full name, written `TOPIC/PARTITION/OFFSET`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NamedOrigin {
    /// The topic's full name.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

impl fmt::Display for NamedOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.topic, self.partition, self.offset)
    }
}

/// The full names of all topics.
#[derive(Debug, Clone)]
pub struct TopicNames {
    events: [String; EventType::ALL.len()],
    dead_letters: String,
}

impl TopicNames {
    /// As they are configured.
    pub fn new(strategy: &dyn Strategy) -> Self {
        Self {
            events: EventType::ALL.map(|of| strategy.topic_name(Topic::Events(of))),
            dead_letters: strategy.topic_name(Topic::DeadLetters),
        }
    }

    /// The full name of a topic of events.
    pub fn name(&self, of: EventType) -> &str {
        &self.events[of as usize]
    }

    /// The events of the topic that has this full name.
    pub fn of(&self, name: &str) -> Option<EventType> {
        EventType::ALL.into_iter().find(|of| self.name(*of) == name)
    }

    /// An origin under its topic's full name.
    pub fn named(&self, origin: EventOrigin) -> NamedOrigin {
        let EventOrigin { of, partition, offset } = origin;
        NamedOrigin { topic: self.name(of).to_owned(), partition: partition.0, offset: offset.0 }
    }

    /// The place of a record on the dead-letter topic.
    pub fn dead_letter(&self, partition: Partition, offset: Offset) -> NamedOrigin {
        NamedOrigin { topic: self.dead_letters.clone(), partition: partition.0, offset: offset.0 }
    }

    /// An origin as people write it: `TOPIC/PARTITION/OFFSET`.
    pub fn show(&self, origin: EventOrigin) -> String {
        self.named(origin).to_string()
    }

    /// Reads what [`TopicNames::show`] writes; the topic may lack its prefix.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(&self, text: &str) -> Result<EventOrigin, String> {
        let mut parts = text.rsplitn(3, '/');
        let (offset, partition, topic) = (parts.next(), parts.next(), parts.next());
        let origin = || {
            let (partition, offset): (i32, i64) = (partition?.parse().ok()?, offset?.parse().ok()?);
            (partition >= 0 && offset >= 0).then_some((topic?, Partition(partition), Offset(offset)))
        };
        let (topic, partition, offset) = origin()
            .ok_or_else(|| "must be TOPIC/PARTITION/OFFSET, such as floodgate.like.v1/0/42".to_owned())?;
        let named = |of: &EventType| self.name(*of) == topic || of.topic() == topic;
        let of = EventType::ALL
            .into_iter()
            .find(named)
            .ok_or_else(|| format!("names no topic of events; these are {}", self.events.join(", ")))?;
        Ok(EventOrigin { of, partition, offset })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::in_memory;

    #[test]
    fn origins_are_read_as_they_are_written() {
        let names = TopicNames::new(&*in_memory(1, 1, "x."));
        let origin = EventOrigin { of: EventType::Coupon, partition: Partition(3), offset: Offset(42) };
        assert_eq!(names.show(origin), "x.floodgate.coupon.v1/3/42");
        let first = EventOrigin { partition: Partition(0), offset: Offset(0), ..origin };
        for (text, wanted) in [
            ("x.floodgate.coupon.v1/3/42", origin),
            ("floodgate.coupon.v1/3/42", origin),
            ("x.floodgate.coupon.v1/0/0", first),
        ] {
            assert_eq!(names.read(text), Ok(wanted), "{text}");
        }
        for (wrong, told) in [
            ("x.floodgate.coupon.v1/-1/42", "TOPIC/PARTITION/OFFSET"),
            ("x.floodgate.coupon.v1/3/-1", "TOPIC/PARTITION/OFFSET"),
            ("x.floodgate.coupon.v1/3", "TOPIC/PARTITION/OFFSET"),
            ("3/42", "TOPIC/PARTITION/OFFSET"),
            ("x.floodgate.dlq.v1/3/42", "names no topic of events; these are x.floodgate.expectation.v1, "),
            ("y.floodgate.coupon.v1/3/42", "names no topic of events"),
        ] {
            let refused = names.read(wrong).unwrap_err();
            assert!(refused.contains(told), "{wrong}: {refused}");
        }
        assert_eq!(names.dead_letter(Partition(1), Offset(2)).to_string(), "x.floodgate.dlq.v1/1/2");
        assert_eq!(names.of("x.floodgate.like.v1"), Some(EventType::Like));
        assert_eq!((names.of("floodgate.like.v1"), names.of("x.floodgate.dlq.v1")), (None, None));
    }
}
