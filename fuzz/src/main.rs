//! One program for all targets, which libFuzzer runs: `FLOODGATE_FUZZ` names the target.
#![no_main]

mod targets;

use std::sync::LazyLock;

use targets::{TARGETS, Target};

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let named = std::env::var("FLOODGATE_FUZZ").unwrap_or_default();
    let found = TARGETS.iter().find(|(name, _)| *name == named);
    let names = || TARGETS.map(|(name, _)| name).join(", ");
    found.unwrap_or_else(|| panic!("FLOODGATE_FUZZ is one of {}", names())).1
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| TARGET(bytes));
