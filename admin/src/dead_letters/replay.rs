//! Replaying: records back to where they came from, and markers behind them.
//!
//! Two readings of the same stretch of the topic. The first learns which letters are marked, so that the second can
//! go through them in order and publish what is not. See the [parent module](super) for what a marker is.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use floodgate_buffer::{Header, Names, Outcome, Publish, Receipts, Received, Record, Refused, Topic};
use floodgate_schemas::Clock;
use floodgate_schemas::dead_letter::headers;

use super::filter::Filter;
use super::index::{DeadLetterCounts, Index, Troubles};
use super::letter::Letter;
use super::scan::{Scan, ScanError, ScanLimits, Unread};
use super::topic::DeadLetterTopic;

/// Between tries of what was not acknowledged.
const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// Between looks at whether the publisher is ready.
const READY_PAUSE: Duration = Duration::from_millis(50);
/// How many times a second a replay with a rate publishes, if the rate allows.
const TURNS_PER_SECOND: usize = 10;

/// What is to be replayed, and how.
#[derive(Debug, Clone)]
pub struct ReplayPlan {
    /// Which letters.
    pub filter: Filter,
    /// Letters of events that failed this often are left alone: replays must not go round for ever.
    pub attempts_max: u32,
    /// Records a second, at most.
    pub rate: Option<NonZeroU32>,
    /// How long the publisher may take to become ready, and then every batch to be acknowledged.
    pub patience: Duration,
    /// What reading which letters there are may take.
    pub limits: ScanLimits,
}

/// A replay that has read which letters there are.
pub struct Replay {
    plan: ReplayPlan,
    scan: Scan,
    index: Index,
    counts: DeadLetterCounts,
    clock: Arc<dyn Clock>,
}

/// What a replay came to.
#[derive(Debug, Clone, Default)]
pub struct Replayed {
    /// Letters that were published and marked.
    pub done: u64,
    /// Letters that could not be, while others could.
    pub failed: Troubles,
}

/// A replay ended early. What it did until then is marked, but for one batch at most.
#[derive(Debug, thiserror::Error)]
#[error("{done} dead letters were replayed, then it ended: {reason}")]
pub struct ReplayError {
    /// Letters that were published and marked.
    pub done: u64,
    /// What is wrong.
    pub reason: String,
}

impl From<ScanError> for ReplayError {
    fn from(error: ScanError) -> Self {
        Self { done: 0, reason: error.to_string() }
    }
}

impl Replay {
    /// Reads which letters there are, up to now. Publishes nothing. Blocks on the network.
    ///
    /// # Errors
    /// [`ScanError`] says whether trying again can help.
    pub fn plan(topic: &DeadLetterTopic, plan: ReplayPlan) -> Result<Self, ScanError> {
        let plan = ReplayPlan { filter: plan.filter.for_replay(), ..plan };
        let limits = plan.limits;
        let mut scan = Scan::open(topic, &limits)?;
        let mut index = Index::new(topic, &plan.filter, plan.attempts_max, &limits, &scan);
        scan.each(|batch, unread| {
            index.passes(unread);
            batch.iter().try_for_each(|record| index.note(&record).map(drop))
        })?;
        index.ends(&scan.unread);
        let counts = index.counts();
        Ok(Self { plan, scan, index, counts, clock: Arc::clone(&topic.clock) })
    }

    /// How many letters there are to replay, and to pass over.
    pub fn counts(&self) -> DeadLetterCounts {
        self.counts
    }

    /// What could not be read: letters in it are left alone, and so are those that may have been marked there.
    pub fn unread(&self) -> &[Unread] {
        &self.scan.unread
    }

    /// Records that are no dead letters of ours.
    pub fn unreadable(&self) -> &Troubles {
        &self.index.unreadable
    }

    /// Publishes and marks what is due, and tells `progress` how many are done. Blocks on the network.
    ///
    /// # Errors
    /// [`ReplayError`] when the strategy takes nothing any more, or the letters cannot be read. Running it again goes
    /// on from there.
    pub fn run(mut self, publisher: &dyn Publish, progress: impl Fn(u64)) -> Result<Replayed, ReplayError> {
        if self.counts.due == 0 {
            return Ok(Replayed::default());
        }
        let (patience, clock) = (self.plan.patience, &*self.clock);
        let mut work = Work { publisher, patience, clock, replayed: Replayed::default() };
        work.wait_ready()?;
        let mut pace = Pace::new(self.plan.rate);
        let index = &mut self.index;
        let read = self.scan.each(|batch, _| {
            let records: Vec<Received<'_>> = batch.iter().collect();
            let letters = records.iter().filter_map(|record| Letter::read(record, &index.topics).ok());
            let letters: Vec<Letter<'_>> = letters.collect();
            let due: Vec<_> = letters.into_iter().filter(|letter| index.take(letter.id())).collect();
            for letters in due.chunks(pace.records()) {
                pace.wait(letters.len());
                work.replay(letters, &index.topics)?;
                progress(work.replayed.done);
            }
            Ok::<_, ReplayError>(())
        });
        match read {
            Ok(()) => Ok(work.replayed),
            Err(error) => Err(ReplayError { done: work.replayed.done, ..error }),
        }
    }
}

/// Holds a replay to its rate.
struct Pace {
    rate: Option<NonZeroU32>,
    next: Instant,
}

impl Pace {
    fn new(rate: Option<NonZeroU32>) -> Self {
        Self { rate, next: Instant::now() }
    }

    /// How many records are published together.
    fn records(&self) -> usize {
        self.rate.map_or(usize::MAX, |rate| (rate.get() as usize / TURNS_PER_SECOND).max(1))
    }

    /// Waits until so many records may be published.
    fn wait(&mut self, records: usize) {
        let Some(rate) = self.rate else { return };
        let now = Instant::now();
        std::thread::sleep(self.next.saturating_duration_since(now));
        let takes = Duration::from_secs_f64(records as f64 / f64::from(rate.get()));
        self.next = self.next.max(now) + takes;
    }
}

/// A record was not stored, as far as is known.
enum Undelivered {
    /// Trying again does not help.
    TooLarge,
    /// Nor did it for as long as there was patience.
    NotAcknowledged(String),
}

/// The publishing half.
struct Work<'p> {
    publisher: &'p dyn Publish,
    patience: Duration,
    clock: &'p dyn Clock,
    replayed: Replayed,
}

impl Work<'_> {
    fn wait_ready(&self) -> Result<(), ReplayError> {
        let until = Instant::now() + self.patience;
        loop {
            match self.publisher.ready() {
                Ok(()) => return Ok(()),
                Err(reason) if Instant::now() >= until => return Err(self.ended(reason)),
                Err(_) => std::thread::sleep(READY_PAUSE),
            }
        }
    }

    /// The records first, their markers once they are acknowledged.
    fn replay(&mut self, letters: &[Letter<'_>], topics: &Names) -> Result<(), ReplayError> {
        let origins: Vec<String> = letters.iter().map(|letter| topics.show(letter.origin)).collect();
        let attempts: Vec<String> = letters.iter().map(|letter| letter.attempts.to_string()).collect();
        let with_headers = letters.iter().zip(origins.iter().zip(&attempts));
        let headers =
            with_headers.map(|(letter, (origin, attempts))| replay_headers(letter, origin, attempts));
        let headers: Vec<_> = headers.collect();
        let records = letters.iter().zip(&headers).map(|(letter, headers)| Record {
            topic: Topic::Events(letter.origin.of),
            key: letter.key,
            value: letter.value,
            headers,
        });
        let outcomes = self.deliver(&records.collect::<Vec<_>>());
        let stored = self.told(&origins, outcomes, "not published")?;
        let letters: Vec<_> = stored.iter().map(|index| &letters[*index]).collect();
        let origins: Vec<_> = stored.iter().map(|index| origins[*index].clone()).collect();
        self.mark(&letters, &origins)
    }

    fn mark(&mut self, letters: &[&Letter<'_>], origins: &[String]) -> Result<(), ReplayError> {
        let now = self.clock.now().to_string();
        let marker: Header<'_> = (headers::REPLAYED_AT.as_bytes(), Some(now.as_bytes()));
        let headers = letters.iter().map(|letter| [letter.all_headers, &[marker]].concat());
        let headers: Vec<_> = headers.collect();
        let records = letters.iter().zip(&headers).map(|(letter, headers)| Record {
            topic: Topic::DeadLetters,
            key: letter.key,
            value: letter.value,
            headers,
        });
        let outcomes = self.deliver(&records.collect::<Vec<_>>());
        let marked = self.told(origins, outcomes, "published, and not marked as replayed")?;
        self.replayed.done += marked.len() as u64;
        Ok(())
    }

    /// Why the strategy does not acknowledge, as far as it says.
    fn unacknowledged(&self) -> String {
        self.publisher.ready().err().unwrap_or_else(|| "records are not acknowledged".to_owned())
    }

    /// Tries until every record is stored, or can never be, or patience is at its end.
    fn deliver(&self, records: &[Record<'_>]) -> Vec<Result<(), Undelivered>> {
        let until = Instant::now() + self.patience;
        let mut outcomes: Vec<_> = records.iter().map(|_| Ok(())).collect();
        let mut waiting: Vec<usize> = (0..records.len()).collect();
        loop {
            let receipts = Receipts::new(waiting.len());
            let offers = waiting.iter().enumerate();
            let offers = offers.map(|(n, index)| self.publisher.offer(&records[*index], receipts.receipt(n)));
            // a receipt that came back is dropped here, or it would be waited for
            let refused: Vec<Option<Refused>> =
                offers.map(|offered| offered.err().map(Refused::from)).collect();
            futures_executor::block_on(receipts.all());
            for (n, (index, refused)) in waiting.iter().zip(refused).enumerate() {
                outcomes[*index] = delivered(refused, receipts.outcome(n), || self.unacknowledged());
            }
            waiting.retain(|index| matches!(outcomes[*index], Err(Undelivered::NotAcknowledged(_))));
            if waiting.is_empty() || Instant::now() >= until {
                return outcomes;
            }
            std::thread::sleep(RETRY_PAUSE);
        }
    }

    /// Returns which records were stored, and notes which were not. If none was, there is no use in going on.
    fn told(
        &mut self,
        origins: &[String],
        outcomes: Vec<Result<(), Undelivered>>,
        what: &str,
    ) -> Result<Vec<usize>, ReplayError> {
        let mut stored = Vec::with_capacity(outcomes.len());
        let mut missing = None;
        for (index, (origin, outcome)) in origins.iter().zip(outcomes).enumerate() {
            let reason = match outcome {
                Ok(()) => {
                    stored.push(index);
                    continue;
                }
                Err(Undelivered::TooLarge) => {
                    "it is larger than the strategy's message size limit".to_owned()
                }
                Err(Undelivered::NotAcknowledged(reason)) => {
                    missing.get_or_insert_with(|| reason.clone());
                    reason
                }
            };
            self.replayed.failed.note(|| format!("{origin} was {what}: {reason}"));
        }
        match missing {
            Some(reason) if stored.is_empty() => Err(self.ended(reason)),
            _ => Ok(stored),
        }
    }

    fn ended(&self, reason: String) -> ReplayError {
        ReplayError { done: self.replayed.done, reason }
    }
}

fn delivered(
    refused: Option<Refused>,
    outcome: Outcome,
    why: impl Fn() -> String,
) -> Result<(), Undelivered> {
    match (refused, outcome) {
        (Some(Refused::TooLarge), _) => Err(Undelivered::TooLarge),
        (Some(refused), _) => Err(Undelivered::NotAcknowledged(refused.to_string())),
        (None, outcome) if outcome.is_stored() => Ok(()),
        (None, _) => Err(Undelivered::NotAcknowledged(why())),
    }
}

/// The original headers and ours; those of an earlier replay do not pile up.
fn replay_headers<'h>(letter: &Letter<'h>, origin: &'h str, attempts: &'h str) -> Vec<Header<'h>> {
    let is_original = |(name, _): &&Header<'_>| !name.starts_with(headers::REPLAY_PREFIX.as_bytes());
    let ours = [(headers::REPLAY_OF, origin), (headers::REPLAY_ATTEMPTS, attempts)];
    let ours = ours.map(|(name, value)| (name.as_bytes(), Some(value.as_bytes())));
    letter.headers.iter().filter(is_original).copied().chain(ours).collect()
}
