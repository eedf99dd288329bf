//! Whether a process can do its work.

use std::sync::Arc;

use floodgate_buffer::Parts;

/// Whether the roles of this process can do their work; if not, why and what to do.
pub type Readiness = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Whether this process can do its work, its background parts included.
pub(crate) fn is_ready(readiness: &Readiness) -> Result<(), String> {
    Parts::of_this_process().trouble().map_or_else(|| readiness(), Err)
}
