//! One field's raw JSON value, and what makes a type of it.

use std::borrow::Cow;
use std::fmt;

use crate::describe::Described;
use crate::invalid::{Invalid, InvalidKind, reason};
use crate::number::{Whole, whole};

/// A type that fields have.
pub trait FromField: Described + Sized {
    /// Reads a value that is not null.
    ///
    /// # Errors
    /// [`Invalid`] with the field's name.
    fn from_field(field: Field<'_>) -> Result<Self, Invalid>;
}

/// One field's raw JSON value.
#[derive(Debug, Clone, Copy)]
pub struct Field<'a> {
    /// The field's name.
    pub(crate) name: &'static str,
    pub(crate) raw: &'a str,
}

impl<'a> Field<'a> {
    /// The value as it stands there.
    pub(crate) fn json(&self) -> &'a [u8] {
        self.raw.as_bytes()
    }

    /// Its JSON type is another one.
    pub(crate) fn shape(&self, detail: &str) -> Invalid {
        Invalid::field(InvalidKind::Shape, self.name, detail)
    }

    /// Its value is none that it may have.
    pub(crate) fn value(&self, detail: impl fmt::Display) -> Invalid {
        Invalid::value(self.name, detail)
    }

    /// Whether it is a number, whichever.
    pub(crate) fn is_number(&self) -> bool {
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
}

impl FromField for String {
    fn from_field(field: Field<'_>) -> Result<Self, Invalid> {
        field.text().map(Cow::into_owned)
    }
}

impl FromField for i64 {
    #[inline]
    fn from_field(field: Field<'_>) -> Result<Self, Invalid> {
        field.integer()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn half_a_character_is_no_string() {
        let half = Field { name: "a", raw: r#""\ud800""# }.text().unwrap_err();
        assert!(
            half.detail.starts_with("is not a valid JSON string: ") && !half.detail.contains(" line "),
            "{half}"
        );
    }
}
