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
mod answer;
mod bodies;
mod cache;
mod client;
mod clock;
mod coding;
mod config;
mod described;
mod document;
mod door;
mod expiry;
mod extract;
mod follow;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod guard;
mod heavy;
mod holders;
mod http2;
mod inflate;
mod ingress;
mod instances;
mod keys;
mod meter;
mod metrics;
mod openapi;
mod operation;
mod origins;
mod paths;
pub mod problem;
mod publish;
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
mod waiting;
mod yielding;

pub use admission::{
    Admission, AuthConfig, AuthMode, JwtConfig, KeyConfig, RateLimitConfig, key_hash, new_key,
};
pub use config::HttpConfig;
pub use door::DoorConfig;
pub use expiry::Validity;
pub use ingress::{Handed, Ingress};
pub use scope::{Scope, Scopes};
pub use server::{Server, ServerError};
pub use tls::{Tls, TlsConfig, TlsError};
