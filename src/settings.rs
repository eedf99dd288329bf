//! The configuration: the compiled-in default, then a file, then the environment.
//!
//! The default names every key there is, so it also says which keys are known: a layer above may only change
//! what the default has. The one exception is the section [`PASS_THROUGH`], whose keys are a client library's.

use std::path::Path;

use floodgate_admin::{AdminConfig, LagConfig};
use floodgate_buffer::{BufferConfig, PASS_THROUGH, TopicsConfig};
use floodgate_consumers::ConsumersConfig;
use floodgate_observe::logs::LogConfig;
use floodgate_producer::HttpConfig;
use floodgate_schemas::{CouponKey, Keying};
use serde::Deserialize;
use toml::{Table, Value};

use crate::Exit;

const DEFAULT: &str = include_str!("default.toml");
const ENVIRONMENT_PREFIX: &str = "FLOODGATE__";

/// The whole configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) http: HttpConfig,
    pub(crate) admin: AdminConfig,
    pub(crate) buffer: BufferConfig,
    pub(crate) topics: TopicsConfig,
    pub(crate) store: floodgate_store::Config,
    pub(crate) consumers: ConsumersConfig,
    pub(crate) coupon: CouponConfig,
    pub(crate) lag: LagConfig,
    pub(crate) log: LogConfig,
    pub(crate) shutdown: ShutdownConfig,
    /// What it was read from, for printing.
    #[serde(skip)]
    table: Table,
}

/// `[coupon]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CouponConfig {
    pub(crate) partition_key: CouponKey,
}

/// `[shutdown]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShutdownConfig {
    pub(crate) grace_ms: u64,
    pub(crate) deadline_ms: u64,
}

impl Settings {
    /// Reads all layers.
    pub(crate) fn load(file: Option<&Path>) -> Result<Self, Exit> {
        let file = match file {
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| Exit::usage(format!("--config {}: {error}", path.display())))?;
                Some((path.display().to_string(), text))
            }
            None => None,
        };
        let file = file.as_ref().map(|(name, text)| (name.as_str(), text.as_str()));
        Self::from_layers(file, std::env::vars()).map_err(Exit::Usage)
    }

    fn from_layers(
        file: Option<(&str, &str)>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, String> {
        let mut table: Table =
            DEFAULT.parse().map_err(|error| format!("the compiled-in default: {error}"))?;
        if let Some((name, text)) = file {
            let layer: Table = text.parse().map_err(|error| format!("{name}: {error}"))?;
            overlay(&mut table, layer, "").map_err(|error| format!("{name}: {error}"))?;
        }
        for (name, value) in environment {
            if let Some(path) = name.strip_prefix(ENVIRONMENT_PREFIX) {
                set_from_environment(&mut table, path, &value).map_err(|error| format!("{name}: {error}"))?;
            }
        }
        let mut settings = Self::deserialize(table.clone()).map_err(|error| {
            let text = error.to_string();
            // the library ends with the key in a line of its own
            text.trim_end().replace("\nin `", " in `")
        })?;
        settings.table = table;
        settings.check()?;
        Ok(settings)
    }

    /// What no section can see by itself.
    fn check(&self) -> Result<(), String> {
        if self.http.head_max_bytes < 8192 {
            return Err("http.head_max_bytes must be at least 8192".to_owned());
        }
        if self.topics.partitions == 0 {
            return Err("topics.partitions must be at least 1".to_owned());
        }
        if self.topics.replication_factor == 0 {
            return Err("topics.replication_factor must be at least 1".to_owned());
        }
        if self.http.connections_max == 0 {
            return Err("http.connections_max must be at least 1".to_owned());
        }
        if !(100..=5000).contains(&self.lag.refresh_ms) {
            return Err("lag.refresh_ms must be between 100 and 5000".to_owned());
        }
        Ok(())
    }

    pub(crate) fn keying(&self) -> Keying {
        Keying { coupon: self.coupon.partition_key }
    }

    /// The effective configuration as TOML, secrets masked.
    pub(crate) fn masked(&self) -> Result<String, Exit> {
        let mut table = self.table.clone();
        if let Some(Value::Table(store)) = table.get_mut("store") {
            store.insert("url".to_owned(), Value::String(self.store.masked_url()));
        }
        if let Some(Value::Table(client)) = find(&mut table, PASS_THROUGH) {
            mask_secrets(client);
        }
        toml::to_string(&table).map_err(Exit::failed)
    }
}

fn mask_secrets(table: &mut Table) {
    for (key, value) in table.iter_mut() {
        match value {
            Value::Table(inner) => mask_secrets(inner),
            _ if ["password", "secret", "key.pem", "jaas"].iter().any(|word| key.contains(word)) => {
                *value = Value::String("***".to_owned());
            }
            _ => {}
        }
    }
}

fn find<'t>(table: &'t mut Table, path: &str) -> Option<&'t mut Value> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let value = table.get_mut(first)?;
    match rest {
        None => Some(value),
        Some(rest) => find(value.as_table_mut()?, rest),
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Puts `layer` over `base`, which must have every key of it.
fn overlay(base: &mut Table, layer: Table, path: &str) -> Result<(), String> {
    if path == PASS_THROUGH {
        base.extend(layer);
        return Ok(());
    }
    for (key, value) in layer {
        let here = join(path, &key);
        match (base.get_mut(&key), value) {
            (None, _) => return Err(unknown(base, path, &key)),
            (Some(Value::Table(inner)), Value::Table(layer)) => overlay(inner, layer, &here)?,
            (Some(Value::Table(_)), _) => return Err(format!("`{here}` is a section, not a value")),
            (Some(_), Value::Table(_)) => return Err(format!("`{here}` is a value, not a section")),
            (Some(value), new) => *value = new,
        }
    }
    Ok(())
}

fn unknown(known: &Table, path: &str, key: &str) -> String {
    let nearest =
        known.keys().max_by(|a, b| strsim::jaro_winkler(a, key).total_cmp(&strsim::jaro_winkler(b, key)));
    let hint =
        nearest.map(|nearest| format!("; did you mean `{}`?", join(path, nearest))).unwrap_or_default();
    format!("unknown key `{}`{hint}", join(path, key))
}

fn set_from_environment(table: &mut Table, path: &str, text: &str) -> Result<(), String> {
    let path = path.to_ascii_lowercase().replace("__", ".");
    if let Some(property) = path.strip_prefix(PASS_THROUGH).and_then(|rest| rest.strip_prefix('.')) {
        if let Some(Value::Table(client)) = find(table, PASS_THROUGH) {
            client.insert(property.replace('_', "."), Value::String(text.to_owned()));
        }
        return Ok(());
    }
    let Some(value) = find(table, &path) else { return Err(unknown_path(table, &path)) };
    *value = match value {
        Value::Integer(_) => {
            Value::Integer(text.trim().parse().map_err(|_| "must be a whole number".to_owned())?)
        }
        Value::Boolean(_) => {
            Value::Boolean(text.trim().parse().map_err(|_| "must be true or false".to_owned())?)
        }
        Value::Table(_) => return Err(format!("`{path}` is a section, not a value")),
        _ => Value::String(text.to_owned()),
    };
    Ok(())
}

/// Names the first part of `path` that is not there, and what may have been meant.
fn unknown_path(table: &Table, path: &str) -> String {
    let (mut here, mut known) = (String::new(), table);
    for key in path.split('.') {
        match known.get(key) {
            Some(Value::Table(inner)) => {
                here = join(&here, key);
                known = inner;
            }
            _ => return unknown(known, &here, key),
        }
    }
    format!("unknown key `{path}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: &str, environment: &[(&str, &str)]) -> Result<Settings, String> {
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Settings::from_layers(Some(("floodgate.toml", file)), environment)
    }

    fn refused(file: &str, environment: &[(&str, &str)]) -> String {
        load(file, environment).err().unwrap_or_default()
    }

    #[test]
    fn later_layers_win() {
        let file = "[http]\nlisten = '127.0.0.1:1'\n[topics]\npartitions = 3\n";
        let settings = load(file, &[("FLOODGATE__TOPICS__PARTITIONS", "24"), ("PATH", "/bin")]);
        let settings = settings.unwrap_or_else(|error| unreachable!("{error}"));
        assert_eq!(settings.http.listen.port(), 1);
        assert_eq!(settings.topics.partitions, 24);
        assert_eq!(settings.store.url, "sqlite://floodgate.db");
    }

    #[test]
    fn unknown_keys_are_refused_with_the_nearest() {
        assert_eq!(
            refused("[buffer.kafka]\nbroker = 'x'", &[]),
            "floodgate.toml: unknown key `buffer.kafka.broker`; did you mean `buffer.kafka.brokers`?"
        );
        assert_eq!(
            refused("", &[("FLOODGATE__BUFFER__STRATEGIE", "kafka")]),
            "FLOODGATE__BUFFER__STRATEGIE: unknown key `buffer.strategie`; did you mean `buffer.strategy`?"
        );
        assert!(refused("", &[("FLOODGATE__BUFER__STRATEGY", "kafka")]).contains("did you mean `buffer`?"));
        assert!(refused("http = 1", &[]).contains("`http` is a section"));
        assert!(refused("[http.listen]\nx = 1", &[]).contains("`http.listen` is a value"));
    }

    #[test]
    fn values_of_the_wrong_kind_name_the_key() {
        assert!(refused("[buffer]\nstrategy = 'kafak'", &[]).contains("kafak"));
        assert!(refused("[topics]\npartitions = 'ten'", &[]).contains("topics.partitions"));
        assert!(refused("", &[("FLOODGATE__TOPICS__PARTITIONS", "ten")]).contains("must be a whole number"));
    }

    #[test]
    fn client_properties_pass_and_secrets_are_masked() {
        let settings = load(
            "[buffer.kafka.client]\n'sasl.password' = 'hidden-1'\n[store]\nurl = 'postgres://u:hidden-2@h/d'",
            &[("FLOODGATE__BUFFER__KAFKA__CLIENT__SECURITY_PROTOCOL", "SASL_SSL")],
        );
        let shown =
            settings.and_then(|settings| settings.masked().map_err(|_| String::new())).unwrap_or_default();
        assert!(shown.contains("\"security.protocol\" = \"SASL_SSL\""), "{shown}");
        assert!(shown.contains("***") && !shown.contains("hidden"), "{shown}");
    }

    #[test]
    fn the_printed_configuration_reads_back_as_itself() {
        let settings = load("", &[]).unwrap_or_else(|error| unreachable!("{error}"));
        let printed = settings.masked().unwrap_or_else(|_| unreachable!());
        let again = load(&printed, &[]).unwrap_or_else(|error| unreachable!("{error}"));
        assert_eq!(format!("{settings:?}"), format!("{again:?}"));
    }
}
