//! The parts of a process that run in the background, watched.
//!
//! A thread or a task that ends by a panic takes its work with it and nothing else: the process looks well and answers
//! every request with a time that is over. So whatever runs for long is started here. A panic in it is told in the log and
//! by [`Parts::trouble`], which readiness asks, and then one of two things happens ([`Then`]): the part runs again, where
//! nothing of it is lost with the panic; or the process is told to stop in order and ends with a failure, for whatever
//! runs it to start it anew ([`Parts::any_died`]). A part that returns has ended as it should.

use std::any::Any;
use std::collections::BTreeMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::sync::watch;

/// How long after a panic a part that runs again counts as in trouble.
const TROUBLED_FOR: Duration = Duration::from_secs(5);

/// Before a part runs again: a bug that is met at once must not fill the log.
const PAUSE: Duration = Duration::from_millis(500);

/// What becomes of a part that panicked, besides running again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Nothing is lost with it.
    GoOn,
    /// Something may be: it runs again only so that what is under way gets done while the process stops.
    EndTheProcess,
}

/// The parts of one process.
#[derive(Debug)]
pub struct Parts {
    /// Why the process has to end.
    died: watch::Sender<Option<String>>,
    panics: Mutex<BTreeMap<String, Panics>>,
}

#[derive(Debug, Default)]
struct Panics {
    count: u64,
    last: Option<Instant>,
}

impl Default for Parts {
    fn default() -> Self {
        Self { died: watch::Sender::new(None), panics: Mutex::default() }
    }
}

impl Parts {
    /// Those of this process.
    pub fn of_this_process() -> &'static Self {
        static PARTS: OnceLock<Parts> = OnceLock::new();
        PARTS.get_or_init(Self::default)
    }

    /// Runs `body` on a thread until it returns, again after every panic.
    ///
    /// # Errors
    /// The system's, when it has no thread.
    pub fn thread(
        &'static self,
        name: &str,
        then: Then,
        mut body: impl FnMut() + Send + 'static,
    ) -> std::io::Result<()> {
        self.begins(name);
        let part = name.to_owned();
        let run = move || {
            while let Err(panic) = catch_unwind(AssertUnwindSafe(&mut body)) {
                self.panicked(&part, then, &*panic);
                thread::sleep(PAUSE);
            }
        };
        thread::Builder::new().name(name.to_owned()).spawn(run).map(drop)
    }

    /// The future that `make` gives, and after every panic another one, until one ends.
    pub async fn keep<F: Future<Output = ()>>(&self, name: &str, then: Then, mut make: impl FnMut() -> F) {
        self.begins(name);
        while let Err(panic) = AssertUnwindSafe(make()).catch_unwind().await {
            self.panicked(name, then, &*panic);
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// A part that cannot run again: a panic in it ends the process, and gives `None`.
    pub async fn once<T>(&self, name: &str, part: impl Future<Output = T>) -> Option<T> {
        self.begins(name);
        let ended = AssertUnwindSafe(part).catch_unwind().await;
        ended.inspect_err(|panic| self.panicked(name, Then::EndTheProcess, &**panic)).ok()
    }

    fn begins(&self, name: &str) {
        let mut panics = self.panics.lock();
        if !panics.contains_key(name) {
            panics.insert(name.to_owned(), Panics::default());
        }
    }

    fn panicked(&self, name: &str, then: Then, panic: &(dyn Any + Send)) {
        let texts = (panic.downcast_ref::<&str>().copied(), panic.downcast_ref::<String>());
        let what = texts.0.or(texts.1.map(String::as_str)).unwrap_or("a panic without words");
        tracing::error!(part = name, ?then, "a part of the process met a bug: {what}");
        let mut panics = self.panics.lock();
        let of_part = panics.entry(name.to_owned()).or_default();
        (of_part.count, of_part.last) = (of_part.count + 1, Some(Instant::now()));
        drop(panics);
        if then == Then::EndTheProcess {
            self.died.send_if_modified(|died| {
                let is_first = died.is_none();
                died.get_or_insert_with(|| format!("the part `{name}` met a bug: {what}; the process stops"));
                is_first
            });
        }
    }

    /// Why the process has to end, if so: it makes no progress any more.
    pub fn died(&self) -> Option<String> {
        self.died.borrow().clone()
    }

    /// Waits until the process has to end, and says why.
    pub async fn any_died(&self) -> String {
        let mut died = self.died.subscribe();
        let reason = died.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        match reason {
            Some(reason) => reason,
            // these parts are gone, and nobody can die any more
            None => std::future::pending().await,
        }
    }

    /// What is wrong with the parts, for readiness.
    pub fn trouble(&self) -> Option<String> {
        self.died().or_else(|| {
            let panics = self.panics.lock();
            let (name, _) = panics
                .iter()
                .find(|(_, panics)| panics.last.is_some_and(|last| last.elapsed() < TROUBLED_FOR))?;
            Some(format!("the part `{name}` met a bug and was started again; the log has more"))
        })
    }

    /// How often each part has panicked.
    pub fn panics(&self) -> Vec<(String, u64)> {
        self.panics.lock().iter().map(|(name, panics)| (name.clone(), panics.count)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::channel;

    use super::*;

    fn parts() -> &'static Parts {
        Box::leak(Box::default())
    }

    #[test]
    fn a_thread_that_panics_runs_again_and_readiness_says_so() {
        let parts = parts();
        let (told, tell) = channel();
        let mut runs = 0;
        let body = move || {
            runs += 1;
            assert!(runs > 1, "planted");
            told.send(runs).unwrap();
        };
        parts.thread("some", Then::GoOn, body).unwrap();
        assert_eq!(tell.recv_timeout(Duration::from_secs(20)).unwrap(), 2);
        assert!(parts.trouble().unwrap().contains("`some`"));
        assert_eq!(parts.died(), None);
        assert_eq!(parts.panics(), [("some".to_owned(), 1)]);
    }

    #[tokio::test]
    async fn a_part_of_which_something_may_be_lost_ends_the_process() {
        let parts = parts();
        let runs = AtomicUsize::new(0);
        let run = || async {
            let run = runs.fetch_add(1, Ordering::Relaxed);
            assert!(run > 0, "planted");
        };
        parts.keep("first", Then::EndTheProcess, run).await;
        assert_eq!(runs.load(Ordering::Relaxed), 2, "it goes on while the process stops");
        assert!(parts.any_died().await.contains("`first` met a bug: planted"));
        let ended = parts.once("second", async { panic!("{} later", 1) });
        assert_eq!(ended.await, None::<()>);
        assert!(parts.trouble().unwrap().contains("`first`"), "the cause, not what followed");
        assert_eq!(parts.panics().len(), 2);
        assert_eq!(parts.once("third", async { 3 }).await, Some(3));
    }
}
