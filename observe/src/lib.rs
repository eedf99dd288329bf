//! What operators see: the names of all metrics, and how logs are written.
//!
//! A leaf that knows nothing of events or strategies. Metrics live in one [`Metrics`] value that is made at
//! start and handed down; there is no global registry, so tests and several instances do not mix.

mod filter;
mod json;
mod lag;
mod letters;
mod level;
mod lines;
pub mod logs;
mod make;
mod metrics;
mod printable;
mod reason;
mod requests;
mod state;

pub use lag::LagGauges;
pub use letters::LetterGauges;
pub use level::Level;
pub use metrics::{DoorMetrics, HttpMetrics, Metrics, RegistryMetrics, TraceMetrics};
pub use printable::{printable, printable_in_colour};
pub use requests::RequestMetrics;
pub use state::StateGauges;

/// An error with what it comes from, in one line, for whoever reads the log.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // some libraries repeat it
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text.lines().map(str::trim).collect::<Vec<_>>().join("; ")
}
