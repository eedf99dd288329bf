//! What topics and groups are called, and how people write where a record stood.

use floodgate_schemas::EventType;
use floodgate_schemas::dead_letter::Place;

use crate::{EventOrigin, LogId, NamedOrigin, Offset, Origin, Partition, Topic};

/// The full names of all topics and groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    prefix: String,
    topics: [String; Topic::ALL.len()],
    groups: [String; EventType::ALL.len()],
}

impl Names {
    /// With the configured prefix.
    pub fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            topics: Topic::ALL.map(|topic| format!("{prefix}{}", topic.base_name())),
            groups: EventType::ALL.map(|of| format!("{prefix}{}", of.group())),
        }
    }

    /// The full name of a topic.
    pub fn topic(&self, topic: Topic) -> &str {
        &self.topics[topic.index()]
    }

    /// The full name of the topic of these events.
    pub fn events(&self, of: EventType) -> &str {
        self.topic(Topic::Events(of))
    }

    /// The full name of the group that applies these events.
    pub fn group(&self, of: EventType) -> &str {
        &self.groups[of as usize]
    }

    /// What is put before all of them.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A name of a strategy's own, such as that of a group that only reads.
    pub(crate) fn prefixed(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The full names of all topics, in the order of [`Topic::ALL`].
    pub fn all_topics(&self) -> Vec<&str> {
        self.topics.iter().map(String::as_str).collect()
    }

    /// The events of the topic that has this full name.
    pub fn of(&self, name: &str) -> Option<EventType> {
        EventType::ALL.into_iter().find(|of| self.events(*of) == name)
    }

    /// Where a record stood, as dead letters say it.
    pub fn place<'p>(&'p self, origin: Origin, log: Option<&'p LogId>) -> Place<'p> {
        Place {
            topic: self.topic(origin.topic),
            partition: origin.partition.0,
            offset: origin.offset.0,
            log: log.map(LogId::as_str),
        }
    }

    /// An origin under its topic's full name.
    pub fn named(&self, origin: EventOrigin) -> NamedOrigin {
        let EventOrigin { of, partition, offset } = origin;
        NamedOrigin { topic: self.events(of).to_owned(), partition: partition.0, offset: offset.0 }
    }

    /// The place of a record on the dead-letter topic.
    pub fn dead_letter(&self, partition: Partition, offset: Offset) -> NamedOrigin {
        NamedOrigin {
            topic: self.topic(Topic::DeadLetters).to_owned(),
            partition: partition.0,
            offset: offset.0,
        }
    }

    /// An origin as people write it: `TOPIC/PARTITION/OFFSET`.
    pub fn show(&self, origin: EventOrigin) -> String {
        self.named(origin).to_string()
    }

    /// Reads what [`Names::show`] writes; the topic may lack its prefix.
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
        let named = |of: &EventType| self.events(*of) == topic || of.topic() == topic;
        let of = EventType::ALL.into_iter().find(named).ok_or_else(|| {
            format!(
                "names no topic of events; these are {}",
                EventType::ALL.map(|of| self.events(of)).join(", ")
            )
        })?;
        Ok(EventOrigin { of, partition, offset })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_read_as_they_are_written() {
        let names = Names::new("x.");
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
