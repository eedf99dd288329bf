//! Sends the load: what is due when it is due, whatever became of what was sent before.
//!
//! A few threads share the numbers of the plan, each with a runtime and connections of its own. The runtime's clock ticks in
//! milliseconds, which is more than many answers take, so a second thread beside each sleeps until requests are due, and says so
//! ([`pace`]). A request then is a task, which waits for its answer, and tries again where another try can help. The number of tasks is
//! bounded: where that is reached nothing more is set going, requests are sent late, and [`Loaded::slips`] tells so. What is late since all connections wait for answers was set going in time: [`Loaded::waits`] tells for
//! how long, and [`Loaded::answers`] whether that is by the server's doing or since there are too few of them.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc};
use url::Url;

use crate::client::{Answer, Asking, Client, Exchange, NoAnswer};
use crate::plan::{Plan, Salt, chance};
use crate::readers;
use crate::record::{Fate, Record, Unanswered};
use crate::report::SlowReaders;
use crate::schedule::Schedule;

/// Requests that wait for an answer, or for their next try, of all threads.
const OPEN_MAX: usize = 100_000;
/// Between two looks for what is due: at ten thousand requests a second one wakes somebody two or three times less often.
const TICK: Duration = Duration::from_micros(250);
/// Requests that are due and not yet set going, of a thread.
const DUE_MAX: usize = 1024;
/// Before the next try, where an answer says nothing.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest pause that an answer may ask for.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Between the copies of a request whose client has no patience.
const STORM: Duration = Duration::from_millis(20);
/// The longest that is measured: an hour, to three digits.
const LONGEST_US: u64 = 3_600_000_000;

/// How the load is sent.
#[derive(Debug, Clone)]
pub struct Driving {
    /// The ingresses; requests go to them in turn.
    pub urls: Vec<Url>,
    /// How each is asked. Connections are of all threads together, to each address.
    pub asking: Asking,
    /// Threads.
    pub threads: NonZeroU32,
    /// Which of so many processes this is, from 0.
    pub part: u32,
    /// So many processes share the load.
    pub parts: NonZeroU32,
    /// Tries in all, and the seed by which pauses differ.
    pub tries: u32,
    /// Connections that hardly read.
    pub slow_readers: u32,
    /// By which chance is drawn.
    pub seed: u64,
}

/// How far the load is.
#[derive(Debug)]
pub struct Meter {
    /// Requests that were set going.
    pub sent: AtomicU64,
    /// Those whose last answer came.
    pub answered: AtomicU64,
    /// Of those, 202.
    pub accepted: AtomicU64,
    /// Of those, neither accepted nor told that nothing is left.
    pub failed: AtomicU64,
    /// Since somebody looked, in microseconds.
    recent: Mutex<Histogram<u64>>,
}

/// What was sent.
#[derive(Debug)]
pub struct Loaded {
    /// One of each request, by number.
    pub records: Vec<Record>,
    /// How much later than due requests were set going, in microseconds.
    pub slips: Histogram<u64>,
    /// How long they waited for a connection, that try of each that waited longest.
    pub waits: Histogram<u64>,
    /// How long answers took from when their requests were sent, that try of each that took longest.
    pub answers: Histogram<u64>,
    /// What became of connections that hardly read.
    pub readers: SlowReaders,
}

impl Loaded {
    fn new() -> Result<Self, String> {
        Ok(Self {
            records: Vec::new(),
            slips: histogram()?,
            waits: histogram()?,
            answers: histogram()?,
            readers: SlowReaders::default(),
        })
    }

    fn add(&mut self, other: Self) -> Result<(), String> {
        self.records.extend(other.records);
        let SlowReaders { answered, ended, failed, trouble } = other.readers;
        self.readers.answered += answered;
        self.readers.ended += ended;
        self.readers.failed += failed;
        self.readers.trouble = trouble.or(self.readers.trouble.take());
        for (ours, others) in [
            (&mut self.slips, other.slips),
            (&mut self.waits, other.waits),
            (&mut self.answers, other.answers),
        ] {
            ours.add(others).map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

/// A histogram of microseconds.
fn histogram() -> Result<Histogram<u64>, String> {
    Histogram::new_with_bounds(1, LONGEST_US, 3).map_err(|error| error.to_string())
}

impl Meter {
    /// One that has not begun.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn new() -> Result<Self, String> {
        let [sent, answered, accepted, failed] = [0; 4].map(AtomicU64::new);
        Ok(Self { sent, answered, accepted, failed, recent: Mutex::new(histogram()?) })
    }

    fn tell(&self, record: &Record) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        let counter = match record.fate {
            Fate::Accepted => Some(&self.accepted),
            Fate::SoldOut => None,
            Fate::NotStored(_) | Fate::Rejected(_) | Fate::Unknown(_) => Some(&self.failed),
        };
        counter.map(|counter| counter.fetch_add(1, Ordering::Relaxed));
        self.recent.lock().saturating_record(record.latency_us().max(1));
    }

    /// What 99 of 100 answers took at most since the last look; `None` if there were none.
    pub fn recent_p99(&self) -> Option<Duration> {
        let mut recent = self.recent.lock();
        let p99 = (!recent.is_empty()).then(|| Duration::from_micros(recent.value_at_quantile(0.99)));
        recent.reset();
        p99
    }
}

/// What all threads share.
struct Shared {
    plan: Plan,
    schedule: Schedule,
    driving: Driving,
    meter: Arc<Meter>,
    start: Instant,
}

/// Sends the whole load, which begins at `start`. Blocks until the last answer.
///
/// # Errors
/// An address that cannot be asked, or no threads.
pub fn drive(
    plan: &Plan,
    schedule: &Schedule,
    driving: &Driving,
    meter: &Arc<Meter>,
    start: Instant,
) -> Result<Loaded, String> {
    let shared = Arc::new(Shared {
        plan: plan.clone(),
        schedule: schedule.clone(),
        driving: driving.clone(),
        meter: Arc::clone(meter),
        start,
    });
    // what is wrong with an address is told before anything is sent
    let threads = driving.threads.get();
    let sides = (0..threads).map(|thread| Side::new(&shared, thread)).collect::<Result<Vec<_>, _>>()?;
    let mut loaded = Loaded::new()?;
    std::thread::scope(|scope| {
        let running: Vec<_> = sides.into_iter().map(|side| scope.spawn(move || side.run())).collect();
        for thread in running {
            loaded.add(thread.join().map_err(|_| "a thread met a bug".to_owned())??)?;
        }
        Ok::<_, String>(())
    })?;
    loaded.records.sort_unstable_by_key(|record| record.number);
    Ok(loaded)
}

/// What one thread does.
struct Side {
    shared: Arc<Shared>,
    thread: u32,
    clients: Arc<[Client]>,
}

impl Side {
    fn new(shared: &Arc<Shared>, thread: u32) -> Result<Self, String> {
        let driving = &shared.driving;
        let threads = driving.threads.get() as usize;
        let asking =
            Asking { connections: driving.asking.connections.div_ceil(threads), ..driving.asking.clone() };
        let clients = driving.urls.iter().map(|url| Client::new(url, &asking)).collect::<Result<_, _>>()?;
        Ok(Self { shared: Arc::clone(shared), thread, clients })
    }

    fn run(self) -> Result<Loaded, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let Shared { schedule, driving, start, .. } = &*Arc::clone(&self.shared);
        let first = driving.part + driving.parts.get() * self.thread;
        let step = (driving.parts.get() * driving.threads.get()) as usize;
        let numbers = (first..schedule.total()).step_by(step);
        let (due, dues) = mpsc::channel(DUE_MAX);
        std::thread::scope(|scope| {
            scope.spawn(move || pace(numbers.map(|number| (number, schedule.due(number))), *start, due));
            runtime.block_on(self.send_all(dues))
        })
    }

    async fn send_all(self, mut dues: mpsc::Receiver<(u32, Duration)>) -> Result<Loaded, String> {
        let Shared { driving, meter, start, .. } = &*self.shared;
        let threads = driving.threads.get();
        let seen = Arc::default();
        let readers = share_of(driving.slow_readers, threads, self.thread);
        let readers = readers::start(&self.clients, readers, &seen);
        let places = Arc::new(Semaphore::new(OPEN_MAX / threads as usize));
        let (ended, mut asked) = mpsc::unbounded_channel();
        let mut all = Loaded::new()?;
        while let Some((number, due)) = dues.recv().await {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { break };
            let slip = start.elapsed().saturating_sub(due);
            all.slips.saturating_record(micros(slip).max(1));
            meter.sent.fetch_add(1, Ordering::Relaxed);
            let asking =
                One { shared: Arc::clone(&self.shared), clients: Arc::clone(&self.clients), number, due };
            let ended = ended.clone();
            tokio::spawn(async move {
                let asked = asking.ask().await;
                asking.shared.meter.tell(&asked.record);
                drop(place);
                // whoever collects them waits for all
                let _ = ended.send(asked);
            });
        }
        drop(ended);
        while let Some(Asked { record, waited, took }) = asked.recv().await {
            all.records.push(record);
            all.waits.saturating_record(micros(waited).max(1));
            all.answers.saturating_record(micros(took).max(1));
        }
        drop(readers);
        all.readers = seen.lock().clone();
        Ok(all)
    }
}

/// Says when requests are due, in their order, as long as somebody listens.
fn pace(
    requests: impl Iterator<Item = (u32, Duration)>,
    start: Instant,
    told: mpsc::Sender<(u32, Duration)>,
) {
    for (number, due) in requests {
        let early = (start + due).saturating_duration_since(Instant::now());
        if !early.is_zero() {
            std::thread::sleep(early.max(TICK));
        }
        if told.blocking_send((number, due)).is_err() {
            return;
        }
    }
}

/// What one of so many has of something that is shared evenly.
fn share_of(whole: u32, among: u32, which: u32) -> u32 {
    whole / among + u32::from(which < whole % among)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A request that was asked.
struct Asked {
    record: Record,
    /// The longest of its tries for a connection.
    waited: Duration,
    /// The longest of its tries, from when it was sent.
    took: Duration,
}

/// A request, with all its tries.
struct One {
    shared: Arc<Shared>,
    clients: Arc<[Client]>,
    number: u32,
    due: Duration,
}

impl One {
    async fn ask(&self) -> Asked {
        let Shared { plan, driving, start, .. } = &*self.shared;
        let (request, copies) = (plan.request(self.number), plan.copies(self.number));
        let began = start.elapsed();
        let (mut asked, mut best): (Option<Duration>, Option<Try>) = (None, None);
        let (mut tries, mut waited, mut took, mut last) = (0, Duration::ZERO, Duration::ZERO, began);
        for round in 0..driving.tries {
            let copies = if round == 0 { copies } else { 1 };
            let sent = (0..copies).map(|copy| self.attempt(&request, u64::from(round + copy), STORM * copy));
            let answers = join_all(sent).await;
            tries += copies;
            let mut pause = None;
            for answer in answers {
                pause = pause.max(answer.pause);
                last = last.max(answer.answered);
                waited = waited.max(answer.waited);
                took =
                    took.max(answer.sent.map_or(Duration::ZERO, |sent| answer.answered.saturating_sub(sent)));
                asked = asked.into_iter().chain(answer.sent).min();
                best = Some(match best {
                    Some(before) if before.outweighs(&answer) => before,
                    _ => answer,
                });
            }
            let Some(found) = &best else { break };
            let Some(pause) = pause.filter(|_| found.fate != Fate::Accepted && round + 1 < driving.tries)
            else {
                break;
            };
            // so that those who were refused together do not come back together
            let more = chance(driving.seed, Salt::Pause, self.number.wrapping_add(round));
            tokio::time::sleep(pause.mul_f64(1.0 + more / 4.0)).await;
        }
        let Try { fate, answered, instance, .. } = best.unwrap_or(Try {
            fate: Fate::Unknown(Unanswered::Connection),
            answered: start.elapsed(),
            instance: 0,
            pause: None,
            sent: None,
            waited,
        });
        // a 202 is the end of it, and else there was another try
        let answered = if fate == Fate::Accepted { answered } else { last };
        let record = Record {
            number: self.number,
            due_us: micros(self.due),
            asked_us: micros(asked.unwrap_or(began)),
            answered_us: micros(answered),
            tries: u16::try_from(tries).unwrap_or(u16::MAX),
            instance,
            fate,
        };
        Asked { record, waited, took }
    }

    /// One try, which begins a little later.
    async fn attempt(&self, request: &crate::plan::Request, turn: u64, later: Duration) -> Try {
        if !later.is_zero() {
            tokio::time::sleep(later).await;
        }
        let instance = ((u64::from(self.number) + turn) % self.clients.len() as u64) as usize;
        let crate::plan::Request { method, path, body, key } = request;
        let Exchange { waited, sent, answer } =
            self.clients[instance].exchange(method, path, Some(key), body).await;
        let (fate, pause) = understood(&answer);
        let instance = u16::try_from(instance).unwrap_or(u16::MAX);
        let start = self.shared.start;
        let sent = sent.map(|sent| sent.saturating_duration_since(start));
        Try { fate, pause, waited, sent, answered: start.elapsed(), instance }
    }
}

/// What a try came to.
struct Try {
    fate: Fate,
    /// After which another may help; `None` where none can.
    pause: Option<Duration>,
    /// For how long all connections were taken.
    waited: Duration,
    /// When it was handed to one.
    sent: Option<Duration>,
    answered: Duration,
    instance: u16,
}

impl Try {
    /// Whether it says more of its request than a later one: the first 202 does, and of others of a kind the last.
    fn outweighs(&self, later: &Self) -> bool {
        self.fate == Fate::Accepted || self.fate.weight() > later.fate.weight()
    }
}

/// What an answer says of a request, and after which time another try may help.
fn understood(answer: &Result<Answer, NoAnswer>) -> (Fate, Option<Duration>) {
    let (status, retry_after) = match answer {
        Ok(answer) => (answer.status, answer.retry_after),
        Err(NoAnswer::Time(_)) => return (Fate::Unknown(Unanswered::Time), Some(PAUSE)),
        Err(NoAnswer::NotSent(_) | NoAnswer::Broken(_)) => {
            return (Fate::Unknown(Unanswered::Connection), Some(PAUSE));
        }
    };
    let pause = Some(retry_after.unwrap_or(PAUSE).min(PAUSE_MAX));
    match status {
        202 => (Fate::Accepted, None),
        409 => (Fate::SoldOut, None),
        429 | 503 => (Fate::NotStored(status), pause),
        408 => (Fate::Rejected(status), pause),
        400..500 => (Fate::Rejected(status), None),
        _ => (Fate::Unknown(Unanswered::Status(status)), pause),
    }
}

impl Fate {
    /// Which of two tries' fates is the request's. What may have been stored stays so, whatever was answered before or since.
    fn weight(self) -> u8 {
        match self {
            Fate::Accepted => 4,
            Fate::Unknown(_) => 3,
            Fate::SoldOut => 2,
            Fate::Rejected(_) => 1,
            Fate::NotStored(_) => 0,
        }
    }
}
