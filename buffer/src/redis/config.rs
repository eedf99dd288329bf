//! The `[buffer.redis]` section.

use floodgate_config::address::{Address, Host};
use floodgate_config::mask::{is_scheme, masked};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use toml::{Table, Value};

/// Redis' own.
const PORT: u16 = 6379;

/// `[buffer.redis]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RedisConfig {
    /// `redis://` or `rediss://`; may hold a password. Several, separated by commas, are of one cluster.
    pub(crate) url: SecretString,
    /// What an acknowledgement waits for.
    pub(crate) ack: Ack,
    /// Replicas that must have a record, with [`Ack::Replica`].
    pub(crate) replicas: u32,
    /// Events waiting over all lists; more are refused.
    pub(crate) max_events: usize,
    /// Keys, values and headers waiting over all lists, in bytes; more are refused.
    pub(crate) max_bytes: usize,
    /// How long the publisher waits for an answer before the outcome is unknown.
    pub(crate) answer_timeout_ms: u64,
    /// How long a member may be silent before its partitions go to others.
    pub(crate) lease_ms: u64,
    /// Dead letters kept; the oldest go first.
    pub(crate) dead_letters_max: usize,
}

/// What an acknowledgement waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Ack {
    /// Redis has it in its memory.
    Memory,
    /// Its append-only file is synced.
    Fsync,
    /// So many replicas have it.
    Replica,
}

impl RedisConfig {
    /// Values that cannot work.
    pub(super) fn problems(&self, drain_ms: u64) -> Vec<String> {
        let addresses = self.addresses();
        let is_in_one = |address: &Address| matches!(address.path.as_deref(), None | Some("" | "0"));
        let rules = [
            (
                !matches!(&addresses, Ok(several) if several.len() > 1 && !several.iter().all(is_in_one)),
                "buffer.redis.url: a cluster has no databases but 0",
            ),
            (self.ack != Ack::Replica || self.replicas >= 1, "buffer.redis.replicas must be at least 1"),
            (self.max_events >= 1, "buffer.redis.max_events must be at least 1"),
            (self.max_bytes >= 1, "buffer.redis.max_bytes must be at least 1"),
            (self.dead_letters_max >= 1, "buffer.redis.dead_letters_max must be at least 1"),
            (self.answer_timeout_ms >= 1, "buffer.redis.answer_timeout_ms must be at least 1"),
            // renewed three times in it, each of which may take a while
            (self.lease_ms >= 300, "buffer.redis.lease_ms must be at least 300"),
            (
                drain_ms > 0,
                "consumers.drain_ms must be at least 1, or a partition that moves away leaves its work behind",
            ),
        ];
        let broken = rules.into_iter().filter(|(holds, _)| !holds).map(|(_, rule)| rule.to_owned());
        addresses.err().map(|why| format!("buffer.redis.url {why}")).into_iter().chain(broken).collect()
    }

    /// Where Redis is: one, or nodes of a cluster.
    ///
    /// # Errors
    /// What is wrong with one of them, without anything of it.
    pub(super) fn addresses(&self) -> Result<Vec<Address>, String> {
        split(self.url.expose_secret()).into_iter().map(read).collect()
    }

    /// What whoever is on the way reads: that there is a password says that somebody may be.
    pub(super) fn in_the_clear(&self) -> Option<String> {
        let is_shown = |address: &Address| {
            let is_elsewhere = address.hosts.iter().any(|host| !host.is_this_machine());
            address.scheme == "redis" && address.password.is_some() && is_elsewhere
        };
        self.addresses().ok()?.iter().any(is_shown).then(|| {
            "the password of buffer.redis.url goes to another machine in the clear, as do events: use rediss://".to_owned()
        })
    }

    /// The same for people: without name and password.
    pub(super) fn place(&self) -> String {
        let shown = |address: &Address| {
            let hosts =
                address.hosts.iter().map(|host| Host { port: host.port.or(Some(PORT)), ..host.clone() });
            let database = address.path.as_deref().filter(|path| !path.is_empty());
            hosts.map(|host| host.to_string()).collect::<String>()
                + &database.map(|database| format!("/{database}")).unwrap_or_default()
        };
        let shown = self.addresses().map(|all| all.iter().map(shown).collect::<Vec<_>>().join(","));
        shown.unwrap_or_else(|_| "the configured Redis".to_owned())
    }
}

/// URLs with commas between them. A comma behind which none begins is a part of one, such as of a password.
fn split(text: &str) -> Vec<&str> {
    let begins =
        |text: &str| text.split_once("://").is_some_and(|(scheme, _)| is_scheme(scheme.trim_start()));
    let (mut urls, mut from) = (Vec::new(), 0);
    for (comma, _) in text.match_indices(',').filter(|(at, _)| begins(&text[at + 1..])) {
        urls.push(text[from..comma].trim());
        from = comma + 1;
    }
    urls.push(text[from..].trim());
    urls
}

/// One of them.
fn read(text: &str) -> Result<Address, String> {
    let address = Address::read(text, &[])?;
    if !["redis", "rediss"].contains(&address.scheme.as_str()) {
        return Err("must begin with redis:// or rediss://".to_owned());
    }
    match &address.hosts[..] {
        [] => return Err("names no host: redis://[user:password@]host[:port][/database]".to_owned()),
        [_] => {}
        _ => return Err("names several hosts in one URL: each has a redis:// of its own".to_owned()),
    }
    // what is no password may be shown
    if address.user.is_some() && address.password.is_none() {
        return Err("names a user without a password; a password alone has a `:` in front of it: redis://:password@host"
            .to_owned());
    }
    match address.path.as_deref().unwrap_or_default() {
        "" => Ok(address),
        path if path.bytes().all(|byte| byte.is_ascii_digit()) => Ok(address),
        _ => Err("has something else than a database's number behind its host".to_owned()),
    }
}

/// Replicas are waited for with [`Ack::Replica`] alone.
pub(super) fn idle(section: &Table) -> Vec<(&'static str, String)> {
    match section.get("ack").and_then(Value::as_str) {
        Some(ack) if ack != "replica" => vec![("replicas", format!("buffer.redis.ack is `{ack}`"))],
        _ => Vec::new(),
    }
}

/// Puts `***` in the place of passwords.
pub(super) fn mask(section: &mut Table) {
    let Some(Value::String(text)) = section.get_mut("url") else { return };
    let shown = |url: &str| read(url).map_or_else(|_| masked(url), |address| address.to_string());
    *text = split(text).into_iter().map(shown).collect::<Vec<_>>().join(",");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> RedisConfig {
        let table: Table = include_str!("default.toml").parse().unwrap();
        table["buffer"]["redis"].clone().try_into().unwrap()
    }

    #[test]
    fn what_cannot_work_is_told_by_its_rule() {
        assert_eq!(config().problems(1), Vec::<String>::new());
        let told = |change: fn(&mut RedisConfig)| {
            let mut config = config();
            change(&mut config);
            config.problems(1)
        };
        for (change, rule) in [
            ((|c| c.url = "http://x".into()) as fn(&mut RedisConfig), "url must begin with redis://"),
            (|c| c.url = "redis://host:port".into(), "no port number"),
            (|c| c.url = "redis://one:1,two:2".into(), "each has a redis:// of its own"),
            (|c| c.url = "redis://".into(), "names no host"),
            (|c| c.url = "redis://secret@one".into(), "redis://:password@host"),
            (|c| c.url = "redis://one/x".into(), "database's number"),
            (|c| c.url = "redis://one?password=x".into(), "takes none"),
            (|c| c.url = "redis://one, http://two".into(), "url must begin with redis://"),
            (|c| c.url = "redis://one,redis://two/3".into(), "no databases but 0"),
            (|c| (c.ack, c.replicas) = (Ack::Replica, 0), "replicas must be at least 1"),
            (|c| c.max_events = 0, "max_events"),
            (|c| c.max_bytes = 0, "max_bytes"),
            (|c| c.dead_letters_max = 0, "dead_letters_max"),
            (|c| c.answer_timeout_ms = 0, "answer_timeout_ms"),
            (|c| c.lease_ms = 299, "lease_ms must be at least 300"),
        ] {
            let told = told(change);
            assert!(told.len() == 1 && told[0].contains(rule), "{rule}: {told:?}");
        }
        assert!(config().problems(0)[0].contains("drain_ms"));
    }

    #[test]
    fn a_password_that_goes_over_a_network_in_the_clear_is_told() {
        for (url, is_told) in [
            ("redis://:secret@db", true),
            ("redis://:secret@localhost,redis://:secret@db", true),
            ("rediss://:secret@db", false),
            ("redis://:secret@[::1]", false),
            ("redis://db", false),
        ] {
            let told = RedisConfig { url: url.into(), ..config() }.in_the_clear();
            assert_eq!(told.is_some(), is_told, "{url}");
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        let shown = |url: &str| {
            let mut section = Table::new();
            section.insert("url".to_owned(), url.into());
            mask(&mut section);
            let place = RedisConfig { url: url.into(), ..config() }.place();
            (section["url"].as_str().unwrap().to_owned(), place)
        };
        let (masked, place) = shown("rediss://me:se%40cret@host:7000/3");
        assert_eq!((masked.as_str(), place.as_str()), ("rediss://me:***@host:7000/3", "host:7000/3"));
        assert_eq!(shown("redis://host").1, "host:6379");
        let (masked, place) = shown("redis://:secret@one:1, redis://:secret@two");
        assert_eq!(
            (masked.as_str(), place.as_str()),
            ("redis://:***@one:1,redis://:***@two", "one:1,two:6379")
        );
        assert_eq!(shown("redis://me:sec,ret@two").0, "redis://me:***@two");
        assert_eq!(shown("redis://se@cret@[broken").0, "redis://***");
        // as a library reads it, a port and a database
        assert_eq!(
            shown("redis://me:12/secret@one"),
            ("redis://***".to_owned(), "the configured Redis".to_owned())
        );
        for raw in ["se/cret", "se?cret", "se#cret", "se@cret", "se%cret"] {
            let (masked, place) = shown(&format!("redis://me:{raw}@[::1]:7000/3"));
            assert_eq!((masked.as_str(), place.as_str()), ("redis://me:***@[::1]:7000/3", "[::1]:7000/3"));
            let config = RedisConfig { url: format!("redis://me:{raw}@one").into(), ..config() };
            let url = config.addresses().unwrap()[0].encoded();
            let info = ::redis::Client::open(url.expose_secret()).unwrap().get_connection_info().clone();
            assert_eq!(info.redis_settings().password(), Some(raw));
        }
        assert!(
            !format!("{:?}", RedisConfig { url: "redis://:secret@h".into(), ..config() }).contains("secret")
        );
    }
}
