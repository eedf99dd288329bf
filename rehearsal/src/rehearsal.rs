//! A rehearsal from its beginning to its report.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::client::Client;
use crate::drive::{Driving, Loaded, Meter, drive};
use crate::found::Settled;
use crate::judge::judge;
use crate::observed::Observed;
use crate::plan::{Kind, Plan};
pub use crate::prepare::RehearsalError;
use crate::prepare::{create, lag_is_told, look, unused};
use crate::report::Report;
use crate::schedule::Schedule;
use crate::settle::{self, Limits, Load, settle};
use crate::shape::Shape;
use crate::watch::{Lags, first_reading, watch};

/// What is rehearsed.
pub struct Rehearsal {
    /// Who asks how often.
    pub shape: Shape,
    /// How that is sent.
    pub driving: Driving,
    /// The coupon's id.
    pub coupon: String,
    /// Operators' listener, by which is known what groups are behind.
    pub operators: Option<Client>,
    /// How far asking goes for what became of the load.
    pub limits: Limits,
    /// When the load begins, in microseconds since 1970; without it as soon as all is ready.
    pub begins_unix_us: Option<i64>,
    /// What time it is, in microseconds since 1970.
    pub clock: Box<dyn Fn() -> i64 + Send + Sync>,
}

/// How far a rehearsal is.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// The load is being sent.
    Load {
        /// Since it began, in seconds; below 0 before it does.
        seconds: f64,
        /// How long it takes.
        of_seconds: f64,
        /// Requests that were set going.
        sent: u64,
        /// Answers, of those: 202.
        accepted: u64,
        /// Neither accepted nor told that nothing is left.
        failed: u64,
        /// Answers.
        answered: u64,
        /// Of the last second.
        p99: Option<Duration>,
        /// What all groups are behind, where that is known.
        lag: Option<u64>,
    },
    /// What was promised is asked for.
    Settling {
        /// So much is known.
        known: u64,
        /// Of so much.
        of: u64,
        /// What all groups are behind, where that is known.
        lag: Option<u64>,
    },
}

/// Between two words about how far it is.
const TELL: Duration = Duration::from_secs(1);
/// Between making ready and the first request.
const LEAD: Duration = Duration::from_millis(300);
/// Where more than one in a hundred requests is sent later than this, the figures are the generator's: the tick of timers and a busy
/// machine make some milliseconds.
const LATE_MAX_MS: f64 = 20.0;

/// Whether requests were set going late, or waited for connections though answers, once asked for, came at once: more of them would
/// have been answered in time. A server that is slow has all connections taken, however many there are.
fn was_the_limit(slip_ms: f64, wait_ms: f64, answer_ms: f64) -> bool {
    slip_ms > LATE_MAX_MS || wait_ms > LATE_MAX_MS && answer_ms <= LATE_MAX_MS
}

/// Hears how far it is.
pub type Tell<'a> = dyn FnMut(Progress) + Send + 'a;

impl Rehearsal {
    /// Sends the load, waits until nothing is open, and judges. Blocks for as long as that takes.
    ///
    /// # Errors
    /// [`RehearsalError`], when it cannot begin. What happens to the load is in the report.
    pub fn run(&self, tell: &mut Tell<'_>) -> Result<Report, RehearsalError> {
        let schedule = Schedule::new(&self.shape, self.driving.seed).map_err(RehearsalError::Wrong)?;
        let plan = Plan::new(&self.shape, self.driving.seed, self.coupon.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| RehearsalError::Unready(error.to_string()))?;
        let clients = self.driving.urls.iter().map(|url| Client::new(url, &self.driving.asking));
        let clients = clients.collect::<Result<Vec<_>, _>>().map_err(RehearsalError::Wrong)?;
        let stock = self.stock(&plan, &schedule);
        runtime.block_on(async {
            look(&clients).await?;
            if self.shape.expect.lag.is_some() {
                lag_is_told(self.operators.as_ref()).await?;
            }
            if let Some(stock) = stock {
                create(&clients[0], &self.coupon, stock, self.driving.parts.get() > 1).await?;
            }
            unused(&clients[0], &plan, schedule.total()).await
        })?;
        let (start, began_unix_us) = self.begins()?;
        let lags = Arc::new(Mutex::new(Lags::default()));
        let Loaded { records, slips, waits, answers, readers } =
            self.load(&runtime, (&plan, &schedule), start, &lags, tell)?;
        let load = Load {
            plan: &plan,
            records: &records,
            whole: 0..schedule.total(),
            judges_whole: self.driving.part == 0,
            began: start.into(),
            began_unix_us,
        };
        let settled = runtime.block_on(self.settle(&load, &clients, start, &lags, tell));
        let urls: Vec<String> = self.driving.urls.iter().map(ToString::to_string).collect();
        let [slip_ms, wait_ms, answer_ms] =
            [slips, waits, answers].map(|times| times.value_at_quantile(0.99) as f64 / 1e3);
        let lags = lags.lock();
        Ok(judge(&Observed {
            shape: &self.shape,
            schedule: &schedule,
            load: &load,
            settled: &settled,
            urls: &urls,
            seed: self.driving.seed,
            stock: stock.unwrap_or_default().into(),
            lags: &lags,
            readers: &readers,
            slip_ms,
            wait_ms,
            generator_was_the_limit: was_the_limit(slip_ms, wait_ms, answer_ms),
        }))
    }

    /// When the load begins, and the same in microseconds since 1970.
    fn begins(&self) -> Result<(Instant, i64), RehearsalError> {
        let now = (self.clock)();
        let at = self.begins_unix_us.unwrap_or(now + LEAD.as_micros() as i64);
        let pause = u64::try_from(at - now).map(Duration::from_micros);
        let late = |_| RehearsalError::Wrong("the time to begin was over before all was ready".to_owned());
        Ok((Instant::now() + pause.map_err(late)?, at))
    }

    /// Asks for everything that was promised, and watches meanwhile.
    async fn settle(
        &self,
        load: &Load<'_>,
        clients: &[Client],
        start: Instant,
        lags: &Arc<Mutex<Lags>>,
        tell: &mut Tell<'_>,
    ) -> Settled {
        let mut told = Instant::now();
        let mut progress = |at: settle::Progress| {
            if told.elapsed() >= TELL {
                told = Instant::now();
                let (known, of) = (at.settled as u64, at.of as u64);
                tell(Progress::Settling { known, of, lag: lags.lock().now });
            }
        };
        let settling = async {
            let settled = settle(load, clients, &self.limits, &mut progress).await;
            if self.shape.expect.lag.is_some() {
                first_reading(lags).await;
            }
            settled
        };
        tokio::select! {
            settled = settling => settled,
            () = self.watching(start, lags) => Settled::default(),
        }
    }

    /// What groups are behind, for as long as it is polled.
    async fn watching(&self, start: Instant, lags: &Arc<Mutex<Lags>>) {
        match &self.operators {
            Some(operators) => watch(operators, start, lags).await,
            None => std::future::pending().await,
        }
    }

    /// Pieces of the coupon: what the shape says, or a fifth of those who ask. `None` where nobody asks.
    fn stock(&self, plan: &Plan, schedule: &Schedule) -> Option<u32> {
        let asks = |number: &u32| matches!(plan.kind(*number), Kind::Coupon { user } if user == *number);
        let users = (0..schedule.total()).filter(asks).count() as u32;
        (users > 0).then(|| self.shape.coupon.stock.unwrap_or((users / 5).max(1)))
    }

    /// Sends the load, and watches while it is sent.
    fn load(
        &self,
        runtime: &tokio::runtime::Runtime,
        (plan, schedule): (&Plan, &Schedule),
        start: Instant,
        lags: &Arc<Mutex<Lags>>,
        tell: &mut Tell<'_>,
    ) -> Result<Loaded, RehearsalError> {
        let meter = Arc::new(Meter::new().map_err(RehearsalError::Unready)?);
        let (over, mut ended) = oneshot::channel();
        std::thread::scope(|scope| {
            let driving = scope.spawn(|| {
                let loaded = drive(plan, schedule, &self.driving, &meter, start);
                // whoever watches is told, if it still does
                let _ = over.send(());
                loaded
            });
            let of_seconds = schedule.duration().as_secs_f64();
            runtime.block_on(async {
                let telling = async {
                    loop {
                        tokio::time::sleep(TELL).await;
                        tell(meter.progress(start, of_seconds, lags.lock().now));
                    }
                };
                tokio::select! {
                    () = telling => {}
                    () = self.watching(start, lags) => {}
                    _ = &mut ended => {}
                }
            });
            let loaded = driving.join().map_err(|_| "the load met a bug".to_owned()).flatten();
            loaded.map_err(RehearsalError::Unready)
        })
    }
}

impl Meter {
    fn progress(&self, start: Instant, of_seconds: f64, lag: Option<u64>) -> Progress {
        let now = Instant::now();
        let before = start.saturating_duration_since(now).as_secs_f64();
        let of = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        Progress::Load {
            seconds: now.saturating_duration_since(start).as_secs_f64() - before,
            of_seconds,
            sent: of(&self.sent),
            accepted: of(&self.accepted),
            failed: of(&self.failed),
            answered: of(&self.answered),
            p99: self.recent_p99(),
            lag,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_server_is_no_limit_of_the_generator() {
        assert!(was_the_limit(21.0, 0.0, 5.0), "set going late");
        assert!(was_the_limit(1.0, 300.0, 5.0), "too few connections");
        assert!(!was_the_limit(1.0, 300.0, 200.0), "a slow server");
        assert!(!was_the_limit(1.0, 1.0, 200.0));
    }
}
