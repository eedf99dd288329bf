//! Rehearses a burst: drives a running ingress, measures it, and judges whether the result was right.
//!
//! Load tests know how long answers took, and not whether what they promised was kept. Here both are one run, by public
//! interfaces alone, over HTTP, as clients have them; this crate knows nothing of what is behind them:
//!
//! 1. A [`Shape`] says how many users ask how often, for what, and what is expected of the answers. The [`Schedule`] is made of it:
//!    when each request is *due*, and from a seed what it asks for ([`plan`]). It is fixed before the first one is sent, and nothing
//!    that the server does moves it (an *open* loop): a slow server has more requests open, and not fewer asked. How long an
//!    answer took is counted from when its request was due, so that those who waited for others are not left out of the
//!    figures (*coordinated omission*).
//! 2. The load is sent by few threads ([`drive`]), which keep one line of each request ([`record`]).
//! 3. When it is over everything is asked for that was promised ([`settle`]), until nothing is open any more: how long that takes is how
//!    long the consumers took to catch up.
//! 4. What was found is judged ([`judge`], [`fairness`]), and told ([`report`]): to a [`terminal`], as a [`page`], and beside an
//!    earlier one ([`compare`]).
//!
//! The plan depends on shape and seed alone, and so do the ids of its events, which clients can work out (the reference, *Idempotency*).
//! So a request of which nobody answered whether it is stored can be asked for by its id, and several processes
//! share a load by their number alone.

pub mod ask;
mod axis;
mod checks;
pub mod client;
mod columns;
pub mod compare;
mod course;
pub mod drive;
#[cfg(test)]
mod example;
pub mod fairness;
mod figures;
pub mod files;
pub mod found;
pub mod judge;
mod look;
mod markup;
pub mod observed;
pub mod page;
pub mod plan;
mod plot;
mod prepare;
mod readers;
pub mod record;
pub mod rehearsal;
pub mod report;
pub mod schedule;
pub mod settle;
pub mod shape;
pub mod terminal;
mod told;
pub mod watch;
mod words;

pub use schedule::Schedule;
pub use shape::Shape;
