//! How values look in JSON, for whoever describes them to clients. Every type says it of itself, by the limits it checks.

use serde_json::{Value, json};

/// A type whose values are written in JSON.
pub trait Described {
    /// How they look, as a JSON Schema (2020-12). Documents give one with a `title` a place of its own, by that name.
    fn schema() -> Value;
}

/// A schema, and what a value of it means in its place.
pub fn meaning(mut schema: Value, meaning: &str) -> Value {
    // one with a name says of itself what it is everywhere
    if schema.get("title").is_some() {
        schema = json!({ "allOf": [schema] });
    }
    schema["description"] = meaning.into();
    schema
}

/// The same, or null.
impl<T: Described> Described for Option<T> {
    fn schema() -> Value {
        json!({ "anyOf": [T::schema(), { "type": "null" }] })
    }
}

impl<T: Described> Described for Vec<T> {
    fn schema() -> Value {
        json!({ "type": "array", "items": T::schema() })
    }
}

impl<T: Described + ?Sized> Described for &T {
    fn schema() -> Value {
        T::schema()
    }
}

impl Described for str {
    fn schema() -> Value {
        json!({ "type": "string" })
    }
}

impl Described for String {
    fn schema() -> Value {
        str::schema()
    }
}

impl Described for bool {
    fn schema() -> Value {
        json!({ "type": "boolean" })
    }
}

/// Whole numbers of a type.
macro_rules! whole {
    ($($type:ty, $format:literal;)*) => {
        $(impl Described for $type {
            fn schema() -> Value {
                json!({ "type": "integer", "format": $format, "minimum": <$type>::MIN, "maximum": <$type>::MAX })
            }
        })*
    };
}

whole! {
    i32, "int32";
    i64, "int64";
    u16, "uint16";
    u64, "uint64";
    usize, "uint64";
}
