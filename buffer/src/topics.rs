//! What there is, and what was made, of the topics.

/// One topic after [`crate::Strategy::create_topics`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicReport {
    /// Its full name.
    pub name: String,
    /// What happened.
    pub state: TopicState,
}

/// What creating a topic came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicState {
    /// It was missing and is there now.
    Created,
    /// It was there already, as configured.
    Existed,
    /// It was there with another partition count: left alone, as adding partitions moves keys.
    Differs {
        /// Partitions it has.
        has: usize,
        /// Partitions configured.
        wanted: usize,
    },
    /// This strategy keeps no topics of its own outside the process.
    NotNeeded,
}

/// One topic as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicDescription {
    /// Its full name.
    pub name: String,
    /// Its partitions; `None` when the topic is missing.
    pub partitions: Option<Vec<PartitionDescription>>,
}

/// One partition as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionDescription {
    /// Its number.
    pub partition: i32,
    /// The broker that leads it; -1 when none does.
    pub leader: i32,
    /// Brokers that hold a copy.
    pub replicas: Vec<i32>,
    /// Brokers whose copy is current.
    pub in_sync: Vec<i32>,
}

/// Topics cannot be created or described.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TopicsError(pub String);
