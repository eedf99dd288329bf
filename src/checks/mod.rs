//! What `floodgate config --check` and `floodgate doctor` look at: everything that the configuration names is opened, all at once, as
//! far as that changes nothing for anybody.

mod check;
mod database;
mod events;
mod listeners;
mod others;

use crate::roles::clock;
use crate::settings::Settings;
pub(crate) use check::{Check, Weight};

/// Looks at all of it. Within a runtime of several threads.
pub(crate) async fn all(settings: &Settings) -> Vec<Check> {
    let (events, database, issuer, registry, traces) = tokio::join!(
        events::of(settings),
        database::of(settings),
        others::issuer(settings),
        others::registry(settings),
        others::traces(settings),
    );
    let here = [others::configuration(settings), others::log(settings), listeners::of(settings)];
    let certificates = others::certificates(&settings.http.tls, clock().now());
    let there =
        events.into_iter().chain([database]).chain(certificates).chain(issuer).chain(registry).chain(traces);
    here.into_iter().chain(there).collect()
}
