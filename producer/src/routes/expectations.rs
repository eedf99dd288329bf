//! Expectation writes, and what stands for a character.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use floodgate_schemas::{CharacterId, ExpectationWrite, Invalid, InvalidKind};
use floodgate_store::ExpectationRow;
use serde::Serialize;

use super::answers::{accepted, json};
use crate::cache::Found;
use crate::extract::{Json, NoParams, NoQuery, Params, Write};
use crate::follow::Followed;
use crate::ingress::Ingress;
use crate::problem::Problem;

/// `POST /api/v6/expectations`
pub(super) async fn write(
    State(ingress): State<Arc<Ingress>>,
    followed: Followed,
    write: Result<Write<NoParams, Json>, Problem>,
) -> Result<Response, Problem> {
    let check = || -> Result<ExpectationWrite, Problem> {
        let Write { path: NoParams, key, body: Json(body) } = write?;
        Ok(ExpectationWrite::from_json(&body, &ingress.accept(key.as_ref()))?)
    };
    ingress.publish(check(), followed).await.map(accepted)
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
    let body = Expectations { character_id: character.get(), presets, from_cache };
    Ok(json(StatusCode::OK, &body))
}

fn character_id(text: &str) -> Result<CharacterId, Problem> {
    let refused = |detail: String| Problem::from(Invalid::field(InvalidKind::Value, "characterId", detail));
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(refused("must be a whole number, written as its digits".to_owned()));
    }
    let number: i64 = text.parse().map_err(|_| refused("must lie between 1 and 2^63-1".to_owned()))?;
    CharacterId::try_from(number).map_err(|reason| refused(reason.to_string()))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Expectations {
    character_id: i64,
    presets: Vec<Preset>,
    from_cache: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Preset {
    preset_no: u8,
    total_expected_cost: String,
    black_cube_cost: String,
    red_cube_cost: String,
    additional_cube_cost: String,
    starforce_cost: String,
    calculated_at: String,
    version: i64,
    event_id: String,
    updated_at: String,
}

impl From<&ExpectationRow> for Preset {
    fn from(row: &ExpectationRow) -> Self {
        Self {
            preset_no: row.preset_no.get(),
            total_expected_cost: row.total_expected_cost.to_string(),
            black_cube_cost: row.black_cube_cost.to_string(),
            red_cube_cost: row.red_cube_cost.to_string(),
            additional_cube_cost: row.additional_cube_cost.to_string(),
            starforce_cost: row.starforce_cost.to_string(),
            calculated_at: row.calculated_at.to_string(),
            version: row.version,
            event_id: row.event_id.to_string(),
            updated_at: row.updated_at.to_string(),
        }
    }
}
