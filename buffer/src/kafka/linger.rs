//! Records that gather before they are sent.
//!
//! A request costs a broker and us about the same whether it holds one record or fifty, and what comes while a request
//! is under way fills the next one anyway. With few records under way waiting for more would only cost time: each goes
//! out at once. With many, a pause that is short beside their way costs nobody anything and makes requests fuller:
//! then records gather here, and a thread hands them to librdkafka together.
//!
//! **Order.** Once a record of a request has gathered, those after it gather too, until all are handed over: events of
//! one request never overtake each other.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::native::InFlight;
use crate::{Record, Topic};

/// How long a thread that waits for records sits before it looks whether it is still needed.
const TICK: Duration = Duration::from_millis(100);

/// Where records gather.
pub(super) struct Linger {
    above_events: usize,
    pause: Duration,
    /// Whether there are records that are not handed over yet.
    gathers: AtomicBool,
    gathered: Mutex<Gathered>,
    news: Condvar,
}

/// Records that wait to be sent, their keys and values one after the other.
#[derive(Default)]
pub(super) struct Gathered {
    bytes: Vec<u8>,
    records: Vec<(Place, InFlight)>,
}

struct Place {
    topic: Topic,
    start: usize,
    /// Where the key ends, unless there is none.
    key_end: Option<usize>,
    /// Where the value ends, unless there is none.
    end: Option<usize>,
}

impl Gathered {
    fn push(&mut self, record: &Record<'_>, in_flight: InFlight) {
        let start = self.bytes.len();
        let mut append = |part: &[u8]| {
            self.bytes.extend_from_slice(part);
            self.bytes.len()
        };
        let place = Place {
            topic: record.topic,
            start,
            key_end: record.key.map(&mut append),
            end: record.value.map(append),
        };
        self.records.push((place, in_flight));
    }

    /// Gives all records, in the order they came, and keeps the memory for the next ones.
    pub(super) fn drain(&mut self, mut send: impl FnMut(&Record<'_>, InFlight)) {
        for (Place { topic, start, key_end, end }, in_flight) in self.records.drain(..) {
            let key = key_end.map(|key_end| &self.bytes[start..key_end]);
            let value = end.map(|end| &self.bytes[key_end.unwrap_or(start)..end]);
            send(&Record { topic, key, value, headers: &[] }, in_flight);
        }
        self.bytes.clear();
    }
}

impl Linger {
    /// Records gather for `pause` while more than `above_events` are unacknowledged.
    pub(super) fn new(above_events: usize, pause: Duration) -> Self {
        Self {
            above_events,
            pause,
            gathers: AtomicBool::new(false),
            gathered: Mutex::default(),
            news: Condvar::new(),
        }
    }

    /// Whether a record gathers that comes while `unacknowledged` others are under way. Those with headers do not.
    pub(super) fn applies(&self, record: &Record<'_>, unacknowledged: usize) -> bool {
        let many = unacknowledged > self.above_events || self.gathers.load(Ordering::Acquire);
        many && !self.pause.is_zero() && record.headers.is_empty()
    }

    pub(super) fn keep(&self, record: &Record<'_>, in_flight: InFlight) {
        let mut gathered = self.gathered.lock();
        gathered.push(record, in_flight);
        if !self.gathers.swap(true, Ordering::AcqRel) {
            self.news.notify_one();
        }
    }

    /// Waits for records, and then until they have gathered long enough; `None` after a while without any. Gives `spare`
    /// in exchange. They are still gathering until [`Linger::handed_over`].
    pub(super) fn next(&self, handed_over_at: Instant, spare: Gathered) -> Result<Gathered, Gathered> {
        let mut gathered = self.gathered.lock();
        if gathered.records.is_empty() {
            self.news.wait_for(&mut gathered, TICK);
        }
        if gathered.records.is_empty() {
            return Err(spare);
        }
        drop(gathered);
        std::thread::sleep(self.pause.saturating_sub(handed_over_at.elapsed()));
        Ok(std::mem::replace(&mut *self.gathered.lock(), spare))
    }

    /// What [`Linger::next`] gave is with librdkafka.
    pub(super) fn handed_over(&self) {
        let gathered = self.gathered.lock();
        if gathered.records.is_empty() {
            self.gathers.store(false, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use floodgate_schemas::EventType;

    use super::*;
    use crate::{Outcome, Receipts};

    const TOPIC: Topic = Topic::Events(EventType::Like);

    fn record<'a>(key: Option<&'a str>, value: Option<&'a str>) -> Record<'a> {
        Record { topic: TOPIC, key: key.map(str::as_bytes), value: value.map(str::as_bytes), headers: &[] }
    }

    #[test]
    fn what_gathers_is_given_in_order_and_nothing_overtakes_it() {
        let linger = Linger::new(1, Duration::from_millis(1));
        let receipts = Receipts::new(4);
        let in_flight = |index| InFlight { receipt: receipts.receipt(index), bytes: index };
        let sent = [
            record(Some("key"), Some("value")),
            record(None, Some("alone")),
            record(Some("deleted"), None),
            record(Some(""), Some("")),
        ];
        assert!(!linger.applies(&sent[0], 1), "few are under way");
        assert!(linger.applies(&sent[0], 2));
        let headers = [(&b"name"[..], None)];
        assert!(!linger.applies(&Record { headers: &headers, ..sent[0] }, 2), "a dead letter is in no hurry");
        sent.iter().enumerate().for_each(|(index, record)| linger.keep(record, in_flight(index)));
        assert!(linger.applies(&sent[0], 0), "others are before it");

        let mut gathered = linger.next(Instant::now(), Gathered::default()).ok().unwrap();
        assert!(linger.applies(&sent[0], 0), "those before it are not handed over");
        let mut given = Vec::new();
        gathered.drain(|record, in_flight| {
            assert_eq!(in_flight.bytes, given.len());
            let text = |part: Option<&[u8]>| part.map(|part| String::from_utf8_lossy(part).into_owned());
            given.push((text(record.key), text(record.value)));
            drop(in_flight.receipt.complete(Outcome::Stored));
        });
        let owned =
            |key: Option<&str>, value: Option<&str>| (key.map(str::to_owned), value.map(str::to_owned));
        let expected = [
            owned(Some("key"), Some("value")),
            owned(None, Some("alone")),
            owned(Some("deleted"), None),
            owned(Some(""), Some("")),
        ];
        assert_eq!(given, expected);
        linger.handed_over();
        assert!(!linger.applies(&sent[0], 0));
        assert!((0..4).all(|index| receipts.outcome(index) == Outcome::Stored));
    }

    #[test]
    fn without_a_pause_nothing_gathers() {
        let linger = Linger::new(0, Duration::ZERO);
        assert!(!linger.applies(&record(None, None), 1000));
    }
}
