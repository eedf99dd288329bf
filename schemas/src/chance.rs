//! What nobody can foresee, handed in.
//!
//! Logic that draws ids, seeds or jitter draws them from a [`Chance`] that it was given, so that a test knows what comes.
//! The binary makes one [`SystemChance`] and hands it down.

use std::fmt;

use crate::event::EventId;

/// Draws ids and numbers.
///
/// Asked for every event that comes without an idempotency key: an implementation allocates nothing.
pub trait Chance: fmt::Debug + Send + Sync {
    /// An id that no other event has or will have.
    fn event_id(&self) -> EventId;

    /// 64 bits, each as likely 0 as 1.
    fn bits(&self) -> u64;

    /// A number of at least 0 and below 1, any as likely as another.
    fn fraction(&self) -> f64 {
        // as many bits as such a number holds
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// The system's randomness. Its ids are UUIDs of version 7, which increase within a process.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemChance;

impl Chance for SystemChance {
    fn event_id(&self) -> EventId {
        EventId::fresh()
    }

    fn bits(&self) -> u64 {
        rand::random()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Always(u64);

    impl Chance for Always {
        fn event_id(&self) -> EventId {
            SystemChance.event_id()
        }

        fn bits(&self) -> u64 {
            self.0
        }
    }

    #[test]
    fn a_fraction_is_never_one() {
        assert_eq!(Always(0).fraction(), 0.0);
        assert_eq!(Always(1 << 63).fraction(), 0.5);
        let greatest = Always(u64::MAX).fraction();
        assert!((0.999..1.0).contains(&greatest), "{greatest}");
    }

    #[test]
    fn ids_are_drawn_once_and_increase() {
        let ids: Vec<EventId> = (0..1000).map(|_| SystemChance.event_id()).collect();
        assert!(ids.is_sorted_by(|before, after| before < after) && !ids[0].is_from_key());
    }
}
