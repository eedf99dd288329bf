//! `[admin] token`: what operators show, of which only digests are kept.

use std::fmt;
use std::str::FromStr;

use floodgate_schemas::Chance;
use ring::digest::{SHA256, digest};
use ring::hmac;
use serde::{Deserialize, Deserializer};
use subtle::ConstantTimeEq;
use thiserror::Error;

/// Characters of a token. What is longer than any is not worth a digest.
const LEAST: usize = 16;
const MOST: usize = 256;

/// What a token's digest begins with in the configuration.
const HASHED: &str = "sha256:";

/// What somebody has to show, by its SHA-256.
#[derive(Clone)]
pub struct Token {
    digest: [u8; 32],
    /// Of the token itself, where it is known: whoever has no more than the digest does not get it.
    inner: Option<[u8; 32]>,
}

/// It is no token. What it is is not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "a token is {LEAST} to {MOST} visible ASCII characters, or {HASHED} with the 64 hex digits of one's SHA-256"
)]
pub struct InvalidToken;

impl Token {
    /// For a key of the configuration: an empty text is none.
    pub(crate) fn optional<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Self>, D::Error> {
        let text = String::deserialize(from)?;
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(serde::de::Error::custom)
    }

    /// Whether this is it. How long that takes tells nothing of how much of it is right.
    pub(crate) fn is(&self, shown: &[u8]) -> bool {
        shown.len() <= MOST && bool::from(sha256(&[shown]).ct_eq(&self.digest))
    }

    /// Seals sessions. Another token is another key, and so ends them. Whoever can read a configuration with no more than the digest
    /// must not be able to make sessions, so that chance is in their key then, and they end with the process.
    pub(crate) fn session_key(&self, chance: &dyn Chance) -> hmac::Key {
        let inner = self.inner.unwrap_or_else(|| {
            let drawn: Vec<u8> = (0..4).flat_map(|_| chance.bits().to_be_bytes()).collect();
            sha256(&[&self.digest, &drawn])
        });
        hmac::Key::new(hmac::HMAC_SHA256, &inner)
    }
}

impl FromStr for Token {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        if let Some(digits) = text.strip_prefix(HASHED) {
            let mut digest = [0; 32];
            hex::decode_to_slice(digits, &mut digest).map_err(|_| InvalidToken)?;
            return Ok(Self { digest, inner: None });
        }
        let is_right =
            (LEAST..=MOST).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        let inner = Some(sha256(&[b"floodgate operators' sessions\0", text.as_bytes()]));
        is_right.then(|| Self { digest: sha256(&[text.as_bytes()]), inner }).ok_or(InvalidToken)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut whole = [0; 32];
    whole.copy_from_slice(digest(&SHA256, &parts.concat()).as_ref());
    whole
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// `printf %s 0123456789abcdef | sha256sum`
    const DIGEST: &str = "sha256:9f9f5111f7b27a781f1f1ddde5ebc2dd2b796bfc7365c9c28b548e564176929f";

    #[test]
    fn a_token_and_its_digest_are_the_same() {
        for text in ["0123456789abcdef", DIGEST, &DIGEST.to_uppercase().replace("SHA256", "sha256")] {
            let token: Token = text.parse().unwrap();
            assert!(token.is(b"0123456789abcdef"), "{text}");
            for wrong in ["0123456789abcdeF", "0123456789abcde", "0123456789abcdef ", "", DIGEST] {
                assert!(!token.is(wrong.as_bytes()), "{text}: {wrong}");
            }
            assert_eq!(format!("{token:?}"), "***");
        }
    }

    #[test]
    fn what_is_no_token() {
        let too_long = "x".repeat(257);
        let short_digest = &DIGEST[..DIGEST.len() - 1];
        for wrong in [
            "0123456789abcde",
            "0123456789 abcdef",
            "0123456789abcdeé",
            &too_long,
            short_digest,
            "sha256:0123456789abcdef",
        ] {
            let told = wrong.parse::<Token>().unwrap_err().to_string();
            assert!(told.contains("16 to 256") && !told.contains("0123"), "{told}");
        }
        assert!("x".repeat(256).parse::<Token>().is_ok());
    }
}
