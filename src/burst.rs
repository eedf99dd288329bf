//! `floodgate burst`: rehearses a burst against running ingresses, and judges what became of it.

use std::io::{IsTerminal, Write};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use floodgate_observe::logs;
use floodgate_rehearsal::client::{Asking, Client};
use floodgate_rehearsal::compare::compare;
use floodgate_rehearsal::drive::Driving;
use floodgate_rehearsal::page::{Earlier, page};
use floodgate_rehearsal::rehearsal::{Progress, Rehearsal, RehearsalError};
use floodgate_rehearsal::report::{Report, Verdict};
use floodgate_rehearsal::settle::Limits;
use floodgate_rehearsal::terminal::terminal;
use floodgate_rehearsal::{Shape, files};
use floodgate_schemas::Timestamp;
use url::Url;

use crate::arguments::known;
use crate::clear;
use crate::exit::{Exit, say_as_it_is};
use crate::roles::clock;

/// Who is asked, unless it is said.
const URL: &str = "FLOODGATE_URL";
const DEFAULT_URL: &str = "http://127.0.0.1:8080";
/// What stands behind `Authorization: Bearer` for clients.
const KEY: &str = "FLOODGATE_KEY";
/// And for operators.
const OPERATORS_TOKEN: &str = "FLOODGATE_OPERATORS_TOKEN";

#[derive(Args)]
#[command(after_help = "\
Examples:
  floodgate burst                             5,000 users within one second, at this machine
  floodgate burst --users 500 --stock 100     fewer of them, for a hundred pieces
  floodgate burst --shape pt-001 --html burst.html
  floodgate burst --shape lt-001 --speed 10   the same load for a tenth of the time
  floodgate burst --shape st-001 --times 10   ten times the users
  floodgate burst --json now.json --compare before.json
  floodgate burst --url http://a:8080 --url http://b:8080 --operators http://a:9600

A shape is one of those names, or a file (the reference has what it holds). FLOODGATE_URL is asked \
without --url, FLOODGATE_KEY is sent as `Authorization: Bearer`, FLOODGATE_OPERATORS_TOKEN to operators' \
listener.
Exit code 0 only if everything that was expected holds.")]
pub(crate) struct BurstArgs {
    /// An ingress; several are asked in turn [default: what FLOODGATE_URL has, or http://127.0.0.1:8080]
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    url: Vec<Url>,
    /// Operators' listener, which knows what waits [default: http://127.0.0.1:9600 if the ingress is on this machine]
    #[arg(long, value_name = "URL")]
    operators: Option<Url>,
    /// How many ask how often, and what is expected: a name or a file
    #[arg(long, value_name = "SHAPE", default_value = "burst", value_parser = known(Shape::builtin()))]
    shape: String,
    /// The coupon, which must be new [default: one of this run]
    #[arg(long, value_name = "ID")]
    coupon: Option<String>,
    /// Its pieces [default: the shape's, or a fifth of those who ask]
    #[arg(long, value_name = "PIECES")]
    stock: Option<u32>,
    /// Users where the shape has most of them
    #[arg(long, value_name = "USERS")]
    users: Option<u32>,
    /// So many times the shape's users
    #[arg(long, value_name = "FACTOR", conflicts_with = "users")]
    times: Option<f64>,
    /// Every stage so many times shorter, with as many at a time
    #[arg(long, value_name = "FACTOR")]
    speed: Option<f64>,
    /// Write the report as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the report as a page for a browser
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Compare with an earlier report (JSON)
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// By which the same requests are made again; processes that share a load need the same
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Which of several processes this is that share a load, as 2/4; all have one --seed and one --start-at
    #[arg(long, value_name = "K/N", default_value = "1/1")]
    part: Part,
    /// When to begin, for several processes: a time as 2026-11-24T12:00:00Z
    #[arg(long, value_name = "TIME")]
    start_at: Option<Timestamp>,
    /// Connections to each ingress; users share them
    #[arg(long, value_name = "NUMBER", default_value_t = 256)]
    connections: u32,
    /// Threads that send the load [default: half the cores]
    #[arg(long, value_name = "NUMBER")]
    threads: Option<NonZeroU32>,
    /// How long an answer may take, from when its request is sent
    #[arg(long, value_name = "MS", default_value_t = 30_000)]
    timeout_ms: u64,
    /// How long to wait after the load until everything is applied
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    drain_limit: u64,
}

/// One of so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    which: u32,
    of: NonZeroU32,
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers =
            text.split_once('/').and_then(|(which, of)| Some((which.parse().ok()?, of.parse().ok()?)));
        match numbers {
            Some((which, of)) if (1..=u32::from(of)).contains(&which) => Ok(Self { which, of }),
            _ => Err("it is which of how many, as 2/4".to_owned()),
        }
    }
}

pub(crate) fn burst(args: &BurstArgs) -> Result<(), Exit> {
    let before = args.compare.as_deref().map(files::read).transpose().map_err(Exit::usage)?;
    let rehearsal = rehearsal(args)?;
    for file in [&args.json, &args.html].into_iter().flatten() {
        files::check(file).map_err(Exit::usage)?;
    }
    let mut line = Line::new();
    let report = rehearsal.run(&mut |progress| line.tell(&progress));
    line.ends();
    let report = report.map_err(|error| match error {
        RehearsalError::Wrong(reason) => Exit::Usage(reason),
        RehearsalError::Unready(reason) => Exit::Failed(reason),
    })?;
    let comparison = before.as_ref().map(|before| compare(before, &report));
    // what was found is told whatever becomes of files
    say_as_it_is(&terminal(&report, comparison.as_ref(), std::io::stdout().is_terminal()))?;
    if let Some(file) = &args.json {
        files::write_json(file, &report).map_err(Exit::failed)?;
    }
    if let Some(file) = &args.html {
        let earlier = before.as_ref().zip(comparison.as_ref());
        let earlier = earlier.map(|(report, comparison)| Earlier { report, comparison });
        files::write(file, &page(&report, earlier)).map_err(Exit::failed)?;
    }
    verdict(&report)
}

fn verdict(report: &Report) -> Result<(), Exit> {
    let broken = report.checks.iter().filter(|check| check.verdict != Verdict::Pass).count();
    match report.verdict {
        Verdict::Pass => Ok(()),
        Verdict::Fail | Verdict::Unknown => {
            Err(Exit::failed(format!("{broken} of {} expectations do not hold", report.checks.len())))
        }
    }
}

fn rehearsal(args: &BurstArgs) -> Result<Rehearsal, Exit> {
    let is_factor = |factor: f64| factor > 0.0 && factor.is_finite();
    if ![args.speed, args.times].into_iter().flatten().all(is_factor) {
        return Err(Exit::usage("--speed and --times must be above 0"));
    }
    if args.part.of.get() > 1 && (args.seed.is_none() || args.start_at.is_none()) {
        return Err(Exit::usage(
            "processes that share a load need the same --seed, and begin together by --start-at: --part takes both",
        ));
    }
    let mut shape = Shape::open(&args.shape).map_err(Exit::usage)?;
    if let Some(factor) = args.speed {
        shape = shape.faster(factor);
    }
    let times = args.users.map(|users| f64::from(users) / shape.peak_users().max(1e-9)).or(args.times);
    if let Some(times) = times {
        shape = shape.times(times);
    }
    shape.coupon.stock = args.stock.or(shape.coupon.stock);
    let clock = clock();
    let seed = args.seed.unwrap_or(clock.now().as_micros() as u64);
    let asking = Asking {
        connections: args.connections as usize,
        timeout: Duration::from_millis(args.timeout_ms),
        token: std::env::var(KEY).ok(),
    };
    let urls = urls(args)?;
    let operators = operators(args, &urls, asking.clone())?;
    tell_secrets_in_the_clear(args, &urls);
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
    let half = NonZeroU32::new(cores / 2).unwrap_or(NonZeroU32::MIN);
    Ok(Rehearsal {
        driving: Driving {
            urls,
            asking,
            threads: args.threads.unwrap_or(half),
            part: args.part.which - 1,
            parts: args.part.of,
            tries: shape.retry.tries,
            slow_readers: shape.slow_readers,
            seed,
        },
        shape,
        coupon: args.coupon.clone().unwrap_or_else(|| format!("burst-{seed:x}")),
        operators,
        limits: Limits { drain: Duration::from_secs(args.drain_limit), ..Limits::default() },
        begins_unix_us: args.start_at.map(Timestamp::as_micros),
        clock: Box::new(move || clock.now().as_micros()),
    })
}

/// Ingresses: those that are named, or those of the environment.
fn urls(args: &BurstArgs) -> Result<Vec<Url>, Exit> {
    if !args.url.is_empty() {
        return Ok(args.url.clone());
    }
    let said = std::env::var(URL).unwrap_or_default();
    let urls = if said.trim().is_empty() { DEFAULT_URL } else { &said };
    let read = |url: &str| url.trim().parse().map_err(|error| Exit::usage(format!("{URL}: {error}")));
    urls.split(',').map(read).collect()
}

/// By choice they go on.
fn tell_secrets_in_the_clear(args: &BurstArgs, urls: &[Url]) {
    let is_set = |name| std::env::var_os(name).is_some();
    let is_shown = |url: &Url| clear::is_shown(url.as_str());
    for (secret, is_shown, place) in [
        (KEY, urls.iter().any(is_shown), "--url"),
        (OPERATORS_TOKEN, args.operators.iter().any(is_shown), "--operators"),
    ] {
        if is_shown && is_set(secret) {
            logs::say(format_args!(
                "floodgate: {secret} goes to another machine in the clear: use https:// in {place}"
            ));
        }
    }
}

/// Operators' listener: the one that is named, or that of a `run` on this machine.
fn operators(args: &BurstArgs, urls: &[Url], asking: Asking) -> Result<Option<Client>, Exit> {
    let is_local = |url: &Url| matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
    let near = || urls.iter().all(is_local).then(|| "http://127.0.0.1:9600".parse().ok()).flatten();
    let Some(url) = args.operators.clone().or_else(near) else { return Ok(None) };
    let asking = Asking { connections: 2, token: std::env::var(OPERATORS_TOKEN).ok(), ..asking };
    Client::new(&url, &asking).map(Some).map_err(Exit::usage)
}

/// How far it is, on stderr: one line that changes on a terminal, else one every ten seconds.
struct Line {
    is_terminal: bool,
    told: u32,
    /// When the last line was, and how many requests were sent then.
    last: (f64, u64),
}

impl Line {
    /// Without a terminal only every so manieth is told.
    const EVERY: u32 = 10;

    fn new() -> Self {
        Self { is_terminal: std::io::stderr().is_terminal(), told: 0, last: (0.0, 0) }
    }

    fn tell(&mut self, progress: &Progress) {
        let is_told = self.is_terminal || self.told.is_multiple_of(Self::EVERY);
        self.told += 1;
        if !is_told {
            return;
        }
        let text = words(progress, self.last);
        if let Progress::Load { seconds, sent, .. } = progress {
            self.last = (seconds.max(0.0), *sent);
        }
        let mut stderr = std::io::stderr();
        // whoever watches may be gone, and the rehearsal goes on
        let _ = if self.is_terminal {
            write!(stderr, "\r\x1b[K{text}").and_then(|()| stderr.flush())
        } else {
            writeln!(stderr, "{text}")
        };
    }

    fn ends(&self) {
        if self.is_terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

/// `last`: when the line before was, and how many requests were sent then.
fn words(progress: &Progress, last: (f64, u64)) -> String {
    let behind = |lag: &Option<u64>| lag.map_or_else(String::new, |lag| format!(", lag {lag}"));
    match progress {
        Progress::Load { seconds, .. } if *seconds < 0.0 => format!("begins in {:.0} s", -seconds),
        Progress::Load { seconds, of_seconds, sent, accepted, failed, answered, p99, lag } => {
            let p99 = p99.map_or_else(String::new, |p99| format!(", p99 {:.1} ms", p99.as_secs_f64() * 1e3));
            let open = sent.saturating_sub(*answered);
            let left = (of_seconds - seconds).max(0.0);
            let rate = sent.saturating_sub(last.1) as f64 / (seconds - last.0).max(0.001);
            format!(
                "{seconds:.0} s: {rate:.0}/s, {sent} sent, {accepted} accepted, {failed} failed, {open} open{p99}{}, {left:.0} s left",
                behind(lag)
            )
        }
        Progress::Settling { known, of, lag } => {
            format!("waiting until everything is applied: {known} of {of} known{}", behind(lag))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_of_what_was_sent_since_the_line_before() {
        let progress = |seconds, sent| Progress::Load {
            seconds,
            of_seconds: 30.0,
            sent,
            accepted: sent - 10,
            failed: 0,
            answered: sent,
            p99: Some(Duration::from_micros(1500)),
            lag: None,
        };
        assert_eq!(
            words(&progress(12.0, 3000), (10.0, 2000)),
            "12 s: 500/s, 3000 sent, 2990 accepted, 0 failed, 0 open, p99 1.5 ms, 18 s left"
        );
        assert_eq!(words(&progress(-2.0, 10), (0.0, 0)), "begins in 2 s");
    }
}
