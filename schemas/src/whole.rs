//! An event is all of a datum.

use crate::schema::Schema;
use crate::undecodable::DecodeError;

/// The event that a datum of this schema is.
pub(crate) fn whole<E>(schema: &Schema<E>, mut datum: &[u8]) -> Result<E, DecodeError> {
    let event = (schema.read)(&mut datum)?;
    nothing_left(event, datum)
}

/// An event behind which nothing may follow.
pub(crate) fn nothing_left<E>(event: E, rest: &[u8]) -> Result<E, DecodeError> {
    match rest.len() {
        0 => Ok(event),
        trailing => Err(DecodeError::TrailingBytes(trailing)),
    }
}
