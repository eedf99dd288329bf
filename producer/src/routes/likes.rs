//! Likes: giving and taking them, and how they stand.

use std::sync::Arc;

use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use floodgate_schemas::{Fields, Like, LikeAction, LikerAccountId, TargetOcid};

use super::answers::{accepted, json};
use crate::admission::Admitted;
use crate::described::{Shown, answer};
use crate::extract::{NoQuery, OptionalJson, Params, Write, param};
use crate::follow::Followed;
use crate::ingress::Ingress;
use crate::problem::Problem;

/// Who is liked and who likes, as a path names them.
pub(super) struct Pair(TargetOcid, LikerAccountId);

impl FromRequestParts<Arc<Ingress>> for Pair {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, ingress: &Arc<Ingress>) -> Result<Self, Problem> {
        let Params((target, liker)) = Params::<(String, String)>::from_request_parts(parts, ingress).await?;
        Ok(Self(param(&Like::TARGET_OCID, target)?, param(&Like::LIKER_ACCOUNT_ID, liker)?))
    }
}

/// `PUT /api/v6/characters/{targetOcid}/likes/{likerAccountId}`
pub(super) async fn like(
    State(ingress): State<Arc<Ingress>>,
    followed: Followed,
    admitted: Admitted,
    write: Result<Write<Pair, OptionalJson>, Problem>,
) -> Result<Response, Problem> {
    let checked = check(&ingress, &admitted, LikeAction::Like, write).await;
    ingress.publish(checked, followed, &admitted).await.map(accepted)
}

/// `DELETE /api/v6/characters/{targetOcid}/likes/{likerAccountId}`
pub(super) async fn unlike(
    State(ingress): State<Arc<Ingress>>,
    followed: Followed,
    admitted: Admitted,
    write: Result<Write<Pair, OptionalJson>, Problem>,
) -> Result<Response, Problem> {
    let checked = check(&ingress, &admitted, LikeAction::Unlike, write).await;
    ingress.publish(checked, followed, &admitted).await.map(accepted)
}

async fn check(
    ingress: &Ingress,
    admitted: &Admitted,
    action: LikeAction,
    write: Result<Write<Pair, OptionalJson>, Problem>,
) -> Result<Like, Problem> {
    let Write { path: Pair(target, liker), key, body: OptionalJson(body) } = write?;
    admitted.may_write_for(liker.as_str(), "likerAccountId")?;
    let accept = ingress.accept(key.as_ref());
    let occurred_at = match body {
        Some(body) => {
            let read = || Fields::parse(&Like::BODY, &body)?.get(&Like::OCCURRED_AT);
            let said = ingress.heavy.read(&admitted.holder, body.len(), read).await??;
            said.map(|said| said.until(accept.latest)).transpose()?
        }
        None => None,
    };
    Ok(Like::new(target, liker, action, occurred_at, &accept)?)
}

/// `GET /api/v6/characters/{targetOcid}/likes`
pub(super) async fn count(
    State(ingress): State<Arc<Ingress>>,
    _: NoQuery,
    Params(target): Params<String>,
) -> Result<Response, Problem> {
    let target = param(&Like::TARGET_OCID, target)?;
    let count = ingress.reads.like_count(&target).await?;
    Ok(json(StatusCode::OK, &LikeCount { target_ocid: Shown(target), count }))
}

answer! {
    pub(super) struct LikeCount {
        target_ocid: Shown<TargetOcid> = "targetOcid", "Who is liked.";
        count: u64 = "count", "By how many.";
    }
}

/// `GET /api/v6/characters/{targetOcid}/likes/{likerAccountId}`
pub(super) async fn liked(
    State(ingress): State<Arc<Ingress>>,
    _: NoQuery,
    Pair(target, liker): Pair,
) -> Result<Response, Problem> {
    let liked = ingress.reads.liked(&target, &liker).await?;
    Ok(json(StatusCode::OK, &Liked { liked }))
}

answer! {
    pub(super) struct Liked {
        liked: bool = "liked", "Whether the account likes the character now.";
    }
}
