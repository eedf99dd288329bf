//! A way to the log and a reserve that do as they are told.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use floodgate_schemas::EventType;
use parking_lot::Mutex;

use crate::{BoxFuture, NotTaken, Partition, Publish, Receipt, Record, Refused, Reserve, Topic, Waiting};

/// What an event's value says: which one it is.
pub(super) type Number = u32;

/// The only key, and so the only partition.
pub(super) const KEY: &[u8] = b"key";

pub(super) fn record(value: &[u8]) -> Record<'_> {
    Record { topic: Topic::Events(EventType::Like), key: Some(KEY), value: Some(value), headers: &[] }
}

pub(super) fn number(record: &Record<'_>) -> Number {
    Number::from_le_bytes(record.value.and_then(|value| value.try_into().ok()).expect("a number"))
}

/// What is on its way to the log.
pub(super) enum InFlight {
    Offered(Number, Receipt),
    /// The reserve's head.
    Moved(Number),
}

/// One process's way to the log: what it takes lies in a queue until it is settled.
#[derive(Default)]
pub(super) struct Primary {
    pub(super) state: Mutex<PrimaryState>,
}

#[derive(Default)]
pub(super) struct PrimaryState {
    pub(super) is_ready: bool,
    /// Which of the next offers it refuses.
    pub(super) refuses: VecDeque<bool>,
    pub(super) in_flight: VecDeque<InFlight>,
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

/// The reserve of both. A process sees what others push when it looks, and a push is acknowledged when all have looked that are
/// trusted to do so.
#[derive(Default)]
pub(super) struct Shelf {
    pub(super) list: VecDeque<Number>,
    pub(super) unseen: Vec<(Receipt, [bool; 2])>,
    /// By process: what it saw last and pushed since, and whether that is trusted.
    pub(super) views: [usize; 2],
    pub(super) is_trusted: [bool; 2],
    pub(super) is_away: bool,
}

impl Shelf {
    pub(super) fn look(&mut self, process: usize) {
        if self.is_away {
            return;
        }
        self.views[process] = self.list.len();
        self.is_trusted[process] = true;
        self.unseen.iter_mut().for_each(|(_, seen)| seen[process] = true);
    }

    /// The receipts of what all have seen.
    pub(super) fn acknowledged(&mut self) -> Vec<Receipt> {
        let is_trusted = self.is_trusted;
        let is_seen = |seen: &[bool; 2]| (0..2).all(|process| seen[process] || !is_trusted[process]);
        let (acknowledged, unseen) =
            std::mem::take(&mut self.unseen).into_iter().partition(|(_, seen)| is_seen(seen));
        self.unseen = unseen;
        acknowledged.into_iter().map(|(receipt, _): (Receipt, _)| receipt).collect()
    }
}

/// As one process has it.
pub(super) struct Handle(pub(super) Arc<Mutex<Shelf>>, pub(super) usize);

impl Publish for Handle {
    fn offer(&self, record: &Record<'_>, receipt: Receipt) -> Result<(), NotTaken> {
        let Self(shelf, process) = self;
        let mut shelf = shelf.lock();
        if shelf.is_away {
            return Err(NotTaken { reason: Refused::Unavailable("away".to_owned()), receipt });
        }
        shelf.list.push_back(number(record));
        shelf.views[*process] += 1;
        let mut seen = [false; 2];
        seen[*process] = true;
        shelf.unseen.push((receipt, seen));
        Ok(())
    }

    fn ready(&self) -> Result<(), String> {
        (!self.0.lock().is_away).then_some(()).ok_or_else(String::new)
    }

    fn waiting(&self) -> Waiting {
        Waiting::default()
    }

    fn close(&self, _: Duration) -> BoxFuture<'_, usize> {
        Box::pin(async { 0 })
    }
}

impl Reserve for Handle {
    fn held(&self, _: Topic, _: Partition) -> usize {
        self.0.lock().views[self.1]
    }

    fn is_away(&self) -> bool {
        self.0.lock().is_away
    }

    fn is_fresh(&self) -> bool {
        self.0.lock().is_trusted[self.1]
    }
}
