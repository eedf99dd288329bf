//! The `[buffer.redis]` section.

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use toml::{Table, Value};

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
        let is_redis =
            self.urls().all(|url| ["redis://", "rediss://"].iter().any(|scheme| url.starts_with(scheme)));
        let databases: Vec<String> =
            self.shown().filter_map(|url| url.map(|(_, database)| database)).collect();
        let rules = [
            (is_redis, "buffer.redis.url must begin with redis:// or rediss://"),
            (
                !is_redis || self.urls().all(|url| ::redis::Client::open(url).is_ok()),
                "buffer.redis.url is no URL of a Redis: redis://[user:password@]host[:port][/database]",
            ),
            (
                databases.len() < 2
                    || databases.iter().all(|database| ["", "/0"].contains(&database.as_str())),
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
        rules.into_iter().filter(|(holds, _)| !holds).map(|(_, rule)| rule.to_owned()).collect()
    }

    /// One, or those of a cluster.
    pub(super) fn urls(&self) -> impl Iterator<Item = &str> {
        self.url.expose_secret().split(',').map(str::trim)
    }

    /// Host and port, and database, of every URL, if it is one.
    fn shown(&self) -> impl Iterator<Item = Option<(String, String)>> {
        self.urls().map(|url| {
            let url = url::Url::parse(url).ok()?;
            let database = url.path().trim_matches('/');
            let database = if database.is_empty() { String::new() } else { format!("/{database}") };
            Some((format!("{}:{}", url.host_str()?, url.port().unwrap_or(6379)), database))
        })
    }

    /// Where Redis is, for people: without name and password.
    pub(super) fn place(&self) -> String {
        let shown: Option<Vec<String>> =
            self.shown().map(|url| url.map(|(host, database)| host + &database)).collect();
        shown.map_or_else(|| "the configured Redis".to_owned(), |urls| urls.join(","))
    }
}

/// Puts `***` in the place of a password.
pub(super) fn mask(section: &mut Table) {
    let Some(Value::String(text)) = section.get_mut("url") else { return };
    let masked = text.split(',').map(|text| {
        let mut url = url::Url::parse(text.trim()).ok()?;
        match url.password() {
            Some(_) => url.set_password(Some("***")).ok().map(|()| url.to_string()),
            None => Some(text.trim().to_owned()),
        }
    });
    // whatever it is, it may hold one, or what lies between two commas be a part of it
    *text = masked.collect::<Option<Vec<_>>>().map_or_else(|| "***".to_owned(), |masked| masked.join(","));
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
            (|c| c.url = "redis://host:port".into(), "is no URL of a Redis"),
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
        assert_eq!(shown("redis://me:sec,ret@two").0, "***");
        assert_eq!(shown("redis://se@cret@[broken").0, "***");
        assert!(
            !format!("{:?}", RedisConfig { url: "redis://:secret@h".into(), ..config() }).contains("secret")
        );
    }
}
