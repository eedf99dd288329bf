//! Names of things outside: text of 1..=128 characters without control characters.
//!
//! Each kind is a type of its own, so that a user cannot be passed for a coupon unseen.

use std::fmt;

use serde::Serialize;
use serde_json::{Value, json};

use crate::datum::{Datum, InvalidDatum, read_text, write_bytes};
use crate::describe::Described;
use crate::field::{Field, FromField};
use crate::invalid::Invalid;

/// Why a text or number is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// No characters.
    #[error("is empty")]
    Empty,
    /// More than 128 characters (Unicode scalar values).
    #[error("is longer than 128 characters")]
    TooLong,
    /// A control character (Unicode category Cc, NUL among them).
    #[error("contains a control character")]
    Control,
    /// A number below 1.
    #[error("must be at least 1")]
    BelowOne,
}

/// The greatest length of a text id, in Unicode scalar values.
const ID_CHARS_MAX: usize = 128;

fn check_text_id(text: &str) -> Result<(), InvalidId> {
    if text.is_empty() {
        return Err(InvalidId::Empty);
    }
    // most ids are ASCII, whose characters are bytes
    let (is_too_long, has_control) = match text.is_ascii() {
        true => (text.len() > ID_CHARS_MAX, text.bytes().any(|byte| byte.is_ascii_control())),
        false => (text.chars().nth(ID_CHARS_MAX).is_some(), text.chars().any(char::is_control)),
    };
    match (is_too_long, has_control) {
        (true, _) => Err(InvalidId::TooLong),
        (false, true) => Err(InvalidId::Control),
        (false, false) => Ok(()),
    }
}

/// Control characters, as regular expressions of every dialect have them.
const CONTROL: &str = r"\u0000-\u001f\u007f-\u009f";

fn text_id_schema(name: &str, example: &str) -> Value {
    json!({
        "title": name, "type": "string", "minLength": 1, "maxLength": ID_CHARS_MAX,
        "pattern": format!("^[^{CONTROL}]*$"), "examples": [example],
    })
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, such as $example:literal) => {
        $(#[$doc])*
        ///
        /// 1..=128 characters, no control characters; compared bytewise.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                check_text_id(&text)?;
                Ok(Self(text.into_boxed_str()))
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.into_string()
            }
        }

        impl Described for $name {
            fn schema() -> Value {
                text_id_schema(stringify!($name), $example)
            }
        }

        impl FromField for $name {
            #[inline]
            fn from_field(field: Field<'_>) -> Result<Self, Invalid> {
                field.id()
            }
        }

        impl Datum for $name {
            fn write(&self, out: &mut Vec<u8>) {
                write_bytes(self.0.as_bytes(), out);
            }

            #[inline]
            fn read(from: &mut &[u8]) -> Result<Self, InvalidDatum> {
                let text = read_text(from)?;
                let checked = check_text_id(text).map(|()| Self(text.into()));
                checked.map_err(|reason| InvalidDatum::new(format!("an id {reason}")))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

text_id!(
    /// A coupon: the thing of which there is a stock.
    CouponId, such as "summer"
);
text_id!(
    /// A user who asks for coupons.
    UserId, such as "ann"
);
text_id!(
    /// The character that is liked.
    TargetOcid, such as "hero-1"
);
text_id!(
    /// The account that likes.
    LikerAccountId, such as "ann"
);

/// A game character, 1 or greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct CharacterId(i64);

impl CharacterId {
    const MIN: i64 = 1;

    /// The id as a number.
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl TryFrom<i64> for CharacterId {
    type Error = InvalidId;
    fn try_from(id: i64) -> Result<Self, InvalidId> {
        if id < Self::MIN {
            return Err(InvalidId::BelowOne);
        }
        Ok(Self(id))
    }
}

impl From<CharacterId> for i64 {
    fn from(id: CharacterId) -> i64 {
        id.0
    }
}

impl Described for CharacterId {
    fn schema() -> Value {
        json!({
            "title": "CharacterId", "type": "integer", "format": "int64",
            "minimum": Self::MIN, "maximum": i64::MAX, "examples": [4711],
        })
    }
}

impl FromField for CharacterId {
    #[inline]
    fn from_field(field: Field<'_>) -> Result<Self, Invalid> {
        field.number()
    }
}

/// A long.
impl Datum for CharacterId {
    fn write(&self, out: &mut Vec<u8>) {
        self.get().write(out);
    }

    #[inline]
    fn read(from: &mut &[u8]) -> Result<Self, InvalidDatum> {
        let id = CharacterId::try_from(i64::read(from)?);
        id.map_err(|error| InvalidDatum::new(format!("a character's id {error}")))
    }
}

impl fmt::Display for CharacterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_ids_have_their_limits() {
        let user = |text: &str| UserId::try_from(text.to_owned());
        assert_eq!(user(""), Err(InvalidId::Empty));
        assert_eq!(user("a\0b"), Err(InvalidId::Control));
        assert_eq!(user("a\u{1f}b"), Err(InvalidId::Control));
        assert_eq!(user("a\u{85}b"), Err(InvalidId::Control));
        assert_eq!(user(&"가".repeat(129)), Err(InvalidId::TooLong));
        assert!(user(&"가".repeat(128)).is_ok());
        assert!(user("한 글 🙂").is_ok());
    }

    /// What clients are told is what is checked.
    #[test]
    fn control_characters_are_those_of_the_pattern() {
        let ranges = CONTROL.split("\\u").filter(|code| !code.is_empty());
        let codes: Vec<u32> =
            ranges.map(|code| u32::from_str_radix(code.trim_end_matches('-'), 16).unwrap()).collect();
        let is_told = |c: char| codes.chunks(2).any(|range| (range[0]..=range[1]).contains(&(c as u32)));
        assert!(('\0'..=char::MAX).all(|c| is_told(c) == c.is_control()));
    }

    #[test]
    fn characters_start_at_one() {
        assert_eq!(CharacterId::try_from(0), Err(InvalidId::BelowOne));
        assert_eq!(CharacterId::try_from(-1), Err(InvalidId::BelowOne));
        assert_eq!(CharacterId::try_from(i64::MAX).map(CharacterId::get), Ok(i64::MAX));
    }
}
