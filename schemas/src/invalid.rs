//! What is wrong with a client's input, in terms of what the client can change.

use std::borrow::Cow;
use std::fmt;

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

    /// A value that a field may not have.
    pub(crate) fn value(field: &'static str, detail: impl fmt::Display) -> Self {
        Self::field(InvalidKind::Value, field, detail)
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
pub(crate) fn reason(error: &serde_json::Error) -> String {
    let place = format!(" at line {} column {}", error.line(), error.column());
    let told = error.to_string();
    told.strip_suffix(&place).unwrap_or(&told).to_owned()
}
