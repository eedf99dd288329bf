//! Look-ups that requests share.
//!
//! Whoever asks waits for a query that begins after that, so that nothing is missed that was true by then; and queries come
//! one after the other, each for all that gathered during the one before. So what a flood costs the database does not depend
//! on how much of it comes, but for the size of a query.
//!
//! Nobody waits longer than configured, and while a query is late nobody waits for the next. Where as many ids wait as may, or as many of
//! one client ([`crate::holders`]), whoever comes is told so: to let it go on would be a way past all looks.
//!
//! Ids that come one by one are put together, so that those who ask for one take the room of one. Very many that come at once are left as they
//! are: everybody else would wait meanwhile.

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

use crate::heavy::{LIGHT_EVENTS, in_nobodys_way};
use crate::holders::Common;

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
type Begun<K, V> = (Next<K>, watch::Sender<Told<K, V>>);

type Query<K, V> = Box<dyn Fn(Vec<K>) -> Answer<K, V> + Send + Sync>;

/// Look-ups of one kind.
pub(super) struct Lookups<K, V> {
    name: &'static str,
    query: Query<K, V>,
    within: Duration,
    room: Common,
    /// Queries.
    queries: IntCounter,
    /// Those who were told nothing.
    unanswered: IntCounter,
    state: Mutex<State<K, V>>,
}

/// What the next query is about.
struct Next<K> {
    /// What came one by one, or few at a time.
    few: HashSet<K>,
    many: Vec<HashSet<K>>,
    count: usize,
    /// How many of them each client brought.
    of: HashMap<u64, usize>,
}

impl<K> Default for Next<K> {
    fn default() -> Self {
        Self { few: HashSet::new(), many: Vec::new(), count: 0, of: HashMap::new() }
    }
}

impl<K: Eq + Hash> Next<K> {
    /// All or none: part of a large batch would take the room of others, who would be told.
    fn add(&mut self, ids: HashSet<K>, client: u64, room: Common) -> Result<(), Full> {
        let is_many = ids.len() > LIGHT_EVENTS;
        let new = match is_many {
            true => ids.len(),
            false => ids.iter().filter(|id| !self.few.contains(*id)).count(),
        };
        let own = self.of.get(&client).copied().unwrap_or_default();
        if new > 0 && !room.may_take(own, new, self.count) {
            return Err(Full);
        }
        self.of.insert(client, own + new);
        self.count += new;
        match is_many {
            true => self.many.push(ids),
            false => self.few.extend(ids),
        }
        Ok(())
    }

    fn into_ids(self) -> Vec<K> {
        let mut ids = Vec::with_capacity(self.count);
        ids.extend(self.few);
        ids.extend(self.many.into_iter().flatten());
        ids
    }
}

struct State<K, V> {
    next: Next<K>,
    /// Who waits for it.
    told: watch::Sender<Told<K, V>>,
    /// When the query under way began.
    begun: Option<Instant>,
    /// Whether the task runs.
    is_running: bool,
}

impl<K: Clone + Eq + Hash + Send + Sync + 'static, V: Send + Sync + 'static> Lookups<K, V> {
    /// Looks up with `query`; at most `max` ids wait for it, of each client its part, and nobody longer than `within`.
    pub(super) fn new(
        name: &'static str,
        query: impl Fn(Vec<K>) -> Answer<K, V> + Send + Sync + 'static,
        (within, max): (Duration, usize),
        metrics: &DoorMetrics,
    ) -> Arc<Self> {
        let state =
            State { next: Next::default(), told: watch::Sender::new(None), begun: None, is_running: false };
        Arc::new(Self {
            name,
            query: Box::new(query),
            within,
            room: Common::count(max),
            queries: metrics.queries.with_label_values(&[name]),
            unanswered: metrics.unanswered.with_label_values(&[name]),
            state: Mutex::new(state),
        })
    }

    /// What a query that begins from here on finds, perhaps among other things; `None` if nobody can say in time, more is asked than
    /// there ever is room for, or nothing was.
    ///
    /// # Errors
    /// There is no room now for all that this client asks.
    pub(super) async fn ask(
        self: &Arc<Self>,
        ids: Vec<K>,
        client: u64,
    ) -> Result<Option<Arc<HashMap<K, V>>>, Full> {
        if ids.is_empty() {
            return Ok(None);
        }
        let found = match self.enter(ids, client)? {
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

    fn enter(
        self: &Arc<Self>,
        ids: Vec<K>,
        client: u64,
    ) -> Result<Option<watch::Receiver<Told<K, V>>>, Full> {
        let ids: HashSet<K> = in_nobodys_way(ids.len(), || ids.into_iter().collect());
        let mut state = self.state.lock();
        let is_late = state.begun.is_some_and(|begun| begun.elapsed() >= self.within);
        if is_late || !self.room.may_ever_have(ids.len()) {
            return Ok(None);
        }
        state.next.add(ids, client, self.room)?;
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
        while let Some((next, told)) = self.begin() {
            let ids = in_nobodys_way(next.count, || next.into_ids());
            let mut found = Some(HashMap::with_capacity(ids.len()));
            for some in ids.chunks(IDS_PER_QUERY) {
                self.queries.inc();
                match (self.query)(some.to_vec()).await {
                    Ok(of_some) => {
                        if let Some(found) = &mut found {
                            in_nobodys_way(of_some.len(), || found.extend(of_some));
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
        state.is_running = state.next.count > 0;
        state.begun = state.is_running.then(Instant::now);
        let next = std::mem::take(&mut state.next);
        let told = std::mem::replace(&mut state.told, watch::Sender::new(None));
        state.is_running.then_some((next, told))
    }
}
