//! Which strategy runs: the only place that asks.

use std::fmt;
use std::sync::Arc;

use floodgate_config::{Section, join};
use toml::{Table, Value};

use crate::kind::{Kind, Opener};
use crate::{Given, OpenError, Strategy, Surroundings, kafka, memory, redis};

/// Every strategy there is.
const KINDS: [Kind; 3] = [memory::KIND, redis::KIND, kafka::KIND];

/// The section that chooses, and holds those of the strategies.
const BUFFER: &str = "buffer";

/// The strategies' sections of the default configuration, with what each key means.
pub fn defaults() -> String {
    KINDS.map(|kind| kind.defaults).join("\n")
}

/// Sections whose keys are a client library's, and are passed through as they are. In the environment `_` stands for the dots
/// in them.
pub fn passed_through() -> Vec<String> {
    let of_kind = |kind: &Kind| kind.passes_through.map(|section| join(&join(BUFFER, kind.section), section));
    KINDS.iter().filter_map(of_kind).collect()
}

/// Puts `***` in the place of the secrets of all strategies in the whole configuration.
pub fn mask(configuration: &mut Table) {
    let Some(Value::Table(buffer)) = configuration.get_mut(BUFFER) else { return };
    for kind in &KINDS {
        if let Some(Value::Table(section)) = buffer.get_mut(kind.section) {
            (kind.mask)(section);
        }
    }
}

/// The chosen strategy, checked and not yet opened.
pub struct Configured {
    name: &'static str,
    open: Opener,
}

impl fmt::Debug for Configured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Configured").field(&self.name).finish()
    }
}

impl Configured {
    /// Opens it. Touches no network.
    ///
    /// # Errors
    /// [`OpenError`] when its configuration cannot work.
    pub fn open(&self, given: &Given) -> Result<Arc<dyn Strategy>, OpenError> {
        (self.open)(given)
    }
}

/// Reads and checks the section of the chosen strategy within the whole configuration, and no other's. Everything that is
/// wrong is added to `problems`, and reads as its default does; `None` where that cannot be either.
pub fn configure(
    configuration: &Section,
    around: &Surroundings<'_>,
    problems: &mut Vec<String>,
) -> Option<Configured> {
    let buffer = configuration.section(BUFFER);
    let named = |name: Option<&str>| KINDS.iter().find(|kind| Some(kind.name) == name);
    let wanted = buffer.text("strategy");
    let kind = named(wanted).or_else(|| {
        let known = KINDS.map(|kind| format!("`{}`", kind.name)).join(" or ");
        let found = wanted.map_or(String::new(), |wanted| format!(", not `{wanted}`"));
        problems.push(format!("{} must be {known}{found}", buffer.key("strategy")));
        named(buffer.default_text("strategy"))
    })?;
    let open = (kind.configure)(&buffer.section(kind.section), around, problems)?;
    Some(Configured { name: kind.name, open })
}
