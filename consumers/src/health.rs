//! What keeps members from working, for readiness.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The state of all members of a process.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    members: usize,
    troubles: BTreeMap<usize, String>,
}

impl Health {
    /// Whether every member works.
    ///
    /// # Errors
    /// What keeps one of them from it.
    pub fn ready(&self) -> Result<(), String> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.troubles.values().next().map_or(Ok(()), |trouble| Err(trouble.clone()))
    }

    /// One more member, which does not work yet.
    pub(crate) fn member(&self) -> MemberHealth {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.members += 1;
        let number = state.members;
        state.troubles.insert(number, "joining the consumer group".to_owned());
        MemberHealth { all: self.clone(), number }
    }
}

/// The state of one member.
#[derive(Clone)]
pub(crate) struct MemberHealth {
    all: Health,
    number: usize,
}

impl MemberHealth {
    /// Something keeps this member from working. Returns whether that is new.
    pub(crate) fn troubled(&self, trouble: String) -> bool {
        let mut state = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.troubles.insert(self.number, trouble).is_none()
    }

    /// It works again. Returns whether it did not before.
    pub(crate) fn well(&self) -> bool {
        let mut state = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.troubles.remove(&self.number).is_some()
    }
}
