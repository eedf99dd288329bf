//! What clients send, for benches of single steps.

use floodgate_schemas::examples::at;
use floodgate_schemas::{Accept, EventId, EventIdSource, IdempotencyKey};

pub const EXPECTATION: &str = r#"{"characterId":123456,"presetNo":2,"totalExpectedCost":"1234567.89","blackCubeCost":"1000000.00","redCubeCost":"200000.50","additionalCubeCost":"30000.25","starforceCost":"4567.14","calculatedAt":"2026-01-01T00:00:00.123456Z"}"#;
pub const LIKE: &str =
    r#"{"type":"like","targetOcid":"target-123","likerAccountId":"liker-123456","action":"LIKE"}"#;

/// What the ingress adds: a new id, whether or not a key was sent.
pub fn accept<'k>(_: Option<&'k IdempotencyKey>) -> Accept<'k> {
    Accept { id: EventIdSource::Fresh(EventId::fresh()), accepted_at: at(0), latest: at(0) }
}
