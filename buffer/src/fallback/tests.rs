//! Courses of two processes over one log and one reserve, played without servers: whatever order things happen in, nothing that
//! was answered is lost, and nothing overtakes what it must not.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use floodgate_schemas::EventType;
use parking_lot::Mutex;
use proptest::prelude::*;
use tokio::time::Instant;

use super::ways::Ways;
use crate::publish::NotStored;
use crate::{
    BoxFuture, NotTaken, Outcome, Partition, Publish, Receipt, Receipts, Record, Refused, Reserve, Spill,
    Topic, Waiting, Wake,
};

/// What an event's value says: which one it is.
type Number = u32;

/// The only key, and so the only partition.
const KEY: &[u8] = b"key";

fn record(value: &[u8]) -> Record<'_> {
    Record { topic: Topic::Events(EventType::Like), key: Some(KEY), value: Some(value), headers: &[] }
}

fn number(record: &Record<'_>) -> Number {
    Number::from_le_bytes(record.value.and_then(|value| value.try_into().ok()).expect("a number"))
}

/// What is on its way to the log.
enum InFlight {
    Offered(Number, Receipt),
    /// The reserve's head.
    Moved(Number),
}

/// One process's way to the log: what it takes lies in a queue until it is settled.
#[derive(Default)]
struct Primary {
    state: Mutex<PrimaryState>,
}

#[derive(Default)]
struct PrimaryState {
    is_ready: bool,
    /// Which of the next offers it refuses.
    refuses: VecDeque<bool>,
    in_flight: VecDeque<InFlight>,
}

impl Publish for Primary {
    fn offer(&self, record: &Record<'_>, receipt: Receipt) -> Result<(), NotTaken> {
        let mut state = self.state.lock();
        if state.refuses.pop_front() == Some(true) {
            return Err(NotTaken { reason: Refused::Full, receipt });
        }
        state.in_flight.push_back(InFlight::Offered(number(record), receipt));
        Ok(())
    }

    fn ready(&self) -> Result<(), String> {
        self.state.lock().is_ready.then_some(()).ok_or_else(String::new)
    }

    fn waiting(&self) -> Waiting {
        Waiting::default()
    }

    fn close(&self, _: Duration) -> BoxFuture<'_, usize> {
        Box::pin(async { 0 })
    }
}

/// The reserve of both.
#[derive(Default)]
struct Shelf {
    list: Mutex<VecDeque<Number>>,
    is_away: Mutex<bool>,
}

impl Publish for Shelf {
    fn offer(&self, record: &Record<'_>, receipt: Receipt) -> Result<(), NotTaken> {
        if *self.is_away.lock() {
            return Err(NotTaken { reason: Refused::Unavailable("away".to_owned()), receipt });
        }
        self.list.lock().push_back(number(record));
        receipt.complete(Outcome::Stored).into_iter().for_each(Wake::wake);
        Ok(())
    }

    fn ready(&self) -> Result<(), String> {
        (!*self.is_away.lock()).then_some(()).ok_or_else(String::new)
    }

    fn waiting(&self) -> Waiting {
        Waiting::default()
    }

    fn close(&self, _: Duration) -> BoxFuture<'_, usize> {
        Box::pin(async { 0 })
    }
}

impl Reserve for Shelf {
    fn held(&self, _: Topic, _: Partition) -> usize {
        self.list.lock().len()
    }
}

struct Process {
    ways: Ways,
    primary: Primary,
    has_started: bool,
}

/// Two processes.
struct World {
    processes: [Process; 2],
    shelf: Arc<Shelf>,
    log: Vec<Number>,
    started: Instant,
    now: Instant,
    /// By event: what its receipt is asked by, the request it is of, what was answered when it was sent.
    sent: Vec<(Arc<Receipts>, usize, u32, Vec<Number>)>,
    requests: u32,
}

/// What happens next; the first number is the process.
#[derive(Debug, Clone)]
enum Step {
    /// A request with so many events, between which the primary goes away or not.
    Send(usize, usize, bool),
    Ready(usize, bool),
    /// The primary refuses some of the next events.
    Refuse(usize, Vec<bool>),
    ReserveAway(bool),
    /// The first so many in flight are in the log.
    Store(usize, usize),
    /// Everything in flight is certainly not stored, or nothing is known of it, which may be in the log.
    GiveUp(usize),
    Lose(usize, bool),
    /// The reserve's head is on its way to the log.
    Move(usize),
    Look(usize),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let process = 0..2_usize;
    prop_oneof![
        6 => (process.clone(), 1..4_usize, any::<bool>()).prop_map(|(p, count, turns)| Step::Send(p, count, turns)),
        2 => (process.clone(), any::<bool>()).prop_map(|(p, is)| Step::Ready(p, is)),
        2 => (process.clone(), prop::collection::vec(any::<bool>(), 0..6)).prop_map(|(p, next)| Step::Refuse(p, next)),
        1 => any::<bool>().prop_map(Step::ReserveAway),
        3 => (process.clone(), 1..4_usize).prop_map(|(p, count)| Step::Store(p, count)),
        1 => process.clone().prop_map(Step::GiveUp),
        1 => (process.clone(), any::<bool>()).prop_map(|(p, is)| Step::Lose(p, is)),
        3 => process.clone().prop_map(Step::Move),
        3 => process.prop_map(Step::Look),
        1 => (1..3000_u64).prop_map(Step::Pass),
    ]
}

impl World {
    fn new() -> Self {
        let shelf = Arc::<Shelf>::default();
        let process = || Process {
            ways: Ways::new(Arc::clone(&shelf) as Arc<dyn Reserve>, "shelf", Arc::new(NotStored), 1),
            primary: Primary::default(),
            has_started: true,
        };
        let now = Instant::now();
        Self {
            processes: [process(), process()],
            shelf: Arc::clone(&shelf),
            log: Vec::new(),
            started: now,
            now,
            sent: Vec::new(),
            requests: 0,
        }
    }

    fn answered(&self) -> Vec<Number> {
        let is_answered = |number: &usize| {
            let (receipts, index, ..) = &self.sent[*number];
            receipts.outcome(*index).is_stored()
        };
        (0..self.sent.len()).filter(is_answered).map(|number| number as Number).collect()
    }

    fn play(&mut self, step: &Step) {
        match *step {
            Step::Send(process, count, turns) => {
                let (receipts, answered) = (Arc::new(Receipts::new(count)), self.answered());
                self.requests += 1;
                for index in 0..count {
                    let number = self.sent.len() as Number;
                    self.sent.push((Arc::clone(&receipts), index, self.requests, answered.clone()));
                    let Process { ways, primary, .. } = &self.processes[process];
                    // a refused one is told so by whoever offered it
                    let receipt = receipts.receipt(index);
                    if let Err(not_taken) =
                        ways.offer(self.now, primary, &record(&number.to_le_bytes()), receipt)
                    {
                        not_taken.receipt.complete(Outcome::NotStored).into_iter().for_each(Wake::wake);
                    }
                    if turns {
                        self.processes[process].primary.state.lock().is_ready ^= true;
                        self.look(process);
                    }
                }
            }
            Step::Ready(process, is) => self.processes[process].primary.state.lock().is_ready = is,
            Step::Refuse(process, ref next) => {
                self.processes[process].primary.state.lock().refuses = next.iter().copied().collect();
            }
            Step::ReserveAway(is) => {
                *self.shelf.is_away.lock() = is;
                (0..2).for_each(|process| self.look(process));
            }
            Step::Store(process, count) => self.settle(process, count, Outcome::Stored),
            Step::GiveUp(process) => self.settle(process, usize::MAX, Outcome::NotStored),
            Step::Lose(process, is_there) => {
                let count = self.processes[process].primary.state.lock().in_flight.len();
                if is_there {
                    let state = self.processes[process].primary.state.lock();
                    let numbers =
                        state.in_flight.iter().map(|(InFlight::Offered(n, _) | InFlight::Moved(n))| *n);
                    self.log.extend(numbers);
                }
                self.settle(process, count, Outcome::Unknown);
            }
            Step::Move(process) => {
                let is_moving = |process: &Process| {
                    let state = process.primary.state.lock();
                    state.in_flight.iter().any(|in_flight| matches!(in_flight, InFlight::Moved(_)))
                };
                // one process has the partition
                if self.processes.iter().any(is_moving) {
                    return;
                }
                if let Some(head) = self.shelf.list.lock().front() {
                    let mut state = self.processes[process].primary.state.lock();
                    state.in_flight.push_back(InFlight::Moved(*head));
                }
            }
            Step::Look(process) => self.look(process),
            Step::Pass(ms) => self.now += Duration::from_millis(ms),
        }
    }

    fn look(&mut self, process: usize) {
        let (started, now) = (self.started, self.now);
        let Process { ways, primary, has_started } = &mut self.processes[process];
        ways.look_at(now, primary, started, has_started);
    }

    fn settle(&mut self, process: usize, count: usize, outcome: Outcome) {
        let settled: Vec<InFlight> = {
            let mut state = self.processes[process].primary.state.lock();
            let count = count.min(state.in_flight.len());
            state.in_flight.drain(..count).collect()
        };
        for in_flight in settled {
            match in_flight {
                InFlight::Offered(number, receipt) if outcome == Outcome::NotStored => {
                    let woken = self.processes[process].ways.spill(&record(&number.to_le_bytes()), receipt);
                    woken.into_iter().for_each(Wake::wake);
                }
                InFlight::Offered(number, receipt) => {
                    if outcome == Outcome::Stored {
                        self.log.push(number);
                    }
                    receipt.complete(outcome).into_iter().for_each(Wake::wake);
                }
                InFlight::Moved(number) if outcome == Outcome::Stored => {
                    self.log.push(number);
                    assert_eq!(self.shelf.list.lock().pop_front(), Some(number));
                }
                InFlight::Moved(_) => {}
            }
        }
    }

    fn is_busy(&self) -> bool {
        let is_busy = |process: &Process| {
            process.ways.waiting().events > 0 || !process.primary.state.lock().in_flight.is_empty()
        };
        !self.shelf.list.lock().is_empty() || self.processes.iter().any(is_busy)
    }

    /// All is well from here on, and everything ends up in the log.
    fn finish(&mut self) {
        *self.shelf.is_away.lock() = false;
        for process in [0, 1] {
            let mut state = self.processes[process].primary.state.lock();
            (state.is_ready, state.refuses) = (true, VecDeque::new());
        }
        while self.is_busy() {
            self.now += Duration::from_millis(100);
            for process in [0, 1] {
                self.look(process);
                self.play(&Step::Move(process));
                self.settle(process, usize::MAX, Outcome::Stored);
            }
        }
    }

    fn check(&self) {
        let mut places: HashMap<Number, usize> = HashMap::new();
        for (place, number) in self.log.iter().enumerate() {
            places.entry(*number).or_insert(place);
        }
        for (number, (receipts, index, request, before)) in self.sent.iter().enumerate() {
            let place = places.get(&(number as Number));
            let outcome = receipts.outcome(*index);
            match outcome {
                Outcome::Stored | Outcome::Spilled => {
                    assert!(place.is_some(), "{number} was answered and is lost")
                }
                Outcome::NotStored => assert!(place.is_none(), "{number} was refused and is there"),
                Outcome::Unknown => {}
            }
            let (Some(place), true) = (place, outcome.is_stored()) else { continue };
            for earlier in before {
                assert!(
                    places[earlier] < *place,
                    "{earlier} was answered before {number} was sent, and is overtaken"
                );
            }
            let same = self.sent.iter().enumerate().take(number);
            for (earlier, _) in same.filter(|(_, (.., of, _))| of == request) {
                let is_kept = self.sent[earlier].0.outcome(self.sent[earlier].1).is_stored();
                let Some(earlier_place) = places.get(&(earlier as Number)).filter(|_| is_kept) else {
                    continue;
                };
                assert!(earlier_place < place, "{number} overtook {earlier} of its own request");
            }
        }
        assert!(self.shelf.list.lock().is_empty(), "not all was moved");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    /// What was answered is kept and what was refused is nowhere; what was answered before something else was sent comes before
    /// it, and so do earlier events of its request.
    #[test]
    fn nothing_answered_is_lost_or_overtaken(
        waits in any::<bool>(),
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let mut world = World::new();
        if waits {
            // an event is in the reserve, and the primary is back: what comes next waits
            let turns = [Step::Ready(0, false), Step::ReserveAway(false), Step::Send(0, 1, false), Step::Ready(0, true)];
            turns.iter().chain([&Step::Look(0)]).for_each(|step| world.play(step));
        }
        steps.iter().for_each(|step| world.play(step));
        world.finish();
        world.check();
    }
}
