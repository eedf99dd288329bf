//! Which strategy runs: the only place that asks.

use std::fmt;
use std::sync::Arc;

use floodgate_config::{Section, join, mask};
use toml::{Table, Value};

use crate::fallback::Fallback;
use crate::kind::{Kind, Opener};
use crate::{Given, OpenError, Strategy, Surroundings, kafka, memory, redis};

/// Every strategy there is.
static KINDS: [Kind; 3] = [memory::KIND, redis::KIND, kafka::KIND];

/// The section that chooses, and holds those of the strategies.
const BUFFER: &str = "buffer";

/// What the strategies are called.
pub fn strategy_names() -> [&'static str; KINDS.len()] {
    KINDS.each_ref().map(|kind| kind.name)
}

/// The strategies' sections of the default configuration, with what each key means.
pub fn defaults() -> String {
    KINDS.each_ref().map(|kind| kind.defaults).join("\n")
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

/// Keys that do nothing as the rest stands, and sections with all their keys, each with why: those of strategies that are neither chosen
/// nor the fallback, and what those that are make nothing of.
pub fn idle(configuration: &Table) -> Vec<(String, String)> {
    let Some(Value::Table(buffer)) = configuration.get(BUFFER) else { return Vec::new() };
    let text = |key: &str| buffer.get(key).and_then(Value::as_str);
    let Some(chosen) = named(text("strategy")) else { return Vec::new() };
    let fallback = named(text("fallback")).filter(|_| chosen.with_fallback);
    let mut idle = Vec::new();
    for kind in &KINDS {
        let section = join(BUFFER, kind.section);
        let is_used = [Some(chosen), fallback].into_iter().flatten().any(|used| used.name == kind.name);
        match buffer.get(kind.section) {
            _ if !is_used => idle.push((section, format!("buffer.strategy is `{}`", chosen.name))),
            Some(Value::Table(table)) => {
                idle.extend((kind.idle)(table).into_iter().map(|(key, why)| (join(&section, key), why)));
            }
            _ => {}
        }
    }
    if !chosen.copies {
        let why = format!("buffer.strategy is `{}`, which makes no copies by it", chosen.name);
        idle.push(("topics.replication_factor".to_owned(), why));
    }
    idle
}

/// The chosen strategy, checked and not yet opened.
pub struct Configured {
    name: &'static str,
    open: Opener,
    fallback: Option<Opener>,
    partitions: u32,
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
        let strategy = (self.open)(given)?;
        match &self.fallback {
            Some(fallback) => Ok(Arc::new(Fallback::new(strategy, fallback(given)?, self.partitions))),
            None => Ok(strategy),
        }
    }

    /// Opens it, and what stands in for it, each by itself: to look at them. Touches no network.
    ///
    /// # Errors
    /// [`OpenError`] when the configuration of one cannot work.
    pub fn open_each(&self, given: &Given) -> Result<Vec<Arc<dyn Strategy>>, OpenError> {
        [Some(&self.open), self.fallback.as_ref()].into_iter().flatten().map(|open| open(given)).collect()
    }

    /// The chosen strategy's name.
    pub fn name(&self) -> &'static str {
        self.name
    }
}

/// The section of a strategy within `[buffer]`, for what opens it in tests.
#[cfg(feature = "contract")]
pub(crate) fn section_of(strategy: &str) -> Option<&'static str> {
    named(Some(strategy)).map(|kind| kind.section)
}

/// No fallback.
const NONE: &str = "none";

/// Reads and checks the sections of the chosen strategy and of its fallback within the whole configuration, and no others'.
/// Everything that is wrong is added to `problems`, and reads as its default does; `None` where that cannot be either.
pub fn configure(
    configuration: &Section,
    around: &Surroundings<'_>,
    problems: &mut Vec<String>,
) -> Option<Configured> {
    let buffer = configuration.section(BUFFER);
    let wanted = buffer.text("strategy");
    let kind = named(wanted).or_else(|| {
        problems.push(must_be(&buffer, "strategy", KINDS.iter().map(|kind| kind.name)));
        named(buffer.default_text("strategy"))
    })?;
    let open = (kind.configure)(&buffer.section(kind.section), around, problems)?;
    let fallback = match (buffer.has("fallback"), buffer.text("fallback")) {
        (false, _) | (_, Some(NONE)) => None,
        (true, wanted) => {
            let reserve = named(wanted).filter(|reserve| reserve.as_fallback);
            if reserve.is_none() {
                let known = KINDS.iter().filter(|kind| kind.as_fallback).map(|kind| kind.name);
                problems.push(must_be(&buffer, "fallback", [NONE].into_iter().chain(known)));
            } else if !kind.with_fallback {
                let able = names(KINDS.iter().filter(|kind| kind.with_fallback).map(|kind| kind.name));
                let (fallback, strategy) = (buffer.key("fallback"), buffer.key("strategy"));
                problems.push(format!("{fallback} needs {strategy} = {able}, and it is `{}`", kind.name));
            }
            reserve.and_then(|kind| (kind.configure)(&buffer.section(kind.section), around, problems))
        }
    };
    Some(Configured { name: kind.name, open, fallback, partitions: around.topics.partitions })
}

/// As [`configure`], of one strategy by its name, whichever is chosen, and without a fallback.
pub fn configure_one(
    name: &str,
    configuration: &Section,
    around: &Surroundings<'_>,
    problems: &mut Vec<String>,
) -> Option<Configured> {
    let Some(kind) = named(Some(name)) else {
        problems.push(format!(
            "there is no strategy `{name}`, but {}",
            names(KINDS.iter().map(|kind| kind.name))
        ));
        return None;
    };
    let section = configuration.section(BUFFER).section(kind.section);
    let open = (kind.configure)(&section, around, problems)?;
    Some(Configured { name: kind.name, open, fallback: None, partitions: around.topics.partitions })
}

fn named(name: Option<&str>) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| Some(kind.name) == name)
}

fn names<'n>(names: impl Iterator<Item = &'n str>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ")
}

/// A key of the section that says something unknown.
fn must_be<'n>(section: &Section, key: &str, known: impl Iterator<Item = &'n str>) -> String {
    let found = section.text(key).map_or(String::new(), |found| format!(", not `{}`", mask::shown(found)));
    format!("{} must be {}{found}", section.key(key), names(known))
}
