//! The ways of all partitions, what waits at them, and the reserve at their ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::way::{Choice, Seen, Way};
use crate::counts::Counts;
use crate::murmur2::murmur2_partition;
use crate::receipt::Bound;
use crate::{
    Batch, NotTaken, Offset, Outcome, Partition, Publish, Receipt, Record, Refused, Reserve, Spill, Topic,
    Waiting, Wake,
};

/// How much may wait at all ways together; more goes around.
const WAITING_MAX: Waiting = Waiting { events: 20_000, bytes: 16 << 20 };

/// How soon the same is told again, and for how long nothing goes around until that is told.
const TOLD_AGAIN: Duration = Duration::from_secs(10);
const IDLE_AFTER: Duration = Duration::from_secs(3);

/// How long a primary that was never ready counts as one that is just starting.
const STARTS_WITHIN: Duration = Duration::from_secs(3);

/// See the [module's documentation](self).
pub(super) struct Ways {
    reserve: Arc<dyn Reserve>,
    /// The reserve's name.
    name: &'static str,
    /// What takes records that neither of the two stores.
    spill: Arc<dyn Spill>,
    partitions: usize,
    ways: Vec<Mutex<Place>>,
    waiting: Counts,
    primary_is_well: AtomicBool,
    reserve_is_well: AtomicBool,
    /// Whether it is known that nobody can see what is in it, and not only that it may be starting.
    reserve_is_away: AtomicBool,
    /// Whether both were ready once, or had their time to become it.
    has_started: AtomicBool,
    /// Of how many partitions events are refused, as they would overtake those in a reserve that is away.
    refusing: AtomicUsize,
    /// When it was told last that some are refused.
    refusing_told: Mutex<Option<Instant>>,
    /// Whether it was told that events go around, and since when none does.
    is_told: AtomicBool,
    idle_since: Mutex<Option<Instant>>,
}

/// One partition of one topic.
struct Place {
    way: Way,
    waiting: Option<Held>,
}

/// Records that wait, in their order.
struct Held {
    records: Batch,
    receipts: Vec<Receipt>,
}

impl Ways {
    pub(super) fn new(
        reserve: Arc<dyn Reserve>,
        name: &'static str,
        spill: Arc<dyn Spill>,
        partitions: u32,
    ) -> Self {
        let partitions = partitions.max(1) as usize;
        let place = || Mutex::new(Place { way: Way::Direct, waiting: None });
        Self {
            reserve,
            name,
            spill,
            partitions,
            ways: (0..Topic::ALL.len() * partitions).map(|_| place()).collect(),
            waiting: Counts::default(),
            primary_is_well: AtomicBool::new(true),
            reserve_is_well: AtomicBool::new(false),
            reserve_is_away: AtomicBool::new(false),
            has_started: AtomicBool::new(false),
            refusing: AtomicUsize::new(0),
            refusing_told: Mutex::default(),
            is_told: AtomicBool::new(false),
            idle_since: Mutex::default(),
        }
    }

    pub(super) fn reserve(&self) -> &dyn Reserve {
        &*self.reserve
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// Whether both were ready once, or had their time to become it: before, it is not known what is in the reserve.
    pub(super) fn has_started(&self) -> bool {
        self.has_started.load(Ordering::Acquire)
    }

    /// Whether the primary takes records, as it was seen last.
    pub(super) fn primary_is_well(&self) -> bool {
        self.primary_is_well.load(Ordering::Acquire)
    }

    /// What waits at the ways.
    pub(super) fn waiting(&self) -> Waiting {
        self.waiting.waiting()
    }

    /// The partition whose way a record goes; dead letters and records without a key have the direct one only.
    fn place_of(&self, record: &Record<'_>) -> Option<(usize, Partition)> {
        let (Topic::Events(_), Some(key)) = (record.topic, record.key) else { return None };
        let partition = murmur2_partition(key, self.partitions);
        let number = record.topic.index() * self.partitions + partition;
        i32::try_from(partition).ok().map(|partition| (number, Partition(partition)))
    }

    fn seen(&self, topic: Topic, partition: Partition) -> Seen {
        let held = self.reserve.held(topic, partition);
        // one that is away is taken as it was left
        let is_known = held > 0 || self.reserve_is_away.load(Ordering::Acquire) || self.reserve.is_fresh();
        Seen {
            primary: self.primary_is_well.load(Ordering::Acquire),
            reserve: self.reserve_is_well.load(Ordering::Acquire),
            held: is_known.then_some(held),
        }
    }

    /// Sends a record its way.
    pub(super) fn offer(
        &self,
        now: Instant,
        primary: &dyn Publish,
        record: &Record<'_>,
        receipt: Receipt,
    ) -> Result<(), NotTaken> {
        let place = self.place_of(record).filter(|_| receipt.may_spill());
        let Some((number, partition)) = place else { return primary.offer(record, receipt) };
        // what waits for the primary must be something that it takes
        if let Err(reason) = primary.may_take(record) {
            return Err(NotTaken { reason, receipt });
        }
        let mut place = self.ways[number].lock();
        let seen = self.seen(record.topic, partition);
        // whichever way it went, it would overtake the one that was given back or be overtaken by those behind it
        let is_cut_off = |receipt| {
            let reason = "what came before it in its request was not stored where it belongs".to_owned();
            Err(NotTaken { reason: Refused::Unavailable(reason), receipt })
        };
        let bound = receipt.bound(number);
        if bound == Some(Bound::GivenBack) {
            return is_cut_off(receipt);
        }
        match place.way.choose(bound.is_some(), seen, now) {
            Choice::Directly => {
                drop(place);
                // that may have happened in between
                let was_bound = match receipt.go_directly(number) {
                    Some(Bound::GivenBack) => return is_cut_off(receipt),
                    before => before.is_some(),
                };
                let Err(not_taken) = primary.offer(record, receipt) else { return Ok(()) };
                if !was_bound {
                    not_taken.receipt.bind(number, None);
                }
                // others of its request may come back, and would stand behind it
                if was_bound || !not_taken.reason.is_passing() || !seen.reserve {
                    return Err(not_taken);
                }
                self.ways[number].lock().way.refused(now);
                let NotTaken { reason, receipt } = not_taken;
                // why the first one refused it is what is to be mended
                self.push(record, receipt).map_err(|NotTaken { receipt, .. }| NotTaken { reason, receipt })
            }
            Choice::Around => self.push(record, receipt),
            Choice::Wait => {
                let before = self.waiting.add(record.bytes());
                place.waiting.get_or_insert_with(|| Held::new(record.topic)).push(record, receipt);
                if before.events >= WAITING_MAX.events || before.bytes >= WAITING_MAX.bytes {
                    place.way.turn(now);
                    let held = place.waiting.take();
                    let wakes = self.release(number, held, Choice::Around, primary);
                    drop(place);
                    wakes.into_iter().for_each(Wake::wake);
                }
                Ok(())
            }
        }
    }

    /// Hands a record to the reserve.
    fn push(&self, record: &Record<'_>, receipt: Receipt) -> Result<(), NotTaken> {
        self.reserve
            .offer(record, receipt.elsewhere(true))
            .map_err(|NotTaken { reason, receipt }| NotTaken { reason, receipt: receipt.elsewhere(false) })?;
        if !self.is_told.swap(true, Ordering::Relaxed) {
            tracing::warn!("events that cannot be stored where they belong go to {}", self.name);
        }
        Ok(())
    }

    /// Lets records that waited go. Returns the requests that can go on.
    fn release(&self, way: usize, held: Option<Held>, choice: Choice, primary: &dyn Publish) -> Vec<Wake> {
        let Some(Held { records, receipts }) = held else { return Vec::new() };
        let mut wakes = Vec::new();
        let mut is_direct = choice == Choice::Directly;
        for (received, receipt) in records.iter().zip(receipts) {
            let (key, value, headers) = (received.key, received.value, &received.headers);
            let record = Record { topic: received.origin.topic, key, value, headers };
            self.waiting.release(record.bytes());
            let mut is_bound = receipt.bound(way).is_some();
            let offered = if is_direct || is_bound {
                match receipt.go_directly(way) {
                    Some(Bound::GivenBack) => {
                        wakes.extend(self.spill.spill(&record, receipt));
                        continue;
                    }
                    before => is_bound = before.is_some(),
                }
                primary.offer(&record, receipt)
            } else {
                self.push(&record, receipt)
            };
            let offered = match offered {
                Err(not_taken) if is_direct && !is_bound && not_taken.reason.is_passing() => {
                    // those behind it must not overtake it
                    is_direct = false;
                    not_taken.receipt.bind(way, None);
                    self.push(&record, not_taken.receipt)
                }
                offered => offered,
            };
            wakes.extend(
                offered.err().and_then(|NotTaken { receipt, .. }| self.spill.spill(&record, receipt)),
            );
        }
        wakes
    }

    /// Looks how the two strategies are, and lets go what need not wait any more.
    pub(super) fn look_at(&self, now: Instant, primary: &dyn Publish, started: Instant) {
        let (primary_is_well, reserve_is_well) = (primary.ready().is_ok(), self.reserve.ready().is_ok());
        let has_started = primary_is_well && reserve_is_well || now >= started + STARTS_WITHIN;
        let has_started = self.has_started.fetch_or(has_started, Ordering::AcqRel) || has_started;
        self.primary_is_well.store(primary_is_well || !has_started, Ordering::Release);
        self.reserve_is_well.store(reserve_is_well, Ordering::Release);
        self.reserve_is_away.store(self.reserve.is_away() && has_started, Ordering::Release);
        let (mut is_idle, mut refusing) = (true, 0);
        for (number, place) in self.ways.iter().enumerate() {
            let (topic, partition) = (number / self.partitions, number % self.partitions);
            let (Some(topic), Ok(partition)) = (Topic::ALL.get(topic), i32::try_from(partition)) else {
                continue;
            };
            let seen = self.seen(*topic, Partition(partition));
            is_idle &= seen.held == Some(0);
            refusing +=
                usize::from(primary_is_well && !seen.reserve && seen.held.is_some_and(|held| held > 0));
            let mut place = place.lock();
            if !place.way.is_waiting() {
                continue;
            }
            is_idle = false;
            let choice = place.way.look(seen, now);
            if choice != Choice::Wait {
                let held = place.waiting.take();
                // under the lock: whatever comes next comes behind them
                let wakes = self.release(number, held, choice, primary);
                drop(place);
                wakes.into_iter().for_each(Wake::wake);
            }
        }
        let told_at = *self.refusing_told.lock();
        let is_news = self.refusing.swap(refusing, Ordering::Relaxed) == 0 && refusing > 0;
        if is_news && told_at.is_none_or(|at| now >= at + TOLD_AGAIN) {
            *self.refusing_told.lock() = Some(now);
            let (name, reason) = (self.name, self.reserve.ready().err().unwrap_or_default());
            tracing::error!(
                "events of {refusing} partitions wait in {name}, and new ones of these are refused, as they would overtake them: {reason}"
            );
        }
        let idle_since = {
            let mut since = self.idle_since.lock();
            *since = (is_idle && self.primary_is_well()).then(|| since.unwrap_or(now));
            *since
        };
        if idle_since.is_some_and(|since| now >= since + IDLE_AFTER)
            && self.is_told.swap(false, Ordering::Relaxed)
        {
            tracing::info!("nothing waits in {} any more: events are stored where they belong", self.name);
        }
    }

    /// Nothing waits any longer: what does goes to the reserve.
    pub(super) fn close(&self, now: Instant, primary: &dyn Publish) {
        for (number, place) in self.ways.iter().enumerate() {
            let mut place = place.lock();
            place.way.turn(now);
            let held = place.waiting.take();
            let wakes = self.release(number, held, Choice::Around, primary);
            drop(place);
            wakes.into_iter().for_each(Wake::wake);
        }
    }
}

impl Held {
    fn new(topic: Topic) -> Self {
        Self { records: Batch::new(topic), receipts: Vec::new() }
    }

    fn push(&mut self, record: &Record<'_>, receipt: Receipt) {
        // they have no place yet
        let headers = record.headers.iter().copied();
        self.records.push(Partition(0), Offset(0), 0, (record.key, record.value), headers);
        self.receipts.push(receipt);
    }
}

/// What the primary had accepted and certainly did not store.
impl Spill for Ways {
    fn spill(&self, record: &Record<'_>, receipt: Receipt) -> Option<Wake> {
        if !receipt.may_spill() {
            return receipt.complete(Outcome::NotStored);
        }
        // no way is locked here: whoever holds one may be waiting for the one that gives back. What is on its way to the reserve
        // turns its way
        let pushed = match self.place_of(record) {
            Some((way, _)) => {
                receipt.bind(way, Some(Bound::GivenBack));
                self.push(record, receipt).map_err(|not_taken| not_taken.receipt)
            }
            None => Err(receipt),
        };
        pushed.err().and_then(|receipt| self.spill.spill(record, receipt))
    }
}
