//! Values that somebody set and that do nothing as the rest stands: what runs looks just as if they did.
//!
//! None is refused. One file may be read by several processes, and `floodgate drain` needs the section of a strategy that is chosen no
//! more. A value that is the default's is nobody's wish: what `floodgate config` printed has them all.

use std::collections::BTreeMap;

use floodgate_config::leaves;
use toml::{Table, Value};

use crate::layers::Layers;

/// So many keys are named for one reason.
const NAMED_MAX: usize = 5;

/// What is worth a word, each with the keys that it is about.
pub(crate) fn warnings(layers: &Layers) -> Vec<String> {
    let Layers { table, default, origins, .. } = layers;
    let mut defaults = BTreeMap::new();
    leaves(default, "", &mut |key, value| {
        defaults.insert(key.to_owned(), value);
    });
    let mut set = Vec::new();
    leaves(table, "", &mut |key, value| {
        if let Some(origin) = origins.get(key)
            && defaults.get(key) != Some(&value)
        {
            set.push((key.to_owned(), origin.as_str()));
        }
    });
    let told = |(idle, why): (String, String)| {
        let of = set.iter().filter(|(key, _)| is_of(key, &idle));
        let named: Vec<_> = of.map(|(key, origin)| format!("{key} ({})", origin.escape_debug())).collect();
        (!named.is_empty()).then(|| words(&named, &why))
    };
    idle(table).into_iter().filter_map(told).collect()
}

/// Whether it is the key, or one of the section.
fn is_of(key: &str, idle: &str) -> bool {
    key.strip_prefix(idle).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn words(named: &[String], why: &str) -> String {
    let shown = named.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
    let more = match named.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let (is, does) = if named.len() == 1 { ("is", "does") } else { ("are", "do") };
    format!("{shown}{more} {is} set and {does} nothing: {why}")
}

/// Keys and sections that do nothing, each with why.
fn idle(table: &Table) -> Vec<(String, String)> {
    let at = |section: &str, key: &str| table.get(section).and_then(Value::as_table)?.get(key);
    let is_empty = |section, key| at(section, key).and_then(Value::as_str).is_some_and(str::is_empty);
    let is_off = |section, key| at(section, key).and_then(Value::as_bool) == Some(false);
    let number = |section, key| at(section, key).and_then(Value::as_integer);
    let is_beyond = number("http", "connections_per_client_max") > number("http", "connections_max");
    let any_share = at("consumers", "dead_letter_share_max").and_then(Value::as_float) == Some(1.0);
    let mode = at("auth", "mode").and_then(Value::as_str).filter(|mode| *mode != "jwt");
    let rules = [
        (is_empty("schema_registry", "url"), "schema_registry", "schema_registry.url is empty".to_owned()),
        (is_empty("otel", "endpoint"), "otel", "otel.endpoint is empty".to_owned()),
        (is_beyond, "http.connections_per_client_max", "it is above http.connections_max".to_owned()),
        (number("http", "cache_ms") == Some(0), "http.cache_entries_max", "http.cache_ms is 0".to_owned()),
        (any_share, "consumers.dead_letter_storm_min", "consumers.dead_letter_share_max is 1".to_owned()),
        (
            is_off("coupon", "refuse_sold_out"),
            "coupon.watch_ms",
            "coupon.refuse_sold_out is false".to_owned(),
        ),
        (mode.is_some(), "auth.jwt", format!("auth.mode is \"{}\"", mode.unwrap_or_default())),
    ];
    let broken = rules.into_iter().filter(|(is_idle, ..)| *is_idle);
    let own = broken.map(|(_, idle, why)| (idle.to_owned(), why));
    floodgate_buffer::idle(table).into_iter().chain(own).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const DEFAULT: &str = "
        buffer = { strategy = 'in-memory', fallback = 'none', in_memory = { max_events = 1 }, redis = { url = 'r', ack = 'fsync', \
        replicas = 1 }, kafka = { brokers = 'b', linger_ms = 1, client = {} } }
        topics.replication_factor = 1
        auth = { mode = 'off', jwt = { leeway_s = 30 } }
        schema_registry = { url = '', username = '', password = '' }
        otel = { endpoint = '', headers = '' }
        http = { connections_max = 10, connections_per_client_max = 0, cache_ms = 1000, cache_entries_max = 5 }
        consumers = { dead_letter_share_max = 0.5, dead_letter_storm_min = 100 }
        coupon = { refuse_sold_out = false, watch_ms = 500 }";

    fn told(file: &str) -> Vec<String> {
        let mut layers = Layers::new(DEFAULT.parse().unwrap(), vec!["buffer.kafka.client".to_owned()]);
        layers.file("f", file).unwrap();
        assert_eq!(layers.problems, [""; 0]);
        warnings(&layers)
    }

    #[test]
    fn what_does_nothing_is_told_with_what_makes_it_so() {
        for (file, words) in [
            (
                "buffer.kafka.brokers = 'k'",
                "buffer.kafka.brokers (f) is set and does nothing: buffer.strategy is `in-memory`",
            ),
            ("buffer.kafka.client.non.sense = 1", "buffer.kafka.client.non.sense (f) is set"),
            (
                "buffer.redis = { url = 'http://bad', ack = 'memory' }",
                "buffer.redis.ack (f), buffer.redis.url (f) are set and do",
            ),
            (
                "topics.replication_factor = 3",
                "topics.replication_factor (f) is set and does nothing: buffer.strategy",
            ),
            (
                "buffer = { strategy = 'redis', redis.replicas = 2 }",
                "buffer.redis.replicas (f) is set and does nothing: buffer.redis.ack",
            ),
            (
                "schema_registry.username = 'me'",
                "schema_registry.username (f) is set and does nothing: schema_registry.url",
            ),
            ("otel.headers = 'a=b'", "otel.headers (f) is set and does nothing: otel.endpoint"),
            ("http.connections_per_client_max = 11", "http.connections_per_client_max (f) is set"),
            ("http = { cache_ms = 0, cache_entries_max = 7 }", "http.cache_entries_max (f) is set"),
            (
                "consumers = { dead_letter_share_max = 1.0, dead_letter_storm_min = 7 }",
                "consumers.dead_letter_storm_min (f)",
            ),
            (
                "coupon.watch_ms = 7",
                "coupon.watch_ms (f) is set and does nothing: coupon.refuse_sold_out is false",
            ),
            ("auth.jwt.leeway_s = 7", "auth.jwt.leeway_s (f) is set and does nothing: auth.mode is \"off\""),
        ] {
            let told = told(file);
            assert!(told.len() == 1 && told[0].contains(words), "{file}: {told:?}");
        }
    }

    #[test]
    fn what_does_something_is_not() {
        for file in [
            "",
            // defaults, as they are printed
            "buffer.kafka.brokers = 'b'\nhttp.connections_per_client_max = 0\ncoupon.watch_ms = 500",
            "buffer = { strategy = 'kafka', kafka.brokers = 'k', kafka.client.x = 1 }\ntopics.replication_factor = 3",
            "buffer = { strategy = 'kafka', fallback = 'redis', redis.url = 'x' }",
            "buffer = { strategy = 'redis', redis = { ack = 'replica', replicas = 2 } }",
            "schema_registry = { url = 'http://r', username = 'me' }",
            "otel = { endpoint = 'http://o', headers = 'a=b' }",
            "http.connections_per_client_max = 10",
            "coupon = { refuse_sold_out = true, watch_ms = 7 }",
            "auth = { mode = 'jwt', jwt.leeway_s = 7 }",
        ] {
            assert_eq!(told(file), [""; 0], "{file}");
        }
    }

    #[test]
    fn many_keys_are_one_sentence() {
        let client: String = (0..7).map(|n| format!("buffer.kafka.client.p{n} = 1\n")).collect();
        let told = told(&client);
        assert!(told.len() == 1 && told[0].contains("p4 (f) and 2 more are set"), "{told:?}");
    }
}
