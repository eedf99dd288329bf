//! What operators ask: the listener for every role, with metrics, health, lag and dead letters.
//!
//! Lag is read in the background ([`LagWatch`]) and served from memory: a broker that does not answer makes
//! the answer older, which its `asOf` says, never slower. Dead letters ([`dead_letters`]) are read when somebody
//! asks for them.

mod config;
pub mod dead_letters;
mod dlq;
mod lag;
mod problem;
mod server;

pub use config::{AdminConfig, LagConfig, LagExport};
pub use lag::{Courses, Group, LagReport, LagWatch, PartitionReport, Reading, SpillReport};
pub use server::{AdminError, AdminServer, Readiness};
