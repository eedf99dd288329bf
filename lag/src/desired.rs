//! How many consumers an autoscaler should start.
//!
//! Members that come and go cost a group more than one too many: each makes partitions move. So more are asked for once they
//! were useful for [`RAISES_AFTER`], and fewer only when fewer would have done all the time for [`LOWERS_AFTER`].

use std::collections::VecDeque;
use std::time::Duration;

/// How long more must have been useful before more are asked for.
const RAISES_AFTER: Duration = Duration::from_secs(10);

/// How long fewer must have been enough.
const LOWERS_AFTER: Duration = Duration::from_secs(300);

/// Into how many parts that time is divided; the most that was useful in each is remembered.
const PARTS: u32 = 30;

/// A steady number of members for one group.
#[derive(Debug, Default)]
pub struct Desired {
    value: Option<usize>,
    /// Since when more are useful, and the fewest of these.
    more: Option<(Duration, usize)>,
    /// The most that was useful in each part of the past, by when the part began.
    lately: VecDeque<(Duration, usize)>,
}

impl Desired {
    /// Nothing is known yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes how many members were useful at a reading ([`crate::Verdict::useful_members`]), on a clock that never goes
    /// back, and says how many there should be. What is not known changes nothing.
    pub fn after(&mut self, at: Duration, useful: Option<usize>) -> Option<usize> {
        let Some(useful) = useful else { return self.value };
        match self.lately.back_mut() {
            Some((since, most)) if at.saturating_sub(*since) < LOWERS_AFTER / PARTS => {
                *most = useful.max(*most)
            }
            _ => self.lately.push_back((at, useful)),
        }
        // the first one began so long ago, or earlier: without it the time would not be covered
        while self.lately.get(1).is_some_and(|(since, _)| at.saturating_sub(*since) >= LOWERS_AFTER) {
            self.lately.pop_front();
        }
        let value = *self.value.get_or_insert(useful);
        if useful > value {
            let (since, fewest) =
                self.more.map_or((at, useful), |(since, fewest)| (since, fewest.min(useful)));
            self.more = Some((since, fewest));
            if at.saturating_sub(since) >= RAISES_AFTER {
                (self.value, self.more) = (Some(fewest), None);
            }
            return self.value;
        }
        self.more = None;
        let most = self.lately.iter().map(|(_, most)| *most).max().unwrap_or(value);
        let covered = self.lately.front().map_or(Duration::ZERO, |(since, _)| at.saturating_sub(*since));
        if most < value && covered >= LOWERS_AFTER {
            self.value = Some(most);
        }
        self.value
    }
}
