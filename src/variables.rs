//! Which variables of the environment are keys of the configuration: `FLOODGATE__SECTION__KEY`, in capital letters, exactly so.
//!
//! One that is nearly that does nothing, and what runs looks as if it did: in memory, where Kafka was meant. So a *near miss* is
//! refused with the right name. Not everything that begins with the name is one: Kubernetes sets `FLOODGATE_PORT` and the like for a
//! service of that name, and people call their own variables so.

use floodgate_config::{leaves, near};
use toml::Table;

/// What every one begins with.
const PREFIX: &str = "FLOODGATE__";

/// The name in it.
const NAME: &str = "FLOODGATE";

/// Those of `floodgate burst` and of clients.
const OTHERS: [&str; 3] = ["URL", "KEY", "OPERATORS_TOKEN"];

/// What seems to name the file, which an argument does.
const FILE: [&str; 4] = ["CONFIG", "CONFIG_FILE", "CONFIG_PATH", "CONFIGURATION"];

/// Words by which people mean a key whose name has others.
const OTHER_WORDS: [(&str, &str); 14] = [
    ("BUFFER", "FLOODGATE__BUFFER__STRATEGY"),
    ("STORE", "FLOODGATE__STORE__URL"),
    ("DATABASE", "FLOODGATE__STORE__URL"),
    ("DATABASE_URL", "FLOODGATE__STORE__URL"),
    ("DB", "FLOODGATE__STORE__URL"),
    ("DB_URL", "FLOODGATE__STORE__URL"),
    ("POSTGRES_URL", "FLOODGATE__STORE__URL"),
    ("SQLITE_URL", "FLOODGATE__STORE__URL"),
    ("KAFKA", "FLOODGATE__BUFFER__KAFKA__BROKERS"),
    ("KAFKA_URL", "FLOODGATE__BUFFER__KAFKA__BROKERS"),
    ("KAFKA_BOOTSTRAP_SERVERS", "FLOODGATE__BUFFER__KAFKA__BROKERS"),
    ("REDIS", "FLOODGATE__BUFFER__REDIS__URL"),
    ("LISTEN", "FLOODGATE__HTTP__LISTEN"),
    ("LOG", "FLOODGATE__LOG__LEVEL"),
];

/// Last words of keys that are enough by themselves. Others need the one before: people call their own variables `PASSWORD`.
const ENOUGH: [&str; 2] = ["STRATEGY", "BROKERS"];

/// A variable, by its name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Variable {
    /// It is none of ours.
    Anothers,
    /// It is a key, or would be one if there were such: its path.
    Key(String),
    /// It seems to be meant for us: what is wrong with it.
    NearMiss(String),
}

/// Keys, with `_` between all words of their names and in capital letters, and the variables that they are.
pub(crate) struct Known {
    keys: Vec<(String, String)>,
    /// The same of sections that may have any.
    sections: Vec<(String, String)>,
}

/// Those that the default has.
pub(crate) fn known(default: &Table, passed_through: &[String]) -> Known {
    let mut keys = Vec::new();
    leaves(default, "", &mut |key, _| keys.push(named(key)));
    Known { keys, sections: passed_through.iter().map(|section| named(section)).collect() }
}

fn named(key: &str) -> (String, String) {
    let key = key.to_ascii_uppercase();
    (key.replace('.', "_"), format!("{PREFIX}{}", key.replace('.', "__")))
}

/// What a variable of this name is.
pub(crate) fn read(name: &str, known: &Known) -> Variable {
    let upper = name.to_ascii_uppercase();
    let words: Vec<&str> =
        upper.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    match (name.strip_prefix(PREFIX), &words[..]) {
        (Some(path), [_, rest @ ..]) => {
            let key = path.to_ascii_lowercase().replace("__", ".");
            match known.meant(&rest.join("_")) {
                Some(right) if right != name && !known.is_property(name) => near_miss(&right),
                _ if rest.len() < 3 && FILE.contains(&rest.join("_").as_str()) => near_miss("--config FILE"),
                _ => Variable::Key(key),
            }
        }
        (None, [NAME, rest @ ..]) if !rest.is_empty() && !OTHERS.contains(&rest.join("_").as_str()) => {
            match known.meant(&rest.join("_")) {
                Some(right) => near_miss(&right),
                None if FILE.contains(&rest.join("_").as_str()) => near_miss("--config FILE"),
                None => Variable::Anothers,
            }
        }
        // the name itself is misspelt
        (None, ["FLOOD", "GATE", rest @ ..]) => {
            known.exactly(&rest.join("_")).map_or(Variable::Anothers, near_miss)
        }
        (None, [first, rest @ ..]) if *first != NAME && near([NAME], first).is_some() => {
            known.exactly(&rest.join("_")).map_or(Variable::Anothers, near_miss)
        }
        _ => Variable::Anothers,
    }
}

fn near_miss(right: &str) -> Variable {
    Variable::NearMiss(format!("is not read; did you mean {right}?"))
}

impl Known {
    /// The variable that has exactly these words.
    fn exactly(&self, words: &str) -> Option<&str> {
        let (_, variable) = self.keys.iter().find(|(known, _)| known == words)?;
        Some(variable)
    }

    /// The variable that was meant by these words, if it is plain enough.
    fn meant(&self, words: &str) -> Option<String> {
        let property = |(section, variable): &(String, String)| {
            let property = words.strip_prefix(section.as_str())?.strip_prefix('_')?;
            (!property.is_empty()).then(|| format!("{variable}__{property}"))
        };
        let mut ends = self
            .keys
            .iter()
            .filter(|(known, _)| known.strip_suffix(words).is_some_and(|front| front.ends_with('_')));
        let only = ends.next().filter(|_| ends.next().is_none());
        let only = only.filter(|_| words.contains('_') || ENOUGH.contains(&words));
        let alike = || {
            let near = near(self.keys.iter().map(|(known, _)| known.as_str()), words)?;
            self.exactly(near).map(str::to_owned)
        };
        let other =
            || OTHER_WORDS.iter().find(|(other, _)| *other == words).map(|(_, right)| (*right).to_owned());
        self.exactly(words)
            .map(str::to_owned)
            .or_else(|| self.sections.iter().find_map(property))
            .or_else(other)
            .or_else(|| only.map(|(_, variable)| variable.clone()))
            .or_else(|| self.without_some(words).map(str::to_owned))
            .or_else(alike)
    }

    /// The only variable that begins and ends as these words do, and has them in order.
    fn without_some(&self, words: &str) -> Option<&str> {
        let (first, last) = (words.split('_').next()?, words.rsplit('_').next()?);
        let mut found = self.keys.iter().filter(|(known, _)| {
            let mut of_key = known.split('_');
            let has_all = words.split('_').all(|word| of_key.any(|of_key| of_key == word));
            has_all && words.contains('_') && known.split('_').next() == Some(first) && known.ends_with(last)
        });
        found.next().filter(|_| found.next().is_none()).map(|(_, variable)| variable.as_str())
    }

    /// Whether it is a client library's, whichever way its dots are written.
    fn is_property(&self, name: &str) -> bool {
        let is_upper = !name.contains(|c: char| c.is_ascii_lowercase());
        is_upper && self.sections.iter().any(|(_, variable)| name.starts_with(&format!("{variable}__")))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn meant(name: &str) -> Option<String> {
        let default = "buffer.strategy = ''\nbuffer.kafka.brokers = ''\nbuffer.kafka.client = {}\nstore.url = ''\n\
                       store.max_connections = 1\nschema_registry.url = ''\nhttp.listen = ''\nadmin.listen = ''\nadmin.token = ''\n\
                       http.tls.key_file = ''\nlog.level = ''\nauth.keys = []";
        match read(name, &known(&default.parse().unwrap(), &["buffer.kafka.client".to_owned()])) {
            Variable::Anothers => None,
            Variable::Key(key) => Some(key),
            Variable::NearMiss(told) => {
                Some(told.strip_prefix("is not read; did you mean ").unwrap().to_owned())
            }
        }
    }

    #[test]
    fn near_misses_are_told_the_right_name() {
        let strategy = "FLOODGATE__BUFFER__STRATEGY?";
        for name in [
            "FLOODGATE__BUFFER_STRATEGY",
            "FLOODGATE_BUFFER__STRATEGY",
            "FLOODGATE_BUFFER_STRATEGY",
            "FLOODGATE___BUFFER__STRATEGY",
            "FLOODGATE__BUFFER___STRATEGY",
            "FLOODGATE__BUFFER__STRATEGY_",
            "floodgate__buffer__strategy",
            "Floodgate__Buffer__Strategy",
            "FLOODGATE__buffer__strategy",
            "FLOODGATE.BUFFER.STRATEGY",
            "floodgate.buffer.strategy",
            "FLOODGATE-BUFFER-STRATEGY",
            "FLOODGATE:BUFFER:STRATEGY",
            "FLOODGATE_STRATEGY",
            "FLOODGATE_BUFER_STRATEGY",
            "FLOODGATE_BUFFER_STRATEGIE",
            "FLODGATE__BUFFER__STRATEGY",
            "FLOODGATES__BUFFER__STRATEGY",
            "FLOOD_GATE__BUFFER__STRATEGY",
        ] {
            assert_eq!(meant(name).as_deref(), Some(strategy), "{name}");
        }
        for (name, right) in [
            ("FLOODGATE_KAFKA_BROKERS", "FLOODGATE__BUFFER__KAFKA__BROKERS?"),
            ("FLOODGATE_STORE_URI", "FLOODGATE__STORE__URL?"),
            ("FLOODGATE__STORE_MAX_CONNECTIONS", "FLOODGATE__STORE__MAX_CONNECTIONS?"),
            ("FLOODGATE__STORE__MAX__CONNECTIONS", "FLOODGATE__STORE__MAX_CONNECTIONS?"),
            ("FLOODGATE__SCHEMA__REGISTRY__URL", "FLOODGATE__SCHEMA_REGISTRY__URL?"),
            (
                "FLOODGATE_BUFFER_KAFKA_CLIENT_SASL_PASSWORD",
                "FLOODGATE__BUFFER__KAFKA__CLIENT__SASL_PASSWORD?",
            ),
            // with two underscores, too
            ("FLOODGATE__STRATEGY", "FLOODGATE__BUFFER__STRATEGY?"),
            ("FLOODGATE__BUFFER__STRATEGIE", "FLOODGATE__BUFFER__STRATEGY?"),
            ("FLOODGATE__KAFKA__BROKERS", "FLOODGATE__BUFFER__KAFKA__BROKERS?"),
            ("FLOODGATE__BUFFER__BROKERS", "FLOODGATE__BUFFER__KAFKA__BROKERS?"),
            ("FLOODGATE_BUFFER_BROKERS", "FLOODGATE__BUFFER__KAFKA__BROKERS?"),
            ("FLOODGATE__HTTP__KEY_FILE", "FLOODGATE__HTTP__TLS__KEY_FILE?"),
            // by other words
            ("FLOODGATE_BUFFER", "FLOODGATE__BUFFER__STRATEGY?"),
            ("FLOODGATE__BUFFER", "FLOODGATE__BUFFER__STRATEGY?"),
            ("FLOODGATE_DATABASE_URL", "FLOODGATE__STORE__URL?"),
            ("FLOODGATE__DATABASE__URL", "FLOODGATE__STORE__URL?"),
            ("floodgate_log", "FLOODGATE__LOG__LEVEL?"),
            ("FLOODGATE_CONFIG", "--config FILE?"),
            ("FLOODGATE__CONFIG", "--config FILE?"),
            ("floodgate_config_file", "--config FILE?"),
        ] {
            assert_eq!(meant(name).as_deref(), Some(right), "{name}");
        }
    }

    #[test]
    fn right_names_are_read_and_wrong_keys_told_as_such() {
        for (name, key) in [
            ("FLOODGATE__BUFFER__STRATEGY", "buffer.strategy"),
            ("FLOODGATE__HTTP__TLS__KEY_FILE", "http.tls.key_file"),
            ("FLOODGATE__BUFFER__KAFKA__CLIENT__SASL_PASSWORD", "buffer.kafka.client.sasl_password"),
            ("FLOODGATE__BUFFER__KAFKA__CLIENT__SASL__PASSWORD", "buffer.kafka.client.sasl.password"),
            ("FLOODGATE__BUFFER__CLIENTS", "buffer.clients"),
            ("FLOODGATE__TOPIC__PARTITIONS", "topic.partitions"),
        ] {
            assert_eq!(meant(name).as_deref(), Some(key), "{name}");
        }
    }

    /// What Kubernetes sets for services that are called like this, what clients read, and what people have for themselves.
    #[test]
    fn names_of_others_are_left_alone() {
        for service in ["", "_ADMIN", "_HTTP", "_STORE", "_KAFKA", "_SERVE", "_LOG"] {
            for end in [
                "_SERVICE_HOST",
                "_SERVICE_PORT",
                "_SERVICE_PORT_HTTP",
                "_SERVICE_PORT_ADMIN",
                "_PORT",
                "_PORT_8080_TCP",
                "_PORT_8080_TCP_ADDR",
                "_PORT_8080_TCP_PORT",
                "_PORT_8080_TCP_PROTO",
                "_PORT_9600_UDP",
            ] {
                let name = format!("FLOODGATE{service}{end}");
                assert_eq!(meant(&name), None, "{name}");
            }
        }
        for name in [
            "PATH",
            "",
            "_",
            "FLOODGATE",
            "FLOODGATE_",
            "FLOODGATE_URL",
            "FLOODGATE_KEY",
            "FLOODGATE_OPERATORS_TOKEN",
            "FLOODGATE_VERSION",
            "FLOODGATE_HOME",
            "FLOODGATE_TEST_STRATEGY",
            "FLOODGATE_TEST_SEED",
            "FLOODGATE_UPDATE",
            "BUFFER__STRATEGY",
            "FOOTGATE_X",
            "FLOODGATES",
            "STORE_URL",
        ] {
            assert_eq!(meant(name), None, "{name}");
        }
    }
}
