//! wrk, a load generator that is not ours: so many connections, each sending its next request when the last is answered.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// One run.
pub struct Wrk<'a> {
    /// A file in `benches/wrk`.
    pub script: &'a str,
    /// What the script is given.
    pub args: &'a [&'a str],
    pub threads: u32,
    pub connections: u32,
    pub seconds: u32,
}

/// What it saw.
pub struct Report {
    /// Answers of 2xx or 3xx a second.
    pub rate: f64,
    /// All answers.
    pub requests: f64,
    pub p50: Duration,
    pub p99: Duration,
    /// Other answers, and broken connections, in words; empty if there were none.
    pub failed: String,
}

impl Wrk<'_> {
    pub fn is_there() -> bool {
        Command::new("wrk").arg("-v").output().is_ok()
    }

    pub fn run(&self, server: SocketAddr) -> Result<Report> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/wrk").join(self.script);
        let mut command = Command::new("wrk");
        command.arg("--latency").args(["-t", &self.threads.to_string(), "-c", &self.connections.to_string()]);
        command.args(["-d", &format!("{}s", self.seconds)]).arg("-s").arg(script);
        command.arg(format!("http://{server}")).arg("--").args(self.args);
        let output = command.output().context("wrk is not installed; ./scripts/bench does that")?;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "wrk failed: {text}{}", String::from_utf8_lossy(&output.stderr));
        Report::read(&text, self.seconds)
            .with_context(|| format!("wrk says something else than expected:\n{text}"))
    }
}

impl Report {
    fn read(text: &str, seconds: u32) -> Option<Report> {
        let after = |name: &str| text.lines().find_map(|line| Some(line.trim().strip_prefix(name)?.trim()));
        let requests = text.lines().find_map(|line| line.trim().split_once(" requests in "))?.0;
        // these lines are there only if there is something to say
        let others: f64 =
            after("Non-2xx or 3xx responses:").map_or(Some(0.0), |number| number.parse().ok())?;
        let broken = after("Socket errors:").map(|errors| format!("broken connections: {errors}"));
        let others_told = (others > 0.0).then(|| format!("{others} answers of 4xx or 5xx"));
        Some(Report {
            rate: after("Requests/sec:")?.parse::<f64>().ok()? - others / f64::from(seconds),
            requests: requests.parse().ok()?,
            p50: duration(after("50%")?)?,
            p99: duration(after("99%")?)?,
            failed: others_told.into_iter().chain(broken).collect::<Vec<_>>().join("; "),
        })
    }
}

/// `1.23ms` and the like.
fn duration(text: &str) -> Option<Duration> {
    let unit_at = text.find(char::is_alphabetic)?;
    let seconds = match &text[unit_at..] {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        _ => return None,
    };
    Some(Duration::from_secs_f64(text[..unit_at].parse::<f64>().ok()? * seconds))
}
