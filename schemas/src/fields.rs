//! Reads a JSON object into named fields, so that every refusal can name the field at fault.
//!
//! A derived `Deserialize` stops at the first thing it dislikes and tells about it in prose. Here the
//! object is first split into its raw values by name, without copying them (unknown, missing and
//! repeated names are caught at that point), and then each value is read by the type that it is for.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::number::{Whole, whole};
use crate::{Cost, Timestamp};

/// A client's input that is refused, in terms of what the client can change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{detail}", field.as_ref().map(|name| format!("`{name}` ")).unwrap_or_default())]
pub struct Invalid {
    /// What kind of mistake it is.
    pub kind: InvalidKind,
    /// The field at fault, where there is one.
    pub field: Option<Cow<'static, str>>,
    /// One sentence part, to be read behind the field's name.
    pub detail: String,
}

/// What kind of mistake an input holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidKind {
    /// Not JSON, or not an object.
    Malformed,
    /// A name this object does not have, or has twice, or lacks; or a value of another JSON type.
    Shape,
    /// Well-formed, but not a value the field may take.
    Value,
}

impl Invalid {
    /// A mistake in one field.
    pub fn field(kind: InvalidKind, field: impl Into<Cow<'static, str>>, detail: impl fmt::Display) -> Self {
        Self { kind, field: Some(field.into()), detail: detail.to_string() }
    }

    /// Input that is no JSON object at all.
    pub fn malformed(detail: impl fmt::Display) -> Self {
        Self { kind: InvalidKind::Malformed, field: None, detail: detail.to_string() }
    }
}

/// The text that the bytes of a JSON input are.
///
/// # Errors
/// [`InvalidKind::Malformed`] when they are no UTF-8.
pub fn utf8(json: &[u8]) -> Result<&str, Invalid> {
    std::str::from_utf8(json)
        .map_err(|error| Invalid::malformed(format!("is not valid UTF-8 after byte {}", error.valid_up_to())))
}

/// Why `text` is no JSON. Says where: line and column, of a single line the column alone, since whoever sends many lines
/// counts them from elsewhere.
pub fn not_json(text: &str, error: &serde_json::Error) -> Invalid {
    if text.starts_with('\u{feff}') {
        return Invalid::malformed("begins with a byte order mark (U+FEFF), which JSON has not");
    }
    let (line, column) = (error.line(), error.column());
    let place = match text.contains('\n') {
        true => format!("line {line} column {column}"),
        false => format!("column {column}"),
    };
    Invalid::malformed(format!("is not valid JSON: {} at {place}", reason(error)))
}

/// The parser's words without its own count of lines and columns.
fn reason(error: &serde_json::Error) -> String {
    let place = format!(" at line {} column {}", error.line(), error.column());
    let told = error.to_string();
    told.strip_suffix(&place).unwrap_or(&told).to_owned()
}

/// The raw values of one JSON object, by name.
#[derive(Debug)]
pub struct Fields<'a, const N: usize> {
    names: &'static [&'static str; N],
    values: [Option<&'a RawValue>; N],
}

impl<'a, const N: usize> Fields<'a, N> {
    /// Splits `json`, one object with no other names than `names`.
    ///
    /// # Errors
    /// [`InvalidKind::Malformed`] when it is no JSON object or something follows it;
    /// [`InvalidKind::Shape`] for an unknown or repeated name.
    pub fn parse(names: &'static [&'static str; N], json: &'a [u8]) -> Result<Self, Invalid> {
        Self::parse_beside(names, |_| false, json)
    }

    /// The same of an object that may have others besides, whose names and values nobody wants to know.
    ///
    /// # Errors
    /// As [`Fields::parse`].
    pub fn parse_beside(
        names: &'static [&'static str; N],
        is_passed_over: fn(&str) -> bool,
        json: &'a [u8],
    ) -> Result<Self, Invalid> {
        let mut fields = Fields { names, values: [None; N] };
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

    /// The field `name`, if it was sent and is not null.
    pub fn optional(&self, name: &'static str) -> Option<Field<'a>> {
        let index = self.names.iter().position(|known| *known == name)?;
        let raw = self.values[index]?.get();
        (raw != "null").then_some(Field { name, raw })
    }

    /// The names of the fields that were sent, null or not.
    pub fn sent(&self) -> impl Iterator<Item = &'static str> {
        self.names.iter().zip(&self.values).filter(|(_, value)| value.is_some()).map(|(name, _)| *name)
    }

    /// The field `name`.
    ///
    /// # Errors
    /// [`InvalidKind::Shape`] when it is missing or null.
    pub fn required(&self, name: &'static str) -> Result<Field<'a>, Invalid> {
        self.optional(name).ok_or_else(|| Invalid::field(InvalidKind::Shape, name, "is required"))
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

/// One field's raw JSON value.
#[derive(Debug, Clone, Copy)]
pub struct Field<'a> {
    /// The field's name.
    pub name: &'static str,
    raw: &'a str,
}

impl<'a> Field<'a> {
    /// The value as it stands there.
    pub fn json(&self) -> &'a [u8] {
        self.raw.as_bytes()
    }

    fn shape(&self, detail: &str) -> Invalid {
        Invalid::field(InvalidKind::Shape, self.name, detail)
    }

    fn value(&self, detail: impl fmt::Display) -> Invalid {
        Invalid::field(InvalidKind::Value, self.name, detail)
    }

    fn is_number(&self) -> bool {
        self.raw.starts_with(|first: char| first == '-' || first.is_ascii_digit())
    }

    /// A JSON string.
    ///
    /// # Errors
    /// [`InvalidKind::Shape`] when it is another type.
    pub fn text(&self) -> Result<Cow<'_, str>, Invalid> {
        if !self.raw.starts_with('"') {
            return Err(self.shape("must be a string"));
        }
        let inner = &self.raw[1..self.raw.len() - 1];
        if !inner.contains('\\') {
            return Ok(Cow::Borrowed(inner));
        }
        let unescaped: String = serde_json::from_str(self.raw).map_err(|error| {
            let detail = format!("is not a valid JSON string: {}", reason(&error));
            Invalid { field: Some(self.name.into()), ..Invalid::malformed(detail) }
        })?;
        Ok(Cow::Owned(unescaped))
    }

    /// A whole number between -2⁶³ and 2⁶³-1, however JSON writes it: `12`, `12.0` and `1.2e1` are the same.
    ///
    /// # Errors
    /// [`InvalidKind::Shape`] when it is no number, [`InvalidKind::Value`] when it is not whole or too large.
    pub fn integer(&self) -> Result<i64, Invalid> {
        if !self.is_number() {
            return Err(self.shape("must be a whole number"));
        }
        // almost all are written as digits
        if let Ok(number) = self.raw.parse() {
            return Ok(number);
        }
        match whole(self.raw) {
            Whole::Number(number) => Ok(number),
            Whole::TooLarge => Err(self.value("must lie between -2^63 and 2^63-1")),
            Whole::Fraction => Err(self.value("must be a whole number, without a fraction")),
        }
    }

    /// A number made into a type that checks its range.
    ///
    /// # Errors
    /// As [`Field::integer`], and [`InvalidKind::Value`] with the type's own reason.
    pub fn number<T: TryFrom<i64, Error: fmt::Display>>(&self) -> Result<T, Invalid> {
        T::try_from(self.integer()?).map_err(|reason| self.value(reason))
    }

    /// A string made into a type that checks it.
    ///
    /// # Errors
    /// As [`Field::text`], and [`InvalidKind::Value`] with the type's own reason.
    pub fn id<T: TryFrom<String, Error: fmt::Display>>(&self) -> Result<T, Invalid> {
        T::try_from(self.text()?.into_owned()).map_err(|reason| self.value(reason))
    }

    /// An amount, as a string or a number, exactly as its digits say.
    ///
    /// # Errors
    /// [`InvalidKind::Shape`] for another type, [`InvalidKind::Value`] for what [`Cost`] refuses.
    pub fn cost(&self) -> Result<Cost, Invalid> {
        let text = if self.is_number() {
            Cow::Borrowed(self.raw)
        } else {
            self.text().map_err(|_| self.shape("must be a decimal, as a string or a number"))?
        };
        Cost::from_str(&text).map_err(|reason| self.value(reason))
    }

    /// An RFC 3339 time.
    ///
    /// # Errors
    /// As [`Field::text`], and [`InvalidKind::Value`] for what [`Timestamp`] refuses.
    pub fn time(&self) -> Result<Timestamp, Invalid> {
        Timestamp::from_str(&self.text()?).map_err(|reason| self.value(reason))
    }

    /// A whole number that orders writes as times do: not beyond `latest`, in microseconds.
    ///
    /// # Errors
    /// As [`Field::integer`], and [`InvalidKind::Value`] when it is greater.
    pub fn version_until(&self, latest: Timestamp) -> Result<i64, Invalid> {
        let version = self.integer()?;
        if version > latest.as_micros() {
            let latest = latest.as_micros();
            return Err(self.value(format!(
                "lies too far ahead: no later write could count (at most {latest} now, which is microseconds since 1970)"
            )));
        }
        Ok(version)
    }

    /// An RFC 3339 time not after `latest`.
    ///
    /// # Errors
    /// As [`Field::time`], and [`InvalidKind::Value`] when it is later.
    pub fn time_until(&self, latest: Timestamp) -> Result<Timestamp, Invalid> {
        not_after(latest, self.name, self.time()?)
    }
}

/// A time that is not after `latest`.
pub(crate) fn not_after(
    latest: Timestamp,
    name: &'static str,
    time: Timestamp,
) -> Result<Timestamp, Invalid> {
    if time > latest {
        let detail = format!("lies too far in the future (at most {latest} now)");
        return Err(Invalid::field(InvalidKind::Value, name, detail));
    }
    Ok(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 3] = ["a", "b", "c"];

    fn refused(json: &str) -> Invalid {
        Fields::parse(&NAMES, json.as_bytes()).unwrap_err()
    }

    #[test]
    fn splits_an_object() {
        let json = br#" {"c": "x\u0041", "a": -12 , "b": null} "#;
        let fields = Fields::parse(&NAMES, json).unwrap();
        assert_eq!(fields.required("a").unwrap().integer(), Ok(-12));
        assert_eq!(fields.required("c").unwrap().text().unwrap(), "xA");
        assert!(fields.optional("b").is_none());
        assert_eq!(fields.required("b").unwrap_err().detail, "is required");
    }

    #[test]
    fn names_what_is_wrong() {
        assert_eq!(refused(r#"{"a":1,"d":2}"#).field.as_deref(), Some("d"));
        assert_eq!(refused(r#"{"a":1,"a":2}"#).field.as_deref(), Some("a"));
        for malformed in ["", "[]", "1", "\"a\"", "null", "{", r#"{"a":}"#, r#"{"a":1} x"#, r#"{"a":1}{}"#] {
            assert_eq!(refused(malformed).kind, InvalidKind::Malformed, "{malformed}");
        }
        assert!(Fields::parse(&NAMES, b"{\"a\":\"\xff\"}").is_err());
        let deep = format!("{{\"a\":{}", "[".repeat(200_000));
        assert_eq!(refused(&deep).kind, InvalidKind::Malformed);
    }

    #[test]
    fn numbers_are_refused_by_reason() {
        let integer = |raw: &'static str| Field { name: "a", raw }.integer().map_err(|e| (e.kind, e.detail));
        assert_eq!(integer("1.0"), Ok(1));
        for (raw, kind, detail) in [
            ("9223372036854775808", InvalidKind::Value, "must lie between -2^63 and 2^63-1"),
            ("1.5", InvalidKind::Value, "must be a whole number, without a fraction"),
            ("\"1\"", InvalidKind::Shape, "must be a whole number"),
            ("true", InvalidKind::Shape, "must be a whole number"),
        ] {
            assert_eq!(integer(raw), Err((kind, detail.to_owned())), "{raw}");
        }
    }

    #[test]
    fn places_are_those_of_what_was_sent() {
        let detail = |json: &str| refused(json).detail;
        assert_eq!(detail(r#"{"a":1,}"#), "is not valid JSON: trailing comma at column 8");
        assert_eq!(detail("{\n\"a\":1,}"), "is not valid JSON: trailing comma at line 2 column 7");
        assert_eq!(detail("\u{feff}{}"), "begins with a byte order mark (U+FEFF), which JSON has not");
        let bytes = Fields::parse(&NAMES, b"{\"a\":\"\xff\"}").unwrap_err();
        assert_eq!(bytes.detail, "is not valid UTF-8 after byte 6");
        let half = Field { name: "a", raw: r#""\ud800""# }.text().unwrap_err();
        assert!(
            half.detail.starts_with("is not a valid JSON string: ") && !half.detail.contains(" line "),
            "{half}"
        );
    }
}
