//! What the course of a group's offsets means.
//!
//! **A number is no verdict.** A lag of 5,000 is nothing for a group that applies 10,000 a second, and an outage for one that
//! applies none. So nothing here compares a lag with a threshold: each reading of the positions is added to a [`Course`],
//! and what is said follows from how the offsets moved. Records that came and records that were applied are counted over
//! the last seconds; a group that applies more than comes will be done in a time that can be told, one that applies less
//! falls behind, and a partition of which nothing is applied though records wait stands.
//!
//! **What is not movement.** Offsets also change when somebody sets them, when records expire, when a topic is made anew, or
//! when a reading fails. None of these is applied work, and each begins the partition's course anew. What is not known is said
//! to be unknown, and never 0.
//!
//! Everything here is a value: readings come in with the moment they were taken at, on a clock that only goes forward, and
//! nothing is asked of the world. [`points`] keeps the readings, [`rates`] is what they say of one partition, [`verdict`] puts
//! it into words, [`desired`] is how many consumers an autoscaler should start.

mod course;
mod desired;
mod points;
mod rates;
#[cfg(test)]
mod tests;
mod verdict;
pub mod words;

pub use course::Course;
pub use desired::Desired;
pub use rates::Rates;
pub use verdict::{PartitionVerdict, Status, Verdict};
