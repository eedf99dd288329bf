//! What others refuse, as clients are told.

use floodgate_buffer::Refused;
use floodgate_listener::Fault;
use floodgate_schemas::{Invalid, InvalidKind, NoSchemaId};
use floodgate_store::ReadError;

use super::{
    BODY_TOO_LARGE, DATABASE_UNAVAILABLE, HEAD_TOO_LARGE, INVALID_FIELD, INVALID_REQUEST, INVALID_VALUE,
    MALFORMED_JSON, NOT_STORED, Problem, QUEUE_FULL, SHUTTING_DOWN, TARGET_TOO_LONG,
};

impl From<Invalid> for Problem {
    fn from(invalid: Invalid) -> Self {
        let kind = match invalid.kind {
            InvalidKind::Malformed => &MALFORMED_JSON,
            InvalidKind::Shape => &INVALID_FIELD,
            InvalidKind::Value => &INVALID_VALUE,
        };
        let detail = match &invalid.field {
            Some(_) => invalid.to_string(),
            None => format!("the body {}", invalid.detail),
        };
        Self { field: invalid.field.map(String::from), ..Self::new(kind, detail) }
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Target(Some(most)) => {
                Self::new(&TARGET_TOO_LONG, format!("path and query have at most {most} bytes"))
            }
            Fault::Target(None) => Self::new(&TARGET_TOO_LONG, "path and query are too long"),
            Fault::Size => {
                Self::new(&HEAD_TOO_LARGE, "too many header fields, or too long ones (http.head_max_bytes)")
            }
            Fault::Part { field, detail } => Self::invalid_request(field, detail),
            Fault::NoRequest => Self::new(&INVALID_REQUEST, "this is not an HTTP/1.1 request"),
            Fault::NoRoom => Self::busy()
                .because("a head would take more than its client may have of http.bodies_max_bytes"),
        }
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Full => Self::new(&QUEUE_FULL, "the queue is full; send the event again later"),
            Refused::Unavailable(cause) => Self::not_stored(cause),
            Refused::TooLarge => Self::new(&BODY_TOO_LARGE, "the event is larger than its topic takes"),
            Refused::Closed => Self::new(&SHUTTING_DOWN, "send the event to another instance"),
        }
    }
}

impl From<NoSchemaId> for Problem {
    fn from(no_id: NoSchemaId) -> Self {
        let detail = "this instance has no ids of the schema registry yet; send the event again";
        Self::new(&NOT_STORED, detail).because(no_id.to_string())
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Unavailable(cause) | ReadError::Unanswered(cause) => {
                Self::new(&DATABASE_UNAVAILABLE, "the request cannot be answered now; send it again later")
                    .because(cause)
            }
            ReadError::Unreadable(cause) => Self::internal(cause),
        }
    }
}
