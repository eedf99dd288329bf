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
//! whatever a request has begun with it goes on with ([`Way::choose`]).

use std::time::Duration;

use tokio::time::Instant;

/// How many records may be left in the reserve for new ones to wait for them: what is moved in a blink.
const FEW: usize = 2000;

/// How long new ones wait for it at most, and how soon it is tried again after that.
pub(super) const WAITS_MAX: Duration = Duration::from_secs(2);
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// What is known when an event comes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// Whether the primary takes records.
    pub(super) primary: bool,
    /// Whether the reserve does.
    pub(super) reserve: bool,
    /// How many of the partition the reserve holds, those on their way there included.
    pub(super) held: usize,
}

impl Seen {
    /// Whether the direct way is free: nothing that was answered would be overtaken, and there is no better one.
    fn is_free(self) -> bool {
        self.held == 0 && (self.primary || !self.reserve)
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
#[derive(Debug)]
pub(super) struct Way {
    course: Course,
    /// The request of which a record was sent directly last.
    direct_request: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Course {
    Direct,
    Around { waits_from: Instant },
    Waiting { until: Instant },
}

impl Way {
    pub(super) const fn new() -> Self {
        Self { course: Course::Direct, direct_request: 0 }
    }

    /// Whether its new events wait.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.course, Course::Waiting { .. })
    }

    /// Whether a record of this request may be on its way directly.
    pub(super) fn is_bound(&self, request: u64) -> bool {
        self.direct_request == request
    }

    /// Where the next record of a request goes.
    pub(super) fn choose(&mut self, request: u64, seen: Seen, now: Instant) -> Choice {
        if self.is_bound(request) {
            return Choice::Directly;
        }
        self.course = match self.course {
            Course::Direct | Course::Around { .. } if seen.is_free() => Course::Direct,
            Course::Direct => Course::Around { waits_from: now },
            Course::Around { waits_from }
                if seen.primary && seen.reserve && seen.held <= FEW && now >= waits_from =>
            {
                Course::Waiting { until: now + WAITS_MAX }
            }
            course => course,
        };
        match self.course {
            Course::Direct => {
                self.direct_request = request;
                Choice::Directly
            }
            Course::Around { .. } => Choice::Around,
            Course::Waiting { .. } => Choice::Wait,
        }
    }

    /// Where the records go that wait; [`Choice::Wait`] while they go on waiting.
    pub(super) fn look(&mut self, seen: Seen, now: Instant) -> Choice {
        let Course::Waiting { until } = self.course else { return Choice::Wait };
        if seen.primary && seen.held == 0 {
            self.course = Course::Direct;
            Choice::Directly
        } else if !seen.primary || now >= until {
            self.turn(now);
            Choice::Around
        } else {
            Choice::Wait
        }
    }

    /// The first record of a request was not taken directly: all of them go around.
    pub(super) fn refused(&mut self, request: u64, now: Instant) {
        if self.is_bound(request) {
            self.direct_request = 0;
        }
        self.turn(now);
    }

    /// Too many wait, or for too long: from here on they go around.
    pub(super) fn turn(&mut self, now: Instant) {
        self.course = Course::Around { waits_from: now + TRY_AGAIN };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: Seen = Seen { primary: true, reserve: true, held: 0 };
    const AWAY: Seen = Seen { primary: false, ..WELL };

    fn held(held: usize, seen: Seen) -> Seen {
        Seen { held, ..seen }
    }

    #[test]
    fn events_follow_those_that_wait_and_go_directly_again_when_none_does() {
        let (mut way, now) = (Way::new(), Instant::now());
        assert_eq!(way.choose(1, WELL, now), Choice::Directly);
        assert_eq!(way.choose(2, AWAY, now), Choice::Around);
        assert_eq!(way.choose(3, held(FEW + 1, WELL), now), Choice::Around, "it would take long");
        assert_eq!(way.choose(4, held(FEW, WELL), now), Choice::Wait);
        assert_eq!(way.choose(5, WELL, now), Choice::Wait, "those before it wait still");
        assert_eq!(way.look(held(1, WELL), now), Choice::Wait);
        assert_eq!(way.look(WELL, now), Choice::Directly);
        assert_eq!(way.choose(6, WELL, now), Choice::Directly);
        // what another process sent around
        assert_eq!(way.choose(7, held(1, WELL), now), Choice::Around);
        assert_eq!(way.choose(8, WELL, now), Choice::Directly);
    }

    #[test]
    fn waiting_ends_in_time_and_is_tried_again_later() {
        let (mut way, now) = (Way::new(), Instant::now());
        assert_eq!(way.choose(1, held(5, WELL), now), Choice::Around);
        assert_eq!(way.choose(2, held(5, WELL), now), Choice::Wait);
        assert_eq!(way.look(held(5, WELL), now + WAITS_MAX), Choice::Around);
        let now = now + WAITS_MAX;
        assert_eq!(way.choose(3, held(5, WELL), now), Choice::Around);
        assert_eq!(way.choose(4, held(5, WELL), now + TRY_AGAIN), Choice::Wait);
        assert_eq!(way.look(held(5, AWAY), now + TRY_AGAIN), Choice::Around, "it is away again");
    }

    #[test]
    fn a_request_goes_on_as_it_began() {
        let (mut way, now) = (Way::new(), Instant::now());
        assert_eq!(way.choose(1, WELL, now), Choice::Directly);
        assert_eq!(way.choose(1, AWAY, now), Choice::Directly, "its first record may come back");
        assert_eq!(way.choose(2, AWAY, now), Choice::Around);
        assert_eq!(way.choose(1, held(1, AWAY), now), Choice::Directly);
    }

    /// Without a reserve it is as if there were none, but for partitions that have something there.
    #[test]
    fn a_reserve_that_is_away_keeps_nobody_from_the_primary() {
        let (mut way, now) = (Way::new(), Instant::now());
        let none = Seen { reserve: false, ..WELL };
        assert_eq!(way.choose(1, none, now), Choice::Directly);
        assert_eq!(way.choose(2, Seen { primary: false, ..none }, now), Choice::Directly);
        assert_eq!(way.choose(3, held(3, none), now), Choice::Around, "they would be overtaken");
        assert_eq!(way.choose(4, held(3, none), now), Choice::Around);
        assert_eq!(way.choose(5, none, now), Choice::Directly);
    }
}
