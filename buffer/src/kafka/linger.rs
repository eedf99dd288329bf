//! Records that gather before they are sent.
//!
//! A request costs a broker and us about the same whether it holds one record or fifty, and what comes while a request
//! is under way fills the next one anyway. With few records under way waiting for more would only cost time: each goes
//! out at once. With many, a pause that is short beside their way costs nobody anything and makes requests fuller:
//! then records gather here until the pause is over or they are many, and a thread hands them to librdkafka together.
//!
//! Clients that wait for their answers send nothing meanwhile. With three hundred of them five hundred records never come
//! together, and the pause would be time in which everybody waits for nobody. So records are also many when they are most
//! of what was lately unacknowledged at a time.
//!
//! **Order.** Once a record of a request has gathered, those after it gather too, until all are handed over: events of
//! one request never overtake each other.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::native::producer::InFlight;
use crate::{Record, Topic};

/// How long a thread that waits for records sits before it looks whether it is still needed.
const TICK: Duration = Duration::from_millis(100);

/// How many records do not wait for more: full requests for as many partitions as a topic has by default.
const FULL_EVENTS: usize = 500;

/// Of higher peaks three quarters are more than fills requests; remembering them would only take longer to forget.
const PEAK_MAX: usize = FULL_EVENTS * 4 / 3 + 1;

/// After so many hand-overs a peak that does not come again has shrunk to about a third. One that is remembered for too
/// long costs pauses.
const PEAK_LASTS: usize = 64;

/// Where records gather.
pub(super) struct Linger {
    above_events: usize,
    pause: Duration,
    /// Whether there are records that are not handed over yet.
    gathers: AtomicBool,
    gathered: Mutex<Gathered>,
    news: Condvar,
}

/// Records that wait to be sent; their keys, values and headers lie one after the other.
#[derive(Default)]
pub(super) struct Gathered {
    bytes: Vec<u8>,
    records: Vec<(Place, InFlight)>,
    /// The most that were unacknowledged while these came, or not long before.
    peak: usize,
}

struct Place {
    topic: Topic,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    // events have none but those of followed requests
    headers: Vec<(Range<usize>, Option<Range<usize>>)>,
}

impl Gathered {
    /// Whether these fill requests, or are three quarters of all that was unacknowledged at a time: few others will come before
    /// some of these are answered.
    fn are_enough(&self) -> bool {
        self.records.len() >= FULL_EVENTS.min(self.peak - self.peak / 4)
    }

    fn push(&mut self, record: &Record<'_>, in_flight: InFlight) {
        let mut append = |part: &[u8]| {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(part);
            start..self.bytes.len()
        };
        let headers =
            record.headers.iter().map(|(name, value)| (append(name), value.map(&mut append))).collect();
        let (key, value) = (record.key.map(&mut append), record.value.map(&mut append));
        self.records.push((Place { topic: record.topic, key, value, headers }, in_flight));
    }

    /// How many records, and their bytes.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.records.len(), self.records.iter().map(|(_, in_flight)| in_flight.bytes).sum())
    }

    /// Gives all records, in the order they came, and keeps the memory for the next ones.
    pub(super) fn drain(&mut self, mut send: impl FnMut(&Record<'_>, InFlight)) {
        let part = |range: Range<usize>| &self.bytes[range];
        for (Place { topic, key, value, headers }, in_flight) in self.records.drain(..) {
            let headers: Vec<_> =
                headers.into_iter().map(|(name, value)| (part(name), value.map(part))).collect();
            let record = Record { topic, key: key.map(part), value: value.map(part), headers: &headers };
            send(&record, in_flight);
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

    /// Whether a record gathers that comes while `unacknowledged` others are under way.
    pub(super) fn applies(&self, unacknowledged: usize) -> bool {
        let many = unacknowledged > self.above_events || self.gathers.load(Ordering::Acquire);
        many && !self.pause.is_zero()
    }

    /// Keeps a record that came while `unacknowledged` others were under way.
    pub(super) fn keep(&self, record: &Record<'_>, in_flight: InFlight, unacknowledged: usize) {
        let mut gathered = self.gathered.lock();
        gathered.push(record, in_flight);
        gathered.peak = gathered.peak.max(unacknowledged.min(PEAK_MAX));
        let begins = !self.gathers.swap(true, Ordering::AcqRel);
        if begins || gathered.are_enough() {
            self.news.notify_one();
        }
    }

    /// Waits for records, and then until they are many or the pause since the last ones is over; `spare` takes their
    /// place. After a while without any `spare` comes back. They count as gathering until [`Linger::handed_over`].
    pub(super) fn next(&self, handed_over_at: Instant, spare: Gathered) -> Result<Gathered, Gathered> {
        let mut gathered = self.gathered.lock();
        if gathered.records.is_empty() {
            self.news.wait_for(&mut gathered, TICK);
        }
        if gathered.records.is_empty() {
            return Err(spare);
        }
        let until = handed_over_at + self.pause;
        while !gathered.are_enough() && !self.news.wait_until(&mut gathered, until).timed_out() {}
        let peak = gathered.peak - gathered.peak.div_ceil(PEAK_LASTS);
        Ok(std::mem::replace(&mut *gathered, Gathered { peak, ..spare }))
    }

    /// All that wait, for whoever is not going to send them.
    pub(super) fn abandon(&self) -> Gathered {
        std::mem::take(&mut *self.gathered.lock())
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
    use crate::kafka::testing::Meeting;
    use crate::{Outcome, Receipts};

    const TOPIC: Topic = Topic::Events(EventType::Like);

    fn record<'a>(
        key: Option<&'a str>,
        value: Option<&'a str>,
        headers: &'a [crate::Header<'a>],
    ) -> Record<'a> {
        Record { topic: TOPIC, key: key.map(str::as_bytes), value: value.map(str::as_bytes), headers }
    }

    #[test]
    fn what_gathers_is_given_in_order_and_nothing_overtakes_it() {
        let linger = Linger::new(1, Duration::from_millis(1));
        let receipts = Receipts::new(4);
        let in_flight = |index| InFlight { receipt: receipts.receipt(index), bytes: index, route: 0 };
        let headers: [crate::Header<'_>; 2] = [(b"name", Some(b"value")), (b"name", None)];
        let sent = [
            record(Some("key"), Some("value"), &[]),
            record(None, Some("alone"), &headers),
            record(Some("deleted"), None, &[]),
            record(Some(""), Some(""), &[]),
        ];
        assert!(!linger.applies(1), "few are under way");
        assert!(linger.applies(2));
        sent.iter().enumerate().for_each(|(index, record)| linger.keep(record, in_flight(index), 5));
        assert!(linger.applies(0), "others are before it");

        let mut gathered = linger.next(Instant::now(), Gathered::default()).ok().unwrap();
        assert!(linger.applies(0), "those before it are not handed over");
        let mut given = 0;
        gathered.drain(|record, in_flight| {
            assert_eq!(in_flight.bytes, given);
            let expected = &sent[given];
            assert_eq!((record.key, record.value), (expected.key, expected.value));
            assert_eq!(record.headers, expected.headers);
            given += 1;
            drop(in_flight.receipt.complete(Outcome::Stored));
        });
        assert_eq!(given, sent.len());
        linger.handed_over();
        assert!(!linger.applies(0));
        assert!((0..4).all(|index| receipts.outcome(index) == Outcome::Stored));
    }

    /// A record that comes while others are handed over, and those of its request after it, when few are under way again
    /// and each would go out at once: a thread hands over, another offers, and they meet at every step.
    #[test]
    fn what_comes_during_a_hand_over_is_not_overtaken_after_it() {
        let linger = Linger::new(1, Duration::from_millis(1));
        let receipts = Receipts::new(3);
        let sent = Mutex::new(Vec::new());
        let offer = |index: usize, unacknowledged| {
            let in_flight = InFlight { receipt: receipts.receipt(index), bytes: index, route: 0 };
            match linger.applies(unacknowledged) {
                true => linger.keep(&record(None, None, &[]), in_flight, unacknowledged),
                false => sent.lock().push(index),
            }
        };
        let meeting = Meeting::default();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..2 {
                    let mut gathered = linger.next(Instant::now(), Gathered::default());
                    while let Err(unused) = gathered {
                        gathered = linger.next(Instant::now(), unused);
                    }
                    gathered.ok().unwrap().drain(|_, in_flight| sent.lock().push(in_flight.bytes));
                    meeting.come();
                    linger.handed_over();
                    meeting.come();
                }
            });
            offer(0, 2);
            meeting.take_place(|| offer(1, 0));
            meeting.take_place(|| offer(2, 0));
            meeting.take_place(|| {});
            meeting.take_place(|| assert!(!linger.applies(0), "all are handed over"));
        });
        assert_eq!(*sent.lock(), [0, 1, 2]);
    }

    /// The pause is for records that may still come: when most of those who write at a time wait here it is over.
    #[test]
    fn when_nearly_all_wait_nobody_else_is_waited_for() {
        let linger = Linger::new(200, Duration::from_secs(3600));
        let receipts = Receipts::new(1);
        let gather = |peak: usize, records: usize| {
            for _ in 0..records {
                let in_flight = InFlight { receipt: receipts.receipt(0), bytes: 0, route: 0 };
                linger.keep(&record(None, None, &[]), in_flight, peak);
            }
        };
        let are_enough = || linger.gathered.lock().are_enough();
        gather(300, 224);
        assert!(!are_enough());
        gather(0, 1);
        assert!(are_enough(), "three quarters of the 300 that were unacknowledged before");
        let gathered = linger.next(Instant::now(), Gathered::default()).ok().unwrap();
        assert_eq!(gathered.records.len(), 225);
        gather(0, 100);
        assert!(!are_enough(), "the peak is remembered");
    }

    #[test]
    fn without_a_pause_nothing_gathers() {
        assert!(!Linger::new(0, Duration::ZERO).applies(1000));
    }
}
