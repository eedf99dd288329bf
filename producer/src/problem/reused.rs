//! Which key was used before, by the name that its sender knows.

use super::{IDEMPOTENCY_KEY_REUSED, Problem};

/// Where the key of an event stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum KeyIn {
    /// In a header field of its request.
    #[default]
    Header,
    /// In a field of the event, which is one of many.
    Event,
    /// In its envelope, as source and id.
    Envelope,
    /// The same, and the envelope is in the request's head.
    Head,
}

impl KeyIn {
    const fn field(self) -> &'static str {
        match self {
            Self::Header => "Idempotency-Key",
            Self::Event => "idempotencyKey",
            Self::Envelope => "id",
            Self::Head => "ce-id",
        }
    }

    const fn detail(self) -> &'static str {
        match self {
            Self::Header | Self::Event => {
                "an event of the same kind and key was sent with this idempotency key and other values; a key belongs to \
                 one write"
            }
            Self::Envelope | Self::Head => {
                "an event of the same kind and key was sent with this source and id and other values; source and id belong \
                 to one write"
            }
        }
    }
}

impl Problem {
    /// 422: one key, two bodies.
    pub(crate) fn idempotency_key_reused() -> Self {
        Self::new(&IDEMPOTENCY_KEY_REUSED, "").under(KeyIn::default())
    }

    /// The same where the key stands there, if the problem is about one.
    pub(crate) fn under(self, key: KeyIn) -> Self {
        match self.kind == &IDEMPOTENCY_KEY_REUSED {
            true => Self::new(&IDEMPOTENCY_KEY_REUSED, key.detail()).at(key.field()),
            false => self,
        }
    }
}
