//! How far a command is, for somebody who watches.

use indicatif::{ProgressBar, ProgressStyle};

/// Of so many steps. Drawn on stderr, and only where that is a terminal.
pub(crate) fn progress_bar(steps: u64) -> ProgressBar {
    let bar = ProgressBar::new(steps);
    match ProgressStyle::with_template("{bar:40} {pos} of {len}, {per_sec}, {eta} left") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Of something whose end is not known.
pub(crate) fn counting_bar(what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    match ProgressStyle::with_template(&format!("{{spinner}} {{human_pos}} {what}, {{per_sec}}")) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
