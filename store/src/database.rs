//! What a database brings.

use crate::{BoxFuture, MigrateError, MigrationReport, Store};

/// A database that can also bring its schema up to date.
pub(crate) trait Database: Store {
    fn migrate(&self) -> BoxFuture<'_, Result<MigrationReport, MigrateError>>;
}
