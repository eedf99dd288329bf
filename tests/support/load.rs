//! Sends a plan's writes and records what became of each.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use floodgate_testkit::wait;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::client::{Answer, Ask, Client, Failure, runtime};
use super::plan::{Plan, Write};
pub use super::recording::{Fate, Recording, Verdict};

/// Pauses between two tries of one write: the pace of a patient client, nothing is waited for with it.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// Between two looks at an ingress's readiness.
const READINESS_PAUSE: Duration = Duration::from_millis(20);
/// As many as a reader can take in.
const TROUBLES_KEPT: usize = 20;

#[derive(Debug, Clone, Copy)]
pub struct LoadOptions {
    /// Requests at once.
    pub workers: usize,
    /// Whether 503, 504 and broken connections are tried again, with the same key, on another ingress.
    pub retry: bool,
    /// By when every write must be accepted, if they are tried again.
    pub deadline: Duration,
    /// Whether an ingress that says it is not ready is left alone, as load balancers do.
    pub heed_readiness: bool,
    /// Every n-th accepted write is sent once more, to another ingress, as a late retry would be. 0: none.
    pub repeat_every: usize,
    /// Writes begun a second, whatever becomes of those before (open loop, as far as the workers suffice). 0: each worker
    /// begins its next write when the last one is done.
    pub rate: u32,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            workers: 64,
            retry: true,
            deadline: Duration::from_secs(300),
            heed_readiness: false,
            repeat_every: 50,
            rate: 0,
        }
    }
}

/// How often which answer came, over all attempts.
#[derive(Debug, Default)]
pub struct Answers {
    pub accepted: AtomicUsize,
    pub not_stored: AtomicUsize,
    pub unknown: AtomicUsize,
    pub not_sent: AtomicUsize,
    pub broken: AtomicUsize,
    pub other: AtomicUsize,
}

/// A load on its way.
pub struct Load {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<Vec<(usize, Fate)>>>,
}

struct Shared {
    plan: Arc<Plan>,
    ingresses: Vec<Client>,
    /// By ingress: whether it takes writes, as far as is known.
    ready: Vec<AtomicBool>,
    options: LoadOptions,
    start: Instant,
    next: AtomicUsize,
    /// Writes, not answers: late retries do not count.
    accepted: AtomicUsize,
    stop: AtomicBool,
    answers: Answers,
    refusals: Mutex<Vec<Duration>>,
    troubles: Mutex<Vec<String>>,
}

impl Load {
    pub fn start(plan: &Arc<Plan>, ingresses: &[SocketAddr], options: LoadOptions) -> Load {
        let shared = Arc::new(Shared {
            plan: Arc::clone(plan),
            ingresses: ingresses.iter().copied().map(Client::new).collect(),
            ready: ingresses.iter().map(|_| AtomicBool::new(true)).collect(),
            options,
            start: Instant::now(),
            next: AtomicUsize::new(0),
            accepted: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            answers: Answers::default(),
            refusals: Mutex::default(),
            troubles: Mutex::default(),
        });
        if options.heed_readiness {
            for index in 0..ingresses.len() {
                runtime().spawn(watch_readiness(Arc::downgrade(&shared), index));
            }
        }
        let work = |_| runtime().spawn(work(Arc::clone(&shared)));
        let workers = (0..options.workers).map(work).collect();
        Load { shared, workers }
    }

    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// Waits until this part of the writes is accepted.
    pub fn wait_for(&self, part: f64) -> Result<()> {
        let goal = (self.shared.plan.writes.len() as f64 * part) as usize;
        wait::until(&format!("{goal} accepted writes"), self.shared.options.deadline, || {
            (self.accepted() >= goal || self.is_finished()).then_some(())
        })?;
        if self.accepted() < goal {
            bail!("the load ended before {goal} writes were accepted: {}", self.shared.answers());
        }
        Ok(())
    }

    /// Waits until so many more writes are accepted than now.
    pub fn wait_for_more(&self, count: usize) -> Result<()> {
        let goal = self.accepted() + count;
        wait::until(&format!("{count} more accepted writes"), self.shared.options.deadline, || {
            (self.accepted() >= goal || self.is_finished()).then_some(())
        })?;
        self.is_running()
    }

    fn is_finished(&self) -> bool {
        self.workers.iter().all(JoinHandle::is_finished)
    }

    /// For how long it has been going on.
    pub fn now(&self) -> Duration {
        self.shared.start.elapsed()
    }

    /// 503s so far.
    pub fn not_stored(&self) -> usize {
        self.shared.answers.not_stored.load(Ordering::Relaxed)
    }

    /// 504s and broken connections so far.
    pub fn unknown(&self) -> usize {
        let Answers { unknown, broken, .. } = &self.shared.answers;
        unknown.load(Ordering::Relaxed) + broken.load(Ordering::Relaxed)
    }

    /// Fails when all is sent already: a fault that comes later shows nothing.
    pub fn is_running(&self) -> Result<()> {
        if self.shared.next.load(Ordering::Relaxed) >= self.shared.plan.writes.len() {
            bail!("the load was over before the fault: {}", self.shared.answers());
        }
        Ok(())
    }

    /// Attempts so far that were not accepted, for whatever reason.
    pub fn failed(&self) -> usize {
        let Answers { not_stored, unknown, not_sent, broken, .. } = &self.shared.answers;
        [not_stored, unknown, not_sent, broken].iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Begins no more writes; those on their way are answered.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }

    /// Waits for all answers. Fails when one was wrong, or when a write that should be was not accepted.
    pub fn finish(self) -> Result<Recording> {
        let Load { shared, workers } = self;
        let mut fates = vec![Fate::default(); shared.plan.writes.len()];
        for worker in workers {
            for (index, fate) in runtime().block_on(worker)? {
                fates[index] = fate;
            }
        }
        let seconds = shared.start.elapsed().as_secs_f64();
        let troubles = shared.troubles.lock().unwrap();
        if !troubles.is_empty() {
            bail!("seed {}, wrong answers:\n{}", shared.plan.seed, troubles.join("\n"));
        }
        let mut refusals = std::mem::take(&mut *shared.refusals.lock().unwrap());
        refusals.sort_unstable();
        let recording = Recording {
            plan: Arc::clone(&shared.plan),
            fates,
            seconds,
            answers: shared.answers(),
            taken: shared.answers.accepted.load(Ordering::Relaxed),
            unknown: shared.answers.unknown.load(Ordering::Relaxed)
                + shared.answers.broken.load(Ordering::Relaxed),
            refusals,
        };
        let accepted = recording.count(Verdict::Accepted);
        println!("load: {accepted} accepted in {seconds:.1} s; {}", recording.answers);
        if shared.options.retry && !shared.stop.load(Ordering::Relaxed) && accepted < recording.fates.len() {
            let left = recording.fates.len() - accepted;
            bail!("seed {}: {left} writes were not accepted: {}", shared.plan.seed, recording.answers);
        }
        Ok(recording)
    }
}

/// Asks one ingress again and again whether it is ready, as long as there is a load.
async fn watch_readiness(shared: Weak<Shared>, index: usize) {
    while let Some(shared) = shared.upgrade() {
        let answer = shared.ingresses[index].send(&Ask::get("/readyz")).await;
        let ready = answer.is_ok_and(|answer| answer.status == 200);
        shared.ready[index].store(ready, Ordering::Relaxed);
        drop(shared);
        tokio::time::sleep(READINESS_PAUSE).await;
    }
}

/// One after the other, the next write that nobody has begun.
async fn work(shared: Arc<Shared>) -> Vec<(usize, Fate)> {
    let mut fates = Vec::new();
    while !shared.stop.load(Ordering::Relaxed) {
        let index = shared.next.fetch_add(1, Ordering::Relaxed);
        if index >= shared.plan.writes.len() {
            break;
        }
        let mut due = Instant::now();
        if shared.options.rate > 0 {
            due = shared.start + Duration::from_secs_f64(index as f64 / f64::from(shared.options.rate));
            tokio::time::sleep_until(due.into()).await;
        }
        let fate = shared.deliver(index, due).await;
        fates.push((index, fate));
        let every = shared.options.repeat_every;
        if every > 0 && index.is_multiple_of(every) && fate.verdict == Verdict::Accepted {
            shared.attempt(index, index + usize::from(fate.attempts), Instant::now()).await;
        }
    }
    fates
}

impl Shared {
    /// Tries a write, which was to be sent at `due`, until it is accepted, or as long as the options say.
    async fn deliver(&self, index: usize, mut due: Instant) -> Fate {
        let mut fate = Fate { due: self.at(due), first_sent: self.now(), ..Fate::default() };
        loop {
            let turn = index + usize::from(fate.attempts);
            let verdict = self.attempt(index, turn, due).await;
            fate.attempts += 1;
            // what may have happened once stays possible, whatever is answered later
            if !(verdict == Verdict::NotStored && fate.verdict == Verdict::Unknown) {
                fate.verdict = verdict;
            }
            match verdict {
                Verdict::Accepted => {
                    fate.accepted = self.now();
                    self.accepted.fetch_add(1, Ordering::Relaxed);
                    return fate;
                }
                Verdict::Refused(_) => return fate,
                _ if !self.options.retry || self.start.elapsed() > self.options.deadline => return fate,
                _ => tokio::time::sleep(RETRY_PAUSE).await,
            }
            due = Instant::now();
        }
    }

    /// One request to the ingress whose turn it is; how long a refusal takes counts from when it was due.
    async fn attempt(&self, index: usize, turn: usize, due: Instant) -> Verdict {
        let count = self.ingresses.len();
        let turns = (turn..turn + count).map(|turn| turn % count);
        let ready = turns.clone().find(|index| self.ready[*index].load(Ordering::Relaxed));
        let ingress = &self.ingresses[ready.unwrap_or(turn % count)];
        let answer = ingress.send(&self.plan.ask(index)).await;
        if answer.as_ref().is_ok_and(|answer| [429, 503].contains(&answer.status)) {
            self.refusals.lock().unwrap().push(due.elapsed());
        }
        let (count, verdict) = match answer {
            Err(Failure::NotSent(_)) => (&self.answers.not_sent, Verdict::NotStored),
            Err(Failure::Broken(_)) => (&self.answers.broken, Verdict::Unknown),
            Ok(answer) => self.judge(index, &answer),
        };
        count.fetch_add(1, Ordering::Relaxed);
        verdict
    }

    fn judge(&self, index: usize, answer: &Answer) -> (&AtomicUsize, Verdict) {
        let problem = |name: &[&str]| {
            let is_problem = answer.header("content-type") == Some("application/problem+json");
            let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            is_problem && body["retryable"] == true && name.iter().any(|name| body["type"] == *name)
        };
        let fine = match answer.status {
            202 => self.is_right(index, answer),
            503 => {
                answer.header("retry-after").is_some()
                    && problem(&["/problems/not-stored", "/problems/queue-full", "/problems/shutting-down"])
            }
            504 => problem(&["/problems/outcome-unknown"]),
            _ => false,
        };
        if !fine {
            let mut troubles = self.troubles.lock().unwrap();
            if troubles.len() < TROUBLES_KEPT {
                let (id, write) = (self.plan.event_id(index), self.plan.writes[index]);
                troubles.push(format!("{id} {write:?}: {} {}", answer.status, answer.text()));
            }
        }
        match answer.status {
            202 => (&self.answers.accepted, Verdict::Accepted),
            503 => (&self.answers.not_stored, Verdict::NotStored),
            504 => (&self.answers.unknown, Verdict::Unknown),
            status => (&self.answers.other, Verdict::Refused(status)),
        }
    }

    /// Whether a 202 names the id that the key fixes, hence the same on every ingress and every retry.
    fn is_right(&self, index: usize, answer: &Answer) -> bool {
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let (name, status) = match self.plan.writes[index] {
            Write::Coupon { .. } => ("requestId", "PENDING"),
            _ => ("eventId", "ACCEPTED"),
        };
        let id = body[name].as_str().and_then(|id| Uuid::try_parse(id).ok());
        id == Some(self.plan.event_id(index)) && body["status"] == status
    }

    fn now(&self) -> u32 {
        self.at(Instant::now())
    }

    /// In microseconds from the start.
    fn at(&self, time: Instant) -> u32 {
        time.duration_since(self.start).as_micros() as u32
    }

    fn answers(&self) -> String {
        let count = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        let Answers { accepted, not_stored, unknown, not_sent, broken, other } = &self.answers;
        format!(
            "answers: {} × 202, {} × 503, {} × 504, {} others, {} connections broken, {} refused",
            count(accepted),
            count(not_stored),
            count(unknown),
            count(other),
            count(broken),
            count(not_sent)
        )
    }
}
