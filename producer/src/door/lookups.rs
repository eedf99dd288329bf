//! Look-ups that requests share.
//!
//! Whoever asks waits for a query that begins after that, so that nothing is missed that was true by then; and queries come
//! one after the other, each for all that gathered during the one before. So what a flood costs the database does not depend
//! on how much of it comes, but for the size of a query.
//!
//! Nobody waits longer than configured, and while a query is late nobody waits for the next. Where as many ids wait as may, whoever
//! comes is told so: to let it go on would be a way past all looks.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use floodgate_buffer::{Parts, Then};
use floodgate_observe::DoorMetrics;
use floodgate_store::{BoxFuture, ReadError};
use parking_lot::Mutex;
use prometheus::IntCounter;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

/// Ids in one query.
pub(super) const IDS_PER_QUERY: usize = 5000;

/// What was found, by what was looked for.
pub(super) type Answer<K, V> = BoxFuture<'static, Result<HashMap<K, V>, ReadError>>;

/// What a query found, once it has: nothing, if it failed.
type Told<K, V> = Option<Option<Arc<HashMap<K, V>>>>;

/// As many ids wait as may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

/// What a query is about, and who is told what it found.
type Begun<K, V> = (Vec<K>, watch::Sender<Told<K, V>>);

type Query<K, V> = Box<dyn Fn(Vec<K>) -> Answer<K, V> + Send + Sync>;

/// Look-ups of one kind.
pub(super) struct Lookups<K, V> {
    name: &'static str,
    query: Query<K, V>,
    within: Duration,
    max: usize,
    /// Queries.
    queries: IntCounter,
    /// Those who were told nothing.
    unanswered: IntCounter,
    state: Mutex<State<K, V>>,
}

struct State<K, V> {
    /// What the next query is about.
    next: HashSet<K>,
    /// Who waits for it.
    told: watch::Sender<Told<K, V>>,
    /// When the query under way began.
    begun: Option<Instant>,
    /// Whether the task runs.
    is_running: bool,
}

impl<K: Clone + Eq + Hash + Send + Sync + 'static, V: Send + Sync + 'static> Lookups<K, V> {
    /// Looks up with `query`; at most `max` ids wait for it, nobody longer than `within`.
    pub(super) fn new(
        name: &'static str,
        query: impl Fn(Vec<K>) -> Answer<K, V> + Send + Sync + 'static,
        (within, max): (Duration, usize),
        metrics: &DoorMetrics,
    ) -> Arc<Self> {
        let state =
            State { next: HashSet::new(), told: watch::Sender::new(None), begun: None, is_running: false };
        Arc::new(Self {
            name,
            query: Box::new(query),
            within,
            max,
            queries: metrics.queries.with_label_values(&[name]),
            unanswered: metrics.unanswered.with_label_values(&[name]),
            state: Mutex::new(state),
        })
    }

    /// What a query that begins from here on finds, perhaps among other things; `None` if nobody can say in time, more is asked than
    /// there ever is room for, or nothing was.
    ///
    /// # Errors
    /// There is no room now for all that is asked.
    pub(super) async fn ask(self: &Arc<Self>, ids: Vec<K>) -> Result<Option<Arc<HashMap<K, V>>>, Full> {
        if ids.is_empty() {
            return Ok(None);
        }
        let found = match self.enter(ids)? {
            Some(mut told) => {
                let told = timeout(self.within, told.wait_for(Option::is_some)).await;
                told.ok().and_then(|told| told.ok()?.clone().flatten())
            }
            None => None,
        };
        if found.is_none() {
            self.unanswered.inc();
        }
        Ok(found)
    }

    fn enter(self: &Arc<Self>, ids: Vec<K>) -> Result<Option<watch::Receiver<Told<K, V>>>, Full> {
        let ids: HashSet<K> = ids.into_iter().collect();
        let mut state = self.state.lock();
        if ids.len() > self.max || state.begun.is_some_and(|begun| begun.elapsed() >= self.within) {
            return Ok(None);
        }
        // all or none: part of a large batch would take the room of others, who would be told
        let new = ids.iter().filter(|id| !state.next.contains(*id)).count();
        if state.next.len() + new > self.max {
            return Err(Full);
        }
        state.next.extend(ids);
        let told = state.told.subscribe();
        if !state.is_running {
            state.is_running = true;
            let lookups = Arc::clone(self);
            let run = move || Arc::clone(&lookups).look_up_while_asked();
            tokio::spawn(Parts::of_this_process().keep(self.name, Then::GoOn, run));
        }
        Ok(Some(told))
    }

    async fn look_up_while_asked(self: Arc<Self>) {
        while let Some((ids, told)) = self.begin() {
            let mut found = Some(HashMap::with_capacity(ids.len()));
            for some in ids.chunks(IDS_PER_QUERY) {
                self.queries.inc();
                match (self.query)(some.to_vec()).await {
                    Ok(of_some) => {
                        if let Some(found) = &mut found {
                            found.extend(of_some);
                        }
                    }
                    Err(error) => {
                        tracing::debug!(%error, "{} were not answered", self.name);
                        found = None;
                        break;
                    }
                }
            }
            told.send_replace(Some(found.map(Arc::new)));
        }
    }

    /// What is to be looked up now, and who is to be told; `None`, and the task ends, when there is nothing.
    fn begin(&self) -> Option<Begun<K, V>> {
        let mut state = self.state.lock();
        state.is_running = !state.next.is_empty();
        state.begun = state.is_running.then(Instant::now);
        let ids = std::mem::take(&mut state.next).into_iter().collect();
        let told = std::mem::replace(&mut state.told, watch::Sender::new(None));
        state.is_running.then_some((ids, told))
    }
}
