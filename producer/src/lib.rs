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
//! Writes need no database, though requests for coupons may look there first, at the [`door`]; the reads and the creation of
//! coupons do. Every error of every route becomes an answer in one place, [`problem`].

mod accepted;
mod admission;
mod always;
mod answer;
mod bodies;
mod cache;
mod clock;
mod coding;
mod config;
mod connection;
mod described;
mod document;
mod door;
mod exchange;
mod expiry;
mod extract;
mod follow;
mod frames;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod guard;
mod head;
mod heavy;
mod holders;
mod http2;
mod inflate;
mod ingress;
mod instances;
mod keys;
mod line_ends;
mod meter;
mod metrics;
mod openapi;
mod operation;
mod origins;
mod paths;
mod patience;
pub mod problem;
mod publish;
mod replacement;
mod room;
mod routes;
mod scope;
mod seats;
mod server;
mod service;
mod stream;
#[cfg(test)]
mod testing;
mod tls;
mod unread;
mod waiting;
mod yielding;

pub use admission::{
    Admission, AuthConfig, AuthMode, JwtConfig, KeyConfig, RateLimitConfig, key_hash, new_key,
};
pub use config::HttpConfig;
pub use door::DoorConfig;
pub use ingress::{Handed, Ingress};
pub use scope::{Scope, Scopes};
pub use server::{Server, ServerError};
pub use tls::{Tls, TlsConfig, TlsError};
