//! Publishing to Redis: records gather while a round is under way, and go out together in the next.
//!
//! A *round* is one pipeline of scripts, one for each list and a thousand records, and behind them the wait for the disk or
//! for replicas, if that is asked for. One round is under way at a time: so records of one partition are appended in the order
//! in which they were offered, and the busier Redis is the more there is in each round.
//!
//! What a script refuses and what was never sent is certainly not stored; a record whose answer does not come may be. Nothing
//! of a round is ever sent again, but for scripts that Redis says it does not know.
//!
//! **As the place for what another strategy does not take** ([`Reserve`]) it is asked for each event whether its partition has
//! any here. So all that publish look more often than [`OTHERS_KNOW_AFTER`], and a record that is pushed to a list is
//! acknowledged no sooner than so long after the list has no longer been empty, when nobody takes it for empty any more.

mod looks;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use floodgate_schemas::{Clock, EventType};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::element;
use super::link::{Answer, CONNECT_RETRY, CONNECT_TIMEOUT, Silence};
use super::nodes::Nodes;
use super::room::{Counted, Room};
use super::scripts::{Call, SCRIPTS, numbers};
use super::settings::Settings;
use crate::murmur2::murmur2_partition;
use crate::{
    BoxFuture, NotTaken, Outcome, Partition, Parts, Publish, Receipt, Record, Refused, Reserve, Spill, Then,
    Topic, Waiting, Wake,
};

/// How many records one script appends, and how many bytes: what keeps Redis from everybody else for about a millisecond.
const GROUP_EVENTS: usize = 1000;
const GROUP_BYTES: usize = 1 << 20;

/// How long connecting may keep rounds waiting, where a cluster may have to be asked first who has what.
const CONNECT_PATIENCE: Duration = CONNECT_TIMEOUT.saturating_mul(2);

/// How often it is looked how much waits in all lists, and whether Redis takes records.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// After how long all that publish know that a list is not empty; and for how long what was seen is trusted, which is less.
pub(super) const OTHERS_KNOW_AFTER: Duration = Duration::from_millis(500);
const TRUSTED_FOR: Duration = Duration::from_millis(400);

/// The largest record, its headers included: more would keep Redis from everybody else, and fits on no topic of Kafka's either.
const RECORD_MAX_BYTES: usize = 1 << 20;

/// What an element takes besides its record's parts, without headers.
const ELEMENT_OVERHEAD: usize = 32;

/// A record on its way.
struct Queued {
    element: Vec<u8>,
    offered_at: Instant,
    counted: Counted,
    receipt: Receipt,
}

/// What waits for the next round, by list.
#[derive(Default)]
struct Gathered {
    lists: HashMap<(usize, Partition), Vec<Queued>>,
}

pub(super) struct Publisher {
    settings: Arc<Settings>,
    clock: Arc<dyn Clock>,
    spill: Arc<dyn Spill>,
    gathered: Mutex<Gathered>,
    news: Notify,
    closed: AtomicBool,
    room: Arc<Room>,
    /// Whether others ask what the lists hold.
    is_reserve: bool,
    /// When the last look at them began that was answered.
    looked_at: Mutex<Option<Instant>>,
    /// Whether the last look was not answered.
    is_silent: AtomicBool,
    /// Where records without a key go next.
    unkeyed: AtomicUsize,
    /// Why lists refused records, if not for their size: looks go well where writes do not.
    refused: Mutex<BTreeMap<(usize, Partition), String>>,
    /// Why nothing is taken at all.
    unfit: Mutex<Option<String>>,
    health: Mutex<Result<(), String>>,
    /// On which connection the server's settings were looked at, and what was told of them.
    settings_seen: Mutex<Option<u64>>,
    told: Mutex<Vec<String>>,
}

/// Records of one list in one script.
struct Group {
    topic: Topic,
    partition: Partition,
    records: Vec<Queued>,
}

impl Publisher {
    pub(super) fn start(
        settings: &Arc<Settings>,
        clock: &Arc<dyn Clock>,
        spill: Arc<dyn Spill>,
        is_reserve: bool,
    ) -> Arc<Self> {
        let publisher = Arc::new(Self {
            settings: Arc::clone(settings),
            clock: Arc::clone(clock),
            spill,
            gathered: Mutex::default(),
            news: Notify::new(),
            closed: AtomicBool::new(false),
            unkeyed: AtomicUsize::new(0),
            room: Arc::new(Room::new(settings.max, settings.partitions_of(Topic::Events(EventType::Like)))),
            is_reserve,
            looked_at: Mutex::default(),
            is_silent: AtomicBool::new(false),
            refused: Mutex::default(),
            unfit: Mutex::default(),
            health: Mutex::new(Err(format!("not yet connected to Redis at {}", settings.place))),
            settings_seen: Mutex::default(),
            told: Mutex::default(),
        });
        let weak = Arc::downgrade(&publisher);
        tokio::spawn(async move {
            // what a panic leaves undone reads as unknown
            let work = || async {
                let Some(nodes) = weak.upgrade().map(|publisher| publisher.settings.nodes()) else { return };
                let (mut nodes, mut looked_at) = (nodes, None);
                while let Some(publisher) = weak.upgrade() {
                    publisher.turn(&mut nodes, &mut looked_at).await;
                }
            };
            Parts::of_this_process().keep("redis-publish", Then::GoOn, work).await;
        });
        publisher
    }

    /// One round, if there is something to send, and a look now and then.
    async fn turn(&self, nodes: &mut Nodes, looked_at: &mut Option<Instant>) {
        // what waited through a round and a look would be told too late behind its own round
        let longest = self.settings.answers_within();
        self.give_up(|_, queued| queued.offered_at.elapsed() > longest).into_iter().for_each(Wake::wake);
        let groups = self.take();
        if groups.is_empty() {
            // either way, the next turn tells
            let _ = tokio::time::timeout(LOOK_INTERVAL, self.news.notified()).await;
        } else {
            self.round(nodes, groups).await;
        }
        // whoever waits goes first, for a while: answers tell of the lists meanwhile
        let is_idle = self.is_reserve || self.gathered.lock().lists.is_empty();
        let interval = if is_idle { LOOK_INTERVAL } else { LOOK_INTERVAL * 10 };
        if looked_at.is_none_or(|at| at.elapsed() >= interval) {
            self.look(nodes).await;
            *looked_at = Some(Instant::now());
        }
    }

    /// Gives up records that wait to be sent, so that they are known not to be stored. Returns whose requests can go on.
    fn give_up(&self, which: impl Fn(&(usize, Partition), &Queued) -> bool) -> Vec<Wake> {
        let mut given_up = Vec::new();
        self.gathered.lock().lists.retain(|list, waiting| {
            let (up, rest) = std::mem::take(waiting).into_iter().partition(|queued| which(list, queued));
            *waiting = rest;
            given_up.push((Topic::ALL[list.0], up));
            !waiting.is_empty()
        });
        let of = |(topic, up): (Topic, Vec<Queued>)| up.into_iter().map(move |queued| (topic, queued));
        let wake = |(topic, mut queued): (Topic, Queued)| {
            let element = std::mem::take(&mut queued.element);
            self.complete(queued, topic, &element, Outcome::NotStored)
        };
        given_up.into_iter().flat_map(of).filter_map(wake).collect()
    }

    /// What gathered, at most one group of each list.
    fn take(&self) -> Vec<Group> {
        let mut gathered = self.gathered.lock();
        let mut groups = Vec::with_capacity(gathered.lists.len());
        gathered.lists.retain(|(topic, partition), waiting| {
            let mut bytes = 0;
            let fits = waiting.iter().take(GROUP_EVENTS).take_while(|queued| {
                let first = bytes == 0;
                bytes += queued.element.len();
                first || bytes <= GROUP_BYTES
            });
            let count = fits.count();
            let rest = waiting.split_off(count);
            let records = std::mem::replace(waiting, rest);
            groups.push(Group { topic: Topic::ALL[*topic], partition: *partition, records });
            !waiting.is_empty()
        });
        groups
    }

    /// Sends groups and tells what became of each record.
    async fn round(&self, nodes: &mut Nodes, mut groups: Vec<Group>) {
        let mut planned = Waiting::default();
        let calls: Vec<Call> = groups.iter_mut().map(|group| self.call(group, &mut planned)).collect();
        let wait = self.settings.wait();
        // a node that is away is looked after by looks: it keeps no round waiting
        let connected = match nodes.is_anybody_there() {
            true => Ok(()),
            false => nodes.connect_within(CONNECT_PATIENCE).await,
        };
        let (is_anybody_there, answered) = match connected {
            Ok(()) => (true, nodes.call_where_it_is(&calls, wait.as_ref()).await),
            Err(silence) => (false, vec![Err(silence); calls.len()]),
        };
        let mut wakes = Vec::new();
        let mut settle = |group: Group, call: &Call, outcome| {
            let elements = call.arguments().iter().rev().take(group.records.len()).rev();
            group.records.into_iter().zip(elements).for_each(|(queued, element)| {
                wakes.extend(self.complete(queued, group.topic, element, outcome));
            });
        };
        let (mut silence, mut silent, mut is_any_stored) = (None, Vec::new(), false);
        let count = groups.len();
        for ((group, call), answered) in groups.into_iter().zip(&calls).zip(answered) {
            let (answer, waited) = match answered {
                Ok(answered) => answered,
                Err(error) => {
                    silent.push((group.topic.index(), group.partition));
                    let outcome = match error {
                        Silence::NotSent(_) => Outcome::NotStored,
                        Silence::Unknown(_) => Outcome::Unknown,
                    };
                    silence.get_or_insert(error);
                    settle(group, call, outcome);
                    continue;
                }
            };
            let is_safe = waited.is_none_or(|waited| self.settings.is_enough(&waited));
            let outcome = match self.pushed(&group, &answer) {
                Outcome::Stored if !is_safe => Outcome::Unknown,
                outcome => outcome,
            };
            is_any_stored |= outcome == Outcome::Stored;
            match self.known_in(&answer).filter(|_| outcome == Outcome::Stored) {
                Some(known_in) => acknowledge_in(known_in, group),
                None => settle(group, call, outcome),
            }
        }
        let pause = if silent.len() == count { CONNECT_RETRY } else { Duration::ZERO };
        if let Some(silence) = silence {
            tracing::debug!(reason = silence.reason(), "a round was not answered");
            *self.health.lock() = Err(silence.reason().to_owned());
            // what came meanwhile would only wait for the same
            wakes.extend(self.give_up(|list, _| silent.contains(list) || !is_anybody_there));
        } else if is_any_stored && !self.is_silent.load(Ordering::Acquire) {
            *self.health.lock() = Ok(());
        }
        wakes.into_iter().for_each(Wake::wake);
        tokio::time::sleep(pause).await;
    }

    /// `planned` is what the groups before it add to their lists.
    fn call(&self, group: &mut Group, planned: &mut Waiting) -> Call {
        let keys = self.settings.keys(group.topic);
        let (list, meta) = (keys.list(group.partition), keys.meta(group.partition));
        let bytes: usize = group.records.iter().map(|queued| queued.counted.bytes).sum();
        let mut call = match group.topic {
            Topic::Events(_) => {
                let others = self.room.held_without(group.topic, group.partition);
                let max = self.settings.max;
                let call = Call::new(&SCRIPTS.push, [list, meta])
                    .with(max.events.saturating_sub(others.events + planned.events))
                    .with(max.bytes.saturating_sub(others.bytes + planned.bytes))
                    .with(bytes);
                planned.events += group.records.len();
                planned.bytes += bytes;
                call
            }
            Topic::DeadLetters => {
                let call =
                    Call::new(&SCRIPTS.push_letters, [list, meta]).with(self.settings.dead_letters_max);
                call.with(self.settings.dead_letters_kept.as_millis())
            }
        };
        group.records.iter_mut().for_each(|queued| call.push(std::mem::take(&mut queued.element)));
        call
    }

    /// What Redis says of one group.
    fn pushed(&self, group: &Group, answer: &Answer) -> Outcome {
        let list = (group.topic.index(), group.partition);
        match answer.as_ref().map(numbers::<4>) {
            Ok(Some([is_pushed, _, events, bytes])) => {
                self.room.note(group.topic, group.partition, events, bytes);
                if is_pushed == 1 {
                    self.refused.lock().remove(&list);
                    Outcome::Stored
                } else {
                    Outcome::NotStored
                }
            }
            Ok(None) => Outcome::Unknown,
            Err(error) => {
                let place = &self.settings.place;
                let reason = format!("Redis at {place} takes no records: {error}");
                self.refused.lock().insert(list, reason);
                Outcome::NotStored
            }
        }
    }

    /// In how long all others know of what was pushed, if that is to be waited for.
    fn known_in(&self, answer: &Answer) -> Option<Duration> {
        let [.., held_ms] = answer.as_ref().ok().and_then(numbers::<5>)?;
        // a clock that was set back makes it younger than it is
        let held = Duration::from_millis(u64::try_from(held_ms).unwrap_or(0));
        OTHERS_KNOW_AFTER.checked_sub(held).filter(|known_in| self.is_reserve && !known_in.is_zero())
    }

    /// A record's receipt, or whoever takes what is not stored, is told.
    fn complete(&self, queued: Queued, topic: Topic, element: &[u8], outcome: Outcome) -> Option<Wake> {
        drop(queued.counted);
        match (outcome, element::read(element)) {
            (Outcome::NotStored, Some(element)) => {
                let (key, value, headers) = (element.key, element.value, &element.headers);
                self.spill.spill(&Record { topic, key, value, headers }, queued.receipt)
            }
            (outcome, _) => queued.receipt.complete(outcome),
        }
    }

    /// Counts a record in, if there is room for it.
    fn admit(
        &self,
        (topic, partition): (Topic, Partition),
        bytes: usize,
        receipt: &mut Receipt,
    ) -> Result<Counted, Refused> {
        let (counted, before) = self.room.count(topic, partition, bytes);
        let (left, is_full) = (self.settings.max.less(before), self.room.is_full());
        // dead letters have a list of their own, whose oldest go: what they are in the way of is what makes room. Consumers wait
        // for each batch of them
        match topic {
            Topic::Events(_)
                if is_full
                    || left.events == 0
                    || bytes > left.bytes
                    || !receipt.takes_place(bytes, self.settings.max, before) =>
            {
                Err(Refused::Full)
            }
            _ => Ok(counted),
        }
    }
}

impl Publish for Publisher {
    fn offer(&self, record: &Record<'_>, mut receipt: Receipt) -> Result<(), NotTaken> {
        let bytes = record.bytes();
        let partitions = self.settings.partitions_of(record.topic) as usize;
        let number = match record.key {
            Some(key) => murmur2_partition(key, partitions),
            None => self.unkeyed.fetch_add(1, Ordering::Relaxed) % partitions,
        };
        let partition = Partition(i32::try_from(number).unwrap_or(0));
        // dead letters come from consumers, which still finish their batches while the ingress is closed
        let admitted = match record.topic {
            Topic::Events(_) if self.closed.load(Ordering::Acquire) => Err(Refused::Closed),
            _ if bytes > RECORD_MAX_BYTES => Err(Refused::TooLarge),
            topic => match self.unfit.lock().clone() {
                Some(reason) => Err(Refused::Unavailable(reason)),
                None => self.admit((topic, partition), bytes, &mut receipt),
            },
        };
        let counted = match admitted {
            Ok(counted) => counted,
            Err(reason) => return Err(NotTaken { reason, receipt }),
        };
        let mut element = Vec::with_capacity(bytes + ELEMENT_OVERHEAD);
        element::write(record, self.clock.now().as_micros() / 1000, &mut element);
        let queued = Queued { element, offered_at: Instant::now(), counted, receipt };
        let mut gathered = self.gathered.lock();
        let is_first = gathered.lists.is_empty();
        gathered.lists.entry((record.topic.index(), partition)).or_default().push(queued);
        drop(gathered);
        if is_first {
            self.news.notify_one();
        }
        Ok(())
    }

    fn ready(&self) -> Result<(), String> {
        if self.closed.load(Ordering::Acquire) {
            return Err("shutting down".to_owned());
        }
        self.health.lock().clone()?;
        self.unfit.lock().clone().map_or(Ok(()), Err)?;
        self.refused.lock().values().next().cloned().map_or(Ok(()), Err)?;
        if self.room.is_full() {
            let max = self.settings.max;
            return Err(format!(
                "the lists are full: buffer.redis allows {} events and {} bytes",
                max.events, max.bytes
            ));
        }
        Ok(())
    }

    fn waiting(&self) -> Waiting {
        self.room.counts.waiting()
    }

    fn room(&self) -> Option<Waiting> {
        Some(self.settings.max)
    }

    fn close(&self, deadline: Duration) -> BoxFuture<'_, usize> {
        self.closed.store(true, Ordering::Release);
        Box::pin(self.room.counts.emptied(deadline))
    }
}

impl Reserve for Publisher {
    fn held(&self, topic: Topic, partition: Partition) -> usize {
        self.room.held(topic, partition)
    }

    fn is_away(&self) -> bool {
        self.is_silent.load(Ordering::Acquire)
    }

    fn is_fresh(&self) -> bool {
        self.looked_at.lock().is_some_and(|at| at.elapsed() < TRUSTED_FOR)
    }
}

/// Acknowledges records that are stored, when all others know of them.
fn acknowledge_in(known_in: Duration, group: Group) {
    tokio::spawn(async move {
        tokio::time::sleep(known_in).await;
        let acknowledge = |queued: Queued| queued.receipt.complete(Outcome::Stored);
        let wakes: Vec<Wake> = group.records.into_iter().filter_map(acknowledge).collect();
        wakes.into_iter().for_each(Wake::wake);
    });
}
