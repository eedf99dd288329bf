//! What several commands read alike from their arguments.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use floodgate_schemas::EventType;

/// A type of event, by its name.
pub(crate) fn event_type() -> impl TypedValueParser<Value = EventType> {
    let named = |name: String| EventType::ALL.into_iter().find(|of| of.name() == name);
    PossibleValuesParser::new(EventType::ALL.map(EventType::name))
        .try_map(move |name| named(name).ok_or("no such type of event"))
}

/// A strategy, by its name.
pub(crate) fn strategy() -> PossibleValuesParser {
    PossibleValuesParser::new(floodgate_buffer::strategy_names())
}
