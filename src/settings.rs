//! The configuration: the compiled-in default, then a file, then the environment.
//!
//! Strategies bring their sections of the default themselves ([`floodgate_buffer::defaults`]), and read and check them. What the
//! layers may change is in [`crate::layers`].

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use floodgate_admin::{AdminConfig, LagConfig};
use floodgate_buffer::{Configured, Surroundings, TopicsConfig};
use floodgate_config::Section;
use floodgate_consumers::ConsumersConfig;
use floodgate_observe::logs::LogConfig;
use floodgate_producer::{AuthConfig, HttpConfig, RateLimitConfig};
use floodgate_registry::RegistryConfig;
use floodgate_schemas::Keying;
use floodgate_traces::OtelConfig;
use serde::Deserialize;
use toml::Table;

use crate::config_file::ConfigFile;
use crate::coupon::CouponConfig;
use crate::exit::Exit;
use crate::idle;
use crate::layers::{Layers, Origins};
use crate::masks;

/// All sections but those of the strategies.
const DEFAULT: &str = include_str!("default.toml");

/// The compiled-in configuration.
fn default_text() -> String {
    format!("{DEFAULT}\n{}", floodgate_buffer::defaults())
}

/// The whole configuration.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) http: HttpConfig,
    pub(crate) auth: AuthConfig,
    pub(crate) rate_limit: RateLimitConfig,
    pub(crate) admin: AdminConfig,
    /// The chosen strategy.
    pub(crate) strategy: Arc<Configured>,
    pub(crate) topics: TopicsConfig,
    pub(crate) schema_registry: RegistryConfig,
    pub(crate) store: floodgate_store::Config,
    pub(crate) consumers: ConsumersConfig,
    pub(crate) coupon: CouponConfig,
    pub(crate) lag: LagConfig,
    pub(crate) log: LogConfig,
    pub(crate) otel: OtelConfig,
    pub(crate) shutdown: ShutdownConfig,
    pub(crate) runtime: RuntimeConfig,
    /// What is worth a word though it can be used.
    pub(crate) warnings: Vec<String>,
    /// Values that do nothing as the rest stands.
    pub(crate) idle: Vec<String>,
    /// What it was read from, for printing: secrets are masked.
    pub(crate) table: Table,
    /// Who said what of it.
    pub(crate) origins: Origins,
}

/// `[runtime]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RuntimeConfig {
    worker_threads: usize,
}

impl RuntimeConfig {
    /// How many threads serve requests and do all else.
    pub(crate) fn worker_threads(&self) -> usize {
        match self.worker_threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        }
    }
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
        Self::read_layers(file).map_err(|problems| Exit::usage(told(&problems)))
    }

    /// # Errors
    /// Everything that is wrong, so that nobody has to come back once per mistake.
    pub(crate) fn read_layers(file: Option<&Path>) -> Result<Self, Vec<String>> {
        let file = file.map(ConfigFile::read).transpose().map_err(|problem| vec![problem])?;
        let layer = file.as_ref().map(|file| (file.name.as_str(), file.text.as_str()));
        let settings = Self::from_layers(layer, environment())?;
        Ok(Self { warnings: file.map(|file| file.warnings).unwrap_or_default(), ..settings })
    }

    /// Another strategy than the chosen one, by its name.
    pub(crate) fn load_strategy(file: Option<&Path>, name: &str) -> Result<Configured, Exit> {
        let file = file.map(ConfigFile::read).transpose().map_err(Exit::usage)?;
        let layer = file.as_ref().map(|file| (file.name.as_str(), file.text.as_str()));
        let layers = laid(layer, environment()).map_err(|problem| Exit::usage(told(&problem)))?;
        let (all, mut problems) = (Section::new("", layers.table, layers.default), layers.problems);
        let topics = all.section("topics").read::<TopicsConfig>(&mut problems);
        let drain_ms = all
            .section("consumers")
            .read::<ConsumersConfig>(&mut problems)
            .map(|consumers| consumers.drain_ms);
        let strategy = topics.zip(drain_ms).and_then(|(topics, drain_ms)| {
            let around = Surroundings { topics: &topics, drain_ms };
            floodgate_buffer::configure_one(name, &all, &around, &mut problems)
        });
        match strategy {
            Some(strategy) if problems.is_empty() => Ok(strategy),
            _ => Err(Exit::usage(told(&problems))),
        }
    }

    /// # Errors
    /// Everything that is wrong.
    pub(crate) fn from_layers(
        file: Option<(&str, &str)>,
        environment: impl Iterator<Item = (String, impl Into<OsString>)>,
    ) -> Result<Self, Vec<String>> {
        let layers = laid(file, environment)?;
        let idle = idle::warnings(&layers);
        let Layers { table, default, origins, mut problems, .. } = layers;
        let read = Self::read(table, default, origins, &mut problems);
        problems.extend(read.iter().flat_map(Self::problems));
        match read {
            Some(settings) if problems.is_empty() => Ok(Self { idle, ..settings }),
            _ => Err(problems),
        }
    }

    /// Every part reads its section. `None` where one cannot be read at all, which is among the problems then.
    fn read(table: Table, default: Table, origins: Origins, problems: &mut Vec<String>) -> Option<Self> {
        let all = Section::new("", table.clone(), default);
        // all of them, before one that cannot be read ends it
        let auth = all.section("auth").read::<AuthConfig>(problems);
        let rate_limit = all.section("rate_limit").read(problems);
        let (http, admin, topics) = (
            all.section("http").read(problems),
            all.section("admin").read(problems),
            all.section("topics").read::<TopicsConfig>(problems),
        );
        let (store, consumers, coupon) = (
            all.section("store").read(problems),
            all.section("consumers").read::<ConsumersConfig>(problems),
            all.section("coupon").read::<CouponConfig>(problems),
        );
        let (lag, log) = (all.section("lag").read(problems), all.section("log").read(problems));
        let otel = all.section("otel").read::<OtelConfig>(problems);
        let schema_registry = all.section("schema_registry").read::<RegistryConfig>(problems);
        let (shutdown, runtime) =
            (all.section("shutdown").read(problems), all.section("runtime").read(problems));
        let (topics, consumers, store): (_, _, floodgate_store::Config) = (topics?, consumers?, store?);
        let auth = auth?;
        let around = Surroundings { topics: &topics, drain_ms: consumers.drain_ms };
        let strategy = Arc::new(floodgate_buffer::configure(&all, &around, problems)?);
        Some(Self {
            http: http?,
            rate_limit: rate_limit?,
            admin: admin?,
            strategy,
            topics,
            schema_registry: schema_registry?,
            consumers,
            coupon: coupon?,
            lag: lag?,
            log: log?,
            otel: otel?,
            shutdown: shutdown?,
            runtime: runtime?,
            warnings: Vec::new(),
            idle: Vec::new(),
            table: masks::masked(table, &store, &auth),
            origins,
            auth,
            store,
        })
    }

    /// What no section can see by itself, and values that only their size makes wrong.
    fn problems(&self) -> Vec<String> {
        let Self { http, admin, topics, consumers, lag, log, shutdown, runtime, .. } = self;
        let same = http.listen.port() != 0 && http.listen == admin.listen;
        let rules = [
            (!same, "http.listen and admin.listen must differ"),
            ((1..=100_000).contains(&topics.partitions), "topics.partitions must be between 1 and 100000"),
            (topics.replication_factor >= 1, "topics.replication_factor must be at least 1"),
            (consumers.batch_max_events >= 1, "consumers.batch_max_events must be at least 1"),
            (consumers.batch_max_bytes >= 1, "consumers.batch_max_bytes must be at least 1"),
            (
                consumers.retry_min_ms <= consumers.retry_max_ms,
                "consumers.retry_min_ms must be at most consumers.retry_max_ms",
            ),
            (
                (0.0..=1.0).contains(&consumers.dead_letter_share_max),
                "consumers.dead_letter_share_max must be between 0 and 1",
            ),
            ((100..=5000).contains(&lag.refresh_ms), "lag.refresh_ms must be between 100 and 5000"),
            (
                matches!(lag.dead_letters_refresh_ms, 0 | 1000..=3_600_000),
                "lag.dead_letters_refresh_ms must be between 1000 and 3600000, or 0",
            ),
            (runtime.worker_threads <= 1024, "runtime.worker_threads must be at most 1024"),
            (
                (4096..=1 << 30).contains(&log.queue_max_bytes),
                "log.queue_max_bytes must be between 4096 and 1073741824",
            ),
            (
                shutdown.grace_ms < shutdown.deadline_ms,
                "shutdown.grace_ms must be less than shutdown.deadline_ms, of which it is a part",
            ),
        ];
        let broken = rules.into_iter().filter(|(holds, _)| !holds).map(|(_, rule)| rule.to_owned());
        let broken = broken
            .chain(http.problems())
            .chain(self.auth.problems())
            .chain(self.rate_limit.problems())
            .chain(self.coupon.problems(http, topics));
        broken.chain(self.schema_registry.problems()).chain(floodgate_traces::problems(&self.otel)).collect()
    }

    pub(crate) fn keying(&self) -> Keying {
        Keying { coupon: self.coupon.partition_key }
    }

    /// The effective configuration as TOML, secrets masked.
    pub(crate) fn masked(&self) -> Result<String, Exit> {
        toml::to_string(&self.table).map_err(Exit::failed)
    }
}

fn environment() -> impl Iterator<Item = (String, OsString)> {
    // a name that is no UTF-8 is not ours
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
}

/// All layers, one over the other.
fn laid(
    file: Option<(&str, &str)>,
    environment: impl Iterator<Item = (String, impl Into<OsString>)>,
) -> Result<Layers, Vec<String>> {
    let default: Table =
        default_text().parse().map_err(|error| vec![format!("the compiled-in default: {error}")])?;
    let mut layers = Layers::new(default, floodgate_buffer::passed_through());
    let file = file.map(|(name, text)| layers.file(name, text));
    layers.environment(environment);
    match file {
        // what stands in it is not known: no value is
        Some(Err(problem)) => Err([vec![problem], layers.problems].concat()),
        _ => {
            let masks = masks::problems(&layers);
            layers.problems.extend(masks);
            Ok(layers)
        }
    }
}

/// One problem as it is, several as a list.
pub(crate) fn told(problems: &[String]) -> String {
    match problems {
        [one] => one.clone(),
        many => {
            let list: Vec<_> = many.iter().map(|problem| format!("\n  - {problem}")).collect();
            format!("{} problems in the configuration:{}", many.len(), list.concat())
        }
    }
}

#[cfg(test)]
mod tests {
    use floodgate_schemas::CouponKey;

    use super::*;

    fn load(file: &str, environment: &[(&str, &str)]) -> Result<Settings, String> {
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Settings::from_layers(Some(("floodgate.toml", file)), environment).map_err(|problems| told(&problems))
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
        assert_eq!(settings.store.masked_url(), "sqlite://floodgate.db");
    }

    #[test]
    fn keys_can_be_set_in_the_environment() {
        let keys = format!("[{{ id = 'game', sha256 = '{}', scopes = ['read'] }}]", "0".repeat(64));
        let layers = [("FLOODGATE__AUTH__MODE", "keys"), ("FLOODGATE__AUTH__KEYS", keys.as_str())];
        let settings = load("", &layers).unwrap_or_else(|error| unreachable!("{error}"));
        assert_eq!(settings.auth.keys[0].id, "game");
    }

    /// What clients and operators were told, and what holds without a configuration.
    #[test]
    fn defaults_are_what_was_promised() {
        let settings = load("", &[]).unwrap_or_else(|error| unreachable!("{error}"));
        let Settings { http, admin, topics, coupon, .. } = &settings;
        assert_eq!(
            (http.listen.to_string(), admin.listen.to_string()),
            ("127.0.0.1:8080".into(), "127.0.0.1:9600".into())
        );
        assert_eq!((http.body_max_bytes, http.events_max, http.send_timeout_ms), (8 << 20, 10_000, 10_000));
        let message_timeout_ms = &settings.table["buffer"]["kafka"]["message_timeout_ms"];
        assert_eq!((http.request_deadline_ms, message_timeout_ms.as_integer()), (6000, Some(4000)));
        assert_eq!((http.clock_ahead_max_ms, http.cache_ms), (300_000, 1000));
        assert_eq!((topics.partitions, topics.prefix.as_str()), (10, ""));
        assert_eq!(coupon.partition_key, CouponKey::Coupon);
        assert_eq!((coupon.door().refuse_unknown, coupon.door().refuse_sold_out), (true, false));
        assert_eq!(coupon.decisions_retention_days, 0);
        assert_eq!(settings.store.masked_url(), "sqlite://floodgate.db");
        assert_eq!(settings.consumers.instances, 0);
    }

    #[test]
    fn unknown_keys_are_refused_with_the_nearest() {
        assert_eq!(
            refused("[buffer.kafka]\nbroker = 'x'", &[]),
            "floodgate.toml: unknown key `buffer.kafka.broker`; did you mean `buffer.kafka.brokers`?"
        );
        assert_eq!(
            refused("", &[("FLOODGATE__BUFFER__STRATEGIE", "kafka")]),
            "FLOODGATE__BUFFER__STRATEGIE: is not read; did you mean FLOODGATE__BUFFER__STRATEGY?"
        );
        assert!(
            refused("", &[("FLOODGATE__BUFFER__X", "kafka")])
                .contains("unknown key `buffer.x`; did you mean")
        );
        assert!(refused("http = 1", &[]).contains("`http` is a section"));
        assert!(refused("[http.listen]\nx = 1", &[]).contains("`http.listen` is a value"));
    }

    #[test]
    fn a_fallback_is_for_a_strategy_that_can_have_one() {
        let told = |strategy, fallback| {
            refused(&format!("buffer.strategy = '{strategy}'\nbuffer.fallback = {fallback}"), &[])
        };
        assert_eq!(told("kafka", "'redis'"), "");
        assert_eq!(
            told("in-memory", "'redis'"),
            "buffer.fallback needs buffer.strategy = `kafka`, and it is `in-memory`"
        );
        for wrong in ["'kafka'", "'local'", "true"] {
            let told = told("kafka", wrong);
            assert!(told.contains("buffer.fallback must be `none` or `redis`"), "{wrong}: {told}");
        }
        // its section is checked as that of a chosen strategy
        let file = "[buffer]\nstrategy = 'kafka'\nfallback = 'redis'\nredis.lease_ms = 1";
        assert!(refused(file, &[]).contains("buffer.redis.lease_ms"), "{}", refused(file, &[]));
    }

    /// What may be read again must find its decision.
    #[test]
    fn decisions_outlive_the_log() {
        let told = |days, topics: &str| {
            refused(&format!("[coupon]\ndecisions_retention_days = {days}\n[topics]\n{topics}"), &[])
        };
        let letters = "dead_letter_retention_hours = 240";
        assert_eq!([told(0, ""), told(38, ""), told(18, letters)], ["", "", ""]);
        assert!(told(37, "").contains("at least 38"), "{}", told(37, ""));
        assert!(told(17, letters).contains("at least 18"), "{}", told(17, letters));
        let longer = format!("{letters}\nretention_hours = 241");
        assert!(told(18, &longer).contains("at least 19"), "{}", told(18, &longer));
    }

    #[test]
    fn values_of_the_wrong_kind_name_the_key() {
        assert!(refused("[buffer]\nstrategy = 'kafak'", &[]).contains("kafak"));
        assert!(refused("[topics]\npartitions = 'ten'", &[]).contains("topics.partitions"));
        assert!(refused("", &[("FLOODGATE__TOPICS__PARTITIONS", "ten")]).contains("must be a whole number"));
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let file = "[http]\nlisen = 'x'\nbody_max_bytes = 'big'\n[topics]\npartitions = -1\n[shutdown]\ngrace_ms = 60000";
        let told = refused(file, &[("FLOODGATE__LAG__REFRESH_MS", "9"), ("FLOODGATE__LOG__LEVL", "info")]);
        assert!(told.starts_with("6 problems"), "{told}");
        for strategy in ["kafak", "kafka"] {
            let file = format!(
                "[buffer]\nstrategy = '{strategy}'\n[buffer.kafka.client]\nacks = '1'\n[http]\nevents_max = 0"
            );
            let told = refused(&file, &[("FLOODGATE__LAG__REFRESH_MS", "9")]);
            assert!(told.starts_with("3 problems") && told.contains("events_max"), "{told}");
        }
        for part in
            ["http.lisen", "http.body_max_bytes", "topics.partitions", "grace_ms", "refresh_ms", "LOG__LEVL"]
        {
            assert!(told.contains(part), "{part}: {told}");
        }
    }

    #[test]
    fn client_properties_pass_and_secrets_are_masked() {
        let settings = load(
            "[buffer.kafka.client]\n'sasl.password' = 'hidden-1'\nssl.key.pem = 'hidden-3'\n[store]\nurl = 'postgres://u:hidden-2@h/d'",
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
        assert_eq!(again.idle, [""; 0]);
        let again = Settings { origins: Origins::new(), ..again };
        assert_eq!(format!("{settings:?}"), format!("{again:?}"));
    }
}
