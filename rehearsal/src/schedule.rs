//! When each request is due.
//!
//! The users of a shape make a rate, which changes along straight lines; its integral says how many requests are due until
//! a time. The n-th is due when that passes n and a little chance: as many come as the shape says, in every part of it, and
//! they come like people and not like clockwork.

use std::time::Duration;

use crate::plan::{Salt, chance};
use crate::shape::Shape;

/// When everything is due, from the beginning of the load.
#[derive(Debug, Clone)]
pub struct Schedule {
    seed: u64,
    parts: Vec<Part>,
    total: u32,
}

/// A stage, in requests.
#[derive(Debug, Clone, Copy)]
struct Part {
    /// When it begins, in seconds.
    begins: f64,
    seconds: f64,
    /// Requests that are due before it.
    before: f64,
    /// Requests a second at its beginning, and how that grows in a second.
    rate: f64,
    growth: f64,
}

impl Part {
    /// Requests that are due in its first seconds.
    fn due_in(&self, seconds: f64) -> f64 {
        self.rate * seconds + self.growth * seconds * seconds / 2.0
    }

    /// The time at which so many of its own are due.
    fn when(&self, due: f64) -> f64 {
        // of rate·t + growth·t²/2 = due the form that loses no digits where the growth is small
        let root = (self.rate * self.rate + 2.0 * self.growth * due).max(0.0).sqrt();
        let divisor = self.rate + root;
        let seconds = if divisor > 0.0 { 2.0 * due / divisor } else { self.seconds };
        self.begins + seconds.clamp(0.0, self.seconds)
    }
}

impl Schedule {
    /// That of a shape.
    ///
    /// # Errors
    /// It has no requests, or more than 50,000,000, of each of which something is remembered.
    pub fn new(shape: &Shape, seed: u64) -> Result<Self, String> {
        let (mut parts, mut begins, mut before) = (Vec::new(), 0.0, 0.0);
        for stage in &shape.stages {
            let of = |users: f64| users / shape.every_s;
            let (rate, end) = (of(stage.from.unwrap_or(stage.users)), of(stage.users));
            let part =
                Part { begins, seconds: stage.seconds, before, rate, growth: (end - rate) / stage.seconds };
            begins += stage.seconds;
            before += part.due_in(stage.seconds);
            parts.push(part);
        }
        // what adds up to a whole number may be a hair below it
        let total = (before + 1e-6).floor();
        if !(1.0..=5e7).contains(&total) {
            return Err(format!("the shape makes {total} requests; it must be between 1 and 50000000"));
        }
        Ok(Self { seed, parts, total: total as u32 })
    }

    /// How many there are.
    pub fn total(&self) -> u32 {
        self.total
    }

    /// How long the load lasts.
    pub fn duration(&self) -> Duration {
        let last = self.parts.last();
        Duration::from_secs_f64(last.map_or(0.0, |part| part.begins + part.seconds))
    }

    /// When a request is due. Later ones are never due before.
    pub fn due(&self, number: u32) -> Duration {
        let due = f64::from(number) + chance(self.seed, Salt::Due, number);
        let part = self.parts.iter().rev().find(|part| part.before <= due).or(self.parts.first());
        Duration::from_secs_f64(part.map_or(0.0, |part| part.when(due - part.before)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shape(every_s: f64, stages: &[(f64, f64, f64)]) -> Shape {
        let stages = stages.iter().map(|(seconds, from, users)| {
            format!("[[stages]]\nseconds = {seconds:?}\nfrom = {from:?}\nusers = {users:?}\n")
        });
        let stages: String = stages.collect();
        Shape::parse(&format!("title = \"\"\nevery_s = {every_s:?}\n{stages}[mix]\ncoupon = 1.0")).unwrap()
    }

    #[test]
    fn every_stage_has_its_requests() {
        let schedule = Schedule::new(&Shape::open("pt-001").unwrap(), 7).unwrap();
        assert_eq!(schedule.total(), 6_000 + 5_000 + 22_000 + 6_000);
        assert_eq!(schedule.duration(), Duration::from_secs(150));
        let due: Vec<_> = (0..schedule.total()).map(|number| schedule.due(number).as_secs_f64()).collect();
        let within = |from: f64, to: f64| due.iter().filter(|due| (from..to).contains(*due)).count();
        assert_eq!((within(0.0, 30.0), within(30.0, 35.0), within(35.0, 90.0)), (6_000, 5_000, 22_000));
        // no second of the spike has half or twice its share
        for second in 30..35 {
            assert!((900..1100).contains(&within(f64::from(second), f64::from(second + 1))));
        }
    }

    #[test]
    fn a_ramp_is_a_ramp() {
        let schedule = Schedule::new(&shape(1.0, &[(10.0, 0.0, 100.0)]), 1).unwrap();
        assert_eq!(schedule.total(), 500);
        // a quarter of them in the first half
        let half = (0..500).filter(|number| schedule.due(*number).as_secs_f64() < 5.0).count();
        assert!((124..=126).contains(&half), "{half}");
    }

    #[test]
    fn what_makes_nothing_or_too_much_is_refused() {
        assert!(Schedule::new(&shape(1.0, &[(1.0, 0.0, 0.0)]), 1).is_err());
        assert!(Schedule::new(&shape(0.1, &[(86_400.0, 1e7, 1e7)]), 1).is_err());
    }

    proptest! {
        #[test]
        fn later_ones_are_never_due_before(
            stages in prop::collection::vec((0.1..20.0f64, 0.0..500.0f64, 0.0..500.0f64), 1..5),
            every in 0.2..10.0f64,
            seed: u64,
        ) {
            let shape = shape(every, &stages);
            let Ok(schedule) = Schedule::new(&shape, seed) else { return Ok(()) };
            let due: Vec<_> = (0..schedule.total()).map(|number| schedule.due(number)).collect();
            prop_assert!(due.is_sorted());
            prop_assert!(due.iter().all(|due| *due <= schedule.duration()));
        }
    }
}
