//! Logs: on stderr, pretty for a person at a terminal, JSON lines for machines.
//!
//! Once logging is started nothing of the process writes to stderr but the queue in [`lines`](crate::lines): neither who
//! logs, nor who panics, nor who says why the process ends ([`say`]).

use std::fmt::Display;
use std::io::{self, IsTerminal};
use std::sync::OnceLock;
use std::time::Duration;

use serde::Deserialize;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::filter;
use crate::json::JsonLines;
use crate::lines::Lines;
use crate::printable::{printable, printable_in_colour};

/// How long a process that ends waits for its last lines to be taken.
const FLUSH: Duration = Duration::from_secs(1);

/// What may wait while there is no configuration yet.
const QUEUE_MAX_BYTES: usize = 1 << 20;

/// Where lines go from the start of logging on.
static LINES: OnceLock<Lines> = OnceLock::new();

/// `[log]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// What is logged, as `tracing` filters are written: `info`, `floodgate_buffer=debug,info`.
    pub level: String,
    /// How it is written.
    pub format: LogFormat,
    /// What may wait for whoever reads stderr, in bytes.
    pub queue_max_bytes: usize,
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

/// The filter cannot be read, or selects nothing.
#[derive(Debug, thiserror::Error)]
#[error("log.level: {0}")]
pub struct InvalidLevel(String);

/// Logging cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is at fault.
    #[error(transparent)]
    Level(#[from] InvalidLevel),
    /// The system has no room for another thread or file.
    #[error("logging cannot be started: {0}")]
    System(#[from] io::Error),
}

/// Writes lines into the queue.
struct ToQueue(Lines);

impl io::Write for &ToQueue {
    /// Gets whole lines, one at a time.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match line.is_ascii() {
            true => self.0.put(line),
            // the colours are ours
            false => self.0.put(printable_in_colour(&String::from_utf8_lossy(line)).as_bytes()),
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for ToQueue {
    type Writer = &'a ToQueue;

    fn make_writer(&'a self) -> &'a ToQueue {
        self
    }
}

/// One line on stderr that is no log line, such as why a process ends. Waits for nobody.
pub fn say(line: impl Display) {
    let line = format!("{line}\n");
    let line = printable(&line);
    // also before logging is started: why it is not
    let lines = LINES.get().cloned().or_else(|| Lines::to_stderr(QUEUE_MAX_BYTES, |_| {}).ok());
    match lines {
        Some(lines) => LINES.get_or_init(|| lines).put(line.as_bytes()),
        None => eprint!("{line}"),
    }
}

/// Waits, for a second at most, until what was logged is written. To be called before the process ends.
pub fn flush() {
    if let Some(lines) = LINES.get() {
        lines.flush(FLUSH);
    }
}

/// Panics go the way of all lines.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let backtrace = std::backtrace::Backtrace::capture();
        let trace = match backtrace.status() {
            std::backtrace::BacktraceStatus::Captured => format!("\n{backtrace}"),
            _ => String::new(),
        };
        tracing::error!(thread = thread.name().unwrap_or("unnamed"), "{panic}{trace}");
    }));
}

fn filter(config: &LogConfig) -> Result<Targets, InvalidLevel> {
    filter::read(&config.level).map_err(InvalidLevel)
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
/// [`StartError`] when `log.level` is no filter, or the system gives no thread.
pub fn start(config: &LogConfig) -> Result<(), StartError> {
    let filter = filter(config)?;
    if LINES.get().is_some() {
        return Ok(());
    }
    let lines = Lines::to_stderr(config.queue_max_bytes, |left_out| {
        tracing::warn!(left_out, "lines of the log were left out, as stderr did not take them");
    })?;
    let _ = LINES.set(lines.clone());
    log_panics();
    let terminal = io::stderr().is_terminal();
    let pretty = match config.format {
        LogFormat::Auto => terminal,
        LogFormat::Pretty => true,
        LogFormat::Json => false,
    };
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(ToQueue(lines)).with_ansi(terminal);
    // a subscriber that is already there, as in tests, stays
    let _ = if pretty {
        registry.with(lines.with_target(false)).try_init()
    } else {
        registry.with(lines.event_format(JsonLines)).try_init()
    };
    Ok(())
}
