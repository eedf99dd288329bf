//! The operators' listener, for every role: metrics, health and lag.
//!
//! Lag is read in the background ([`LagWatch`]) and served from memory: a broker that does not answer makes
//! the answer older, which its `asOf` says, never slower.

mod config;
mod lag;
mod server;

pub use config::{AdminConfig, LagConfig, LagExport};
pub use lag::{LagReport, LagWatch, Reading};
pub use server::{AdminError, AdminServer, Readiness};
