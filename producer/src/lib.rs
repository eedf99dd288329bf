//! HTTP in, events out: the ingress.
//!
//! A write is read, checked and encoded ([`routes`]), offered to the buffer and answered only when the buffer
//! has said what became of it ([`publish`]). What the buffer says decides the answer, and nothing else does:
//!
//! | the record is | answer |
//! |---|---|
//! | acknowledged | 202 |
//! | certainly not stored | 503 with `Retry-After` |
//! | perhaps stored, or nothing was heard by the deadline | 504 |
//!
//! Writes never touch the database; the reads and the creation of coupons do. Every error of every route
//! becomes an answer in one place, [`problem`].

mod accepted;
mod bodies;
mod cache;
mod clock;
mod config;
mod connection;
mod described;
mod document;
mod extract;
mod follow;
mod heavy;
mod ingress;
mod keys;
mod metrics;
mod openapi;
mod operation;
mod paths;
pub mod problem;
mod publish;
mod routes;
mod scope;
mod server;
#[cfg(test)]
mod testing;
mod waiting;

pub use config::HttpConfig;
pub use ingress::{Handed, Ingress};
pub use server::{Server, ServerError};
