//! Keys that stand in the configuration.
//!
//! Only hashes of them do: who reads the configuration cannot ask with what it finds there. Keys are long and random, so their
//! hashes need no salt and no work factor: nobody tries 2^256 of them. The right entry is found by the first bytes of the
//! hash, of which the time that finding takes may tell something: a caller cannot choose them. The whole hash is then
//! compared in constant time.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use floodgate_schemas::{Chance, Timestamp};
use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use subtle::ConstantTimeEq;

use super::caller::{Identity, Untrusted};
use super::config::KeyConfig;
use super::limits::{Client, Share};

/// Longer ones are none.
const KEY_MAX_BYTES: usize = 256;

/// A key's SHA-256.
type Hash = [u8; SHA256_OUTPUT_LEN];

/// All keys.
#[derive(Debug, Default)]
pub(crate) struct Keys(BTreeMap<u64, Known>);

#[derive(Debug)]
struct Known {
    hash: Hash,
    identity: Arc<Identity>,
    expires: Option<Timestamp>,
}

impl Keys {
    /// # Errors
    /// What is wrong with them, each by its place in the list.
    pub(crate) fn new(keys: &[KeyConfig]) -> Result<Self, Vec<String>> {
        let (mut known, mut problems) = (BTreeMap::new(), Vec::new());
        // keys of one id are one client's
        let mut shares: HashMap<&str, Share> = HashMap::new();
        for (index, config) in keys.iter().enumerate() {
            match read(config, shares.entry(&config.id).or_default()) {
                Ok(key) => {
                    if known.insert(place(&key.hash), key).is_some() {
                        problems.push(format!("auth.keys[{index}]: another has the same sha256"));
                    }
                }
                Err(problem) => problems.push(format!("auth.keys[{index}]: {problem}")),
            }
        }
        if problems.is_empty() { Ok(Self(known)) } else { Err(problems) }
    }

    /// Whose key this is.
    pub(crate) fn identify(&self, key: &str, now: Timestamp) -> Result<Arc<Identity>, Untrusted> {
        // those that we make have 53; of others more than this helps nobody
        if key.len() > KEY_MAX_BYTES {
            return Err(Untrusted("the key is longer than 256 bytes"));
        }
        let hash = hash(key.as_bytes());
        let known = self.0.get(&place(&hash)).filter(|known| known.hash.ct_eq(&hash).into());
        match known {
            None => Err(Untrusted("the key is not known")),
            Some(known) if known.expires.is_some_and(|expires| expires <= now) => {
                Err(Untrusted("the key has expired"))
            }
            Some(known) => Ok(Arc::clone(&known.identity)),
        }
    }
}

fn read(config: &KeyConfig, share: &Share) -> Result<Known, String> {
    let KeyConfig { id, sha256, scopes, expires } = config;
    if !(1..=128).contains(&id.chars().count()) || id.chars().any(char::is_control) {
        return Err("id must have 1 to 128 characters, none of them a control character".to_owned());
    }
    let hash = from_hex(sha256).ok_or(
        "sha256 must be the key's SHA-256 in 64 hexadecimal digits, as `floodgate key new` prints it",
    )?;
    if scopes.is_empty() {
        return Err("scopes must name one at least, or the key is good for nothing".to_owned());
    }
    let expires = expires.as_deref().map(str::parse).transpose();
    let expires = expires.map_err(|error: floodgate_schemas::InvalidTime| format!("expires {error}"))?;
    let (subject, client) = (id.as_str().into(), Client::Key(share.clone()));
    let identity = Identity { subject, client, scopes: scopes.iter().copied().collect() };
    Ok(Known { hash, identity: Arc::new(identity), expires })
}

fn from_hex(text: &str) -> Option<Hash> {
    let mut hash = Hash::default();
    hex::decode_to_slice(text, &mut hash).ok().map(|()| hash)
}

/// The SHA-256 of something.
pub(super) fn hash(bytes: &[u8]) -> Hash {
    let mut hash = Hash::default();
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

fn place(hash: &Hash) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    u64::from_be_bytes(first)
}

/// A key that nobody else has: 256 bits of chance, with a word in front by which it is found in places where it should not be.
pub fn new_key(chance: &dyn Chance) -> String {
    let bytes: Vec<u8> = (0..4).flat_map(|_| chance.bits().to_be_bytes()).collect();
    format!("floodgate_{}", BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

impl KeyConfig {
    /// What is wrong with it.
    pub fn problem(&self) -> Option<String> {
        read(self, &Share::default()).err()
    }
}

/// What the configuration keeps of a key: its SHA-256 in hexadecimal.
pub fn key_hash(key: &str) -> String {
    hex::encode(hash(key.as_bytes()))
}

#[cfg(test)]
mod tests {
    use floodgate_schemas::examples::at;

    use super::*;
    use crate::scope::Scope;

    fn key(id: &str, key: &str) -> KeyConfig {
        KeyConfig { id: id.to_owned(), sha256: key_hash(key), scopes: vec![Scope::Read], expires: None }
    }

    #[test]
    fn the_hash_is_what_others_compute() {
        // printf secret | sha256sum
        let sum = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
        assert_eq!(key_hash("secret"), sum);
        assert_eq!(from_hex(&sum.to_uppercase()), Some(hash(b"secret")));
    }

    /// One follows the other, and for a while both are good.
    #[test]
    fn two_keys_of_one_id_are_both_good() {
        let old = KeyConfig { expires: Some(at(10).to_string()), ..key("game", "old") };
        let keys = Keys::new(&[old, key("game", "new"), key("shop", "other")]).unwrap();
        let told = |key: &str, now| keys.identify(key, at(now)).map(|identity| identity.subject.to_string());
        assert_eq!(told("old", 9), Ok("game".to_owned()));
        assert_eq!(told("new", 9), Ok("game".to_owned()));
        assert_eq!(told("other", 9), Ok("shop".to_owned()));
        assert_eq!(told("old", 10), Err(Untrusted("the key has expired")));
        for unknown in ["", "ol", "old ", "OLD", &key_hash("old")] {
            assert_eq!(told(unknown, 9), Err(Untrusted("the key is not known")), "{unknown}");
        }
    }

    /// A hash that begins as a known one does is not the known one.
    #[test]
    fn the_whole_hash_is_compared() {
        let mut keys = Keys::new(&[key("game", "old")]).unwrap();
        keys.0.values_mut().for_each(|known| known.hash[31] ^= 1);
        assert_eq!(keys.identify("old", at(0)), Err(Untrusted("the key is not known")));
    }

    #[test]
    fn what_is_wrong_is_told_by_its_place() {
        let good = || key("game", "old");
        let wrong = [
            good(),
            good(),
            KeyConfig { id: String::new(), ..good() },
            KeyConfig { sha256: "12".to_owned(), ..good() },
            KeyConfig { sha256: "+0".repeat(32), ..good() },
            KeyConfig { scopes: Vec::new(), ..good() },
            KeyConfig { expires: Some("tomorrow".to_owned()), ..key("game", "new") },
        ];
        let problems = Keys::new(&wrong).unwrap_err();
        let starts: Vec<_> = problems.iter().map(|problem| problem.split_at(13)).collect();
        assert_eq!(
            starts.iter().map(|(place, _)| *place).collect::<Vec<_>>(),
            [1, 2, 3, 4, 5, 6].map(|n| format!("auth.keys[{n}]:"))
        );
        for (problem, word) in problems.iter().zip(["same", "id", "sha256", "sha256", "scopes", "expires"]) {
            assert!(problem.contains(word), "{problem}");
        }
    }
}
