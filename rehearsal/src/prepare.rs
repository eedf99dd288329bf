//! What has to be there before a load is sent: ingresses that take events, and a coupon.

use serde_json::{Value, json};

use crate::client::{Answer, Client};
use crate::plan::{Kind, Plan, count_path};
use crate::watch;

/// So many targets of likes and expectations are looked at beforehand, the first of each: of an earlier load some of them are there all but
/// certainly.
const LOOKS: usize = 5;

/// Why a rehearsal did not begin, or did not end.
#[derive(Debug, thiserror::Error)]
pub enum RehearsalError {
    /// It was asked for in a way that cannot be.
    #[error("{0}")]
    Wrong(String),
    /// What it takes is not there.
    #[error("{0}")]
    Unready(String),
}

/// Looks whether every ingress takes events.
pub(crate) async fn look(clients: &[Client]) -> Result<(), RehearsalError> {
    for client in clients {
        let url = client.url();
        let answer = client.ask("GET", "/readyz", None, "").await.map_err(|error| {
            RehearsalError::Unready(format!("{url}: {error}; is `floodgate run` or `serve` running there?"))
        })?;
        if answer.status != 200 {
            let why = format!("{url} is not ready: {}", said(&answer));
            return Err(RehearsalError::Unready(why));
        }
    }
    Ok(())
}

/// Looks whether operators' listener says what groups are behind, where something is expected of that.
pub(crate) async fn lag_is_told(operators: Option<&Client>) -> Result<(), RehearsalError> {
    let Some(operators) = operators else {
        let why = "the shape expects something of the lag, which operators' listener knows: name it with --operators";
        return Err(RehearsalError::Wrong(why.to_owned()));
    };
    let unready = |why| {
        RehearsalError::Unready(format!(
            "{why}; the shape expects something of the lag, and --operators names who knows it (FLOODGATE_OPERATORS_TOKEN has the token)"
        ))
    };
    watch::ready(operators).await.map_err(unready)
}

/// Creates the coupon, with terms that every process of a rehearsal says alike. Without others it has to be new.
pub(crate) async fn create(
    client: &Client,
    coupon: &str,
    stock: u32,
    has_others: bool,
) -> Result<(), RehearsalError> {
    let terms = json!({ "couponId": coupon, "stock": stock }).to_string();
    let url = client.url();
    let answer = client.ask("POST", "/api/v6/coupons", None, &terms).await;
    let answer = answer.map_err(|error| RehearsalError::Unready(format!("{url}: {error}")))?;
    match answer.status {
        201 => Ok(()),
        // another process was first, or it is an old one, which shows by what it gave out
        200 if has_others => Ok(()),
        200 => Err(used(coupon)),
        409 => Err(RehearsalError::Wrong(format!(
            "coupon {coupon} exists with another stock than {stock}; a rehearsal takes one of its own (--coupon)"
        ))),
        _ => Err(refused(client, "the coupon was not created", &answer)),
    }
}

/// Looks whether what the load is judged by is still untouched: a coupon that gave nothing out, characters without an expectation,
/// targets that nobody likes. What an earlier load left there would be taken for this one's.
pub(crate) async fn unused(client: &Client, plan: &Plan, requests: u32) -> Result<(), RehearsalError> {
    let first =
        |is: fn(Kind) -> bool, many| (0..requests).filter(move |number| is(plan.kind(*number))).take(many);
    if first(|kind| matches!(kind, Kind::Coupon { .. }), 1).next().is_some()
        && read(client, &plan.coupon_path()).await?["issued"] != 0
    {
        return Err(used(plan.coupon()));
    }
    let written =
        first(|kind| kind == Kind::Expectation, LOOKS).filter_map(|number| plan.effect_path(number));
    let liked = first(|kind| matches!(kind, Kind::Like { .. } | Kind::Hot), LOOKS);
    let counted = liked.filter_map(|number| Some(count_path(&plan.target(plan.kind(number))?)));
    for path in written.chain(counted) {
        let found = read(client, &path).await?;
        let is_written = found["presets"].as_array().is_some_and(|presets| !presets.is_empty());
        if is_written || found["count"].as_u64() > Some(0) {
            let why = format!("{path} says that this seed was used before; take another --seed");
            return Err(RehearsalError::Wrong(why));
        }
    }
    Ok(())
}

/// What is there; null where nothing is.
async fn read(client: &Client, path: &str) -> Result<Value, RehearsalError> {
    let url = client.url();
    let answer = client.ask("GET", path, None, "").await;
    let answer = answer.map_err(|error| RehearsalError::Unready(format!("{url}: {error}")))?;
    match answer.status {
        200 => serde_json::from_slice(&answer.body)
            .map_err(|error| RehearsalError::Unready(format!("{url}: {path}: {error}"))),
        404 => Ok(Value::Null),
        _ => Err(refused(client, &format!("{path} could not be read"), &answer)),
    }
}

fn used(coupon: &str) -> RehearsalError {
    RehearsalError::Wrong(format!("coupon {coupon} was used before; take another --coupon or --seed"))
}

fn refused(client: &Client, what: &str, answer: &Answer) -> RehearsalError {
    let said = said(answer);
    if matches!(answer.status, 401 | 403) {
        return RehearsalError::Wrong(format!(
            "{what}: {said}; FLOODGATE_KEY holds the key or token that is sent, which needs every scope"
        ));
    }
    RehearsalError::Unready(format!("{}: {what}: {said}", client.url()))
}

/// What an answer says of itself.
fn said(answer: &Answer) -> String {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let detail = body["detail"].as_str().or(body["title"].as_str()).unwrap_or("without a word");
    format!("{} {}", answer.status, detail.escape_debug())
}
