//! Which seeds of a fault scenario are to be run, and where its outcomes are noted.
//!
//! | variable | meaning |
//! |---|---|
//! | `FLOODGATE_TEST_SEED` | this seed alone, to see again what it showed |
//! | `FLOODGATE_FAULTS_SEEDS` | so many seeds, from 1 on, instead of one at random |
//! | `FLOODGATE_FAULTS_RESULTS` | a file to which each outcome is added; what stands there as passed is not run again |

use std::fs::OpenOptions;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What stands in the file of results for a seed that showed no violation.
pub const PASSED: &str = "passed";

/// How many seeds are asked for. `None`: a single one, as between other tests.
pub fn asked_for() -> Option<u64> {
    std::env::var("FLOODGATE_FAULTS_SEEDS").ok()?.parse().ok()
}

/// The seeds of a scenario that are still to be run, of as many as are asked for.
pub fn seeds(name: &str) -> Vec<u64> {
    seeds_of(name, asked_for())
}

/// The same with another number. A seed that is given by hand is run alone, and again.
pub fn seeds_of(name: &str, count: Option<u64>) -> Vec<u64> {
    if let Ok(seed) = std::env::var("FLOODGATE_TEST_SEED") {
        return seed.parse().into_iter().collect();
    }
    let Some(count) = count else { return vec![RandomState::new().hash_one(0) >> 32] };
    let text = results().and_then(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
    let lines = text.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let passed: Vec<u64> = lines
        .filter(|fields| fields.get(1) == Some(&name) && fields.get(5) == Some(&PASSED))
        .filter_map(|fields| fields.get(2)?.parse().ok())
        .collect();
    (1..=count).filter(|seed| !passed.contains(seed)).collect()
}

/// Notes that a seed showed no violation.
pub fn note(number: &str, name: &str, seed: u64, took: Duration, recovered: Duration) {
    note_outcome(number, name, seed, took, Some(recovered), PASSED);
}

/// Adds a line to the file of results: number, name, seed, seconds, seconds to recover, outcome.
pub fn note_outcome(
    number: &str,
    name: &str,
    seed: u64,
    took: Duration,
    recovered: Option<Duration>,
    outcome: &str,
) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let recovered = recovered.map_or("-".to_owned(), |time| format!("{:.1}", time.as_secs_f64()));
    println!("scenario {number} {name}, seed {seed}: {outcome} after {took:.1?}, recovered in {recovered} s");
    let Some(file) = results() else { return };
    let outcome = outcome.replace(['\t', '\n'], " ");
    let line = format!("{number}\t{name}\t{seed}\t{:.1}\t{recovered}\t{outcome}\n", took.as_secs_f64());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let written = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&file)
        .and_then(|mut file| file.write_all(line.as_bytes()));
    if let Err(error) = written {
        eprintln!("testkit: {}: {error}", file.display());
    }
}

fn results() -> Option<PathBuf> {
    std::env::var_os("FLOODGATE_FAULTS_RESULTS").map(PathBuf::from)
}
