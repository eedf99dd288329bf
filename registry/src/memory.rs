//! What readers remember of numbers beyond the registry's and their own life.

use std::fmt;

use floodgate_schemas::BoxFuture;

/// Remembers which schema a number stood for when its events were first read: where rows are, so that it lasts as long as they.
pub trait Memory: fmt::Debug + Send + Sync {
    /// The schema that is remembered for a number.
    ///
    /// # Errors
    /// Why that cannot be told now.
    fn recall(&self, id: u32) -> BoxFuture<'_, Result<Option<String>, String>>;

    /// Remembers a schema, unless there is one for its number, and gives the one that is remembered from here on.
    ///
    /// # Errors
    /// Why that cannot be told now: it may be remembered or not.
    fn keep<'m>(&'m self, id: u32, schema: &'m str) -> BoxFuture<'m, Result<String, String>>;
}

/// What is told where memory and registry differ.
pub(crate) fn conflict(id: u32) -> String {
    format!(
        "under id {id} the schema registry has another schema than when its events were first read: was it made anew, or is \
         another one asked? Its events are held, as they would be read as something else, and no ingress begins to write under it. \
         Bring back the former registry. If it is lost for good, see docs/reference.md, Schemas"
    )
}
