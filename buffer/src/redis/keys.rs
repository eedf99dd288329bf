//! What the keys are called. All keys of a partition carry the same hash tag, and so lie on one node of a cluster.

use crate::{Names, Partition, Topic};

/// The keys of one topic.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: String,
    topic: &'static str,
}

impl Keys {
    pub(super) fn of(names: &Names, topic: Topic) -> Self {
        Self { prefix: names.prefixed(""), topic: topic.base_name() }
    }

    /// The list of a partition: its head is the oldest record.
    pub(super) fn list(&self, partition: Partition) -> String {
        format!("{}{{{}:{partition}}}", self.prefix, self.topic)
    }

    /// What is known of a partition besides its records: the offset of its head (`base`), how large its records are (`bytes`),
    /// since when there are any (`since`), whose it is (`owner`, `epoch`) and until when (`lease`, in milliseconds of the server's clock).
    pub(super) fn meta(&self, partition: Partition) -> String {
        format!("{}:meta", self.list(partition))
    }

    /// The members of the topic's group, by when each counts as gone.
    pub(super) fn members(&self) -> String {
        format!("{}{{{}}}:members", self.prefix, self.topic)
    }

    /// How many partitions the topic has.
    pub(super) fn partitions(&self) -> String {
        format!("{}{{{}}}:partitions", self.prefix, self.topic)
    }

    /// By which it is found out whether Redis takes what is written.
    pub(super) fn probe(&self, partition: Partition) -> String {
        format!("{}:probe", self.list(partition))
    }

    /// Which log the topic is.
    pub(super) fn id(&self) -> String {
        format!("{}{{{}}}:id", self.prefix, self.topic)
    }
}

#[cfg(test)]
mod tests {
    use floodgate_schemas::EventType;

    use super::*;

    #[test]
    fn keys_are_as_promised() {
        let keys = Keys::of(&Names::new("x."), Topic::Events(EventType::Like));
        assert_eq!(keys.list(Partition(3)), "x.{floodgate.like.v1:3}");
        assert_eq!(keys.meta(Partition(3)), "x.{floodgate.like.v1:3}:meta");
        assert_eq!(keys.members(), "x.{floodgate.like.v1}:members");
        assert_eq!(keys.id(), "x.{floodgate.like.v1}:id");
    }
}
