//! The database.

use floodgate_schemas::EventType;
use floodgate_store::{ReadError, Store};

use super::check::Check;
use crate::consume::{schema_trouble, unless_known};
use crate::settings::Settings;

pub(super) async fn of(settings: &Settings) -> Check {
    let mut check = Check::of("database", settings.store.masked_url());
    match floodgate_store::open(&settings.store) {
        Ok(store) => {
            if let Err(error) = look(&*store, settings, &mut check).await {
                check.away(
                    error,
                    "start it, or mend store.url; ask from where floodgate is to run, as its user and with its environment",
                );
            }
        }
        Err(error) => check.wrong(error, "mend [store] (docs/reference.md has what a URL may say)"),
    }
    check
}

async fn look(store: &dyn Store, settings: &Settings, check: &mut Check) -> Result<(), ReadError> {
    let mut unfit = store.unfit(&EventType::ALL).await?;
    if settings.coupon.decisions_retention_days > 0 {
        unfit.extend(unless_known(&unfit, store.keeps_decisions().await)?.flatten());
    }
    if !unfit.is_empty() {
        let next = "change that in the database, or name another one in store.url";
        unfit.into_iter().for_each(|why| check.wrong(why, next));
        return Ok(());
    }
    match schema_trouble(store).await? {
        None => check.well("has its schema"),
        Some(missing) => check.told(missing, "floodgate migrate (which `floodgate run` does by itself)"),
    }
    Ok(())
}
