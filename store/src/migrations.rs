//! The schema and its versions.
//!
//! Migrations are SQL files compiled into the binary, one list per database with the same version numbers. A
//! database notes which it has had in the table `floodgate_migrations` (a name of our own: the database may
//! hold other programs' tables, and their migrations). Runs are serialised by the database, so any number of
//! processes may migrate at once.

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

use crate::OpenError;

/// The table that notes which migrations a database has had.
pub(crate) const MIGRATIONS_TABLE: &str = "floodgate_migrations";

/// The newest version this build knows.
pub(crate) const NEWEST: i64 = 3;

/// The version since which a database has an identity.
pub(crate) const IDENTITY_SINCE: i64 = 2;

/// What `floodgate migrate` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MigrationReport {
    /// The version found; `None` where there was no schema.
    pub from: Option<i64>,
    /// The version the database has now.
    pub to: i64,
}

/// The schema of a database, seen from this build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaState {
    /// As expected.
    Current,
    /// None: `floodgate migrate` makes it.
    Missing,
    /// Older than expected: `floodgate migrate` brings it up.
    Older,
    /// Made by a newer build, which may run beside this one: it only added to what this one uses.
    Newer,
}

/// Why the schema could not be brought up to date.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MigrateError {
    /// The configuration is at fault.
    #[error(transparent)]
    Config(#[from] OpenError),
    /// The database is away, busy or refuses: the same may succeed later.
    #[error("{0}")]
    Unavailable(String),
    /// The database cannot do what is asked of it, whatever its schema: says what to change.
    #[error("{0}")]
    Unfit(String),
    /// A newer build has migrated this database; use that one.
    #[error("the schema has version {found}, this build knows up to {known}")]
    Newer {
        /// The version of the database.
        found: i64,
        /// The newest version this build knows.
        known: i64,
    },
    /// A migration was begun and did not end, on a database that cannot take its statements back. Says what to do.
    #[error(
        "migration {0} was begun and did not end: its statements are there in part. Look at what is there, undo or complete it, \
         and delete the row of version {0} from floodgate_migrations"
    )]
    HalfDone(i64),
    /// A migration that the database has had differs from ours of that version.
    #[error("{0}")]
    Differs(String),
}

impl SchemaState {
    /// The state of a database that had migrations up to `applied`.
    pub(crate) fn of(applied: Option<i64>) -> Self {
        match applied {
            None => SchemaState::Missing,
            Some(version) if version < NEWEST => SchemaState::Older,
            Some(version) if version > NEWEST => SchemaState::Newer,
            Some(_) => SchemaState::Current,
        }
    }
}

/// A migrator for one database's migrations: version, name, SQL. It is run within one transaction that holds a lock.
pub(crate) fn migrator(migrations: &[(i64, &'static str, &'static str)]) -> Migrator {
    let migrations = migrations.iter().map(|(version, name, sql)| {
        Migration::new(*version, (*name).into(), MigrationType::Simple, sql.into_sql_str(), false)
    });
    let mut migrator = Migrator::with_migrations(migrations.collect());
    migrator.dangerous_set_table_name(MIGRATIONS_TABLE);
    // each database's own lock is held for as long as its transaction
    migrator.set_locking(false);
    migrator
}

/// What went wrong, by what the caller can do.
pub(crate) fn failure(
    error: sqlx::migrate::MigrateError,
    explain: fn(&sqlx::Error) -> String,
) -> MigrateError {
    use sqlx::migrate::MigrateError as Cause;
    match error {
        Cause::Execute(error) => MigrateError::Unavailable(explain(&error)),
        Cause::ExecuteMigration(error, version) => {
            MigrateError::Unavailable(format!("migration {version}: {}", explain(&error)))
        }
        Cause::Dirty(version) => MigrateError::HalfDone(version),
        Cause::VersionMissing(found) => MigrateError::Newer { found, known: NEWEST },
        other => MigrateError::Differs(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_follow_the_version() {
        assert_eq!(SchemaState::of(None), SchemaState::Missing);
        assert_eq!(SchemaState::of(Some(NEWEST - 1)), SchemaState::Older);
        assert_eq!(SchemaState::of(Some(NEWEST)), SchemaState::Current);
        assert_eq!(SchemaState::of(Some(NEWEST + 1)), SchemaState::Newer);
    }

    #[test]
    fn a_migration_that_did_not_end_is_told_with_what_to_do() {
        let told = failure(sqlx::migrate::MigrateError::Dirty(2), |error| error.to_string());
        assert_eq!(told, MigrateError::HalfDone(2));
        assert!(told.to_string().contains("floodgate_migrations"), "{told}");
    }

    #[test]
    fn every_database_has_every_version() {
        for migrations in [crate::postgres::MIGRATIONS, crate::sqlite::MIGRATIONS] {
            let versions: Vec<i64> = migrations.iter().map(|(version, ..)| *version).collect();
            assert_eq!(versions, (1..=NEWEST).collect::<Vec<_>>());
        }
    }
}
