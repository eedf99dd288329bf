//! Reads a JSON object into named fields, so that every refusal can name the field at fault.
//!
//! A derived `Deserialize` stops at the first thing it dislikes and tells about it in prose. Here the
//! object is first split into its raw values by name, without copying them (unknown, missing and
//! repeated names are caught at that point), and then each value is read by the type that it is for.
//!
//! A [`Table`] has the fields of an object as constants, each with its name and type ([`FieldOf`]). What reads a value is the
//! constant, and what describes the object to clients is the table, so that neither says what the other does not.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::describe::{Described, meaning};
use crate::field::{Field, FromField};
use crate::invalid::{Invalid, InvalidKind, not_json, utf8};

/// What a field is read as: a type, or an `Option` of one where the field may be left out.
pub trait Slot: Sized {
    /// Whether the field has to be sent.
    const IS_REQUIRED: bool;

    /// Reads the field `name`, if it was sent and is not null.
    ///
    /// # Errors
    /// [`Invalid`] with the field's name.
    fn from_sent(name: &'static str, sent: Option<Field<'_>>) -> Result<Self, Invalid>;

    /// How the field looks.
    fn schema() -> Value;
}

impl<T: FromField> Slot for T {
    const IS_REQUIRED: bool = true;

    #[inline]
    fn from_sent(name: &'static str, sent: Option<Field<'_>>) -> Result<Self, Invalid> {
        T::from_field(sent.ok_or_else(|| Invalid::field(InvalidKind::Shape, name, "is required"))?)
    }

    fn schema() -> Value {
        <T as Described>::schema()
    }
}

impl<T: FromField> Slot for Option<T> {
    const IS_REQUIRED: bool = false;

    #[inline]
    fn from_sent(_: &'static str, sent: Option<Field<'_>>) -> Result<Self, Invalid> {
        sent.map(T::from_field).transpose()
    }

    fn schema() -> Value {
        <Self as Described>::schema()
    }
}

/// A field: its name, what it means, and the type that reads it.
pub struct FieldOf<T> {
    row: Row,
    of: PhantomData<fn() -> T>,
}

/// What is said of a field to who does not read it.
#[derive(Clone, Copy)]
pub struct Row {
    /// The field's name.
    pub name: &'static str,
    /// What it means, for people.
    pub meaning: &'static str,
    /// Whether it has to be sent.
    pub is_required: bool,
    /// How it looks.
    pub schema: fn() -> Value,
}

impl<T> FieldOf<T> {
    /// The field's name.
    pub const fn name(&self) -> &'static str {
        self.row.name
    }
}

impl<T: Slot> FieldOf<T> {
    /// A field of this name.
    pub const fn new(name: &'static str, meaning: &'static str) -> Self {
        Self { row: Row { name, meaning, is_required: T::IS_REQUIRED, schema: T::schema }, of: PhantomData }
    }

    /// What it is, without its type.
    pub const fn row(&self) -> Row {
        self.row
    }
}

/// The fields that an object may have, in the order in which they are documented.
pub struct Table<const N: usize> {
    names: [&'static str; N],
    rows: [Row; N],
}

impl<const N: usize> Table<N> {
    /// These fields.
    pub const fn of(rows: [Row; N]) -> Self {
        let mut names = [""; N];
        let mut index = 0;
        while index < N {
            names[index] = rows[index].name;
            index += 1;
        }
        Self { names, rows }
    }

    /// Their names.
    pub const fn names(&self) -> &[&'static str; N] {
        &self.names
    }

    /// What they are.
    pub const fn rows(&self) -> &[Row; N] {
        &self.rows
    }

    /// How an object of these fields looks, by the name that documents give it.
    pub fn schema(&self, title: &str) -> Value {
        let property = |row: &Row| (row.name.to_owned(), meaning((row.schema)(), row.meaning));
        let required = self.rows.iter().filter(|row| row.is_required).map(|row| row.name);
        json!({
            "title": title,
            "type": "object",
            "properties": self.rows.iter().map(property).collect::<Map<_, _>>(),
            "required": required.collect::<Vec<_>>(),
            "additionalProperties": false,
        })
    }
}

/// Says which fields the JSON of a type has: a constant for each, and `FIELDS`, the [`Table`] of all of them.
#[macro_export]
macro_rules! fields {
    ($of:ident { $($constant:ident: $type:ty = $name:literal, $meaning:literal;)* }) => {
        impl $of {
            $(#[doc = $meaning] pub const $constant: $crate::FieldOf<$type> = $crate::FieldOf::new($name, $meaning);)*

            /// The fields in JSON.
            pub const FIELDS: $crate::Table<{ [$($name),*].len() }> = $crate::Table::of([$(Self::$constant.row()),*]);
        }
    };
}

/// The raw values of one JSON object, by name.
#[derive(Debug)]
pub struct Fields<'a, const N: usize> {
    names: &'static [&'static str; N],
    values: [Option<&'a RawValue>; N],
}

impl<'a, const N: usize> Fields<'a, N> {
    /// Splits `json`, one object with no other fields than those of `table`.
    ///
    /// # Errors
    /// [`InvalidKind::Malformed`] when it is no JSON object or something follows it;
    /// [`InvalidKind::Shape`] for an unknown or repeated name.
    pub fn parse(table: &'static Table<N>, json: &'a [u8]) -> Result<Self, Invalid> {
        Self::parse_beside(table, |_| false, json)
    }

    /// The same of an object that may have others besides, whose names and values nobody wants to know.
    ///
    /// # Errors
    /// As [`Fields::parse`].
    pub fn parse_beside(
        table: &'static Table<N>,
        is_passed_over: fn(&str) -> bool,
        json: &'a [u8],
    ) -> Result<Self, Invalid> {
        let mut fields = Fields { names: &table.names, values: [None; N] };
        let mut refused = None;
        // checked once: the parser would look at every name and value by itself
        let text = utf8(json)?;
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let seed = Split { fields: &mut fields, is_passed_over, refused: &mut refused };
        let outcome = seed.deserialize(&mut deserializer).and_then(|()| deserializer.end());
        match (outcome, refused) {
            (_, Some(invalid)) => Err(invalid),
            (Err(error), None) if error.is_data() => Err(Invalid::malformed("is not a JSON object")),
            (Err(error), None) => Err(not_json(text, &error)),
            (Ok(()), None) => Ok(fields),
        }
    }

    /// The value of `field`.
    ///
    /// # Errors
    /// [`InvalidKind::Shape`] when it has to be sent and is missing or null, or is of another JSON type; [`InvalidKind::Value`] when
    /// its type has no such value.
    #[inline]
    pub fn get<T: Slot>(&self, field: &FieldOf<T>) -> Result<T, Invalid> {
        T::from_sent(field.row.name, self.sent_as(field.row.name))
    }

    /// The field `name`, if it was sent and is not null.
    pub(crate) fn sent_as(&self, name: &'static str) -> Option<Field<'a>> {
        let index = self.names.iter().position(|known| *known == name);
        debug_assert!(index.is_some(), "{name} is read of a table that has no such field");
        let raw = self.values[index?]?.get();
        (raw != "null").then_some(Field { name, raw })
    }

    /// The names of the fields that were sent, null or not.
    pub fn sent(&self) -> impl Iterator<Item = &'static str> {
        self.names.iter().zip(&self.values).filter(|(_, value)| value.is_some()).map(|(name, _)| *name)
    }
}

struct Split<'f, 'a, const N: usize> {
    fields: &'f mut Fields<'a, N>,
    is_passed_over: fn(&str) -> bool,
    refused: &'f mut Option<Invalid>,
}

impl<'a, const N: usize> DeserializeSeed<'a> for Split<'_, 'a, N> {
    type Value = ();
    fn deserialize<D: serde::Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'a, const N: usize> Visitor<'a> for Split<'_, 'a, N> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        let mut expected = 0;
        let (names, is_passed_over) = (self.fields.names, self.is_passed_over);
        while let Some(position) = map.next_key_seed(Position { names, is_passed_over, expected })? {
            let index = match position {
                Ok(Some(index)) => index,
                Ok(None) => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
                Err(unknown) => {
                    let known = self.fields.names.join(", ");
                    let detail = format!("is not a field here; the fields are {known}");
                    *self.refused = Some(Invalid::field(InvalidKind::Shape, unknown, detail));
                    return Err(A::Error::custom("unknown field"));
                }
            };
            if self.fields.values[index].is_some() {
                let name = self.fields.names[index];
                *self.refused = Some(Invalid::field(InvalidKind::Shape, name, "is given more than once"));
                return Err(A::Error::custom("repeated field"));
            }
            self.fields.values[index] = Some(map.next_value()?);
            expected = index + 1;
        }
        Ok(())
    }
}

/// Finds a name among the known ones without allocating for it.
struct Position<const N: usize> {
    names: &'static [&'static str; N],
    is_passed_over: fn(&str) -> bool,
    /// Where the name is if this client keeps to the documented order.
    expected: usize,
}

impl<'a, const N: usize> DeserializeSeed<'a> for Position<N> {
    type Value = Result<Option<usize>, String>;
    fn deserialize<D: serde::Deserializer<'a>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<const N: usize> Visitor<'_> for Position<N> {
    type Value = Result<Option<usize>, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        // an unknown name goes back to the client in the answer: a part of it tells enough
        let unknown = || name.chars().filter(|c| !c.is_control()).take(64).collect();
        if self.names.get(self.expected) == Some(&name) {
            return Ok(Ok(Some(self.expected)));
        }
        match self.names.iter().position(|known| *known == name) {
            None if !(self.is_passed_over)(name) => Ok(Err(unknown())),
            position => Ok(Ok(position)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CouponId, UserId};

    struct Body;

    fields! {
        Body {
            A: i64 = "a", "A number.";
            B: Option<UserId> = "b", "Somebody, or nobody.";
            C: CouponId = "c", "A coupon.";
        }
    }

    fn refused(json: &str) -> Invalid {
        Fields::parse(&Body::FIELDS, json.as_bytes()).unwrap_err()
    }

    #[test]
    fn splits_an_object() {
        let json = br#" {"c": "x\u0041", "a": -12 , "b": null} "#;
        let fields = Fields::parse(&Body::FIELDS, json).unwrap();
        assert_eq!(fields.get(&Body::A), Ok(-12));
        assert_eq!(fields.get(&Body::C).unwrap().as_str(), "xA");
        assert_eq!(fields.get(&Body::B), Ok(None));
        let fields = Fields::parse(&Body::FIELDS, br#"{"a": null}"#).unwrap();
        let missing = fields.get(&Body::A).unwrap_err();
        assert_eq!((missing.kind, &*missing.detail), (InvalidKind::Shape, "is required"));
        assert_eq!(fields.sent().collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn names_what_is_wrong() {
        assert_eq!(refused(r#"{"a":1,"d":2}"#).field.as_deref(), Some("d"));
        assert_eq!(refused(r#"{"a":1,"a":2}"#).field.as_deref(), Some("a"));
        for malformed in ["", "[]", "1", "\"a\"", "null", "{", r#"{"a":}"#, r#"{"a":1} x"#, r#"{"a":1}{}"#] {
            assert_eq!(refused(malformed).kind, InvalidKind::Malformed, "{malformed}");
        }
        assert!(Fields::parse(&Body::FIELDS, b"{\"a\":\"\xff\"}").is_err());
        let deep = format!("{{\"a\":{}", "[".repeat(200_000));
        assert_eq!(refused(&deep).kind, InvalidKind::Malformed);
    }

    #[test]
    fn places_are_those_of_what_was_sent() {
        let detail = |json: &str| refused(json).detail;
        assert_eq!(detail(r#"{"a":1,}"#), "is not valid JSON: trailing comma at column 8");
        assert_eq!(detail("{\n\"a\":1,}"), "is not valid JSON: trailing comma at line 2 column 7");
        assert_eq!(detail("\u{feff}{}"), "begins with a byte order mark (U+FEFF), which JSON has not");
        let bytes = Fields::parse(&Body::FIELDS, b"{\"a\":\"\xff\"}").unwrap_err();
        assert_eq!(bytes.detail, "is not valid UTF-8 after byte 6");
    }

    /// What the table says is what is read.
    #[test]
    fn a_table_describes_what_it_reads() {
        let schema = Body::FIELDS.schema("Body");
        assert_eq!(schema["required"], json!(["a", "c"]));
        assert_eq!(schema["additionalProperties"], false);
        assert_eq!(schema["properties"]["a"]["description"], "A number.");
        assert_eq!(schema["properties"]["b"]["anyOf"][1], json!({ "type": "null" }));
        assert_eq!(Body::FIELDS.names(), &["a", "b", "c"]);
    }
}
