//! What keeps members from working, for readiness.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

/// How many causes of one trouble are told: more are the same in other words.
const CAUSES_TOLD: usize = 20;

/// The state of all members of a process.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    members: usize,
    troubles: BTreeMap<usize, Trouble>,
    /// Members that work, but not on all of their partitions.
    held: BTreeMap<usize, String>,
    /// Another database stands where the one was that events were applied to.
    moved: Option<String>,
}

#[derive(Debug)]
struct Trouble {
    text: String,
    /// What was told in the log since the member last worked, without the numbers in it; nothing while this is no trouble, but
    /// merely the time before a member works.
    told: BTreeSet<String>,
}

impl Trouble {
    /// What remains of a sentence that says how often, how long or of which offset.
    fn cause(text: &str) -> String {
        text.chars().filter(|c| !c.is_ascii_digit()).collect()
    }
}

impl Health {
    /// Whether every member works.
    ///
    /// # Errors
    /// What keeps one of them from it.
    pub fn ready(&self) -> Result<(), String> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let troubles = state.troubles.values().map(|trouble| &trouble.text).chain(state.held.values());
        let trouble = state.moved.iter().chain(troubles).next();
        trouble.map_or(Ok(()), |trouble| Err(trouble.clone()))
    }

    /// What stands where the database was, if that is another one. Returns whether that is new.
    pub(crate) fn moved(&self, what: Option<String>) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = state.moved != what;
        state.moved = what;
        is_new
    }

    /// One more member, which does not work yet.
    pub(crate) fn member(&self) -> MemberHealth {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.members += 1;
        let number = state.members;
        let text = "joining the consumer group".to_owned();
        state.troubles.insert(number, Trouble { text, told: BTreeSet::new() });
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
    /// Which member of the process it is.
    pub(crate) fn number(&self) -> usize {
        self.number
    }

    /// Something keeps this member from working. Returns whether it is another cause than any since it last worked: what is
    /// tried again and again is told once, and a cause behind it is told, too.
    pub(crate) fn troubled(&self, text: String) -> bool {
        let mut state = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut told = state.troubles.remove(&self.number).map(|before| before.told).unwrap_or_default();
        let is_new = told.len() < CAUSES_TOLD && told.insert(Trouble::cause(&text));
        state.troubles.insert(self.number, Trouble { text, told });
        is_new
    }

    /// What keeps this member from working.
    pub(crate) fn trouble(&self) -> Option<String> {
        let state = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.troubles.get(&self.number).map(|trouble| trouble.text.clone())
    }

    /// Some of its partitions are held, or none any more.
    pub(crate) fn held(&self, what: Option<String>) {
        let mut state = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        match what {
            Some(what) => drop(state.held.insert(self.number, what)),
            None => drop(state.held.remove(&self.number)),
        }
    }

    /// It works, perhaps again. Returns whether it was in trouble before.
    pub(crate) fn well(&self) -> bool {
        let mut state = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.troubles.remove(&self.number).is_some_and(|before| !before.told.is_empty())
    }
}
