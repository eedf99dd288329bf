//! Writes that are planned before they are sent, from a seed: what is sent is known exactly, and can be sent again.

use std::collections::HashSet;

use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use uuid::Uuid;

use super::client::Ask;

/// One planned write. Small, since there are hundreds of thousands.
#[derive(Debug, Clone, Copy)]
pub enum Write {
    Expectation { character: u32, preset: u8, version: Option<i64>, calculated_at: i64, hundredths: u64 },
    Like { target: u32, liker: u32, liked: bool, occurred_at: i64 },
    Coupon { coupon: u16, user: u32 },
}

/// How much of what a plan holds.
#[derive(Debug, Clone, Copy)]
pub struct PlanSize {
    pub expectations: usize,
    pub likes: usize,
    pub users: u32,
    pub stock: i32,
}

impl PlanSize {
    /// About this many writes: two fifths each of expectations and likes, one fifth of coupon requests, for a stock of
    /// a quarter of the users.
    pub fn about(writes: usize) -> Self {
        let users = (writes as f64 / 5.0 / (1.0 + ASK_TWICE)) as u32;
        let others = writes - (f64::from(users) * (1.0 + ASK_TWICE)) as usize;
        Self { expectations: others / 2, likes: others - others / 2, users, stock: users as i32 / 4 }
    }
}

/// The part of the users that ask for the coupon again, under another key.
const ASK_TWICE: f64 = 0.1;
/// What the fighting half fights over.
const HOT_CHARACTERS: u32 = 20;
const HOT_TARGETS: u32 = 10;
const HOT_LIKERS: u32 = 20;
/// Versions and times come from so few that the greatest is there several times, and the event ids decide.
const HOT_RANKS: i64 = 20;
/// Fresh pairs share their targets, so that counters are fought over although rows are not.
const FRESH_TARGETS: u32 = 200;
/// Ids from here on are fresh.
const FRESH: u32 = 1_000_000;

pub struct Plan {
    pub seed: u64,
    pub writes: Vec<Write>,
    /// The stock of each coupon, by its number.
    pub stocks: Vec<i32>,
}

impl Plan {
    /// A mixed plan. Half of its expectations and likes have a row of their own, the others share few rows.
    pub fn mixed(seed: u64, size: PlanSize) -> Plan {
        let mut dice = StdRng::seed_from_u64(seed);
        // an hour ago, whole seconds: far from being too far ahead
        let base = (Timestamp::now().as_second() - 3600) * 1_000_000;
        let mut writes = Vec::new();
        for number in 0..size.expectations as u32 {
            writes.push(expectation(&mut dice, base, number));
        }
        for number in 0..size.likes as u32 {
            writes.push(like(&mut dice, base, number));
        }
        let mut impatient = HashSet::new();
        for user in 0..size.users {
            writes.push(Write::Coupon { coupon: 0, user });
            match dice.random_bool(ASK_TWICE) {
                true if dice.random_bool(0.5) => drop(impatient.insert(user)),
                true => writes.push(Write::Coupon { coupon: 0, user }),
                false => {}
            }
        }
        writes.shuffle(&mut dice);
        // half of those who ask twice do so at once: both requests meet in one batch
        let at_once = |write: &Write| match write {
            Write::Coupon { user, .. } if impatient.contains(user) => 2,
            _ => 1,
        };
        let writes: Vec<Write> =
            writes.iter().flat_map(|write| std::iter::repeat_n(*write, at_once(write))).collect();
        println!("plan: {} writes, seed {seed} (FLOODGATE_TEST_SEED={seed} plans them again)", writes.len());
        Plan { seed, writes, stocks: vec![size.stock] }
    }

    /// The `Idempotency-Key` of a write.
    pub fn key(&self, index: usize) -> String {
        format!("{:016x}-{index}", self.seed)
    }

    /// The id that the key fixes: the contract's own rule, written down a second time.
    pub fn event_id(&self, index: usize) -> Uuid {
        let (of, natural_key) = match self.writes[index] {
            Write::Expectation { character, preset, .. } => {
                ("expectation", format!("{character}\u{1f}{preset}"))
            }
            Write::Like { target, liker, liked, .. } => {
                let action = if liked { "LIKE" } else { "UNLIKE" };
                ("like", format!("{}\u{1f}{}\u{1f}{action}", target_ocid(target), liker_account_id(liker)))
            }
            Write::Coupon { coupon, user } => {
                ("coupon", format!("{}\u{1f}{}", coupon_id(coupon), user_id(user)))
            }
        };
        let namespace = Uuid::new_v5(&Uuid::NAMESPACE_URL, b"floodgate:event");
        Uuid::new_v5(&namespace, format!("{of}\u{1f}{natural_key}\u{1f}{}", self.key(index)).as_bytes())
    }

    /// The request that asks for a write.
    pub fn ask(&self, index: usize) -> Ask {
        let ask = match self.writes[index] {
            Write::Expectation { character, preset, version, calculated_at, hundredths } => {
                let [total, black, red, additional, starforce] = costs(hundredths);
                let version = version.map_or(String::new(), |version| format!(r#","version":{version}"#));
                Ask::new("POST", "/api/v6/expectations").json(format!(
                    r#"{{"characterId":{character},"presetNo":{preset},"totalExpectedCost":"{total}","#
                ) + &format!(
                    r#""blackCubeCost":{black},"redCubeCost":"{red}","additionalCubeCost":"{additional}","#
                ) + &format!(
                    r#""starforceCost":"{starforce}","calculatedAt":"{}"{version}}}"#,
                    rfc3339(calculated_at)
                ))
            }
            Write::Like { target, liker, liked, occurred_at } => {
                let path =
                    format!("/api/v6/characters/{}/likes/{}", target_ocid(target), liker_account_id(liker));
                Ask::new(if liked { "PUT" } else { "DELETE" }, path)
                    .json(format!(r#"{{"occurredAt":"{}"}}"#, rfc3339(occurred_at)))
            }
            Write::Coupon { coupon, user } => {
                Ask::new("POST", format!("/api/v6/coupons/{}/issues", coupon_id(coupon)))
                    .json(format!(r#"{{"userId":"{}"}}"#, user_id(user)))
            }
        };
        ask.key(self.key(index))
    }
}

/// `FLOODGATE_TEST_SEED`, or a new one.
pub fn seed() -> u64 {
    match std::env::var("FLOODGATE_TEST_SEED") {
        Ok(text) => text.parse().expect("FLOODGATE_TEST_SEED is no number"),
        Err(_) => u64::from(rand::random::<u32>()),
    }
}

fn expectation(dice: &mut StdRng, base: i64, number: u32) -> Write {
    let calculated_at = base + dice.random_range(0..HOT_RANKS) * 1001;
    let hundredths = dice.random_range(0..10_000_000_000);
    let preset = dice.random_range(1..=3);
    if number.is_multiple_of(2) {
        return Write::Expectation {
            character: FRESH + number,
            preset,
            version: None,
            calculated_at,
            hundredths,
        };
    }
    let character = dice.random_range(1..=HOT_CHARACTERS);
    // some say their version, some leave it to calculatedAt: on one key only versions of one kind compete
    let version = character.is_multiple_of(2).then(|| dice.random_range(-HOT_RANKS..HOT_RANKS));
    Write::Expectation { character, preset, version, calculated_at, hundredths }
}

fn like(dice: &mut StdRng, base: i64, number: u32) -> Write {
    let occurred_at = base + dice.random_range(0..HOT_RANKS) * 1001;
    if number.is_multiple_of(2) {
        let target = FRESH + dice.random_range(0..FRESH_TARGETS);
        return Write::Like { target, liker: FRESH + number, liked: dice.random_bool(0.9), occurred_at };
    }
    let (target, liker) = (dice.random_range(0..HOT_TARGETS), dice.random_range(0..HOT_LIKERS));
    Write::Like { target, liker, liked: dice.random_bool(0.6), occurred_at }
}

pub fn target_ocid(number: u32) -> String {
    format!("ocid-{number}")
}

pub fn liker_account_id(number: u32) -> String {
    format!("account-{number}")
}

pub fn user_id(number: u32) -> String {
    format!("user-{number}")
}

pub fn coupon_id(number: u16) -> String {
    format!("coupon-{number}")
}

/// The five costs that stand for one number: total, black, red, additional, starforce. The total has two decimals that
/// no float could hold beside its digits.
pub fn costs(hundredths: u64) -> [String; 5] {
    let cost = |hundredths: u64| format!("{}.{:02}", hundredths / 100, hundredths % 100);
    let total = format!("7{:014}.{:02}", hundredths / 100, hundredths % 100);
    [total, cost(hundredths), cost(hundredths / 3), cost(hundredths / 7), cost(0)]
}

pub fn rfc3339(micros: i64) -> String {
    Timestamp::from_microsecond(micros).unwrap().to_string()
}
