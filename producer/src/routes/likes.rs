//! Likes: giving and taking them, and how they stand.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use floodgate_schemas::{Fields, Like, LikeAction, LikerAccountId, TargetOcid};
use serde::Serialize;

use super::{accepted, json};
use crate::Ingress;
use crate::extract::{NoQuery, OptionalJson, Params, WriteHead, param};
use crate::problem::Problem;

type Pair = Params<(String, String)>;

/// `PUT /api/v6/characters/{targetOcid}/likes/{likerAccountId}`
pub(super) async fn like(
    State(ingress): State<Arc<Ingress>>,
    path: Result<Pair, Problem>,
    head: Result<WriteHead, Problem>,
    body: Result<OptionalJson, Problem>,
) -> Result<Response, Problem> {
    let checked = check(&ingress, LikeAction::Like, path, head, body);
    ingress.publish(checked).await.map(accepted)
}

/// `DELETE /api/v6/characters/{targetOcid}/likes/{likerAccountId}`
pub(super) async fn unlike(
    State(ingress): State<Arc<Ingress>>,
    path: Result<Pair, Problem>,
    head: Result<WriteHead, Problem>,
    body: Result<OptionalJson, Problem>,
) -> Result<Response, Problem> {
    let checked = check(&ingress, LikeAction::Unlike, path, head, body);
    ingress.publish(checked).await.map(accepted)
}

fn check(
    ingress: &Ingress,
    action: LikeAction,
    path: Result<Pair, Problem>,
    head: Result<WriteHead, Problem>,
    body: Result<OptionalJson, Problem>,
) -> Result<Like, Problem> {
    let (Params(pair), WriteHead { key }, OptionalJson(body)) = (path?, head?, body?);
    let (target, liker) = ids(pair)?;
    let accept = ingress.accept(key.as_ref());
    let occurred_at = match body {
        Some(body) => Fields::parse(&["occurredAt"], &body)?
            .optional("occurredAt")
            .map(|field| field.time_until(accept.latest))
            .transpose()?,
        None => None,
    };
    Ok(Like::new(target, liker, action, occurred_at, &accept)?)
}

fn ids((target, liker): (String, String)) -> Result<(TargetOcid, LikerAccountId), Problem> {
    Ok((param("targetOcid", target)?, param("likerAccountId", liker)?))
}

/// `GET /api/v6/characters/{targetOcid}/likes`
pub(super) async fn count(
    State(ingress): State<Arc<Ingress>>,
    _: NoQuery,
    Params(target): Params<String>,
) -> Result<Response, Problem> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Count<'a> {
        target_ocid: &'a str,
        count: u64,
    }
    let target: TargetOcid = param("targetOcid", target)?;
    let count = ingress.reads.like_count(&target).await?;
    Ok(json(StatusCode::OK, &Count { target_ocid: target.as_str(), count }))
}

/// `GET /api/v6/characters/{targetOcid}/likes/{likerAccountId}`
pub(super) async fn liked(
    State(ingress): State<Arc<Ingress>>,
    _: NoQuery,
    Params(pair): Pair,
) -> Result<Response, Problem> {
    #[derive(Serialize)]
    struct Liked {
        liked: bool,
    }
    let (target, liker) = ids(pair)?;
    let liked = ingress.reads.liked(&target, &liker).await?;
    Ok(json(StatusCode::OK, &Liked { liked }))
}
