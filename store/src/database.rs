//! What a database brings, to be chosen.

use std::sync::Arc;

use crate::{BoxFuture, Config, MigrateError, MigrationReport, OpenError, Store};

/// A database that can also bring its schema up to date.
pub(crate) trait Database: Store {
    fn migrate(&self) -> BoxFuture<'_, Result<MigrationReport, MigrateError>>;
}

/// A database that was chosen, or why its URL cannot be.
pub(crate) type Opened = Result<Arc<dyn Database>, OpenError>;

/// A kind of database that can be chosen by its URL.
pub(crate) struct Kind {
    /// What its URLs begin with, before `://`; the first is the one that people are told.
    pub(crate) schemes: &'static [&'static str],
    /// What OpenTelemetry's conventions call it (`db.system.name`).
    pub(crate) system: &'static str,
    /// What its URLs look like, for people.
    pub(crate) example: &'static str,
    /// The database that stands behind the scheme of the URL. Touches neither network nor disk.
    pub(crate) open: fn(&str, &Config) -> Opened,
    /// The whole URL, for people, of what stands behind its scheme: without secrets. `None` where it cannot be understood.
    pub(crate) shown: fn(&str) -> Option<String>,
    /// What whoever is on the way there may read or take, of what stands behind its scheme.
    pub(crate) in_the_clear: fn(&str) -> Option<String>,
}
