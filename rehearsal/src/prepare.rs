//! What has to be there before a load is sent: ingresses that take events, and a coupon.

use serde_json::{Value, json};

use crate::client::{Answer, Client};

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

/// Creates the coupon, with terms that every process of a rehearsal says alike.
pub(crate) async fn create(client: &Client, coupon: &str, stock: u32) -> Result<(), RehearsalError> {
    let terms = json!({ "couponId": coupon, "stock": stock }).to_string();
    let url = client.url();
    let answer = client.ask("POST", "/api/v6/coupons", None, &terms).await;
    let answer = answer.map_err(|error| RehearsalError::Unready(format!("{url}: {error}")))?;
    match answer.status {
        200 | 201 => Ok(()),
        409 => Err(RehearsalError::Wrong(format!(
            "coupon {coupon} exists with another stock than {stock}; a rehearsal takes one of its own (--coupon)"
        ))),
        401 | 403 => Err(RehearsalError::Wrong(format!(
            "the coupon was not created: {}; FLOODGATE_KEY holds the key or token that is sent, which needs every scope",
            said(&answer)
        ))),
        _ => Err(RehearsalError::Unready(format!("{url}: the coupon was not created: {}", said(&answer)))),
    }
}

/// What an answer says of itself.
fn said(answer: &Answer) -> String {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let detail = body["detail"].as_str().or(body["title"].as_str()).unwrap_or("without a word");
    format!("{} {}", answer.status, detail.escape_debug())
}
