//! What several commands read alike from their arguments.

use std::ffi::OsStr;

use clap::builder::{PossibleValue, PossibleValuesParser, StringValueParser, TypedValueParser};
use clap::{Arg, Command};
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

/// A text that is mostly one of these, which help and shells are told, and may be another.
pub(crate) fn known(words: impl IntoIterator<Item = &'static str>) -> Known {
    Known(words.into_iter().collect())
}

/// What [`known`] reads by.
#[derive(Clone)]
pub(crate) struct Known(Vec<&'static str>);

impl TypedValueParser for Known {
    type Value = String;

    fn parse_ref(&self, of: &Command, arg: Option<&Arg>, text: &OsStr) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(of, arg, text)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.0.iter().map(PossibleValue::new)))
    }
}
