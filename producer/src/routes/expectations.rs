//! Expectation writes, and what stands for a character.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use floodgate_schemas::{
    CharacterId, Cost, Described, EventId, ExpectationWrite, Invalid, InvalidKind, PresetNo, Timestamp,
};
use floodgate_store::ExpectationRow;
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::answers::{accepted, json};
use crate::admission::Admitted;
use crate::cache::Found;
use crate::described::{Shown, answer};
use crate::extract::{Json, NoParams, NoQuery, Params, Write};
use crate::follow::Followed;
use crate::ingress::Ingress;
use crate::problem::Problem;

/// `POST /api/v6/expectations`
pub(super) async fn write(
    State(ingress): State<Arc<Ingress>>,
    followed: Followed,
    admitted: Admitted,
    write: Result<Write<NoParams, Json>, Problem>,
) -> Result<Response, Problem> {
    let check = async || -> Result<ExpectationWrite, Problem> {
        let Write { path: NoParams, key, body: Json(body) } = write?;
        let read = || ExpectationWrite::from_json(&body, &ingress.accept(key.as_ref()));
        Ok(ingress.heavy.read(&admitted.holder, body.len(), read).await??)
    };
    ingress.publish(check().await, followed, &admitted).await.map(accepted)
}

/// `GET /api/v6/characters/{characterId}/expectations`
pub(super) async fn read(
    State(ingress): State<Arc<Ingress>>,
    _: NoQuery,
    Params(character): Params<String>,
) -> Result<Response, Problem> {
    let character = character_id(&character)?;
    let Found { rows, from_cache } = ingress.cache.expectations(character).await?;
    if rows.is_empty() {
        return Err(Problem::not_found(format!("character {character} has no expectations")));
    }
    let presets = rows.iter().map(Preset::from).collect();
    let body = Expectations { character_id: character, presets, from_cache };
    Ok(json(StatusCode::OK, &body))
}

fn character_id(text: &str) -> Result<CharacterId, Problem> {
    let name = ExpectationWrite::CHARACTER_ID.name();
    let refused = |detail: String| Problem::from(Invalid::field(InvalidKind::Value, name, detail));
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(refused("must be a whole number, written as its digits".to_owned()));
    }
    let number: i64 = text.parse().map_err(|_| refused("must lie between 1 and 2^63-1".to_owned()))?;
    CharacterId::try_from(number).map_err(|reason| refused(reason.to_string()))
}

answer! {
    pub(super) struct Expectations {
        character_id: CharacterId = "characterId", "The character.";
        presets: Vec<Preset> = "presets", "What stands on each of its presets that was written.";
        from_cache: bool = "fromCache", "Whether it was read from memory, where it stays for a short time.";
    }
}

answer! {
    pub(super) struct Preset {
        preset_no: PresetNo = "presetNo", "Which preset.";
        total_expected_cost: Amount = "totalExpectedCost", "What it is expected to cost in all.";
        black_cube_cost: Amount = "blackCubeCost", "The share of black cubes.";
        red_cube_cost: Amount = "redCubeCost", "The share of red cubes.";
        additional_cube_cost: Amount = "additionalCubeCost", "The share of additional cubes.";
        starforce_cost: Amount = "starforceCost", "The share of star force.";
        calculated_at: Shown<Timestamp> = "calculatedAt", "When it was computed.";
        version: i64 = "version", "Its place among the writes to the preset: the greatest stands.";
        event_id: EventId = "eventId", "The event that wrote it.";
        updated_at: Shown<Timestamp> = "updatedAt", "When it was written.";
    }
}

/// A cost as answers have it: with all its decimals.
pub(super) struct Amount(Cost);

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl Described for Amount {
    fn schema() -> Value {
        let (whole, decimals) = (Cost::WHOLE_DIGITS, Cost::DECIMALS);
        let pattern = format!(r"^[0-9]{{1,{whole}}}\.[0-9]{{{decimals}}}$");
        serde_json::json!({ "title": "Amount", "type": "string", "pattern": pattern, "examples": ["1250000.50"] })
    }
}

impl From<&ExpectationRow> for Preset {
    fn from(row: &ExpectationRow) -> Self {
        Self {
            preset_no: row.preset_no,
            total_expected_cost: Amount(row.total_expected_cost),
            black_cube_cost: Amount(row.black_cube_cost),
            red_cube_cost: Amount(row.red_cube_cost),
            additional_cube_cost: Amount(row.additional_cube_cost),
            starforce_cost: Amount(row.starforce_cost),
            calculated_at: Shown(row.calculated_at),
            version: row.version,
            event_id: row.event_id,
            updated_at: Shown(row.updated_at),
        }
    }
}
