//! Processor time and memory by part of the system, also where processes are killed and started again.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::page::PARTS;
use crate::support::usage::{Sampler, cpu_seconds};

/// Whose share it is: an index into figures by part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    Floodgate,
    Server,
    Postgres,
}

struct Watched {
    part: Part,
    /// A process that is started again is in the same place.
    place: String,
    pid: u32,
    before: f64,
    /// Once it has ended.
    spent: Option<f64>,
    peak: Arc<AtomicU64>,
}

pub struct Meter {
    sampler: Sampler,
    watched: Vec<Watched>,
}

impl Meter {
    pub fn start() -> Meter {
        Meter { sampler: Sampler::start(), watched: Vec::new() }
    }

    /// From here on.
    pub fn watch(&mut self, part: Part, place: impl Into<String>, pid: u32) {
        let (before, peak) = (cpu_seconds(pid), self.sampler.watch(pid));
        self.watched.push(Watched { part, place: place.into(), pid, before, spent: None, peak });
    }

    /// Up to here: it is about to be killed.
    pub fn ends(&mut self, pid: u32) {
        for watched in self.watched.iter_mut().filter(|watched| watched.pid == pid) {
            watched.spent = Some(cpu_seconds(pid) - watched.before);
        }
    }

    /// Seconds on a processor so far, by part.
    pub fn cpu(&self) -> [f64; PARTS] {
        let mut cpu = [0.0; PARTS];
        for watched in &self.watched {
            let spent = watched.spent.unwrap_or_else(|| cpu_seconds(watched.pid) - watched.before);
            cpu[watched.part as usize] += spent;
        }
        cpu
    }

    /// The most memory, by part: of processes that follow each other the larger one.
    pub fn peak_mib(&self) -> [f64; PARTS] {
        let mut places: HashMap<(Part, &str), u64> = HashMap::new();
        for Watched { part, place, peak, .. } in &self.watched {
            let largest = places.entry((*part, place)).or_default();
            *largest = (*largest).max(peak.load(Ordering::Relaxed));
        }
        let mut peaks = [0.0; PARTS];
        for ((part, _), bytes) in places {
            peaks[part as usize] += bytes as f64 / f64::from(1 << 20);
        }
        peaks
    }
}
