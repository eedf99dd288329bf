//! Settling letters: replaying them, which brings their records back to where they came from, or dismissing them; and
//! markers that say so.
//!
//! Two readings of the same stretch of the topic. The first learns which letters are marked, so that the second can
//! go through them in order and settle what is not. See the [parent module](super) for what a marker is.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use floodgate_buffer::{Header, Names, Publish, Received, Record, Topic};
use floodgate_lag::words::many;
use floodgate_schemas::Clock;
use floodgate_schemas::dead_letter::headers;

use super::deliver::{Delivery, Undelivered};
use super::filter::{Filter, Refusal};
use super::index::{DeadLetterCounts, Index, Sparing, Troubles};
use super::letter::Letter;
use super::outcome::{Follow, ReplayOutcome};
use super::scan::{Scan, ScanError, ScanLimits, Unread};
use super::topic::DeadLetterTopic;

/// How many times a second a replay with a rate publishes, if the rate allows.
const TURNS_PER_SECOND: usize = 10;

/// What is done about letters.
#[derive(Debug, Clone)]
pub enum Deed {
    /// Their records are published again, but for some.
    Replay {
        /// Letters of events that failed this often are left alone: replays must not go round for ever.
        attempts_max: u32,
        /// Whether what cannot be decoded is published again, too.
        undecodable: bool,
    },
    /// Nothing, for this reason.
    Dismiss(String),
}

/// How much an operator may say, in characters.
const BECAUSE_MAX: usize = 500;

impl Deed {
    /// A dismissal, with its reason.
    ///
    /// # Errors
    /// [`Refusal`] when the reason says nothing, or too much.
    pub fn dismiss(because: &str) -> Result<Self, Refusal> {
        let because = because.trim();
        match because.chars().count() {
            1..=BECAUSE_MAX if !because.chars().any(char::is_control) => {
                Ok(Self::Dismiss(because.to_owned()))
            }
            _ => {
                let detail =
                    format!("must be 1 to {BECAUSE_MAX} characters, none of them a control character");
                Err(Refusal::new("because", detail))
            }
        }
    }

    fn sparing(&self, filter: &Filter) -> Sparing {
        match *self {
            // whoever names a letter may have changed their mind about it
            Self::Replay { attempts_max, undecodable } => Sparing {
                attempts_max,
                unknown: true,
                undecodable: !undecodable,
                dismissed: !filter.names_one(),
            },
            Self::Dismiss(_) => Sparing::NONE,
        }
    }

    /// What was done, in a word.
    fn done(&self) -> &'static str {
        match self {
            Self::Replay { .. } => "replayed",
            Self::Dismiss(_) => "dismissed",
        }
    }
}

/// What is to be settled, and how.
#[derive(Debug, Clone)]
pub struct SettlePlan {
    /// Which letters.
    pub filter: Filter,
    /// What is done about them.
    pub deed: Deed,
    /// Records a second, at most.
    pub rate: Option<NonZeroU32>,
    /// How long the publisher may take to become ready, and then every batch to be acknowledged.
    pub patience: Duration,
    /// What reading which letters there are may take.
    pub limits: ScanLimits,
}

/// What has read which letters there are, and can settle those that are due.
pub struct Settle {
    topic: DeadLetterTopic,
    plan: SettlePlan,
    scan: Scan,
    index: Index,
    counts: DeadLetterCounts,
}

/// What it came to.
#[derive(Debug, Clone, Default)]
pub struct Settled {
    /// Letters that were published, if they were to be, and marked.
    pub done: u64,
    /// Letters that could not be, while others could.
    pub failed: Troubles,
}

/// It ended early. What was done until then is marked, but for one batch at most.
#[derive(Debug, thiserror::Error)]
#[error("{} {} {what}, then it ended: {reason}", many(*done, "dead letter"), if *done == 1 { "was" } else { "were" })]
pub struct SettleError {
    /// Letters that were settled.
    pub done: u64,
    what: &'static str,
    /// What is wrong.
    pub reason: String,
}

impl From<ScanError> for SettleError {
    fn from(error: ScanError) -> Self {
        Self { done: 0, what: "settled", reason: error.to_string() }
    }
}

impl Settle {
    /// Reads which letters there are, up to now. Publishes nothing. Blocks on the network.
    ///
    /// # Errors
    /// [`ScanError`] says whether trying again can help.
    pub fn plan(topic: &DeadLetterTopic, plan: SettlePlan) -> Result<Self, ScanError> {
        let sparing = plan.deed.sparing(&plan.filter);
        let filter = match plan.deed {
            Deed::Replay { .. } => plan.filter.clone().for_replay(),
            Deed::Dismiss(_) => plan.filter.clone(),
        };
        let limits = plan.limits;
        let mut scan = Scan::open(topic, &limits)?;
        let mut index = Index::new(topic, &filter, sparing, &limits, &scan);
        scan.each(|batch, unread| {
            index.passes(unread);
            batch.iter().try_for_each(|record| index.note(&record).map(drop))
        })?;
        index.ends(&scan.unread);
        let counts = index.counts();
        Ok(Self { topic: topic.clone(), plan, scan, index, counts })
    }

    /// How many letters there are to settle, and to pass over.
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

    /// Settles what is due, and tells `progress` how many are done. Blocks on the network.
    ///
    /// # Errors
    /// [`SettleError`] when the strategy takes nothing any more, or the letters cannot be read. Doing it again goes on from
    /// there.
    pub fn run(&mut self, publisher: &dyn Publish, progress: impl Fn(u64)) -> Result<Settled, SettleError> {
        if self.counts.due == 0 {
            return Ok(Settled::default());
        }
        let (deed, clock) = (&self.plan.deed, &*self.topic.clock);
        let delivery = Delivery { publisher, patience: self.plan.patience };
        let mut work = Work { delivery, deed, clock, settled: Settled::default() };
        work.delivery.wait_ready().map_err(|reason| work.ended(reason))?;
        let mut pace = Pace::new(self.plan.rate);
        let index = &mut self.index;
        let read = self.scan.each(|batch, _| {
            let records: Vec<Received<'_>> = batch.iter().collect();
            let letters = records.iter().filter_map(|record| Letter::read(record, &index.topics).ok());
            let letters: Vec<Letter<'_>> = letters.collect();
            let due: Vec<_> = letters.into_iter().filter(|letter| index.take(letter.id())).collect();
            for letters in due.chunks(pace.records()) {
                pace.wait(letters.len());
                work.settle(letters, &index.topics)?;
                progress(work.settled.done);
            }
            Ok::<_, SettleError>(())
        });
        match read {
            Ok(()) => Ok(work.settled),
            Err(error) => Err(SettleError { done: work.settled.done, what: deed.done(), ..error }),
        }
    }

    /// Waits, at most so long, until every record that was replayed is applied or has failed again, and says which. Blocks on the
    /// network.
    ///
    /// # Errors
    /// [`ScanError`] when the letters that came meanwhile cannot be read.
    pub fn outcome(&self, within: Duration) -> Result<ReplayOutcome, ScanError> {
        Follow { topic: &self.topic, replayed: self.index.taken(), until: Instant::now() + within }
            .to_the_end(&self.scan)
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

/// The publishing half.
struct Work<'p> {
    delivery: Delivery<'p>,
    deed: &'p Deed,
    clock: &'p dyn Clock,
    settled: Settled,
}

impl Work<'_> {
    /// The records first, if they are to be published, and their markers once they are acknowledged.
    fn settle(&mut self, letters: &[Letter<'_>], topics: &Names) -> Result<(), SettleError> {
        let now = self.clock.now().to_string();
        let origins: Vec<String> = letters.iter().map(|letter| topics.show(letter.origin)).collect();
        match self.deed {
            Deed::Replay { .. } => {
                let stored = self.replay(letters, &origins)?;
                let letters: Vec<_> = stored.iter().map(|index| &letters[*index]).collect();
                let origins: Vec<_> = stored.iter().map(|index| origins[*index].clone()).collect();
                let marks = [(headers::REPLAYED_AT, now.as_str())];
                self.mark(&letters, &origins, &marks, "published, and not marked as replayed")
            }
            Deed::Dismiss(because) => {
                let letters: Vec<_> = letters.iter().collect();
                let marks =
                    [(headers::DISMISSED_AT, now.as_str()), (headers::DISMISSED_BECAUSE, because.as_str())];
                self.mark(&letters, &origins, &marks, "not marked as dismissed")
            }
        }
    }

    /// Which of the records were stored.
    fn replay(&mut self, letters: &[Letter<'_>], origins: &[String]) -> Result<Vec<usize>, SettleError> {
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
        let outcomes = self.delivery.deliver(&records.collect::<Vec<_>>());
        self.told(origins, outcomes, "not published")
    }

    fn mark(
        &mut self,
        letters: &[&Letter<'_>],
        origins: &[String],
        marks: &[(&str, &str)],
        unmarked: &str,
    ) -> Result<(), SettleError> {
        let marks = marks.iter().map(|(name, value)| (name.as_bytes(), Some(value.as_bytes())));
        let marks: Vec<Header<'_>> = marks.collect();
        let headers = letters.iter().map(|letter| [letter.all_headers, &marks].concat());
        let headers: Vec<_> = headers.collect();
        let records = letters.iter().zip(&headers).map(|(letter, headers)| Record {
            topic: Topic::DeadLetters,
            key: letter.key,
            value: letter.value,
            headers,
        });
        let outcomes = self.delivery.deliver(&records.collect::<Vec<_>>());
        let marked = self.told(origins, outcomes, unmarked)?;
        self.settled.done += marked.len() as u64;
        Ok(())
    }

    /// Returns which records were stored, and notes which were not. If none was, there is no use in going on.
    fn told(
        &mut self,
        origins: &[String],
        outcomes: Vec<Result<(), Undelivered>>,
        what: &str,
    ) -> Result<Vec<usize>, SettleError> {
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
            self.settled.failed.note(|| format!("{origin} was {what}: {reason}"));
        }
        match missing {
            Some(reason) if stored.is_empty() => Err(self.ended(reason)),
            _ => Ok(stored),
        }
    }

    fn ended(&self, reason: String) -> SettleError {
        SettleError { done: self.settled.done, what: self.deed.done(), reason }
    }
}

/// The original headers and ours; those of an earlier replay do not pile up.
fn replay_headers<'h>(letter: &Letter<'h>, origin: &'h str, attempts: &'h str) -> Vec<Header<'h>> {
    let is_original = |(name, _): &&Header<'_>| !name.starts_with(headers::REPLAY_PREFIX.as_bytes());
    let ours = [(headers::REPLAY_OF, origin), (headers::REPLAY_ATTEMPTS, attempts)];
    let ours = ours.map(|(name, value)| (name.as_bytes(), Some(value.as_bytes())));
    letter.headers.iter().filter(is_original).copied().chain(ours).collect()
}
