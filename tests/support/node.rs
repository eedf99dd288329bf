//! The real binary while it runs: asked, scraped, signalled, started again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use floodgate_testkit::{Process, wait};

use super::client::{Answer, Ask, Client};

/// From start to readiness, on a busy machine.
pub const READY: Duration = Duration::from_secs(120);

/// SIGTERM to exit: the default deadline of the product, and a little.
pub const STOPPED: Duration = Duration::from_secs(120);

/// What the targets of probes begin with: they are in no plan.
pub const PROBED: &str = "probed-";

/// Starts the binary as it is configured for a test.
pub trait Spawn {
    fn spawn(&self, args: &[String], http: SocketAddr, admin: SocketAddr) -> Result<Arc<Process>>;
}

impl<S: Spawn> Spawn for Arc<S> {
    fn spawn(&self, args: &[String], http: SocketAddr, admin: SocketAddr) -> Result<Arc<Process>> {
        S::spawn(self, args, http, admin)
    }
}

/// The binary as a long-running process.
pub struct Node {
    pub args: Vec<String>,
    pub http: SocketAddr,
    pub admin: SocketAddr,
    pub(super) process: Arc<Process>,
    pub(super) clients: [Client; 2],
}

impl Node {
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Starts it again, where it was and as it was.
    pub fn start_again(&mut self, world: &impl Spawn) -> Result<()> {
        ensure!(self.process.exit_status().is_some(), "{} runs already", self.process.name());
        self.process = world.spawn(&self.args, self.http, self.admin)?;
        self.wait_ready()
    }

    /// SIGKILL.
    pub fn kill(&self) -> Result<()> {
        self.process.kill()
    }

    /// SIGTERM, and then it must end with 0.
    pub fn stop(&self) -> Result<()> {
        self.process.terminate()?;
        self.stopped()
    }

    /// Waits for its end, which must be with 0.
    pub fn stopped(&self) -> Result<()> {
        let exit = self.process.wait_exit(STOPPED)?;
        ensure!(exit.code() == Some(0), "ended with {exit} after SIGTERM\n{}", self.process.log_tail());
        Ok(())
    }

    /// Sends a like of its own, as often as it takes, until it can be read.
    pub fn probe(&self, name: &str, deadline: Duration) -> Result<()> {
        let path = format!("/api/v6/characters/{PROBED}{name}/likes/{name}");
        let mut accepted = false;
        wait::until("a write to be accepted, applied and read", deadline, || {
            if !accepted {
                accepted = self.ask(&Ask::new("PUT", &path)).is_ok_and(|answer| answer.status == 202);
                return None;
            }
            let answer = self.get(&path).ok()?;
            (answer.status == 200 && answer.json()["liked"] == true).then_some(())
        })?;
        Ok(())
    }

    pub fn wait_ready(&self) -> Result<()> {
        let what = format!("{} to be ready", self.process.name());
        let mut last = String::new();
        let ready = wait::until(&what, READY, || {
            if let Some(exit) = self.process.exit_status() {
                return Some(Err(anyhow::anyhow!("{} ended with {exit}", self.process.name())));
            }
            let (status, detail) = self.readiness().ok()?;
            last = detail;
            (status == 200).then_some(Ok(()))
        });
        ready.with_context(|| last).flatten()
    }

    /// Waits until it is unready for a reason that has `needle` in it.
    pub fn wait_unready(&self, needle: &str) -> Result<()> {
        let mut last = String::new();
        wait::until(&format!("{needle:?} in /readyz"), READY, || {
            let (status, detail) = self.readiness().ok()?;
            let found = status == 503 && detail.contains(needle);
            last = detail;
            found.then_some(())
        })
        .with_context(|| last)
    }

    /// Waits until the metric says that it holds so many partitions for this reason. One that moves is held by nobody until its
    /// next member has met the reason, too.
    pub fn wait_held(&self, reason: &str, partitions: f64) -> Result<()> {
        wait::until(&format!("{partitions} partitions held: {reason}"), READY, || {
            let held = self.metrics().ok()?.sum("floodgate_partition_held", &[("reason", reason)]);
            (held == partitions).then_some(())
        })?;
        Ok(())
    }

    /// Status and detail of the operators' `/readyz`.
    pub fn readiness(&self) -> Result<(u16, String)> {
        let answer = self.ask_admin("/readyz")?;
        let detail = answer.json()["detail"].as_str().unwrap_or_default().to_owned();
        Ok((answer.status, detail))
    }

    /// One request to the clients' listener.
    pub fn ask(&self, ask: &Ask) -> Result<Answer> {
        let [http, _] = &self.clients;
        http.ask(ask).map_err(|failure| anyhow::anyhow!("{} {}: {failure:?}", ask.method, ask.path))
    }

    pub fn get(&self, path: &str) -> Result<Answer> {
        self.ask(&Ask::get(path))
    }

    /// One GET from the operators' listener.
    pub fn ask_admin(&self, path: &str) -> Result<Answer> {
        self.ask_operators(&Ask::get(path))
    }

    /// One request to the operators' listener.
    pub fn ask_operators(&self, ask: &Ask) -> Result<Answer> {
        let [_, admin] = &self.clients;
        admin.ask(ask).map_err(|failure| anyhow::anyhow!("{} {}: {failure:?}", ask.method, ask.path))
    }

    pub fn metrics(&self) -> Result<Metrics> {
        let answer = self.ask_admin("/metrics")?;
        ensure!(answer.status == 200, "/metrics answers {}", answer.status);
        Metrics::parse(&answer.text())
    }
}

/// A scrape.
#[derive(Debug, Clone, Default)]
pub struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    fn parse(text: &str) -> Result<Metrics> {
        let mut values = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let Some((series, value)) = line.rsplit_once(' ') else { bail!("not a sample: {line}") };
            values.insert(series.to_owned(), value.parse().with_context(|| line.to_owned())?);
        }
        Ok(Metrics(values))
    }

    /// All series of a name that have these labels.
    pub fn series<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = (&'a str, f64)> {
        let matches = move |series: &str| {
            let (found, rest) = series.split_once('{').unwrap_or((series, ""));
            found == name && labels.iter().all(|(name, value)| rest.contains(&format!("{name}=\"{value}\"")))
        };
        self.0
            .iter()
            .filter(move |(series, _)| matches(series))
            .map(|(series, value)| (series.as_str(), *value))
    }

    /// Their sum; 0 without any.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.series(name, labels).map(|(_, value)| value).sum()
    }

    /// How many there are.
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> usize {
        self.series(name, labels).count()
    }

    /// Adds another process's values to these.
    pub fn add(&mut self, other: &Metrics) {
        for (series, value) in &other.0 {
            *self.0.entry(series.clone()).or_default() += value;
        }
    }

    /// What came since an earlier scrape of the same process.
    pub fn since(mut self, earlier: &Metrics) -> Metrics {
        for (series, value) in &mut self.0 {
            *value -= earlier.0.get(series).copied().unwrap_or_default();
        }
        self
    }

    /// A quantile of a histogram over all its labels, by linear interpolation inside its bucket, in the histogram's unit.
    /// Infinite beyond the last bucket.
    pub fn quantile(&self, histogram: &str, quantile: f64) -> f64 {
        let name = format!("{histogram}_bucket");
        let mut buckets: BTreeMap<u64, f64> = BTreeMap::new();
        for (series, count) in self.series(&name, &[]) {
            let bound =
                series.split("le=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or("+Inf");
            let bound = bound.parse().unwrap_or(f64::INFINITY);
            // positive floats order like their bits
            *buckets.entry(f64::to_bits(bound)).or_default() += count;
        }
        let wanted = buckets.values().next_back().copied().unwrap_or_default() * quantile;
        let (mut low, mut below) = (0.0, 0.0);
        for (bound, count) in buckets {
            let bound = f64::from_bits(bound);
            if count >= wanted && count > 0.0 {
                return low + (bound - low) * (wanted - below) / (count - below);
            }
            (low, below) = (bound, count);
        }
        f64::NAN
    }
}
