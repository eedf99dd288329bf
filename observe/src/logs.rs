//! Logs: on stderr, pretty for a person at a terminal, JSON lines for machines.

use std::io::IsTerminal;

use serde::Deserialize;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// `[log]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// What is logged, as `tracing` filters are written: `info`, `floodgate_buffer=debug,info`.
    pub level: String,
    /// How it is written.
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// Pretty when stderr is a terminal, JSON otherwise.
    Auto,
    /// For a person.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// The filter does not parse.
#[derive(Debug, thiserror::Error)]
#[error("log.level: {0}")]
pub struct InvalidLevel(String);

fn filter(config: &LogConfig) -> Result<EnvFilter, InvalidLevel> {
    EnvFilter::try_new(&config.level).map_err(|error| InvalidLevel(error.to_string()))
}

/// Whether logging could be started so.
///
/// # Errors
/// [`InvalidLevel`] when `log.level` is no filter.
pub fn check(config: &LogConfig) -> Result<(), InvalidLevel> {
    filter(config).map(drop)
}

/// Starts logging for the whole process. A second call changes nothing.
///
/// # Errors
/// [`InvalidLevel`] when `log.level` is no filter.
pub fn start(config: &LogConfig) -> Result<(), InvalidLevel> {
    let filter = filter(config)?;
    let terminal = std::io::stderr().is_terminal();
    let pretty = match config.format {
        LogFormat::Auto => terminal,
        LogFormat::Pretty => true,
        LogFormat::Json => false,
    };
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(terminal);
    // a subscriber that is already there, as in tests, stays
    let _ = if pretty {
        registry.with(lines.with_target(false)).try_init()
    } else {
        registry.with(lines.json().flatten_event(true).with_current_span(false)).try_init()
    };
    Ok(())
}
