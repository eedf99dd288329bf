//! What every strategy is, and the parts that some have.
//!
//! The trait is cut by who asks: those who publish and consume need [`Strategy`] itself; who watches how far groups are
//! behind needs [`Lag`], and has it of every strategy; tools that read what was published need [`Logs`], and those that
//! look after topics need [`Topics`], which a strategy may not have. It then says so in one sentence ([`Absent`]), which
//! whoever needs the part passes on.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use floodgate_schemas::EventType;

use crate::publish::NotStored;
use crate::refusal::{Absent, OpenError};
use crate::{BatchLimits, Lag, Logs, Names, Publish, Reserve, Spill, Subscription, Topics};

/// One way for events to wait, in partitions, and in order within each: a queue that keeps none cannot be one. Opening it
/// touches neither network nor disk, and takes nothing that only one process may have: whatever is missing then, or in use by
/// another, is told by [`Publish::ready`] and [`Subscription::joined`] and refused record by record. [`OpenError`] means that the
/// configuration is wrong.
///
/// Publisher and members are started within a runtime. What blocks ([`Lag`], [`Logs`], [`Topics`]) is called by any thread, and uses
/// the runtime it was given ([`crate::Given`]) where it needs one.
pub trait Strategy: Lag {
    /// Its name in the configuration.
    fn name(&self) -> &'static str;

    /// Where its records are, in words that tell one place from another. Holds no secrets.
    fn place(&self) -> String;

    /// What a 202 promises under it, in one sentence for operators.
    fn promise(&self) -> String;

    /// What is worth a word of how it is reached, though it can be.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// Files that it reads and that nobody else should: keys.
    fn private_files(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    /// Who sees its records, and for how long they are there.
    fn reach(&self) -> Reach;

    /// The full names of its topics and groups.
    fn names(&self) -> &Names;

    /// How long after an offer its outcome is known at the latest; `None` where it is known at once. Whoever
    /// answers earlier can only say that the outcome is unknown.
    fn reports_within(&self) -> Option<Duration>;

    /// The publishing half. Starts its background threads and tasks, at most once: later calls give the same one. It must be
    /// called within a tokio runtime, which lives as long as records are offered.
    ///
    /// # Errors
    /// [`OpenError`] when the configuration cannot work.
    fn publisher(&self) -> Result<Arc<dyn Publish>, OpenError> {
        self.publisher_with(Arc::new(NotStored))
    }

    /// As [`Strategy::publisher`], which is then to be called later if at all; what was offered and certainly is not stored goes
    /// to `spill`, in place of being reported so.
    ///
    /// # Errors
    /// [`OpenError`] when the configuration cannot work.
    fn publisher_with(&self, spill: Arc<dyn Spill>) -> Result<Arc<dyn Publish>, OpenError>;

    /// As a reserve: how long after a record is stored every other process knows that its partition has some.
    fn known_within(&self) -> Duration {
        Duration::ZERO
    }

    /// The publishing half as the place for what another strategy does not take; [`Strategy::publisher`] is then to be called
    /// later if at all; what is not stored here either goes to `spill`.
    ///
    /// # Errors
    /// [`OpenError`] when the configuration cannot work, or where it cannot be such a place.
    fn reserve(&self, spill: Arc<dyn Spill>) -> Result<Arc<dyn Reserve>, OpenError> {
        drop(spill);
        Err(OpenError(format!("the {} strategy cannot stand in for another", self.name())))
    }

    /// One more member of the group that applies `of`.
    ///
    /// # Errors
    /// [`OpenError`] when the configuration cannot work.
    fn subscribe(&self, of: EventType, limits: BatchLimits) -> Result<Box<dyn Subscription>, OpenError>;

    /// What was published, read past all groups.
    ///
    /// # Errors
    /// [`Absent`] where nothing is kept that could be read so.
    fn logs(&self) -> Result<&dyn Logs, Absent>;

    /// The topics, as things that are made and looked after.
    ///
    /// # Errors
    /// [`Absent`] where they are no such things.
    fn topics(&self) -> Result<&dyn Topics, Absent>;
}

impl dyn Strategy {
    /// What was published, as a process finds it that is not the one that publishes and consumes.
    ///
    /// # Errors
    /// [`Absent`] where it finds nothing.
    pub fn logs_from_outside(&self) -> Result<&dyn Logs, Absent> {
        match self.reach().is_readable_from_outside {
            true => self.logs(),
            false => {
                let name = self.name();
                Err(Absent(format!("the {name} strategy keeps events inside the running process")))
            }
        }
    }
}

/// Who sees a strategy's records, and for how long they are there. Three questions that are easily taken for one: a log
/// in a folder of this machine belongs to one process, and yet survives it and can be read by others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// Whether other processes can publish to it and consume from it at the same time. If not, every role must run in one
    /// process.
    pub is_shared: bool,
    /// Whether records that are not applied survive the end of the process, for a later one or another. If not, whatever
    /// is left when it ends is lost.
    pub outlives_process: bool,
    /// Whether a command in another process can read records, dead letters and lag.
    pub is_readable_from_outside: bool,
}
