//! What a rehearsal is like: who asks how often, and what is expected.
//!
//! Three shapes are built in. They are those of a service that was measured before floodgate was there, with what was expected of it
//! then. It counted *users*, each of whom asks again and again: at 500 users it broke, at 110 requests a second, and at about 1,300 users it
//! applied or left behind about 250 a second; so that a user asks about once in five seconds, which is what the shapes say.

use std::path::Path;

use serde::Deserialize;

/// Built-in shapes, by name.
const BUILTIN: [(&str, &str); 4] = [
    ("burst", include_str!("../shapes/burst.toml")),
    ("pt-001", include_str!("../shapes/pt-001.toml")),
    ("lt-001", include_str!("../shapes/lt-001.toml")),
    ("st-001", include_str!("../shapes/st-001.toml")),
];

/// A shape, as its file has it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// For people.
    pub title: String,
    /// A user asks once in so many seconds.
    pub every_s: f64,
    /// One after the other.
    pub stages: Vec<Stage>,
    /// What is asked for.
    pub mix: Mix,
    /// The coupon that is asked for.
    #[serde(default)]
    pub coupon: CouponShape,
    /// What clients do about answers that another try can help.
    #[serde(default)]
    pub retry: Retry,
    /// Connections that ask for something large, over and over, and hardly read it.
    #[serde(default)]
    pub slow_readers: u32,
    /// What has to hold, besides what always has.
    #[serde(default)]
    pub expect: Expect,
}

/// A part of the time.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// How long it lasts.
    pub seconds: f64,
    /// Users at its end; from the first to the last on a straight line.
    pub users: f64,
    /// Users at its beginning; without it as many as at its end.
    pub from: Option<f64>,
}

/// Shares of what is asked for. They add up to 1.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mix {
    /// Requests for the coupon, each by somebody who did not ask before.
    pub coupon: f64,
    /// Requests for the coupon by somebody who asked before, under a key of their own: one of both must get nothing.
    pub coupon_again: f64,
    /// Expectation writes, each of a character of its own.
    pub expectation: f64,
    /// Likes, each by somebody else, of targets that are many.
    pub like: f64,
    /// Likes, each by somebody else, all of one target: a hot key.
    pub hot: f64,
}

/// The coupon.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CouponShape {
    /// Pieces; without it a fifth of those who ask get one.
    pub stock: Option<u32>,
}

/// What clients do about answers that another try can help: 408, 429, 502, 503, 504, and none.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Tries in all, under one key; each after as long as the answer says (`Retry-After`), or half a second, and a little chance.
    pub tries: u32,
    /// The share of requests that are sent again, under the same key, before there is an answer: as clients do that have no patience.
    pub storm: f64,
    /// So often.
    pub storm_times: u32,
}

impl Default for Retry {
    fn default() -> Self {
        Self { tries: 5, storm: 0.0, storm_times: 3 }
    }
}

/// What has to hold. What is not said is not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// At least this share is accepted, or told that nothing is left.
    pub accepted_share: Option<f64>,
    /// At most this share ends with an error or without an answer.
    pub error_share: Option<f64>,
    /// Of answers, from when their requests were due, in ms.
    pub p95_ms: Option<f64>,
    /// The same.
    pub p99_ms: Option<f64>,
    /// Of any group, at any time.
    pub lag: Option<u64>,
    /// From the last 202 until everything that was accepted is applied.
    pub drain_seconds: Option<f64>,
}

/// Why there is no such shape.
#[derive(Debug, thiserror::Error)]
pub enum ShapeError {
    /// A file cannot be read.
    #[error("{file}: {source}; built in are {}", names())]
    File {
        /// Which.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is not what a shape is.
    #[error("{file}: {problem}")]
    Wrong {
        /// Which.
        file: String,
        /// What is wrong.
        problem: String,
    },
}

fn names() -> String {
    Shape::builtin().join(", ")
}

impl Shape {
    /// What those are called that are built in.
    pub fn builtin() -> [&'static str; BUILTIN.len()] {
        BUILTIN.map(|(name, _)| name)
    }

    /// The built-in shape of this name, or one of a file.
    ///
    /// # Errors
    /// [`ShapeError`], which says what is wrong with it.
    pub fn open(name: &str) -> Result<Self, ShapeError> {
        let file = || name.to_owned();
        let text = match BUILTIN.iter().find(|(builtin, _)| *builtin == name) {
            Some((_, text)) => (*text).to_owned(),
            None => std::fs::read_to_string(Path::new(name))
                .map_err(|source| ShapeError::File { file: file(), source })?,
        };
        Self::parse(&text).map_err(|problem| ShapeError::Wrong { file: file(), problem })
    }

    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let shape: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        shape.check().map(|()| shape)
    }

    /// Makes every stage so many times shorter. How many ask at a time stays as it is.
    #[must_use]
    pub fn faster(mut self, times: f64) -> Self {
        self.stages.iter_mut().for_each(|stage| stage.seconds /= times);
        self
    }

    /// Has so many times as many ask at a time.
    #[must_use]
    pub fn times(mut self, times: f64) -> Self {
        for stage in &mut self.stages {
            stage.users *= times;
            stage.from = stage.from.map(|from| from * times);
        }
        self
    }

    /// The most users that there are at a time.
    pub fn peak_users(&self) -> f64 {
        let of = |stage: &Stage| stage.users.max(stage.from.unwrap_or_default());
        self.stages.iter().map(of).fold(0.0, f64::max)
    }

    /// How long it lasts, in seconds.
    pub fn seconds(&self) -> f64 {
        self.stages.iter().map(|stage| stage.seconds).sum()
    }

    fn check(&self) -> Result<(), String> {
        let is_share = |share: f64| (0.0..=1.0).contains(&share);
        let Mix { coupon, coupon_again, expectation, like, hot } = self.mix;
        let shares = [coupon, coupon_again, expectation, like, hot];
        let stages_fit = self.stages.iter().all(|stage| {
            stage.seconds > 0.0
                && stage.seconds <= 86_400.0
                && stage.users.max(stage.from.unwrap_or_default()) <= 1e7
                && stage.users.min(stage.from.unwrap_or_default()) >= 0.0
        });
        let rules = [
            (self.every_s > 0.0 && self.every_s <= 86_400.0, "`every_s` must be above 0 and at most 86400"),
            (!self.stages.is_empty(), "`stages` must have one at least"),
            (
                stages_fit,
                "in `stages`, `seconds` must be above 0 and at most 86400, and `users` and `from` between 0 and 10000000",
            ),
            (
                shares.into_iter().all(is_share) && (shares.iter().sum::<f64>() - 1.0).abs() < 1e-6,
                "the shares of `mix` must be between 0 and 1, and add up to 1",
            ),
            (coupon_again == 0.0 || coupon > 0.0, "`mix.coupon_again` takes some `mix.coupon`"),
            ((1..=100).contains(&self.retry.tries), "`retry.tries` must be between 1 and 100"),
            (is_share(self.retry.storm), "`retry.storm` must be between 0 and 1"),
            ((1..=100).contains(&self.retry.storm_times), "`retry.storm_times` must be between 1 and 100"),
            (self.slow_readers <= 1000, "`slow_readers` must be at most 1000"),
        ];
        let broken: Vec<_> = rules.into_iter().filter(|(holds, _)| !holds).map(|(_, rule)| rule).collect();
        if broken.is_empty() { Ok(()) } else { Err(broken.join("; ")) }
    }
}
