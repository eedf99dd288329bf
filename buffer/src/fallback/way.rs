//! Which way the events of one partition go: a value, without strategies and clocks.
//!
//! Events of one key must not overtake each other. An event that was answered waits in the reserve, and the next one of its
//! partition would come before it if it went directly: so as long as the reserve holds any of a partition, new ones follow
//! them. Under load that would never end, as new ones come while old ones are moved. So when the primary takes records
//! again and few are left, new ones *wait* here, until the reserve holds none and they go directly, in their order; or until
//! that takes too long, and they follow the others after all.
//!
//! Events of one request must not overtake each other either, and they may be on their way when the way turns. What is under
//! way directly may come back, and would then stand behind those of its request that were sent after it to the reserve. So
//! what of a request has begun to go directly goes on so ([`Way::choose`]).

use std::time::Duration;

use tokio::time::Instant;

/// How many records may be left in the reserve for new ones to wait for them: what is moved in a blink.
const FEW: usize = 2000;

/// How long new ones wait for it at most, and how soon it is tried again after that.
const WAITS_MAX: Duration = Duration::from_secs(2);
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// What is known when an event comes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// Whether the primary takes records.
    pub(super) primary: bool,
    /// Whether the reserve does.
    pub(super) reserve: bool,
    /// How many of the partition the reserve holds, those on their way there included; `None` where none was seen, and not lately
    /// enough to trust it.
    pub(super) held: Option<usize>,
}

impl Seen {
    /// Whether the direct way is free: nothing that was answered would be overtaken, and there is no better one.
    fn is_free(self) -> bool {
        self.held == Some(0) && (self.primary || !self.reserve)
    }

    /// Whether it will be soon.
    fn is_nearly_free(self) -> bool {
        self.primary && self.held.is_none_or(|held| held <= FEW && self.reserve)
    }
}

/// Where an event goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// To the primary.
    Directly,
    /// To the reserve.
    Around,
    /// Nowhere yet.
    Wait,
}

/// The way of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Events are sent directly.
    Direct,
    /// They follow others to the reserve; whether new ones may wait is looked at from then on.
    Around { waits_from: Instant },
    /// They wait, at most until then.
    Waiting { until: Instant },
}

impl Way {
    /// Whether its new events wait.
    pub(super) fn is_waiting(self) -> bool {
        matches!(self, Self::Waiting { .. })
    }

    /// Where the next record goes; `is_bound` is whether one of its request was sent directly.
    pub(super) fn choose(&mut self, is_bound: bool, seen: Seen, now: Instant) -> Choice {
        if is_bound {
            return Choice::Directly;
        }
        *self = match *self {
            Self::Direct | Self::Around { .. } if seen.is_free() => Self::Direct,
            Self::Direct if seen.held.is_none() && seen.is_nearly_free() => {
                Self::Waiting { until: now + WAITS_MAX }
            }
            Self::Direct => Self::Around { waits_from: now },
            Self::Around { waits_from } if seen.is_nearly_free() && now >= waits_from => {
                Self::Waiting { until: now + WAITS_MAX }
            }
            course => course,
        };
        match self {
            Self::Direct => Choice::Directly,
            Self::Around { .. } => Choice::Around,
            Self::Waiting { .. } => Choice::Wait,
        }
    }

    /// Where the records go that wait; [`Choice::Wait`] while they go on waiting.
    pub(super) fn look(&mut self, seen: Seen, now: Instant) -> Choice {
        let Self::Waiting { until } = *self else { return Choice::Wait };
        if seen.is_free() {
            *self = Self::Direct;
            Choice::Directly
        } else if !seen.primary || now >= until {
            self.turn(now);
            Choice::Around
        } else {
            Choice::Wait
        }
    }

    /// The first record of a request was not taken directly: new ones go around, unless they wait already.
    pub(super) fn refused(&mut self, now: Instant) {
        if *self == Self::Direct {
            self.turn(now);
        }
    }

    /// Too many wait, or for too long: from here on they go around.
    pub(super) fn turn(&mut self, now: Instant) {
        *self = Self::Around { waits_from: now + TRY_AGAIN };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: Seen = Seen { primary: true, reserve: true, held: Some(0) };
    const AWAY: Seen = Seen { primary: false, ..WELL };

    fn held(held: usize, seen: Seen) -> Seen {
        Seen { held: Some(held), ..seen }
    }

    #[test]
    fn events_follow_those_that_wait_and_go_directly_again_when_none_does() {
        let (mut way, now) = (Way::Direct, Instant::now());
        assert_eq!(way.choose(false, WELL, now), Choice::Directly);
        assert_eq!(way.choose(false, AWAY, now), Choice::Around);
        assert_eq!(way.choose(false, held(FEW + 1, WELL), now), Choice::Around, "it would take long");
        assert_eq!(way.choose(false, held(FEW, WELL), now), Choice::Wait);
        assert_eq!(way.choose(false, WELL, now), Choice::Wait, "those before it wait still");
        assert_eq!(way.look(held(1, WELL), now), Choice::Wait);
        assert_eq!(way.look(WELL, now), Choice::Directly);
        assert_eq!(way.choose(false, WELL, now), Choice::Directly);
        // what another process sent around
        assert_eq!(way.choose(false, held(1, WELL), now), Choice::Around);
        assert_eq!(way.choose(false, WELL, now), Choice::Directly);
    }

    #[test]
    fn waiting_ends_in_time_and_is_tried_again_later() {
        let (mut way, now) = (Way::Direct, Instant::now());
        assert_eq!(way.choose(false, held(5, WELL), now), Choice::Around);
        assert_eq!(way.choose(false, held(5, WELL), now), Choice::Wait);
        assert_eq!(way.look(held(5, WELL), now + WAITS_MAX), Choice::Around);
        let now = now + WAITS_MAX;
        assert_eq!(way.choose(false, held(5, WELL), now), Choice::Around);
        assert_eq!(way.choose(false, held(5, WELL), now + TRY_AGAIN), Choice::Wait);
        assert_eq!(way.look(held(5, AWAY), now + TRY_AGAIN), Choice::Around, "it is away again");
    }

    #[test]
    fn a_request_goes_on_as_it_began() {
        let (mut way, now) = (Way::Direct, Instant::now());
        assert_eq!(way.choose(false, WELL, now), Choice::Directly);
        assert_eq!(way.choose(true, AWAY, now), Choice::Directly, "its first record may come back");
        assert_eq!(way.choose(false, AWAY, now), Choice::Around);
        assert_eq!(way.choose(true, held(1, AWAY), now), Choice::Directly);
    }

    /// What is not known lately may have changed: it is waited for, a while.
    #[test]
    fn what_was_not_seen_lately_is_not_trusted() {
        let (mut way, now) = (Way::Direct, Instant::now());
        let unknown = Seen { held: None, ..WELL };
        assert_eq!(way.choose(false, unknown, now), Choice::Wait);
        assert_eq!(way.look(unknown, now), Choice::Wait);
        assert_eq!(way.look(WELL, now), Choice::Directly);
        assert_eq!(
            way.choose(false, Seen { primary: false, ..unknown }, now),
            Choice::Around,
            "it waits for nothing there"
        );
        assert_eq!(way.choose(false, unknown, now), Choice::Wait);
        assert_eq!(way.look(unknown, now + WAITS_MAX), Choice::Around);
    }

    /// Without a reserve it is as if there were none, but for partitions that have something there.
    #[test]
    fn a_reserve_that_is_away_keeps_nobody_from_the_primary() {
        let (mut way, now) = (Way::Direct, Instant::now());
        let none = Seen { reserve: false, ..WELL };
        assert_eq!(way.choose(false, none, now), Choice::Directly);
        assert_eq!(way.choose(false, Seen { primary: false, ..none }, now), Choice::Directly);
        assert_eq!(way.choose(false, held(3, none), now), Choice::Around, "they would be overtaken");
        assert_eq!(way.choose(false, held(3, none), now), Choice::Around);
        assert_eq!(way.choose(false, none, now), Choice::Directly);
    }
}
