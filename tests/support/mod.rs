//! What the end-to-end tests and benches share: servers and nodes ([`world`], [`house`]), planned writes ([`plan`]), a
//! client that sends and records them ([`client`], [`load`]), the state the database must then have ([`model`]), what
//! answers look like ([`answers`]), and attacks ([`siege`], [`flood`]).

#![allow(dead_code, reason = "each test file uses another part")]

pub mod answers;
pub mod browser;
pub mod client;
pub mod flood;
pub mod frames;
pub mod house;
pub mod lag;
pub mod load;
pub mod mistakes;
pub mod model;
pub mod node;
pub mod plan;
pub mod raw;
pub mod recording;
pub mod rule;
pub mod servers;
pub mod siege;
pub mod state;
pub mod toggles;
pub mod topic;
pub mod usage;
pub mod world;
