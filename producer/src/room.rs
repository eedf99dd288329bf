//! Memory for what comes of a client of HTTP/1.1 before anybody has asked for it.
//!
//! The HTTP library reads into a buffer of its own, which grows with a head that is long, and with every read that fills it, and does
//! not shrink again: many connections that did no more than send much once would hold a megabyte for every ten of them. How large it is it
//! shows with each read, as the room that it offers. What is more than every connection has is counted among all requests' memory;
//! where there is none left a head is refused, and of a body only so much is read at a time that the buffer does not grow.

use std::sync::Arc;

use floodgate_listener::LITTLE_BYTES;

use crate::bodies::{Bodies, Held};
use crate::holders::Holder;

/// One buffer may be filled and held by a request while the next one is read into.
const BUFFERS: usize = 2;

/// What a connection's buffer takes.
pub(crate) struct Room {
    held: Option<Held>,
}

impl Room {
    pub(crate) fn new(bodies: &Arc<Bodies>, holder: &Arc<Holder>) -> Self {
        Self { held: bodies.hold(holder, 0).ok() }
    }

    /// Whether more is counted than every connection has.
    pub(crate) fn has_grown(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.bytes() > 0)
    }

    /// Has a buffer of so many bytes counted. While a request is worked on that may hold the one before nothing is given back. Whether
    /// it may be that large.
    pub(crate) fn is_for(&mut self, bytes: usize, is_in_work: bool) -> bool {
        let wanted = if bytes <= LITTLE_BYTES { 0 } else { BUFFERS * bytes };
        let Some(held) = &mut self.held else { return wanted == 0 };
        let before = held.bytes();
        if is_in_work && wanted <= before {
            return true;
        }
        let is_granted = held.resize(wanted).is_ok();
        if !is_granted {
            let _ = held.resize(before);
        }
        is_granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_that_have_grown_are_counted_while_they_are_large() {
        let (bodies, holder) = (Bodies::new(100_000), Arc::default());
        let mut room = Room::new(&bodies, &holder);
        assert!(room.is_for(LITTLE_BYTES, false) && !room.has_grown());
        assert!(room.is_for(16_384, false) && bodies.held_bytes() == 32_768);
        assert!(room.is_for(100, true) && bodies.held_bytes() == 32_768, "a request may have its head there");
        let mut other = Room::new(&bodies, &holder);
        assert!(other.is_for(16_384, false) && !other.is_for(65_536, false));
        assert_eq!(bodies.held_bytes(), 65_536, "what it has it has still");
        assert!(room.is_for(100, false) && bodies.held_bytes() == 32_768);
        drop((room, other));
        assert_eq!(bodies.held_bytes(), 0);
    }
}
