//! The dead-letter topic, and what reading it takes.

use std::fmt;
use std::sync::Arc;

use floodgate_buffer::{Names, Strategy};
use floodgate_schemas::{Clock, Codecs};

/// Where the dead letters are, and what those who read them are handed.
#[derive(Clone)]
pub struct DeadLetterTopic {
    /// Where they are.
    pub strategy: Arc<dyn Strategy>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What events are read with.
    pub codecs: Codecs,
}

impl DeadLetterTopic {
    /// The full names of all topics and groups.
    pub fn names(&self) -> &Names {
        self.strategy.names()
    }
}

impl fmt::Debug for DeadLetterTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetterTopic").field("strategy", &self.strategy.name()).finish_non_exhaustive()
    }
}
