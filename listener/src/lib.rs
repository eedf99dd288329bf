//! What lies between the HTTP library and those who connect, for both listeners: the clients' and the operators'.
//!
//! A connection is a stream ([`Connection`]) that both sides tell something ([`Exchange`]); a request is [`Begun`] when the library has
//! read its head, which is looked at (`head`), as is what becomes of the rest of it (`rest`), whoever answers it. What listeners differ
//! in, they bring as an [`Owner`].

mod always;
mod begun;
mod connection;
mod crowd;
mod exchange;
mod frames;
mod head;
mod line_ends;
mod patience;
mod replacement;
mod rest;
mod timely;
mod unread;

pub use always::always;
pub use begun::{Begun, Bounds};
pub use connection::{Connection, FirstBytes, LITTLE_BYTES, Limits, Owner};
pub use crowd::{Counted, Crowd, Places, site};
pub use exchange::{Exchange, Open, Taking, Working};
pub use head::Fault;
pub use patience::{Protocol, Silence};
pub use replacement::{MEDIA_TYPE, Refusal};
pub use rest::Linger;
pub use timely::Timely;
pub use unread::Unread;
