//! What fuzzing found worth keeping is tried again: every file of `fuzz/corpus/`, and what once was a bug among them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../src/targets/mod.rs"]
mod targets;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use targets::TARGETS;

/// It is read by people, and kept in every clone.
const FILES_MAX: usize = 400;
const BYTES_MAX: u64 = 500_000;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus")
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn nothing_that_was_found_is_found_again() {
    let mut failed = Vec::new();
    for (name, target) in TARGETS {
        let files = entries(&corpus().join(name));
        assert!(!files.is_empty(), "nothing of {name}");
        for file in files {
            let bytes = fs::read(&file).unwrap();
            if catch_unwind(AssertUnwindSafe(|| target(&bytes))).is_err() {
                failed.push(file);
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn the_corpus_is_small_and_of_targets_that_there_are() {
    let folders = entries(&corpus());
    let names: Vec<&str> = folders.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, TARGETS.map(|(name, _)| name));
    let files: Vec<PathBuf> = folders.iter().flat_map(|folder| entries(folder)).collect();
    let bytes: u64 = files.iter().map(|file| file.metadata().unwrap().len()).sum();
    assert!(files.len() <= FILES_MAX && bytes <= BYTES_MAX, "{} files of {bytes} bytes", files.len());
}
