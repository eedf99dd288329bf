//! What there is, and what was made, of the topics.

use std::fmt;

/// The topics of a strategy, as things that are made and looked after.
pub trait Topics: Send + Sync {
    /// Creates those that are missing and reports on each. Blocks on the network.
    ///
    /// # Errors
    /// [`TopicsError`] when the strategy cannot be reached or refuses.
    fn create(&self) -> Result<Vec<TopicReport>, TopicsError>;

    /// What is there of each. Blocks on the network.
    ///
    /// # Errors
    /// [`TopicsError`] when the strategy cannot be reached.
    fn describe(&self) -> Result<Vec<TopicDescription>, TopicsError>;
}

/// One topic after [`Topics::create`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicReport {
    /// What happened.
    pub state: TopicState,
    /// How it is now.
    pub description: TopicDescription,
}

/// What creating a topic came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicState {
    /// It was missing and is there now.
    Created,
    /// It was there already.
    Existed,
    /// It was there with another partition count: left alone, as adding partitions moves keys.
    Differs {
        /// Partitions it has.
        has: usize,
        /// Partitions configured.
        wanted: usize,
    },
}

/// One topic as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicDescription {
    /// Its full name.
    pub name: String,
    /// Its partitions; `None` when the topic is missing, or cannot be seen.
    pub partitions: Option<Vec<PartitionDescription>>,
    /// Why it cannot be seen, where it is not missing.
    pub trouble: Option<String>,
    /// The properties that promises rest on.
    pub properties: TopicProperties,
    /// What is wrong with it, what breaks a promise first.
    pub findings: Vec<TopicFinding>,
}

impl TopicDescription {
    /// A topic that is not there.
    pub(crate) fn missing(name: String) -> Self {
        let properties = TopicProperties::Are(Vec::new());
        Self { name, partitions: None, trouble: None, properties, findings: Vec::new() }
    }
}

/// A topic's properties, as far as they were looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicProperties {
    /// By name; none where the strategy has none.
    Are(Vec<(String, String)>),
    /// They cannot be seen, and why.
    NotChecked(String),
}

/// Something about a topic that is not as a promise needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicFinding {
    /// The topic's full name.
    pub topic: String,
    /// What about it.
    pub property: &'static str,
    /// How it is.
    pub value: String,
    /// How it should be.
    pub wanted: String,
    /// Whether events that are answered 202 may be lost, or none can be answered so; otherwise it is told only.
    pub breaks: bool,
    /// What comes of it.
    pub why: String,
    /// What mends it: a command, where there is one.
    pub mend: String,
}

impl fmt::Display for TopicFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, property, value, wanted, why, mend, .. } = self;
        write!(f, "topic {topic}: {property} is {value}, wanted is {wanted}: {why}; to mend it: {mend}")
    }
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
