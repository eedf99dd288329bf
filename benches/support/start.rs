//! How a bench begins and ends.

use std::process::ExitCode;

use anyhow::Result;

/// Runs a bench, which fails with what it returns. `cargo test --all-targets` runs it too, and is told by which `command`
/// it is measured.
pub fn start(name: &str, command: &str, bench: impl FnOnce() -> Result<()>) -> ExitCode {
    if !std::env::args().any(|arg| arg == "--bench") {
        println!("{name}: not measured; run {command}");
        return ExitCode::SUCCESS;
    }
    match bench() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}
