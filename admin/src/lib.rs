//! What operators ask: the listener for every role, with metrics, health, lag and dead letters.
//!
//! Lag is read in the background ([`LagWatch`]) and served from memory: a broker that does not answer makes
//! the answer older, which its `asOf` says, never slower. Dead letters ([`dead_letters`]) are read when somebody
//! asks for them.

mod config;
mod connections;
mod counted;
pub mod dead_letters;
mod dlq;
mod door;
mod find;
mod lag;
mod live;
mod page;
mod problem;
mod readiness;
mod rounds;
mod server;
mod turn;

pub use config::{AdminConfig, LagConfig, LagExport};
pub use find::{LookForEvents, Wanted};
pub use lag::{Courses, Group, HotKey, HotKeys, LagReport, LagWatch, PartitionReport, Reading, SpillReport};
pub use live::{About, CouponReport, LookAtCoupons};
pub use readiness::Readiness;
pub use server::{AdminError, AdminServer, Measure, Operators, Updates};
