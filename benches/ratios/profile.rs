//! Where the ingress's processor time goes: samples of its stacks under 1000 connections, by what the innermost known
//! function is for.
//!
//! `perf` unwinds by the binary's own tables, so that what is measured is the ordinary build. Functions that the compiler
//! merged into their callers count as those.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use floodgate_testkit::ScratchDir;

use crate::support::world::Servers;
use crate::table::Cpu;
use crate::tools::wrk::Wrk;
use crate::worlds;

const WARM_SECONDS: u32 = 5;
const LOAD_SECONDS: u32 = 10;
/// Within the load's time.
const SAMPLE_SECONDS: &str = "8";
/// No divisor of a timer's rate, so that samples do not fall on its ticks.
const SAMPLES_A_SECOND: &str = "499";

/// What a function's name says it is for, the more particular first.
const PARTS: &[(&str, &[&str])] = &[
    ("librdkafka, called by requests", &["rd_kafka", "rd_buf", "rd_slice", "rd_crc32", "cnd_", "mtx_"]),
    ("Avro", &["floodgate_schemas::codec", "floodgate_schemas::datum"]),
    ("JSON", &["serde_json", "floodgate_schemas::fields"]),
    ("validation, ids, keys", &["floodgate_schemas"]),
    ("answer", &["encode_headers", "Encoder", "floodgate_producer::problem", "IntoResponse"]),
    ("HTTP", &["hyper", "httparse", "axum", "tower", "matchit", "http::", "http_body", "httpdate"]),
    ("publishing, receipts", &["floodgate_buffer"]),
    ("routes, limits, metrics", &["floodgate_producer", "floodgate_observe", "prometheus"]),
    ("runtime", &["tokio", "mio::", "futures_"]),
];

/// The same for what the kernel does on behalf of the runtime's threads.
const KERNEL_PARTS: &[(&str, &[&str])] = &[
    ("kernel: TCP", &["tcp_", "inet_", "sock_", "__sys_sendto", "__sys_recvfrom", "net_rx_action"]),
    ("kernel: waiting for and waking threads", &["epoll", "futex", "eventfd", "pipe_", "schedule"]),
];

pub fn print(servers: &Servers) -> Result<()> {
    let world = worlds::world(servers)?;
    let serve = world.start(&["serve"])?;
    let pid = serve.process().pid();
    let wrk = |seconds| Wrk { script: "expectations.lua", args: &[], threads: 1, connections: 1000, seconds };
    wrk(WARM_SECONDS).run(serve.http)?;
    let scratch = ScratchDir::new("profile")?;
    let samples = scratch.path().join("perf.data");
    let mut perf = Command::new("perf")
        .args(["record", "--quiet", "--freq", SAMPLES_A_SECOND, "--call-graph", "dwarf,16384"])
        .args(["--pid", &pid.to_string(), "--output"])
        .arg(&samples)
        .args(["--", "sleep", SAMPLE_SECONDS])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("perf is not there (on Debian: apt-get install linux-perf)")?;
    let cpu = Cpu::watch(&[("floodgate", pid)]);
    let report = wrk(LOAD_SECONDS).run(serve.http)?;
    let [(_, micros)] = cpu.per_event(report.requests)[..] else { unreachable!("one process was watched") };
    ensure!(perf.wait()?.success(), "perf record failed; may this user sample (kernel.perf_event_paranoid)?");
    serve.stop()?;

    let stacks = stacks(&samples)?;
    let total: u64 = stacks.values().sum();
    ensure!(total > 0, "no samples");
    let mut parts: BTreeMap<&str, u64> = BTreeMap::new();
    for (stack, count) in &stacks {
        *parts.entry(part(stack)).or_default() += count;
    }
    let mut parts: Vec<_> = parts.into_iter().collect();
    parts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    println!(
        "\nthe ingress's processor time, 1000 connections: {:.0} single writes/s, {micros:.1} µs each, {total} samples",
        report.rate
    );
    for (name, count) in parts {
        let share = count as f64 / total as f64;
        println!("{:>6.1} %  {:>5.2} µs  {name}", 100.0 * share, share * micros);
    }
    let folded = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ingress.folded");
    let lines = stacks.iter().map(|(stack, count)| format!("{stack} {count}\n"));
    fs::write(&folded, lines.collect::<String>())?;
    println!("stacks for any flame graph viewer: {}", folded.display());
    Ok(())
}

/// Samples by thread name and functions, outermost first, joined by `;`; the kernel's end with `_[k]`.
fn stacks(samples: &Path) -> Result<BTreeMap<String, u64>> {
    let output = Command::new("perf")
        .args(["script", "--no-inline", "--fields", "comm,ip,sym,dso", "--input"])
        .arg(samples)
        .stderr(Stdio::null())
        .output()?;
    ensure!(output.status.success(), "perf script failed");
    let text = String::from_utf8_lossy(&output.stdout);
    let mut stacks: BTreeMap<String, u64> = BTreeMap::new();
    for sample in text.split("\n\n") {
        let mut lines = sample.lines().filter(|line| !line.trim().is_empty());
        let Some(thread) = lines.next() else { continue };
        let frames = lines.filter_map(|line| {
            // address, function, (file)
            let (function, file) = line.trim().split_once(' ')?.1.rsplit_once(" (")?;
            let kernel = if file.starts_with("[kernel") { "_[k]" } else { "" };
            Some(format!("{}{kernel}", function.replace(';', ":")))
        });
        let mut frames: Vec<String> = frames.collect();
        frames.push(thread.trim().to_owned());
        frames.reverse();
        *stacks.entry(frames.join(";")).or_default() += 1;
    }
    Ok(stacks)
}

/// What a stack is for.
fn part(stack: &str) -> &'static str {
    let thread = stack.split(';').next().unwrap_or_default();
    if thread.starts_with("rdk:") {
        return "librdkafka's own threads";
    }
    if thread.starts_with("kafka-") {
        return "handing over what gathered";
    }
    let is_any = |frame: &str, words: &[&str]| words.iter().any(|word| frame.contains(word));
    let (kernel, own): (Vec<&str>, Vec<&str>) =
        stack.split(';').skip(1).partition(|frame| frame.ends_with("_[k]"));
    if !kernel.is_empty() {
        let found = KERNEL_PARTS.iter().find(|(_, words)| kernel.iter().any(|frame| is_any(frame, words)));
        return found.map_or("kernel: other", |(name, _)| name);
    }
    let innermost = own.iter().rev().find_map(|frame| PARTS.iter().find(|(_, words)| is_any(frame, words)));
    innermost.map_or("other", |(name, _)| name)
}
