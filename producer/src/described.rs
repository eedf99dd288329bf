//! Answers' bodies that describe themselves: the lines that say what is written say how it looks.

use std::fmt::Display;

use floodgate_schemas::{Described, meaning};
use serde::{Serialize, Serializer};
use serde_json::Value;

/// A struct that is written as JSON. Those of `sometimes` are left out while there is nothing to say.
macro_rules! answer {
    (
        $(#[$doc:meta])* $vis:vis struct $name:ident $(<$life:lifetime>)? {
            $($field:ident: $type:ty = $json:literal, $meaning:literal;)*
        }
        $(sometimes { $($perhaps:ident: $inner:ty = $perhaps_json:literal, $perhaps_meaning:literal;)* })?
    ) => {
        $(#[$doc])*
        #[derive(serde::Serialize)]
        $vis struct $name $(<$life>)? {
            $(#[serde(rename = $json)] pub(super) $field: $type,)*
            $($(#[serde(rename = $perhaps_json, skip_serializing_if = "Option::is_none")] pub(super) $perhaps: Option<$inner>,)*)?
        }

        impl $(<$life>)? floodgate_schemas::Described for $name $(<$life>)? {
            fn schema() -> serde_json::Value {
                let properties = [
                    $(($json, <$type as floodgate_schemas::Described>::schema(), $meaning),)*
                    $($(($perhaps_json, <$inner as floodgate_schemas::Described>::schema(), $perhaps_meaning),)*)?
                ];
                $crate::described::object(stringify!($name), properties, &[$($json),*])
            }
        }
    };
}

/// An enum that is written as one of some words.
macro_rules! words {
    ($(#[$doc:meta])* $vis:vis enum $name:ident { $($word:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, serde::Serialize)]
        $vis enum $name {
            $(#[serde(rename = $text)] $word,)*
        }

        impl floodgate_schemas::Described for $name {
            fn schema() -> serde_json::Value {
                serde_json::json!({ "type": "string", "enum": [$($text),*] })
            }
        }
    };
}

pub(crate) use {answer, words};

/// How an object with these properties looks, each with what it means. Clients let pass what a newer build adds.
pub(crate) fn object<const N: usize>(
    title: &str,
    properties: [(&str, Value, &str); N],
    required: &[&str],
) -> Value {
    let mut schema =
        serde_json::json!({ "title": title, "type": "object", "properties": {}, "required": required });
    for (name, property, means) in properties {
        schema["properties"][name] = meaning(property, means);
    }
    schema
}

/// A value that is written as the text it is shown as.
pub(crate) struct Shown<T>(pub(crate) T);

impl<T: Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<T: Described> Described for Shown<T> {
    fn schema() -> Value {
        T::schema()
    }
}
