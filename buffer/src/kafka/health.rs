//! Whether records can be stored, by what became of the last ones.
//!
//! A cluster may answer every question and take no record: what a delivery needs is more than metadata. So delivery reports
//! are counted, a batch of them at a time ([`Deliveries`]), and a run of failures without a success makes the publisher
//! unready. Then usually nobody writes any more, and no success can come. So the run counts for a while ([`Standing`]);
//! if the probe finds nothing wrong after that, records get another try, and if they fail again the while is longer.
//!
//! Producers that met a fatal error are made anew ([`Rebuilds`]), at once if it happens once in a while, and with growing
//! pauses where the cluster does not want them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rdkafka::types::RDKafkaErrorCode;

/// How long deliveries fail before they count as failing: one that fails beside others that do not is no trouble.
const FAILING_FOR: Duration = Duration::from_secs(1);

/// How long failures count after the last one, at first and at most.
const COUNTS_MIN: Duration = Duration::from_secs(5);
const COUNTS_MAX: Duration = Duration::from_secs(30);

/// Reports of one event.
#[derive(Debug, Default)]
pub(super) struct Seen {
    stored: bool,
    failed: Option<RDKafkaErrorCode>,
}

impl Seen {
    /// What became of one record.
    pub(super) fn add(&mut self, is_stored: bool, error: Option<RDKafkaErrorCode>) {
        use RDKafkaErrorCode::{InvalidRecord, PurgeInflight, PurgeQueue};
        self.stored |= is_stored;
        // the record's own fault, or ours
        if let Some(error) = error
            && ![InvalidRecord, PurgeQueue, PurgeInflight].contains(&error)
        {
            self.failed = Some(error);
        }
    }
}

/// What became of the last deliveries; written by whoever works off the reports, read by the probe.
pub(super) struct Deliveries {
    began: Instant,
    /// Milliseconds since the beginning, and one: 0 is never.
    failing_since: AtomicU64,
    failed_at: AtomicU64,
    /// Of the last failure.
    code: Mutex<RDKafkaErrorCode>,
    has_stored: AtomicBool,
    /// Whether the probe is wanted before its time.
    wanted: Mutex<bool>,
    news: Condvar,
}

impl Default for Deliveries {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            failing_since: AtomicU64::new(0),
            failed_at: AtomicU64::new(0),
            code: Mutex::new(RDKafkaErrorCode::NoError),
            has_stored: AtomicBool::new(false),
            wanted: Mutex::new(false),
            news: Condvar::new(),
        }
    }
}

/// A run of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failing {
    /// When the first came, and the last, since the beginning.
    pub(super) since: Duration,
    pub(super) last: Duration,
    pub(super) code: RDKafkaErrorCode,
}

impl Deliveries {
    /// Counts the reports of one event.
    pub(super) fn note(&self, seen: &Seen) {
        if seen.stored {
            // written only when it changes: this is what happens all the time
            if !self.has_stored.load(Ordering::Relaxed) {
                self.has_stored.store(true, Ordering::Relaxed);
            }
            if self.failing_since.load(Ordering::Relaxed) != 0 {
                self.failing_since.store(0, Ordering::Release);
            }
        } else if let Some(code) = seen.failed {
            let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1;
            *self.code.lock() = code;
            self.failed_at.store(now, Ordering::Relaxed);
            if self.failing_since.load(Ordering::Relaxed) == 0 {
                self.failing_since.store(now, Ordering::Release);
                self.look_now();
            }
        }
    }

    /// Time on the clock of [`Failing`].
    pub(super) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// The present run of failures.
    pub(super) fn failing(&self) -> Option<Failing> {
        let since = self.failing_since.load(Ordering::Acquire).checked_sub(1)?;
        let last = self.failed_at.load(Ordering::Relaxed).saturating_sub(1);
        let (since, last) = (Duration::from_millis(since), Duration::from_millis(last));
        Some(Failing { since, last, code: *self.code.lock() })
    }

    /// Whether anything was stored since this was asked last.
    pub(super) fn has_stored(&self) -> bool {
        self.has_stored.swap(false, Ordering::Relaxed)
    }

    /// Something happened that the probe should look at.
    pub(super) fn look_now(&self) {
        *self.wanted.lock() = true;
        self.news.notify_one();
    }

    /// Waits until the probe's time has come.
    pub(super) fn wait(&self, interval: Duration) {
        let until = Instant::now() + interval;
        let mut wanted = self.wanted.lock();
        while !*wanted && !self.news.wait_until(&mut wanted, until).timed_out() {}
        *wanted = false;
    }
}

/// Whether failures still count.
#[derive(Debug, Default)]
pub(super) struct Standing {
    counts_for: Duration,
    /// The last failure that counted.
    counted: Duration,
    /// Failures up to here do not count: their cause was found, and is gone.
    excused: Duration,
    /// Records get another try.
    tries: bool,
}

impl Standing {
    /// What failed up to `now` had a cause that is gone.
    pub(super) fn excuse(&mut self, now: Duration) {
        *self = Self { excused: now, ..Self::default() };
    }

    /// What deliveries fail with, if that is how it stands at `now`.
    pub(super) fn judge(
        &mut self,
        now: Duration,
        failing: Option<Failing>,
        has_stored: bool,
    ) -> Option<RDKafkaErrorCode> {
        let Some(failing) = failing else {
            if has_stored {
                *self = Self::default();
            }
            return None;
        };
        if failing.last <= self.excused {
            return None;
        }
        let is_tried_again = self.tries && failing.last > self.counted;
        if !is_tried_again && now.saturating_sub(failing.since) < FAILING_FOR {
            return None;
        }
        if is_tried_again {
            self.counts_for = (self.counts_for * 2).min(COUNTS_MAX);
            self.tries = false;
        }
        self.counted = failing.last;
        self.tries |= now > failing.last + self.counts_for.max(COUNTS_MIN);
        self.counts_for = self.counts_for.max(COUNTS_MIN);
        (!self.tries).then_some(failing.code)
    }

    /// Whether records get another try though none has been stored since they failed.
    pub(super) fn tries(&self) -> bool {
        self.tries
    }
}

/// Pauses before producers are made anew, and how long new ones have to do without a fatal error until they are trusted.
const REBUILD_MIN: Duration = Duration::from_millis(500);
const REBUILD_MAX: Duration = Duration::from_secs(10);
const TRUSTED_AFTER: Duration = Duration::from_secs(3);

/// A fatal error after this long without one is a new one.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// When producers were made anew, and why.
#[derive(Debug, Default)]
pub(super) struct Rebuilds {
    last: Option<(Instant, RDKafkaErrorCode, String)>,
    pause: Duration,
    in_a_row: u32,
}

impl Rebuilds {
    /// Whether they may be made anew at `now`.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.last.as_ref().is_none_or(|(last, ..)| now >= *last + self.pause)
    }

    /// They are. Returns whether the reason is new.
    pub(super) fn begin(&mut self, now: Instant, code: RDKafkaErrorCode, reason: &str) -> bool {
        let before = self.last.take().filter(|(last, ..)| now < *last + FORGOTTEN_AFTER);
        (self.pause, self.in_a_row) = match before {
            None => (REBUILD_MIN, 1),
            Some(_) => ((self.pause * 2).clamp(REBUILD_MIN, REBUILD_MAX), self.in_a_row + 1),
        };
        // brokers say the same with their names: the first one's words stand for all
        let told = before.filter(|(_, before, _)| *before == code).map(|(.., told)| told);
        let is_news = told.is_none();
        self.last = Some((now, code, told.unwrap_or_else(|| reason.to_owned())));
        is_news
    }

    /// Something changed that may have been the cause: the next ones are made at once.
    pub(super) fn hurry(&mut self) {
        self.pause = Duration::ZERO;
    }

    /// Why the present producers cannot be trusted to send; `is_broken` is whether one of them met a fatal error.
    pub(super) fn doubt(&self, now: Instant, is_broken: bool) -> Option<(RDKafkaErrorCode, &str)> {
        use RDKafkaErrorCode::{
            ClusterAuthorizationFailed, TransactionalIdAuthorizationFailed, UnsupportedFeature,
        };
        let (last, code, reason) = self.last.as_ref()?;
        let refused = [ClusterAuthorizationFailed, TransactionalIdAuthorizationFailed, UnsupportedFeature]
            .contains(code);
        // one broken sequence is mended by new producers
        let happens_again = self.in_a_row > 1 || refused;
        (happens_again && (is_broken || now < *last + TRUSTED_AFTER)).then_some((*code, reason.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: RDKafkaErrorCode = RDKafkaErrorCode::TopicAuthorizationFailed;

    fn failing(since_ms: u64, last_ms: u64) -> Option<Failing> {
        let (since, last) = (Duration::from_millis(since_ms), Duration::from_millis(last_ms));
        Some(Failing { since, last, code: CODE })
    }

    #[test]
    fn a_run_of_failures_counts_and_records_get_another_try_later_and_later() {
        let mut standing = Standing::default();
        let mut at = |now_ms: u64, failing, has_stored| {
            standing.judge(Duration::from_millis(now_ms), failing, has_stored).is_some()
        };
        assert!(!at(0, None, false));
        assert!(!at(600, failing(100, 500), false), "not for long yet");
        assert!(at(1100, failing(100, 900), false));
        assert!(at(60_000, failing(100, 59_000), false), "they go on failing");
        assert!(at(60_900, failing(100, 59_000), false));
        assert!(!at(64_100, failing(100, 59_000), false), "another try");
        assert!(!at(70_000, failing(100, 59_000), false), "nobody has written yet");
        assert!(at(70_100, failing(100, 70_050), false), "it failed as well");
        assert!(at(79_900, failing(100, 70_050), false), "twice as long");
        assert!(!at(80_100, failing(100, 70_050), false));
        assert!(!at(80_300, None, true), "something was stored");
        assert!(!at(80_400, failing(80_350, 80_350), false), "all is forgotten");
        assert!(at(81_400, failing(80_350, 80_350), false));
        assert!(!at(85_400, failing(80_350, 80_350), false));
        standing.excuse(Duration::from_secs(90));
        let mut at =
            |now_ms: u64, failing| standing.judge(Duration::from_millis(now_ms), failing, false).is_some();
        assert!(!at(90_100, failing(80_350, 90_000)), "its cause is gone");
        assert!(at(90_200, failing(80_350, 90_150)));
    }

    #[test]
    fn a_success_ends_a_run_of_failures() {
        let deliveries = Deliveries::default();
        let note = |stored, failed: Option<RDKafkaErrorCode>| {
            let mut seen = Seen::default();
            failed.into_iter().for_each(|code| seen.add(false, Some(code)));
            if stored {
                seen.add(true, None);
            }
            deliveries.note(&seen);
        };
        note(false, Some(RDKafkaErrorCode::PurgeQueue));
        assert_eq!(deliveries.failing(), None, "given up by ourselves");
        note(false, Some(CODE));
        assert_eq!(deliveries.failing().map(|failing| failing.code), Some(CODE));
        deliveries.wait(Duration::from_secs(3600));
        note(true, Some(CODE));
        assert_eq!(deliveries.failing(), None, "some are stored");
        assert!(deliveries.has_stored() && !deliveries.has_stored());
    }

    #[test]
    fn producers_that_are_not_wanted_are_made_more_and_more_seldom_and_told_once() {
        let mut rebuilds = Rebuilds::default();
        let began = Instant::now();
        let (mut now, mut made, mut told) = (began, 0, 0);
        while now < began + Duration::from_secs(60) {
            if rebuilds.is_due(now) {
                made += 1;
                told +=
                    u32::from(rebuilds.begin(now, RDKafkaErrorCode::ClusterAuthorizationFailed, "denied"));
            }
            assert!(rebuilds.doubt(now, true).is_some());
            now += Duration::from_millis(100);
        }
        assert!((5..=12).contains(&made), "{made} in a minute");
        assert_eq!(told, 1);
        rebuilds.hurry();
        assert!(rebuilds.is_due(now));
        rebuilds.begin(now, RDKafkaErrorCode::ClusterAuthorizationFailed, "denied");
        assert!(rebuilds.doubt(now + Duration::from_secs(1), false).is_some(), "too early to say");
        assert!(rebuilds.doubt(now + Duration::from_secs(4), false).is_none());
    }

    #[test]
    fn one_broken_sequence_is_no_reason_to_doubt() {
        let mut rebuilds = Rebuilds::default();
        let now = Instant::now();
        assert!(rebuilds.begin(now, RDKafkaErrorCode::OutOfOrderSequenceNumber, "gap"));
        assert_eq!(rebuilds.doubt(now, false), None);
        let later = now + FORGOTTEN_AFTER;
        assert!(rebuilds.begin(later, RDKafkaErrorCode::OutOfOrderSequenceNumber, "gap"), "told again");
        assert_eq!(rebuilds.doubt(later, false), None);
        assert!(!rebuilds.begin(
            later + Duration::from_secs(1),
            RDKafkaErrorCode::OutOfOrderSequenceNumber,
            "gap"
        ));
        assert!(rebuilds.doubt(later + Duration::from_secs(1), false).is_some());
    }
}
