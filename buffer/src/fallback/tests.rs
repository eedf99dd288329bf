//! Courses of two processes over one log and one reserve, played without servers: whatever order things happen in, nothing that
//! was answered is lost, and nothing overtakes what it must not.

mod doubles;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use proptest::prelude::*;
use tokio::time::Instant;

use self::doubles::{Handle, InFlight, Number, Primary, Shelf, record};
use super::ways::Ways;
use crate::publish::NotStored;
use crate::{Outcome, Receipts, Spill, Wake};

struct Process {
    ways: Ways,
    primary: Primary,
    /// Requests of which not all events are offered yet, side by side.
    open: [Option<Open>; 2],
}

/// A request: its receipts, its number, how many of its events are offered, and what was answered when it was sent.
struct Open {
    receipts: Arc<Receipts>,
    request: u32,
    offered: usize,
    before: Vec<Number>,
}

/// How many events a request has.
const EVENTS: usize = 3;

/// Two processes.
struct World {
    processes: [Process; 2],
    shelf: Arc<Mutex<Shelf>>,
    log: Vec<Number>,
    started: Instant,
    now: Instant,
    /// By event: what its receipt is asked by, the request it is of, what was answered when it was sent.
    sent: Vec<(Arc<Receipts>, usize, u32, Vec<Number>)>,
    requests: u32,
    /// Events whose process could not know what was in the reserve, for it was away for too long.
    conceded: HashSet<Number>,
}

/// What happens next; the first number is the process.
#[derive(Debug, Clone)]
enum Step {
    /// The next event of one of two requests that come side by side.
    Offer(usize, usize),
    Ready(usize, bool),
    /// The primary refuses some of the next events.
    Refuse(usize, Vec<bool>),
    ReserveAway(bool),
    /// It was so long ago that a process looked at the reserve that it does not trust what it saw.
    Stale(usize),
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
        10 => (process.clone(), 0..2_usize).prop_map(|(p, slot)| Step::Offer(p, slot)),
        1 => process.clone().prop_map(Step::Stale),
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
        let shelf = Arc::<Mutex<Shelf>>::default();
        let process = |number| Process {
            ways: Ways::new(Arc::new(Handle(Arc::clone(&shelf), number)), "shelf", Arc::new(NotStored), 1),
            primary: Primary::default(),
            open: [None, None],
        };
        let started = Instant::now();
        let mut world = Self {
            processes: [process(0), process(1)],
            shelf: Arc::clone(&shelf),
            log: Vec::new(),
            started,
            now: started + Duration::from_secs(60),
            sent: Vec::new(),
            requests: 0,
            conceded: HashSet::new(),
        };
        (0..2).for_each(|process| world.look(process));
        world
    }

    fn answered(&self) -> Vec<Number> {
        let is_answered = |number: &usize| {
            let (receipts, index, ..) = &self.sent[*number];
            receipts.outcome(*index).is_stored()
        };
        (0..self.sent.len()).filter(is_answered).map(|number| number as Number).collect()
    }

    fn play(&mut self, step: &Step) {
        self.take(step);
        let is_blind = {
            let shelf = self.shelf.lock();
            [0, 1].map(|process| shelf.is_away && !shelf.is_trusted[process])
        };
        for (number, (receipts, index, request, _)) in self.sent.iter().enumerate() {
            if is_blind[*request as usize % 2] && receipts.outcome(*index) == Outcome::Unknown {
                self.conceded.insert(number as Number);
            }
        }
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Offer(process, slot) => self.offer(process, slot),
            Step::Ready(process, is) => self.processes[process].primary.state.lock().is_ready = is,
            Step::Refuse(process, ref next) => {
                self.processes[process].primary.state.lock().refuses = next.iter().copied().collect();
            }
            Step::ReserveAway(is) => {
                self.shelf.lock().is_away = is;
                (0..2).for_each(|process| self.look(process));
            }
            Step::Stale(process) => {
                self.shelf.lock().is_trusted[process] = false;
                self.acknowledge();
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
                if let Some(head) = self.shelf.lock().list.front() {
                    let mut state = self.processes[process].primary.state.lock();
                    state.in_flight.push_back(InFlight::Moved(*head));
                }
            }
            Step::Look(process) => self.look(process),
            Step::Pass(ms) => self.now += Duration::from_millis(ms),
        }
    }

    /// The next event of a request, or the first of a new one.
    fn offer(&mut self, process: usize, slot: usize) {
        let answered = self.answered();
        let open = self.processes[process].open[slot].get_or_insert_with(|| {
            // even ones are of the first process
            self.requests += 2;
            let request = self.requests + process as u32;
            let receipts = Arc::new(Receipts::new(EVENTS));
            Open { receipts, request, offered: 0, before: answered }
        });
        let number = self.sent.len() as Number;
        let receipt = open.receipts.receipt(open.offered);
        self.sent.push((Arc::clone(&open.receipts), open.offered, open.request, open.before.clone()));
        open.offered += 1;
        if open.offered == EVENTS {
            self.processes[process].open[slot] = None;
        }
        let Process { ways, primary, .. } = &self.processes[process];
        // a refused one is told so by whoever offered it
        if let Err(not_taken) = ways.offer(self.now, primary, &record(&number.to_le_bytes()), receipt) {
            not_taken.receipt.complete(Outcome::NotStored).into_iter().for_each(Wake::wake);
        }
        self.acknowledge();
    }

    fn acknowledge(&mut self) {
        let acknowledged = self.shelf.lock().acknowledged();
        acknowledged.into_iter().filter_map(|receipt| receipt.complete(Outcome::Stored)).for_each(Wake::wake);
    }

    fn look(&mut self, process: usize) {
        self.shelf.lock().look(process);
        self.acknowledge();
        let Process { ways, primary, .. } = &self.processes[process];
        ways.look_at(self.now, primary, self.started);
        self.acknowledge();
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
                    self.acknowledge();
                }
                InFlight::Offered(number, receipt) => {
                    if outcome == Outcome::Stored {
                        self.log.push(number);
                    }
                    receipt.complete(outcome).into_iter().for_each(Wake::wake);
                }
                InFlight::Moved(number) if outcome == Outcome::Stored => {
                    self.log.push(number);
                    assert_eq!(self.shelf.lock().list.pop_front(), Some(number));
                }
                InFlight::Moved(_) => {}
            }
        }
    }

    fn is_busy(&self) -> bool {
        let is_busy = |process: &Process| {
            process.ways.waiting().events > 0 || !process.primary.state.lock().in_flight.is_empty()
        };
        !self.shelf.lock().list.is_empty() || self.processes.iter().any(is_busy)
    }

    /// All is well from here on, and everything ends up in the log.
    fn finish(&mut self) {
        self.shelf.lock().is_away = false;
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
            // a request goes on as it began
            let is_of_it = |conceded: &Number| self.sent[*conceded as usize].2 == *request;
            let is_conceded = self.conceded.iter().any(is_of_it);
            for earlier in before.iter().filter(|_| !is_conceded) {
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
        assert!(self.shelf.lock().list.is_empty(), "not all was moved");
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
            let turns = [Step::Ready(0, false), Step::Look(0), Step::Offer(0, 0), Step::Ready(0, true), Step::Look(0)];
            turns.iter().for_each(|step| world.play(step));
        }
        steps.iter().for_each(|step| world.play(step));
        world.finish();
        world.check();
    }
}

/// What is moved is in the reserve already: it goes to the primary or nowhere, though its partition has events in the reserve.
#[test]
fn what_is_moved_goes_to_the_primary_alone() {
    let mut world = World::new();
    for step in [Step::Offer(0, 0), Step::Ready(0, true), Step::Look(0)] {
        world.play(&step);
    }
    assert_eq!(world.shelf.lock().list.len(), 1);
    let Process { ways, primary, .. } = &world.processes[0];
    let receipts = Receipts::that_stay(2);
    ways.offer(world.now, primary, &record(&[0; 4]), receipts.receipt(0)).unwrap();
    assert_eq!(primary.state.lock().in_flight.len(), 1);
    assert!(ways.spill(&record(&[0; 4]), receipts.receipt(1)).is_none());
    assert_eq!((receipts.outcome(1), world.shelf.lock().list.len()), (Outcome::NotStored, 1));
}
