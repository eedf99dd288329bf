//! `floodgate consume`: consumers alone.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Args;
use floodgate_buffer::{Parts, Strategy};
use floodgate_lag::words::many;
use floodgate_schemas::EventType;
use floodgate_store::{ReadError, SchemaState, Store};

use crate::arguments::known;
use crate::exit::Exit;
use crate::roles::{ConsumersRole, Deadline, Opened, all_lived, until_stopped};
use crate::settings::Settings;
use crate::signals::Signals;

/// How often a database that is not ready is looked at again.
const SCHEMA_RETRY: Duration = Duration::from_secs(1);

#[derive(Args)]
#[command(after_help = "\
Examples:
  floodgate consume
  floodgate consume --group coupon                         only what applies coupon issues
  FLOODGATE__CONSUMERS__INSTANCES=4 floodgate consume      four members of each group")]
pub(crate) struct ConsumeArgs {
    /// Only this group, such as floodgate.like; may be given several times [default: all groups]
    #[arg(long = "group", value_name = "NAME", value_parser = known(EventType::ALL.map(EventType::name)))]
    groups: Vec<String>,
}

/// The consumers, once the database has its schema; until then, why there are none.
type Slot = Arc<Mutex<Result<ConsumersRole, String>>>;

pub(crate) async fn consume(settings: &Settings, args: &ConsumeArgs) -> Result<(), Exit> {
    let signals = Signals::listen()?;
    let opened = Arc::new(Opened::new(settings)?);
    opened.need_shared("consume")?;
    let groups = groups(&*opened.strategy, &args.groups)?;
    let slot: Slot = Arc::new(Mutex::new(Err("not yet connected to the database".to_owned())));
    let readiness = Arc::clone(&slot);
    let admin = opened.admin("consume", Arc::new(move || ready(&readiness))).await?;
    let names: Vec<_> = groups.iter().map(|of| opened.strategy.names().group(*of).to_owned()).collect();
    opened.announce("consume", &format!("groups {}; admin http://{}", names.join(", "), admin.address));
    let start = start_when_fit(Arc::clone(&opened), groups, Arc::clone(&slot));
    let starting = tokio::spawn(Parts::of_this_process().once("consumers-start", start));

    let (_, deadline) = until_stopped(settings, signals, None).await;
    starting.abort();
    let _ = starting.await;
    let stopped = stop(&slot, deadline).await;
    let unacknowledged = opened.publisher.close(deadline.left()).await;
    opened.traces.stop(deadline.left()).await;
    admin.stop();
    stopped?;
    if unacknowledged > 0 {
        let letters = many(unacknowledged as u64, "dead letter");
        return Err(Exit::failed(format!("not acknowledged: {letters}")));
    }
    all_lived()?;
    let events = opened.metrics.processed_tasks.get();
    tracing::info!(events, "stopped; every finished batch is committed");
    Ok(())
}

/// Groups by their full names, or without the configured prefix, or by the events they apply.
fn groups(strategy: &dyn Strategy, names: &[String]) -> Result<Vec<EventType>, Exit> {
    let is_meant = |of: EventType, name: &str| {
        name == strategy.names().group(of) || name == of.group() || name == of.name()
    };
    for name in names {
        if !EventType::ALL.into_iter().any(|of| is_meant(of, name)) {
            let known = EventType::ALL.map(|of| strategy.names().group(of)).join(", ");
            return Err(Exit::usage(format!("--group {name}: no such group; the groups are {known}")));
        }
    }
    let is_wanted = |of: &EventType| names.is_empty() || names.iter().any(|name| is_meant(*of, name));
    Ok(EventType::ALL.into_iter().filter(is_wanted).collect())
}

fn ready(slot: &Slot) -> Result<(), String> {
    match &*slot.lock().unwrap_or_else(PoisonError::into_inner) {
        Ok(consumers) => consumers.health.ready(),
        Err(reason) => Err(reason.clone()),
    }
}

async fn stop(slot: &Slot, deadline: Deadline) -> Result<(), Exit> {
    let taken = std::mem::replace(
        &mut *slot.lock().unwrap_or_else(PoisonError::into_inner),
        Err("shutting down".to_owned()),
    );
    match taken {
        Ok(consumers) => consumers.stop(deadline).await,
        Err(_) => Ok(()),
    }
}

/// Consuming without the tables, or from a database that cannot keep what is promised, would only fail batch after batch:
/// waits until it is fit, unready, and says what to do.
async fn start_when_fit(opened: Arc<Opened>, groups: Vec<EventType>, slot: Slot) {
    loop {
        let trouble = match trouble(&*opened.store, &groups).await {
            None => {
                let consumers = opened.consumers(&groups);
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = Ok(consumers);
                return;
            }
            Some(trouble) => trouble,
        };
        let before = std::mem::replace(
            &mut *slot.lock().unwrap_or_else(PoisonError::into_inner),
            Err(trouble.clone()),
        );
        if before.err().as_ref() != Some(&trouble) {
            let groups =
                groups.iter().map(|of| opened.strategy.names().group(*of)).collect::<Vec<_>>().join(", ");
            tracing::warn!(groups, "not consuming yet, trying again: {trouble}");
        }
        tokio::time::sleep(SCHEMA_RETRY).await;
    }
}

async fn trouble(store: &dyn Store, groups: &[EventType]) -> Option<String> {
    let looked = async {
        let unfit = store.unfit(groups).await?;
        let missing = unless_known(&unfit, schema_trouble(store).await)?.flatten().map(str::to_owned);
        Ok::<_, ReadError>(unfit.into_iter().chain(missing).collect::<Vec<_>>())
    };
    match looked.await {
        Ok(troubles) if troubles.is_empty() => None,
        Ok(troubles) => Some(troubles.join("; ")),
        Err(error) => Some(format!("the database does not answer: {error}")),
    }
}

/// What else was found; where that could not be looked at, since the database is unfit as it is known to be, nothing.
pub(crate) fn unless_known<T>(unfit: &[String], found: Result<T, ReadError>) -> Result<Option<T>, ReadError> {
    match found {
        Err(_) if !unfit.is_empty() => Ok(None),
        found => found.map(Some),
    }
}

/// What the database lacks of the schema.
pub(crate) async fn schema_trouble(store: &dyn Store) -> Result<Option<&'static str>, ReadError> {
    Ok(match store.schema_state().await? {
        // a newer schema was made for a newer build that may run beside this one: additions do not hurt
        SchemaState::Current | SchemaState::Newer => None,
        SchemaState::Missing => Some("the database has no schema yet; run `floodgate migrate`"),
        SchemaState::Older => Some("the database's schema is older than this build; run `floodgate migrate`"),
    })
}
