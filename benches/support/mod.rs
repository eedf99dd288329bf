//! What the benches share.

#![allow(dead_code, reason = "each bench uses another part")]

pub mod database;
pub mod filler;
pub mod machine;
pub mod start;
pub mod wrk;
