//! How routes read bodies and heads.

use axum::http::HeaderMap;
use floodgate_schemas::{Accept, Envelope, IdempotencyKey, Invalid, Mixed};
use floodgate_store::NewCoupon;

use super::{cloudevents, coupons, events};

/// The elements of an array, at most so many.
pub fn array(body: &[u8], max: usize) -> Option<Vec<&[u8]>> {
    events::split_array(body, max).ok()
}

/// The numbers of lines, and the lines.
pub fn lines(body: &[u8], max: usize) -> Option<(Vec<usize>, Vec<&[u8]>)> {
    events::split_lines(body, max).ok()
}

/// The coupon that a body creates.
pub fn new_coupon(body: &[u8]) -> Result<NewCoupon, Invalid> {
    coupons::new_coupon(body)
}

/// The event of a CloudEvent in binary mode.
pub fn cloud_event(
    headers: &HeaderMap,
    data: &[u8],
    accept: impl for<'k> FnOnce(Option<&'k IdempotencyKey>) -> Accept<'k>,
) -> Option<Mixed> {
    let envelope = Envelope::read(|name| cloudevents::attribute(headers, name)).ok()?;
    envelope.event(data, accept).ok()
}
