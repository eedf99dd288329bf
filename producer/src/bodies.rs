//! Memory for requests and long answers: each is limited, and so are the sum of each client's and the sum of all.
//!
//! A limit for each body alone would let as many clients as there are connections hold that much each. What a body
//! takes is counted from its first bytes until it is dropped: a single event's once it is parsed, a batch's once its
//! events are offered. Besides there are what a head takes that is longer than most (`connection`), requests beside each other
//! on one connection, and of a batch what is known of each event, and then its answer until the client has taken it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame};

use crate::holders::{Common, Holder};
use crate::problem::Problem;

/// What all requests of a listener share.
#[derive(Debug)]
pub(crate) struct Bodies {
    memory: Common,
    held_bytes: Arc<AtomicUsize>,
}

/// A share of the sum, which is a client's and is given back when dropped.
#[derive(Debug)]
pub(crate) struct Held {
    bodies: Arc<Bodies>,
    holder: Arc<Holder>,
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
        let own = self.holder.bytes.fetch_add(by, Ordering::Relaxed);
        self.bytes += by;
        if self.bodies.memory.may_take(own, by, before) { Ok(()) } else { Err(Problem::busy()) }
    }

    fn shrink(&mut self, by: usize) {
        self.bodies.held_bytes.fetch_sub(by, Ordering::AcqRel);
        self.holder.bytes.fetch_sub(by, Ordering::Relaxed);
        self.bytes -= by;
    }

    /// How large it is.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Makes the share this large.
    ///
    /// # Errors
    /// 503 when all together, or all of the client, are too large.
    pub(crate) fn resize(&mut self, bytes: usize) -> Result<(), Problem> {
        match bytes.checked_sub(self.bytes) {
            Some(0) => Ok(()),
            Some(more) => self.grow(more),
            None => {
                self.shrink(self.bytes - bytes);
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
        self.shrink(self.bytes);
    }
}

/// The data of a body's frame; trailers carry nothing for us.
///
/// # Errors
/// 400 for a body that breaks off, or that comes in chunks that are none.
pub(crate) fn data_of(frame: Result<Frame<Bytes>, axum::Error>) -> Result<Option<Bytes>, Problem> {
    // the library's words tell nobody what to do
    let broken = |_| {
        Problem::invalid_request("body", "the body broke off before its end, or its chunks cannot be read")
    };
    Ok(frame.map_err(broken)?.into_data().ok())
}

impl Bodies {
    /// Of so much memory; what of it is held is counted in `held_bytes`, where others look at it.
    pub(crate) fn counted(max_bytes: usize, held_bytes: Arc<AtomicUsize>) -> Arc<Self> {
        Arc::new(Self { memory: Common::bytes(max_bytes), held_bytes })
    }

    /// Sets `bytes` aside for a client.
    ///
    /// # Errors
    /// 503 when all together, or all of the client, are too large.
    pub(crate) fn hold(self: &Arc<Self>, holder: &Arc<Holder>, bytes: usize) -> Result<Held, Problem> {
        let mut held = Held { bodies: Arc::clone(self), holder: Arc::clone(holder), bytes: 0 };
        held.grow(bytes)?;
        Ok(held)
    }

    /// Reads a plain `body` of a client, of at most `max_bytes`, to its end. What it takes is free again once the result is dropped.
    ///
    /// # Errors
    /// 413 for a larger body, 503 when all together, or all of the client, are too large, 400 for one that breaks off.
    pub(crate) async fn collect(
        self: &Arc<Self>,
        holder: &Arc<Holder>,
        mut body: Body,
        max_bytes: usize,
    ) -> Result<Bytes, Problem> {
        // one that says how large it is takes no share of the sum
        if body.size_hint().lower() > max_bytes as u64 {
            return Err(Problem::body_too_large(max_bytes));
        }
        let mut held = self.hold(holder, 0)?;
        let mut len = 0;
        let (mut first, mut all) = (Bytes::new(), Vec::new());
        while let Some(frame) = body.frame().await {
            let Some(data) = data_of(frame)? else { continue };
            len += data.len();
            if len > max_bytes {
                return Err(Problem::body_too_large(max_bytes));
            }
            // most bodies come in one piece, which then needs no copy
            if first.is_empty() && all.is_empty() {
                held.grow(len)?;
                first = data;
                continue;
            }
            if all.capacity() < len {
                let room = (2 * all.capacity()).max(len).min(max_bytes);
                held.resize(room)?;
                all.reserve_exact(room - all.len());
            }
            if all.is_empty() {
                all.extend_from_slice(&std::mem::take(&mut first));
            }
            all.extend_from_slice(&data);
        }
        let bytes = if all.is_empty() { first } else { all.into() };
        Ok(held.until_dropped(bytes))
    }
}

#[cfg(any(test, feature = "fuzzing"))]
impl Bodies {
    pub(crate) fn new(max_bytes: usize) -> Arc<Self> {
        Self::counted(max_bytes, Arc::default())
    }

    /// What all of them hold now.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held_bytes.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(bodies: &Arc<Bodies>, body: &'static str, max: usize) -> Result<Bytes, &'static str> {
        let collected = futures_executor::block_on(bodies.collect(&Arc::default(), Body::from(body), max));
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
        let collect = |body, max| futures_executor::block_on(bodies.collect(&Arc::default(), body, max));
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
    /// Whoever holds most of what there is leaves something to whoever comes next.
    #[test]
    fn one_client_does_not_take_all() {
        let bodies = Bodies::new(100 << 20);
        let (many, few) = (Arc::default(), Arc::default());
        let all: Vec<_> = std::iter::from_fn(|| bodies.hold(&many, 1 << 20).ok()).collect();
        assert_eq!(all.len(), 75);
        let other: Vec<_> = std::iter::from_fn(|| bodies.hold(&few, 1 << 20).ok()).collect();
        assert!((15..25).contains(&other.len()), "{}", other.len());
        drop((all, other));
        assert_eq!((bodies.held_bytes(), many.bytes.load(Ordering::Relaxed)), (0, 0));
    }
}
