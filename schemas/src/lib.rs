//! What an event is.
//!
//! An *event* is one write that a client asked for. This crate says, for each of the three types,
//! which fields it has and which values they take ([`ExpectationWrite`], [`CouponIssue`], [`Like`]),
//! under which key it is partitioned, how its id comes about ([`EventId`]), on which topic it travels
//! and which bytes stand for it there ([`codec`]). It depends on no other crate of the workspace, so
//! that the ingress, the consumers and any tool mean the same thing by the same bytes.
//!
//! Values are valid by construction: an id, a cost or an event that exists has passed its checks,
//! whether it came from JSON or from the wire. Undecodable and out-of-range bytes therefore fail in
//! one place, [`codec::Codecs::decode`], before they reach any SQL.
//!
//! Time, chance and what events are read with are values, too: [`Clock`], [`Chance`] and [`Codecs`] are what every crate is
//! handed.
//!
//! Adding an event: one schema under `avro/`, one file here that implements [`Event`], one more line
//! in [`EventType`] and in [`Mixed`].

mod avro;
mod by_clock;
mod chance;
mod clock;
mod cloud_event;
pub mod codec;
mod cost;
mod coupon;
mod datum;
pub mod dead_letter;
mod describe;
mod encode;
mod event;
#[cfg(feature = "examples")]
pub mod examples;
mod expectation;
mod field;
mod fields;
mod ids;
mod invalid;
mod key;
mod learnt;
mod like;
mod mixed;
mod number;
mod record;
mod schema;
pub mod text;
mod time;
mod undecodable;
mod whole;

pub use avro::{Incompatible, InvalidSchema};
pub use by_clock::ByClock;
pub use chance::{Chance, SystemChance};
pub use clock::{Clock, SystemClock};
pub use cloud_event::{CloudEvent, CloudEventData, Envelope, is_json};
pub use codec::Codecs;
pub use cost::{Cost, InvalidCost};
pub use coupon::CouponIssue;
pub use datum::InvalidDatum;
pub use dead_letter::DEAD_LETTER_TOPIC;
pub use describe::{Described, meaning};
pub use encode::{Encoder, NoSchemaId, SchemaIds};
pub use event::{Accept, Event, EventId, EventIdSource, EventType, IdempotencyKey};
pub use expectation::{ExpectationWrite, PresetNo};
pub use field::{Field, FromField};
pub use fields::{FieldOf, Fields, Row, Slot, Table};
pub use ids::{CharacterId, CouponId, InvalidId, LikerAccountId, TargetOcid, UserId};
pub use invalid::{Invalid, InvalidKind, not_json, utf8};
pub use key::{CouponKey, Keying};
pub use learnt::{BoxFuture, Schemas};
pub use like::{Like, LikeAction};
pub use mixed::{InvalidMixed, Mixed};
pub use time::{InvalidTime, Timestamp};
