//! Memory for request bodies and long answers: each is limited, and so is their sum.
//!
//! A limit for each body alone would let as many clients as there are connections hold that much each. What a body
//! takes is counted from its first bytes until it is dropped: a single event's once it is parsed, a batch's once its
//! events are offered. The answer to a batch is counted until the client has taken it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame};

use crate::problem::Problem;

/// What all bodies of a listener share.
#[derive(Debug)]
pub(crate) struct Bodies {
    max_bytes: usize,
    held_bytes: AtomicUsize,
}

/// A share of the sum, given back when dropped.
pub(crate) struct Held {
    bodies: Arc<Bodies>,
    bytes: usize,
}

/// Bytes together with their share of the sum.
struct Owned {
    bytes: Bytes,
    _held: Held,
}

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Held {
    fn grow(&mut self, by: usize) -> Result<(), Problem> {
        let before = self.bodies.held_bytes.fetch_add(by, Ordering::AcqRel);
        self.bytes += by;
        if before + by > self.bodies.max_bytes { Err(Problem::busy()) } else { Ok(()) }
    }

    /// Makes the share this large.
    ///
    /// # Errors
    /// 503 when all bodies together are too large.
    pub(crate) fn resize(&mut self, bytes: usize) -> Result<(), Problem> {
        match bytes.checked_sub(self.bytes) {
            Some(0) => Ok(()),
            Some(more) => self.grow(more),
            None => {
                self.bodies.held_bytes.fetch_sub(self.bytes - bytes, Ordering::AcqRel);
                self.bytes = bytes;
                Ok(())
            }
        }
    }

    /// Holds the share for as long as these bytes live.
    pub(crate) fn until_dropped(self, bytes: Bytes) -> Bytes {
        if bytes.is_empty() { bytes } else { Bytes::from_owner(Owned { bytes, _held: self }) }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.bodies.held_bytes.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// The data of a body's frame; trailers carry nothing for us.
///
/// # Errors
/// 400 for a body that breaks off.
pub(crate) fn data_of(frame: Result<Frame<Bytes>, axum::Error>) -> Result<Option<Bytes>, Problem> {
    let broken = |error| Problem::invalid_request("body", format!("the body broke off: {error}"));
    Ok(frame.map_err(broken)?.into_data().ok())
}

impl Bodies {
    pub(crate) fn new(max_bytes: usize) -> Arc<Self> {
        Arc::new(Self { max_bytes, held_bytes: AtomicUsize::new(0) })
    }

    /// Sets `bytes` aside.
    ///
    /// # Errors
    /// 503 when all bodies together are too large.
    pub(crate) fn hold(self: &Arc<Self>, bytes: usize) -> Result<Held, Problem> {
        let mut held = Held { bodies: Arc::clone(self), bytes: 0 };
        held.grow(bytes)?;
        Ok(held)
    }

    /// Reads a plain `body`, of at most `max_bytes`, to its end. What it takes is free again once the result is dropped.
    ///
    /// # Errors
    /// 413 for a larger body, 503 when all bodies together are too large, 400 for one that breaks off.
    pub(crate) async fn collect(
        self: &Arc<Self>,
        mut body: Body,
        max_bytes: usize,
    ) -> Result<Bytes, Problem> {
        // one that says how large it is takes no share of the sum
        if body.size_hint().lower() > max_bytes as u64 {
            return Err(Problem::body_too_large(max_bytes));
        }
        let mut held = self.hold(0)?;
        let (mut first, mut all) = (Bytes::new(), BytesMut::new());
        while let Some(frame) = body.frame().await {
            let Some(data) = data_of(frame)? else { continue };
            if held.bytes + data.len() > max_bytes {
                return Err(Problem::body_too_large(max_bytes));
            }
            held.grow(data.len())?;
            // most bodies come in one piece, which then needs no copy
            if first.is_empty() && all.is_empty() {
                first = data;
                continue;
            }
            if all.is_empty() {
                all.extend_from_slice(&std::mem::take(&mut first));
            }
            all.extend_from_slice(&data);
        }
        let bytes = if all.is_empty() { first } else { all.freeze() };
        Ok(held.until_dropped(bytes))
    }
}

#[cfg(any(test, feature = "fuzzing"))]
impl Bodies {
    /// What all of them hold now.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held_bytes.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(bodies: &Arc<Bodies>, body: &'static str, max: usize) -> Result<Bytes, &'static str> {
        let collected = futures_executor::block_on(bodies.collect(Body::from(body), max));
        collected.map_err(|problem| problem.name())
    }

    #[test]
    fn each_and_all_are_limited_and_given_back() {
        let bodies = Bodies::new(10);
        let six = collect(&bodies, "sixsix", 6).unwrap_or_default();
        assert_eq!(&six[..], b"sixsix");
        assert_eq!(collect(&bodies, "seven77", 6), Err("body-too-large"));
        assert_eq!(collect(&bodies, "five5", 6), Err("busy"));
        assert_eq!(bodies.held_bytes(), 6);
        drop(six);
        assert_eq!(bodies.held_bytes(), 0);
        assert!(collect(&bodies, "five5", 6).is_ok());
    }

    /// A body that comes in pieces is put together, and is limited and counted as one.
    #[test]
    fn pieces_are_one_body() {
        let pieces = |pieces: &[&'static str]| {
            let pieces: Vec<_> = pieces.iter().map(|piece| Ok::<_, std::io::Error>(*piece)).collect();
            Body::from_stream(futures_util::stream::iter(pieces))
        };
        let bodies = Bodies::new(10);
        let collect = |body, max| futures_executor::block_on(bodies.collect(body, max));
        let six = collect(pieces(&["s", "i", "xsix"]), 6).unwrap();
        assert_eq!((&six[..], bodies.held_bytes()), (&b"sixsix"[..], 6));
        let too_large = collect(pieces(&["sev", "en77"]), 6).unwrap_err();
        assert_eq!(too_large.name(), "body-too-large");
        let busy = collect(pieces(&["fi", "ve5"]), 6).unwrap_err();
        assert_eq!((busy.name(), bodies.held_bytes()), ("busy", 6));
        let four = collect(pieces(&["fo", "", "ur"]), 4).unwrap();
        assert_eq!(&four[..], b"four");
        drop((six, four));
        assert_eq!(bodies.held_bytes(), 0);
    }
}
