//! What a client's clock says. One bad clock must not freeze a key, so that no such value counts before it was compared with
//! ours.

use serde_json::Value;

use crate::describe::Described;
use crate::field::{Field, FromField};
use crate::invalid::Invalid;
use crate::time::Timestamp;

/// A time, or a version in its place, as it was sent. What it says is told by [`ByClock::until`] alone.
pub struct ByClock<T> {
    said: T,
    /// The field's name.
    name: &'static str,
}

impl ByClock<Timestamp> {
    /// A time that was sent as text under a name.
    pub(crate) fn sent(text: &str, name: &'static str) -> Result<Self, Invalid> {
        let said = text.parse().map_err(|reason| Invalid::value(name, reason))?;
        Ok(Self { said, name })
    }

    /// The time.
    ///
    /// # Errors
    /// [`InvalidKind::Value`](crate::InvalidKind::Value) when it is later than `latest`.
    pub fn until(self, latest: Timestamp) -> Result<Timestamp, Invalid> {
        let Self { said, name } = self;
        if said > latest {
            let detail = format!("lies too far in the future (at most {latest} now)");
            return Err(Invalid::value(name, detail));
        }
        Ok(said)
    }
}

impl ByClock<i64> {
    /// The number, which orders writes as times do, in microseconds.
    ///
    /// # Errors
    /// [`InvalidKind::Value`](crate::InvalidKind::Value) when it is greater than `latest`.
    pub fn until(self, latest: Timestamp) -> Result<i64, Invalid> {
        let Self { said, name } = self;
        let latest = latest.as_micros();
        if said > latest {
            return Err(Invalid::value(
                name,
                format!(
                    "lies too far ahead: no later write could count (at most {latest} now, which is microseconds since 1970)"
                ),
            ));
        }
        Ok(said)
    }
}

impl<T: Described> Described for ByClock<T> {
    fn schema() -> Value {
        T::schema()
    }
}

impl<T: FromField> FromField for ByClock<T> {
    fn from_field(field: Field<'_>) -> Result<Self, Invalid> {
        Ok(Self { said: T::from_field(field)?, name: field.name })
    }
}
