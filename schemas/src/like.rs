//! Likes: an account likes a character, or takes it back.

use std::hash::{Hash, Hasher};

use serde_json::{Value, json};

use crate::by_clock::ByClock;
use crate::datum::{Datum, InvalidDatum};
use crate::describe::Described;
use crate::field::{Field, FromField};
use crate::fields;
use crate::key::{KEY_SEPARATOR, Keying};
use crate::record::record;
use crate::schema::{Codec, Schema};
use crate::{
    Accept, Event, EventId, EventIdSource, EventType, Fields, Invalid, InvalidKind, LikerAccountId, Table,
    TargetOcid, Timestamp,
};

/// What happens to the like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LikeAction {
    /// It begins.
    Like,
    /// It ends.
    Unlike,
}

impl LikeAction {
    /// The word for it in JSON and Avro.
    pub const fn name(self) -> &'static str {
        match self {
            LikeAction::Like => "LIKE",
            LikeAction::Unlike => "UNLIKE",
        }
    }
}

impl Described for LikeAction {
    fn schema() -> Value {
        json!({ "title": "LikeAction", "type": "string", "enum": [Self::Like.name(), Self::Unlike.name()] })
    }
}

impl FromField for LikeAction {
    fn from_field(field: Field<'_>) -> Result<Self, Invalid> {
        match &*field.text()? {
            "LIKE" => Ok(LikeAction::Like),
            "UNLIKE" => Ok(LikeAction::Unlike),
            _ => Err(field.value("must be LIKE or UNLIKE")),
        }
    }
}

/// An enum: the symbol's place in the schema.
impl Datum for LikeAction {
    fn write(&self, out: &mut Vec<u8>) {
        let place = match self {
            LikeAction::Like => 0,
            LikeAction::Unlike => 1,
        };
        i64::write(&place, out);
    }

    #[inline]
    fn read(from: &mut &[u8]) -> Result<Self, InvalidDatum> {
        match i64::read(from)? {
            0 => Ok(LikeAction::Like),
            1 => Ok(LikeAction::Unlike),
            other => Err(InvalidDatum::new(format!("there is no action number {other}"))),
        }
    }
}

/// A like or unlike. State per ([`target_ocid`](Self::target_ocid),
/// [`liker_account_id`](Self::liker_account_id)): the event with the greatest
/// ([`occurred_at`](Self::occurred_at), [`event_id`](Self::event_id)) stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Like {
    /// Names this event.
    pub event_id: EventId,
    /// When the ingress took it.
    pub accepted_at: Timestamp,
    /// Who is liked.
    pub target_ocid: TargetOcid,
    /// Who likes.
    pub liker_account_id: LikerAccountId,
    /// Like or unlike.
    pub action: LikeAction,
    /// When it happened; `accepted_at` unless the client says otherwise.
    pub occurred_at: Timestamp,
}

fields! {
    Like {
        TARGET_OCID: TargetOcid = "targetOcid", "Who is liked.";
        LIKER_ACCOUNT_ID: LikerAccountId = "likerAccountId", "Who likes; not oneself.";
        ACTION: LikeAction = "action", "Whether it begins or ends.";
        OCCURRED_AT: Option<ByClock<Timestamp>> = "occurredAt",
            "When it happened; at most a few minutes ahead. Without it, when it is accepted; needed with an idempotency key.";
    }
}

impl Like {
    /// What is sent where the path and the method say the rest.
    pub const BODY: Table<1> = Table::of([Self::OCCURRED_AT.row()]);

    /// Reads and checks a client's words.
    ///
    /// # Errors
    /// [`Invalid`] names the field at fault.
    pub fn from_fields<const N: usize>(fields: &Fields<'_, N>, accept: &Accept<'_>) -> Result<Self, Invalid> {
        Self::from_fields_at(fields, None, accept)
    }

    /// The same, of what happened at `time` unless the fields say otherwise.
    ///
    /// # Errors
    /// [`Invalid`] names the field at fault.
    pub fn from_fields_at<const N: usize>(
        fields: &Fields<'_, N>,
        time: Option<Timestamp>,
        accept: &Accept<'_>,
    ) -> Result<Self, Invalid> {
        let target = fields.get(&Self::TARGET_OCID)?;
        let liker = fields.get(&Self::LIKER_ACCOUNT_ID)?;
        let action = fields.get(&Self::ACTION)?;
        let occurred_at =
            fields.get(&Self::OCCURRED_AT)?.map(|said| said.until(accept.latest)).transpose()?;
        Self::new(target, liker, action, occurred_at.or(time), accept)
    }

    /// Checks a client's words.
    ///
    /// # Errors
    /// [`InvalidKind::Value`] when an account likes itself, or when an idempotency key comes without
    /// `occurredAt`: its late retry would count as newer than an unlike sent in between.
    pub fn new(
        target_ocid: TargetOcid,
        liker_account_id: LikerAccountId,
        action: LikeAction,
        occurred_at: Option<Timestamp>,
        accept: &Accept<'_>,
    ) -> Result<Self, Invalid> {
        if target_ocid.as_str() == liker_account_id.as_str() {
            return Err(Invalid::field(
                InvalidKind::Value,
                "likerAccountId",
                "equals targetOcid: nobody likes oneself",
            ));
        }
        if occurred_at.is_none() && matches!(accept.id, EventIdSource::Key(_)) {
            return Err(Invalid::field(
                InvalidKind::Value,
                "occurredAt",
                "is required with an idempotency key: a late retry must not undo a newer change",
            ));
        }
        let event_id = accept.event_id(EventType::Like, || {
            let action = action.name();
            format!("{target_ocid}{KEY_SEPARATOR}{liker_account_id}{KEY_SEPARATOR}{action}")
        });
        Ok(Self {
            event_id,
            accepted_at: accept.accepted_at,
            target_ocid,
            liker_account_id,
            action,
            occurred_at: occurred_at.unwrap_or(accept.accepted_at),
        })
    }

    /// The event as clients write it in a batch, with its id and the time of its acceptance.
    pub fn to_json(&self) -> Value {
        json!({
            "type": EventType::Like.name(), "eventId": self.event_id.to_string(),
            "acceptedAt": self.accepted_at.to_string(), "targetOcid": self.target_ocid.as_str(),
            "likerAccountId": self.liker_account_id.as_str(), "action": self.action.name(),
            "occurredAt": self.occurred_at.to_string(),
        })
    }

    /// The row this event writes: its idempotent key.
    pub fn row_key(&self) -> (&TargetOcid, &LikerAccountId) {
        (&self.target_ocid, &self.liker_account_id)
    }

    /// What decides between events on one row: the greatest stands.
    pub fn rank(&self) -> (Timestamp, EventId) {
        (self.occurred_at, self.event_id)
    }

    /// The state this event asks for.
    pub fn liked(&self) -> bool {
        self.action == LikeAction::Like
    }
}

record!(Like { event_id, accepted_at, target_ocid, liker_account_id, action, occurred_at } checked by not_of_oneself);

/// Whoever writes to the topic without asking the ingress is held to the same.
fn not_of_oneself(like: &Like) -> Result<(), InvalidDatum> {
    match like.target_ocid.as_str() == like.liker_account_id.as_str() {
        true => Err(InvalidDatum::new("an account likes itself")),
        false => Ok(()),
    }
}

impl Event for Like {
    const TYPE: EventType = EventType::Like;

    fn codec() -> &'static Codec<Self> {
        static CODEC: Codec<Like> =
            Codec::of(&[Schema::new(0x517a_6105_3d17_3e47, include_str!("../avro/like.avsc"), Like::read)]);
        &CODEC
    }

    fn event_id(&self) -> EventId {
        self.event_id
    }

    fn accepted_at(&self) -> Timestamp {
        self.accepted_at
    }

    fn ranked_at(&self) -> Option<i64> {
        Some(self.occurred_at.as_micros())
    }

    fn hash_words<H: Hasher>(&self, state: &mut H) {
        // all fields, so that none is forgotten: the others are ours, or the natural key
        let Self { event_id: _, accepted_at: _, target_ocid: _, liker_account_id: _, action: _, occurred_at } =
            self;
        occurred_at.hash(state);
    }

    fn write_partition_key(&self, _: Keying, key: &mut String) {
        key.push_str(self.target_ocid.as_str());
        key.push(KEY_SEPARATOR);
        key.push_str(self.liker_account_id.as_str());
    }
}
