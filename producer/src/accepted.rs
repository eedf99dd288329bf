//! What an accepted event is answered with.

use floodgate_schemas::EventId;

/// An event that is kept.
pub(crate) struct Accepted {
    pub(crate) event_id: EventId,
    pub(crate) stored_in: StoredIn,
}

/// The strategy that keeps an event in the place of the configured one, if one does.
pub(crate) type StoredIn = Option<&'static str>;
