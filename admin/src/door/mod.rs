//! Who may ask the operators' listener, whatever is asked: one place in front of all its paths.
//!
//! Two kinds of strangers are kept out. *Whoever reaches the address* is asked for the token, where one is configured: programs
//! send it with every request, browsers, which cannot, have a session instead ([`session`]). *Pages of other sites*, opened in the
//! browser of somebody who may, need no way here of their own, since the browser has one. A name that such a site lets lead to
//! this address is refused ([`host`]), and so is whatever changes something and is asked for from elsewhere ([`site`]).
//!
//! `/healthz` and `/readyz` are open: they tell little, and whoever probes a process knows no secret.

mod admit;
mod form;
mod host;
mod refusals;
mod session;
mod sign_in;
mod site;
mod token;

pub(crate) use admit::{Door, Pass, admit};
pub use host::HostName;
pub(crate) use sign_in::{look, sign_in, sign_out};
pub use token::Token;
