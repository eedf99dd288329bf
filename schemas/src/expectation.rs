//! Expectation writes: what upgrading one preset of a character is expected to cost.

use std::fmt::Write;
use std::hash::{Hash, Hasher};

use serde::Serialize;
use serde_json::{Value, json};

use crate::by_clock::ByClock;
use crate::datum::{Datum, InvalidDatum};
use crate::describe::Described;
use crate::field::{Field, FromField};
use crate::fields;
use crate::key::{KEY_SEPARATOR, Keying};
use crate::record::record;
use crate::schema::{Codec, Schema};
use crate::{Accept, CharacterId, Cost, Event, EventId, EventType, Fields, Invalid, Timestamp};

/// One of a character's presets: 1, 2 or 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct PresetNo(u8);

impl PresetNo {
    const MIN: u8 = 1;
    const MAX: u8 = 3;

    /// The preset as a number.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl TryFrom<i64> for PresetNo {
    type Error = &'static str;
    fn try_from(number: i64) -> Result<Self, Self::Error> {
        match u8::try_from(number) {
            Ok(number @ Self::MIN..=Self::MAX) => Ok(Self(number)),
            _ => Err("must be 1, 2 or 3"),
        }
    }
}

impl Described for PresetNo {
    fn schema() -> Value {
        json!({ "title": "PresetNo", "type": "integer", "minimum": Self::MIN, "maximum": Self::MAX, "examples": [2] })
    }
}

impl FromField for PresetNo {
    #[inline]
    fn from_field(field: Field<'_>) -> Result<Self, Invalid> {
        field.number()
    }
}

/// An int.
impl Datum for PresetNo {
    fn write(&self, out: &mut Vec<u8>) {
        i64::from(self.0).write(out);
    }

    #[inline]
    fn read(from: &mut &[u8]) -> Result<Self, InvalidDatum> {
        let preset = PresetNo::try_from(i64::read(from)?);
        preset.map_err(|reason| InvalidDatum::new(format!("a preset {reason}")))
    }
}

/// An expectation write. State per ([`character_id`](Self::character_id), [`preset_no`](Self::preset_no)):
/// the write with the greatest ([`version`](Self::version), [`event_id`](Self::event_id)) stands, the
/// others are superseded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectationWrite {
    /// Names this event.
    pub event_id: EventId,
    /// When the ingress took it.
    pub accepted_at: Timestamp,
    /// The character.
    pub character_id: CharacterId,
    /// The preset.
    pub preset_no: PresetNo,
    /// The sum the client computed.
    pub total_expected_cost: Cost,
    /// Share of black cubes.
    pub black_cube_cost: Cost,
    /// Share of red cubes.
    pub red_cube_cost: Cost,
    /// Share of additional cubes.
    pub additional_cube_cost: Cost,
    /// Share of star force.
    pub starforce_cost: Cost,
    /// When the client computed it.
    pub calculated_at: Timestamp,
    /// Orders writes to one preset; `calculated_at` in microseconds unless the client says otherwise, and no further
    /// ahead than that may be.
    pub version: i64,
}

fields! {
    ExpectationWrite {
        CHARACTER_ID: CharacterId = "characterId", "The character.";
        PRESET_NO: PresetNo = "presetNo", "Which of its presets.";
        TOTAL_EXPECTED_COST: Cost = "totalExpectedCost", "What it is expected to cost in all.";
        BLACK_CUBE_COST: Cost = "blackCubeCost", "The share of black cubes.";
        RED_CUBE_COST: Cost = "redCubeCost", "The share of red cubes.";
        ADDITIONAL_CUBE_COST: Cost = "additionalCubeCost", "The share of additional cubes.";
        STARFORCE_COST: Cost = "starforceCost", "The share of star force.";
        CALCULATED_AT: ByClock<Timestamp> = "calculatedAt", "When it was computed; at most a few minutes ahead.";
        VERSION: Option<ByClock<i64>> = "version",
            "Orders the writes to one preset: the greatest stands. Without it, the microseconds of calculatedAt, and never further \
             ahead.";
    }
}

impl ExpectationWrite {
    /// Reads and checks a client's JSON object.
    ///
    /// # Errors
    /// [`Invalid`] names the field at fault.
    pub fn from_json(json: &[u8], accept: &Accept<'_>) -> Result<Self, Invalid> {
        Self::from_fields(&Fields::parse(&Self::FIELDS, json)?, accept)
    }

    /// The same from an object that may have other fields as well.
    ///
    /// # Errors
    /// [`Invalid`] names the field at fault.
    pub fn from_fields<const N: usize>(fields: &Fields<'_, N>, accept: &Accept<'_>) -> Result<Self, Invalid> {
        let character_id = fields.get(&Self::CHARACTER_ID)?;
        let preset_no = fields.get(&Self::PRESET_NO)?;
        let calculated_at = fields.get(&Self::CALCULATED_AT)?.until(accept.latest)?;
        let version = match fields.get(&Self::VERSION)? {
            Some(version) => version.until(accept.latest)?,
            None => calculated_at.as_micros(),
        };
        Ok(Self {
            event_id: accept.event_id(EventType::Expectation, || {
                format!("{character_id}{KEY_SEPARATOR}{}", preset_no.get())
            }),
            accepted_at: accept.accepted_at,
            character_id,
            preset_no,
            total_expected_cost: fields.get(&Self::TOTAL_EXPECTED_COST)?,
            black_cube_cost: fields.get(&Self::BLACK_CUBE_COST)?,
            red_cube_cost: fields.get(&Self::RED_CUBE_COST)?,
            additional_cube_cost: fields.get(&Self::ADDITIONAL_CUBE_COST)?,
            starforce_cost: fields.get(&Self::STARFORCE_COST)?,
            calculated_at,
            version,
        })
    }

    /// The event as clients write it in a batch, with its id and the time of its acceptance.
    pub fn to_json(&self) -> Value {
        json!({
            "type": EventType::Expectation.name(), "eventId": self.event_id.to_string(),
            "acceptedAt": self.accepted_at.to_string(), "characterId": self.character_id.get(),
            "presetNo": self.preset_no.get(), "totalExpectedCost": self.total_expected_cost.to_string(),
            "blackCubeCost": self.black_cube_cost.to_string(), "redCubeCost": self.red_cube_cost.to_string(),
            "additionalCubeCost": self.additional_cube_cost.to_string(),
            "starforceCost": self.starforce_cost.to_string(), "calculatedAt": self.calculated_at.to_string(),
            "version": self.version,
        })
    }

    /// The row this event writes: its idempotent key.
    pub fn row_key(&self) -> (CharacterId, PresetNo) {
        (self.character_id, self.preset_no)
    }

    /// What decides between writes to one row: the greatest stands.
    pub fn rank(&self) -> (i64, EventId) {
        (self.version, self.event_id)
    }
}

record!(ExpectationWrite {
    event_id,
    accepted_at,
    character_id,
    preset_no,
    total_expected_cost,
    black_cube_cost,
    red_cube_cost,
    additional_cube_cost,
    starforce_cost,
    calculated_at,
    version,
});

impl Event for ExpectationWrite {
    const TYPE: EventType = EventType::Expectation;

    fn codec() -> &'static Codec<Self> {
        static CODEC: Codec<ExpectationWrite> = Codec::of(&[Schema::new(
            0x4470_620c_8a00_bc6f,
            include_str!("../avro/expectation_write.avsc"),
            ExpectationWrite::read,
        )]);
        &CODEC
    }

    fn event_id(&self) -> EventId {
        self.event_id
    }

    fn accepted_at(&self) -> Timestamp {
        self.accepted_at
    }

    fn ranked_at(&self) -> Option<i64> {
        Some(self.version)
    }

    fn hash_words<H: Hasher>(&self, state: &mut H) {
        // all fields, so that none is forgotten: the others are ours, or the natural key
        let Self {
            event_id: _,
            accepted_at: _,
            character_id: _,
            preset_no: _,
            total_expected_cost,
            black_cube_cost,
            red_cube_cost,
            additional_cube_cost,
            starforce_cost,
            calculated_at,
            version,
        } = self;
        let costs =
            [total_expected_cost, black_cube_cost, red_cube_cost, additional_cube_cost, starforce_cost];
        (costs, calculated_at, version).hash(state);
    }

    fn write_partition_key(&self, _: Keying, key: &mut String) {
        // writing to a String cannot fail
        let _ = write!(key, "{}", self.character_id);
    }
}
