//! From the configured URL to a database: the only place that looks at which one it is.

use std::sync::Arc;

use floodgate_config::mask;
use floodgate_schemas::EventType;
use secrecy::ExposeSecret;

use crate::database::{Kind, Opened};
use crate::{Config, MigrateError, MigrationReport, OpenError, Store, postgres, sqlite};

/// All databases that there are.
const DATABASES: &[Kind] = &[
    Kind {
        schemes: &["sqlite"],
        system: "sqlite",
        example: "sqlite://floodgate.db",
        open: sqlite::open,
        shown: sqlite::shown,
        in_the_clear: |_| None,
    },
    Kind {
        schemes: &["postgres", "postgresql"],
        system: "postgresql",
        example: "postgres://user:password@host:5432/database",
        open: postgres::open,
        shown: postgres::shown,
        in_the_clear: postgres::in_the_clear,
    },
];

impl Config {
    /// The URL, for people: without secrets. Nothing of one that cannot be understood is shown but its scheme.
    pub fn masked_url(&self) -> String {
        let shown = kind(self).ok().and_then(|(kind, place)| (kind.shown)(place));
        shown.unwrap_or_else(|| mask::masked(self.url.expose_secret()))
    }

    /// What whoever is on the way to the database may read or take, if there is somebody and the URL lets them.
    pub fn in_the_clear(&self) -> Option<String> {
        let (kind, place) = kind(self).ok()?;
        (kind.in_the_clear)(place)
    }
}

/// The database the configuration names. Touches neither network nor disk: the database may be away.
///
/// # Errors
/// The configuration names no database, or holds a value that cannot work.
pub fn open(config: &Config) -> Result<Arc<dyn Store>, OpenError> {
    Ok(database(config)?)
}

/// Brings the schema up to date; does nothing where it is. Any number of processes may call this at once. An
/// SQLite file is made if there is none.
///
/// # Errors
/// [`MigrateError`] tells whether it may pass. A failed migration leaves nothing of itself behind, and an unfit database is
/// not touched.
pub async fn migrate(config: &Config) -> Result<MigrationReport, MigrateError> {
    let database = database(config)?;
    let unfit = database.unfit(&EventType::ALL).await;
    let unfit = unfit.map_err(|error| MigrateError::Unavailable(error.to_string()))?;
    if !unfit.is_empty() {
        return Err(MigrateError::Unfit(unfit.join("; ")));
    }
    database.migrate().await
}

/// What OpenTelemetry's conventions call the database the configuration names (`db.system.name`).
///
/// # Errors
/// The configuration names no database.
pub fn system(config: &Config) -> Result<&'static str, OpenError> {
    kind(config).map(|(kind, _)| kind.system)
}

fn database(config: &Config) -> Opened {
    config.check()?;
    let (kind, place) = kind(config)?;
    (kind.open)(place, config)
}

/// Which one the URL names, and what of the URL is its own.
fn kind(config: &Config) -> Result<(&'static Kind, &str), OpenError> {
    let Some((scheme, place)) = config.url.expose_secret().trim().split_once("://") else {
        let reason = format!("must begin with {}, as in {}", schemes(" or "), examples());
        return Err(OpenError::new("url", reason));
    };
    let Some(kind) = DATABASES.iter().find(|kind| kind.schemes.contains(&scheme)) else {
        let (known, named) = (schemes(" and "), if mask::is_scheme(scheme) { scheme } else { mask::MASK });
        let reason = format!("has the unknown scheme `{named}`; known are {known}, as in {}", examples());
        return Err(OpenError::new("url", reason));
    };
    Ok((kind, place))
}

/// What URLs may begin with.
fn schemes(between: &str) -> String {
    let schemes = DATABASES.iter().filter_map(|kind| kind.schemes.first());
    schemes.map(|scheme| format!("{scheme}://")).collect::<Vec<_>>().join(between)
}

/// What URLs look like.
fn examples() -> String {
    DATABASES.iter().map(|kind| kind.example).collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Pooler;

    fn config(url: &str) -> Config {
        Config {
            url: url.into(),
            pooler: Pooler::None,
            max_connections: 4,
            connect_timeout_ms: 1_000,
            statement_timeout_ms: 1_000,
            lock_timeout_ms: 1_000,
            apply_timeout_ms: 1_000,
        }
    }

    fn opened(url: &str) -> Result<(), String> {
        open(&config(url)).map(drop).map_err(|error| error.to_string())
    }

    #[test]
    fn opens_while_the_database_is_away() {
        assert_eq!(opened("postgres://ann:secret@127.0.0.1:1/none"), Ok(()));
        assert_eq!(opened("postgresql://127.0.0.1:1/none?sslmode=disable"), Ok(()));
        assert_eq!(opened("sqlite:///no/such/folder/floodgate.db"), Ok(()));
        assert_eq!(opened("sqlite:///home/ann@corp/floodgate.db"), Ok(()));
        assert_eq!(opened("sqlite://./ann@corp.db"), Ok(()));
    }

    #[test]
    fn a_scheme_leads_to_one_database() {
        let mut schemes: Vec<_> = DATABASES.iter().flat_map(|kind| kind.schemes).collect();
        schemes.sort();
        schemes.dedup();
        assert_eq!(schemes.len(), DATABASES.iter().map(|kind| kind.schemes.len()).sum::<usize>());
        for kind in DATABASES {
            assert_eq!(opened(kind.example), Ok(()), "{}", kind.example);
        }
    }

    #[test]
    fn refuses_other_urls_by_name_and_without_the_password() {
        for (url, expected) in [
            ("mysql://ann:secret@db/x", "unknown scheme `mysql`; known are sqlite:// and postgres://"),
            ("floodgate.db", "must begin with sqlite:// or postgres://"),
            ("sqlite://", "names no file"),
            ("sqlite://:memory:", "in memory"),
            ("sqlite://floodgate.db?mode=ro", "takes no parameters"),
            ("sqlite://data.db?key=secret", "takes no parameters"),
            ("sqlite://ann:secret@host/data", "as a server's address does"),
            ("sqlite://secret@host", "as a server's address does"),
            ("sqlite://file:floodgate.db", "no `file:`"),
            ("sqlite://my%20file.db", "as it is"),
            ("sqlite:// floodgate.db", "blank"),
            ("sqlite:floodgate.db", "must begin with sqlite://"),
            ("ann:secret@mysql://db", "unknown scheme `***`"),
            ("postgres://ann:secret@db:port/x", "no port number"),
            ("postgres://ann:secret@db/x?sslmode=secret", "`sslmode`"),
        ] {
            let error = opened(url).err().unwrap_or_default();
            assert!(error.contains(expected), "{url}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn urls_are_shown_without_secrets() {
        for (url, shown) in [
            ("postgres://ann:secret@db:5432/x", "postgres://ann:***@db:5432/x"),
            ("postgresql://ann:secret@db/x\n", "postgres://ann:***@db/x"),
            ("postgres://ann:se@c/r?e:t@db/x", "postgres://ann:***@db/x"),
            (
                "postgres://ann@db/x?password=se@cret&sslmode=require",
                "postgres://ann@db/x?password=***&sslmode=require",
            ),
            ("postgres://ann:123/4@db/x", "postgres://***"),
            ("postgres://ann:secret@db/x?sslmod=require", "postgres://***"),
            ("mysql://ann:secret@db/x", "mysql://***"),
            ("sqlite:///data/my file.db", "sqlite:///data/my file.db"),
            ("sqlite:///data/../floodgate.db", "sqlite:///data/../floodgate.db"),
            ("sqlite:///home/ann@corp/floodgate.db", "sqlite:///home/ann@corp/floodgate.db"),
            ("sqlite://data.db?key=secret", "sqlite://***"),
            ("sqlite://ann:secret@host/data", "sqlite://***"),
            ("sqlite://file:data.db?key=secret", "sqlite://***"),
            ("sqlite:// secret", "sqlite://***"),
            ("secret", "***"),
        ] {
            assert_eq!(config(url).masked_url(), shown);
        }
    }
}
