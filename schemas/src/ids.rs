//! Names of things outside: text of 1..=128 characters without control characters.
//!
//! Each kind is a type of its own, so that a user cannot be passed for a coupon unseen.

use std::fmt;

use serde::{Deserialize, Serialize};

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
    if text.chars().nth(ID_CHARS_MAX).is_some() {
        return Err(InvalidId::TooLong);
    }
    if text.chars().any(char::is_control) {
        return Err(InvalidId::Control);
    }
    Ok(())
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// 1..=128 characters, no control characters; compared bytewise.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
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
    CouponId
);
text_id!(
    /// A user who asks for coupons.
    UserId
);
text_id!(
    /// The character that is liked.
    TargetOcid
);
text_id!(
    /// The account that likes.
    LikerAccountId
);

/// A game character, 1 or greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct CharacterId(i64);

impl CharacterId {
    /// The id as a number.
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl TryFrom<i64> for CharacterId {
    type Error = InvalidId;
    fn try_from(id: i64) -> Result<Self, InvalidId> {
        if id < 1 {
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

    #[test]
    fn characters_start_at_one() {
        assert_eq!(CharacterId::try_from(0), Err(InvalidId::BelowOne));
        assert_eq!(CharacterId::try_from(-1), Err(InvalidId::BelowOne));
        assert_eq!(CharacterId::try_from(i64::MAX).map(CharacterId::get), Ok(i64::MAX));
    }
}
