//! What `log.level` selects.
//!
//! A word that is no level is read as a target whose every line is logged, so that `inof` would select nothing, and a process be silent
//! for ever. So each part has to be a level, or begin as something does that logs in this process.

use strsim::normalized_damerau_levenshtein;
use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, ParseError, Targets};

/// The library that warns of every connection whose client misuses it, so that clients could have lines written as often as they
/// like. It is logged where somebody asks for that.
const HTTP_2: &str = "h2";

/// Everything that logs: our crates, and libraries.
const TARGETS: [&str; 21] = [
    "floodgate",
    "floodgate_admin",
    "floodgate_buffer",
    "floodgate_consumers",
    "floodgate_lag",
    "floodgate_ledger",
    "floodgate_listener",
    "floodgate_observe",
    "floodgate_producer",
    "floodgate_registry",
    "floodgate_rehearsal",
    "floodgate_schemas",
    "floodgate_store",
    "floodgate_traces",
    "h2",
    "hyper_util",
    "librdkafka",
    "sqlx",
    "sqlx_core",
    "sqlx_postgres",
    "sqlx_sqlite",
];

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// Reads it.
///
/// # Errors
/// What is wrong, in a sentence.
pub(crate) fn read(level: &str) -> Result<Targets, String> {
    if level.contains("://") || level.contains('@') {
        return Err("what it is set to, which has something of an address and is not shown, selects nothing: it is written as \
                    \"info\", or \"floodgate_buffer=debug,info\""
            .to_owned());
    }
    // blanks would be parts of names
    let parts: Vec<&str> = level.split(',').map(str::trim).collect();
    parts.iter().try_for_each(|part| look(part))?;
    let asked: Targets = parts.join(",").parse().map_err(|error: ParseError| error.to_string())?;
    let is_wanted = asked.would_enable(HTTP_2, &Level::DEBUG)
        || asked.iter().any(|(target, _)| target.starts_with(HTTP_2));
    Ok(if is_wanted { asked } else { asked.with_target(HTTP_2, LevelFilter::OFF) })
}

/// Looks whether one part selects anything: a level, `target=level`, or a target alone.
fn look(part: &str) -> Result<(), String> {
    let (target, level) = match part.split_once('=') {
        Some((target, level)) => (Some(target), Some(level)),
        None if is_level(part) => (None, Some(part)),
        None => (Some(part), None),
    };
    if let Some(level) = level.filter(|level| !is_level(level)) {
        let levels = LEVELS.join(", ");
        return Err(format!("`{level}` is no level{}; levels are {levels}", hint(&LEVELS, level)));
    }
    match target {
        Some(target) if !is_there(target) => {
            let known: Vec<_> = LEVELS.into_iter().chain(TARGETS).collect();
            Err(match hint(&known, &target.replace('-', "_")) {
                hint if hint.is_empty() => format!(
                    "`{target}` selects nothing: it is written as \"info\", or \"floodgate_buffer=debug,info\", and what logs is {}",
                    TARGETS.join(", ")
                ),
                hint => format!("`{target}` selects nothing{hint}"),
            })
        }
        _ => Ok(()),
    }
}

fn is_level(word: &str) -> bool {
    LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word))
        || matches!(word, "0" | "1" | "2" | "3" | "4" | "5")
}

/// Whether something that logs begins so, or is a part of it.
fn is_there(target: &str) -> bool {
    let is_of = |known: &str| {
        known.starts_with(target) || target.strip_prefix(known).is_some_and(|part| part.starts_with("::"))
    };
    !target.is_empty() && TARGETS.iter().any(|known| is_of(known))
}

/// What may have been meant.
fn hint(known: &[&str], word: &str) -> String {
    const NEAR: f64 = 0.75;
    let likeness = |known: &str| normalized_damerau_levenshtein(known, &word.to_ascii_lowercase());
    let nearest = known.iter().max_by(|one, other| likeness(one).total_cmp(&likeness(other)));
    match nearest {
        Some(nearest) if likeness(nearest) >= NEAR => format!("; did you mean `{nearest}`?"),
        _ => String::new(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_could_flood_the_log_with_is_logged_only_where_asked_for() {
        for (level, warns) in [
            ("info", false),
            ("warn", false),
            ("floodgate_buffer=debug,info", false),
            ("debug", true),
            ("h2=warn,info", true),
        ] {
            let filter = read(level).unwrap();
            assert_eq!(filter.would_enable("h2::proto::streams::recv", &Level::WARN), warns, "{level}");
            assert!(filter.would_enable("floodgate", &Level::WARN), "{level}");
        }
    }

    #[test]
    fn a_filter_that_selects_nothing_is_refused() {
        for (level, why) in [
            ("inof", "did you mean `info`?"),
            ("Debgu", "did you mean `debug`?"),
            ("floodgate_bufer=debug,info", "did you mean `floodgate_buffer`?"),
            ("floodgate-buffer=debug,info", "did you mean `floodgate_buffer`?"),
            ("floodgate_buffer=debgu,info", "`debgu` is no level; did you mean `debug`?"),
            ("floodgate_buffer=", "`` is no level"),
            ("info;debug", "selects nothing"),
            ("info debug", "selects nothing"),
            ("info,", "`` selects nothing"),
            ("", "`` selects nothing"),
            ("=info", "`` selects nothing"),
            ("verbose", "`verbose` selects nothing: it is written as"),
            ("floodgate_buffers::kafka=debug", "selects nothing"),
            ("floodgate_buffer:kafka=debug", "selects nothing"),
            ("info,[span]=debug", "selects nothing"),
        ] {
            let told = read(level).unwrap_err();
            assert!(told.contains(why), "{level}: {told}");
        }
    }

    #[test]
    fn what_selects_something_is_taken_with_blanks_and_in_any_case() {
        for (level, target, enabled) in [
            (" INFO ", "floodgate", Level::INFO),
            ("floodgate_buffer=debug, warn", "floodgate_store", Level::WARN),
            ("warn , floodgate_buffer::redis=TRACE", "floodgate_buffer::redis::link", Level::TRACE),
            ("floodgate=debug", "floodgate_buffer", Level::DEBUG),
            ("sqlx::query", "sqlx::query", Level::TRACE),
            ("3", "floodgate", Level::INFO),
        ] {
            assert!(read(level).unwrap().would_enable(target, &enabled), "{level}");
        }
        assert!(!read("off").unwrap().would_enable("floodgate", &Level::ERROR));
    }
}
