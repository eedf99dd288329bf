//! Looks for events for whoever asks the operators' listener.

use std::sync::Arc;

use floodgate_admin::{LookForEvents, Wanted};
use floodgate_ledger::{Search, Sought};

/// What `floodgate where` does, in a process that runs.
pub(crate) fn looks(search: Search) -> LookForEvents {
    let search = Arc::new(search);
    Arc::new(move |wanted| {
        let search = Arc::clone(&search);
        let sought = match wanted {
            Wanted::Event(event_id) => Sought::Event(event_id),
            Wanted::Key(of, key) => Sought::Key(of, key),
        };
        Box::pin(async move {
            let found = search.run(&sought, |_| {}).await.map_err(|error| error.to_string())?;
            serde_json::to_value(&found).map_err(|error| error.to_string())
        })
    })
}
