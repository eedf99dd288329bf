//! Looks for events for whoever asks the operators' listener.

use std::sync::Arc;

use floodgate_admin::{LookForEvents, Wanted};
use floodgate_buffer::Strategy;
use floodgate_ledger::{Search, Sought};
use floodgate_schemas::Codecs;
use floodgate_store::Store;

/// What `floodgate where` does, in a process that runs.
pub(crate) fn looks(strategy: &Arc<dyn Strategy>, store: &Arc<dyn Store>, codecs: &Codecs) -> LookForEvents {
    let (strategy, store, codecs) = (Arc::clone(strategy), Arc::clone(store), codecs.clone());
    Arc::new(move |wanted| {
        let search =
            Search { strategy: Arc::clone(&strategy), store: Arc::clone(&store), codecs: codecs.clone() };
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
