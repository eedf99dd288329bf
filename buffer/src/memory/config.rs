//! The `[buffer.in_memory]` section.

use std::sync::Arc;

use floodgate_config::Section;
use serde::Deserialize;

use super::InMemory;
use crate::kind::{Kind, Opener, Surroundings};

pub(crate) const KIND: Kind = Kind {
    name: "in-memory",
    section: "in_memory",
    defaults: include_str!("default.toml"),
    passes_through: None,
    configure,
    mask: |_| {},
};

/// `[buffer.in_memory]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InMemoryConfig {
    /// Events waiting over all topics; more are refused.
    pub(crate) max_events: usize,
    /// Keys and values waiting over all topics, in bytes; more are refused.
    pub(crate) max_bytes: usize,
    /// Dead letters kept; the oldest go first (each was logged when it came).
    pub(crate) dead_letters_max: usize,
}

fn configure(section: &Section, around: &Surroundings<'_>, problems: &mut Vec<String>) -> Option<Opener> {
    let config: InMemoryConfig = section.read(problems)?;
    if config.max_events == 0 {
        problems.push(format!("{} must be at least 1", section.key("max_events")));
    }
    let topics = around.topics.clone();
    Some(Box::new(move || Ok(Arc::new(InMemory::new(&config, &topics)))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_that_takes_nothing_is_refused() {
        let told = |max_events: i64| {
            let default: toml::Table = KIND.defaults.parse().unwrap();
            let section = Section::new("", default.clone(), default).section("buffer").section(KIND.section);
            let mut table = toml::Table::new();
            table.insert("max_events".to_owned(), max_events.into());
            table.insert("max_bytes".to_owned(), 1.into());
            table.insert("dead_letters_max".to_owned(), 1.into());
            let mut problems = Vec::new();
            let topics = crate::TopicsConfig {
                partitions: 1,
                replication_factor: 1,
                prefix: String::new(),
                retention_hours: 1,
                dead_letter_retention_hours: 1,
            };
            let around = Surroundings { topics: &topics, drain_ms: 1 };
            assert!(configure(&section.with(table), &around, &mut problems).is_some());
            problems
        };
        assert_eq!(told(0), ["buffer.in_memory.max_events must be at least 1"]);
        assert_eq!(told(1), Vec::<String>::new());
    }
}
