//! `floodgate migrate`: the database's schema.

use crate::exit::{Exit, say};
use crate::settings::Settings;
use crate::signals::Signals;

pub(crate) async fn migrate(settings: &Settings) -> Result<(), Exit> {
    let mut signals = Signals::listen()?;
    let report = tokio::select! {
        report = apply(settings) => report?,
        _ = signals.next() => {
            return Err(Exit::failed("interrupted: the migration is taken back, and running it again does it"));
        }
    };
    let to = report.to;
    match report.from {
        Some(from) if from == to => say(format_args!("the schema is up to date (version {to})")),
        Some(from) => say(format_args!("the schema went from version {from} to {to}")),
        None => say(format_args!("the schema was created (version {to})")),
    }
}

/// For `run`, which says nothing about it.
pub(crate) async fn migrate_quietly(settings: &Settings) -> Result<(), Exit> {
    apply(settings).await.map(drop)
}

async fn apply(settings: &Settings) -> Result<floodgate_store::MigrationReport, Exit> {
    floodgate_store::migrate(&settings.store).await.map_err(|error| match error {
        floodgate_store::MigrateError::Config(error) => Exit::usage(error),
        error => Exit::failed(format!("{}: {error}", settings.store.masked_url())),
    })
}
