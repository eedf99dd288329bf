//! What is fuzzed: functions of bytes that panic where something that must hold does not.
//!
//! Each says more than that nothing panics: what is accepted is written and read as itself, two ways to say the same agree, and a
//! reader that shares nothing with ours sees what it sees.

mod body;
mod caller;
mod cloud_events;
mod events;
mod head;
mod json;
mod records;
mod same;
mod schemas;
mod world;

/// Tries some bytes.
pub type Target = fn(&[u8]);

/// All targets, each with the name of its folder in `corpus/`.
pub const TARGETS: [(&str, Target); 8] = [
    ("body", body::run),
    ("caller", caller::run),
    ("cloud_events", cloud_events::run),
    ("events", events::run),
    ("head", head::run),
    ("json", json::run),
    ("records", records::run),
    ("schemas", schemas::run),
];
