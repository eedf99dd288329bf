//! What this crate has to know of a strategy that is not opened yet. A strategy brings its own section of the configuration:
//! its keys with their defaults and meanings, what contradicts what, and which values are secrets.

use std::sync::Arc;

use floodgate_config::Section;
use floodgate_schemas::{Chance, Clock};
use serde::Deserialize;
use tokio::runtime::Handle;
use toml::Table;

use crate::{OpenError, Strategy};

/// Opens a strategy as it was configured. Touches no network.
pub(crate) type Opener = Box<dyn Fn(&Given) -> Result<Arc<dyn Strategy>, OpenError> + Send + Sync>;

/// What the process gives a strategy that it opens.
#[derive(Debug, Clone)]
pub struct Given {
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub chance: Arc<dyn Chance>,
    /// Where its background work runs. Methods of a strategy that block ([`crate::Lag`], [`crate::Log`], [`crate::Topics`]) are called by
    /// threads that need not be of it, and never by its own workers.
    pub runtime: Handle,
}

/// A strategy that may be chosen.
pub(crate) struct Kind {
    /// Its name in `buffer.strategy`.
    pub(crate) name: &'static str,
    /// Whether what it does not take may go to another strategy, since it gives back what it certainly did not store.
    pub(crate) with_fallback: bool,
    /// Whether it may be that other strategy ([`Strategy::reserve`]).
    pub(crate) as_fallback: bool,
    /// The name of its section within `[buffer]`.
    pub(crate) section: &'static str,
    /// That section with every key there is, its default, and what it means.
    pub(crate) defaults: &'static str,
    /// The section within it whose keys are not ours but a client library's.
    pub(crate) passes_through: Option<&'static str>,
    /// Reads and checks the section; what is wrong is added to the problems.
    pub(crate) configure: fn(&Section, &Surroundings<'_>, &mut Vec<String>) -> Option<Opener>,
    /// Puts `***` in the place of secrets in the section.
    pub(crate) mask: fn(&mut Table),
    /// Whether it keeps as many copies as `topics.replication_factor` says.
    pub(crate) copies: bool,
    /// Keys of the section that do nothing as its others stand, each with why.
    pub(crate) idle: fn(&Table) -> Vec<(&'static str, String)>,
}

/// What a strategy has to agree with besides its own section.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'s> {
    /// `[topics]`.
    pub topics: &'s TopicsConfig,
    /// For how long a consumer's partitions drain, in milliseconds.
    pub drain_ms: u64,
}

/// `[topics]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicsConfig {
    /// Partitions of each event topic.
    pub partitions: u32,
    /// Copies of each partition.
    pub replication_factor: u32,
    /// Put before every topic and group name.
    pub prefix: String,
    /// How long event topics keep records, in hours.
    pub retention_hours: u64,
    /// How long the dead-letter topic keeps records, in hours.
    pub dead_letter_retention_hours: u64,
}
