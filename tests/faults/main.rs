//! The fault suite: what the pipeline survives, shown with real processes that are really killed, stopped, frozen and
//! cut off. After every scenario the oracle judges: what clients were answered, what the log holds and what the
//! database holds must agree (`support/model.rs`, `floodgate verify`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod broker;
mod cluster;
mod consumers;
mod damage;
mod database;
mod fallback;
mod ground;
mod groups;
mod ingress;
mod letters;
mod likes;
mod lists;
mod logs;
mod overload;
mod positions;
mod rows;
mod scenario;
mod storage;
#[path = "../support/mod.rs"]
mod support;
