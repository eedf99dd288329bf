//! What processes take of the machine, with all their descendants.

use std::collections::HashMap;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

/// The kernel counts processor time in hundredths of a second for all programs.
const TICKS_PER_SECOND: f64 = 100.0;
const SAMPLE_EVERY: Duration = Duration::from_millis(500);

/// Processor time since a process began, with that of its descendants, those that have ended included.
pub fn cpu_seconds(pid: u32) -> f64 {
    let stats: HashMap<u32, Stat> = tree(pid);
    let ticks: u64 = stats.values().map(|stat| stat.own_ticks + stat.reaped_ticks).sum();
    ticks as f64 / TICKS_PER_SECOND
}

/// Processor time since a process began, without its descendants.
pub fn cpu_seconds_alone(pid: u32) -> f64 {
    stat(pid).map_or(0.0, |stat| stat.own_ticks as f64 / TICKS_PER_SECOND)
}

/// The memory that a process and its descendants hold, what they share counted once.
pub fn memory_bytes(pid: u32) -> u64 {
    let pss = |pid: &u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    tree(pid).keys().filter_map(pss).sum::<u64>() * 1024
}

/// The most memory that a process ever held.
pub fn peak_bytes(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

struct Stat {
    parent: u32,
    own_ticks: u64,
    reaped_ticks: u64,
}

fn tree(root: u32) -> HashMap<u32, Stat> {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut all: HashMap<u32, Stat> = pids.filter_map(|pid| Some((pid, stat(pid)?))).collect();
    let descends = |pid: u32| {
        let line = std::iter::successors(Some(pid), |pid| all.get(pid).map(|stat| stat.parent));
        line.take(64).any(|ancestor| ancestor == root)
    };
    let inside: Vec<u32> = all.keys().copied().filter(|pid| descends(*pid)).collect();
    inside.into_iter().filter_map(|pid| Some((pid, all.remove(&pid)?))).collect()
}

/// From `/proc/<pid>/stat`: `<pid> (<name>) <state> <parent> …`; the name may hold anything.
fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Stat {
        parent: u32::try_from(number(1)?).ok()?,
        own_ticks: number(11)? + number(12)?,
        reaped_ticks: number(13)? + number(14)?,
    })
}

/// Process ids and the most memory each was seen to hold.
type Peaks = Arc<Mutex<Vec<(u32, Arc<AtomicU64>)>>>;

/// Watches the memory of process trees, for their peaks.
pub struct Sampler {
    watched: Peaks,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Sampler {
    pub fn start() -> Sampler {
        let watched = Peaks::default();
        let stop = Arc::new(AtomicBool::new(false));
        let (seen, stopped) = (Arc::clone(&watched), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                for (pid, peak) in seen.lock().unwrap().iter() {
                    peak.fetch_max(memory_bytes(*pid), Ordering::Relaxed);
                }
                std::thread::park_timeout(SAMPLE_EVERY);
            }
        });
        Sampler { watched, stop, thread: Some(thread) }
    }

    /// The peak of a process tree from here on, kept up to date.
    pub fn watch(&self, pid: u32) -> Arc<AtomicU64> {
        let peak = Arc::new(AtomicU64::new(memory_bytes(pid)));
        self.watched.lock().unwrap().push((pid, Arc::clone(&peak)));
        peak
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}
