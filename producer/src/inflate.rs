//! Compressed bodies, inflated while they come, and no byte beyond what a body may have.
//!
//! A kilobyte can say a megabyte. So three things are bounded: what comes, what it becomes, and the memory of the decoder,
//! of which a frame of zstd says itself how much it wants; all three count among all bodies. A body is refused when
//! the first byte too many is inflated, whatever of it is still to come.
//!
//! Inflating is work. The first of it is done where requests are served, and what is more elsewhere.

#[cfg(test)]
mod tests;

use std::io::{ErrorKind, Read};
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use floodgate_schemas::Invalid;
use http_body_util::BodyExt;
use hyper::body::Body as _;
use tokio::time::{Instant, timeout_at};

use crate::bodies::{Bodies, Held, data_of};
use crate::coding::{Coding, Decoder};
use crate::heavy::Heavy;
use crate::holders::Holder;
use crate::problem::Problem;

/// What of a body is inflated where requests are served: tens of microseconds.
const LIGHT_BYTES: usize = 64 << 10;
const LIGHT_SENT_BYTES: usize = 16 << 10;

/// What is more waits until so much has come, so that going elsewhere is worth it.
const GATHERED_BYTES: usize = 64 << 10;

/// Inflated at a time.
const CHUNK_BYTES: usize = 16 << 10;

/// A body that comes, and what it has become so far.
struct Inflating {
    coding: Coding,
    decoder: Decoder,
    sent_bytes: usize,
    inflated: Vec<u8>,
    max_bytes: usize,
    held: Held,
}

/// How far it got with what has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// More has to come.
    Hungry,
    /// As far as it was to go.
    Paused,
    /// To the end.
    Done,
}

impl Inflating {
    fn new(coding: Coding, inflater: &Inflater<'_>) -> Result<Self, Problem> {
        let decoder = Decoder::new(coding).map_err(|error| Problem::internal(error.to_string()))?;
        let held = inflater.bodies.hold(inflater.holder, decoder.memory_bytes())?;
        let max_bytes = inflater.max_bytes;
        Ok(Self { coding, decoder, sent_bytes: 0, inflated: Vec::new(), max_bytes, held })
    }

    fn take(&mut self, piece: Bytes) -> Result<(), Problem> {
        self.sent_bytes += piece.len();
        if self.sent_bytes > self.max_bytes {
            return Err(Problem::body_too_large(self.max_bytes));
        }
        self.decoder.pieces().waiting.extend(Some(piece).filter(|piece| !piece.is_empty()));
        self.count(self.inflated.capacity())
    }

    /// Has the memory for so much inflated counted, with all else.
    fn count(&mut self, inflated_bytes: usize) -> Result<(), Problem> {
        self.held.resize(self.sent_bytes + self.decoder.memory_bytes() + inflated_bytes)
    }

    /// Makes room for more, at most for one byte that is too many.
    fn make_room(&mut self) -> Result<(), Problem> {
        let (len, capacity) = (self.inflated.len(), self.inflated.capacity());
        if len == capacity {
            let wanted = (2 * capacity).max(CHUNK_BYTES).min(self.max_bytes + 1);
            self.count(wanted)?;
            self.inflated.reserve_exact(wanted - len);
        }
        Ok(())
    }

    /// Inflates what has come, until `pause_bytes` are inflated.
    fn inflate(&mut self, pause_bytes: usize) -> Result<Step, Problem> {
        loop {
            self.make_room()?;
            let len = self.inflated.len();
            self.inflated.resize(self.inflated.capacity().min(len + CHUNK_BYTES), 0);
            let read = self.decoder.read(&mut self.inflated[len..]);
            self.inflated.truncate(len + read.as_ref().unwrap_or(&0));
            // a frame that began may have made the decoder larger
            self.count(self.inflated.capacity())?;
            match read {
                Ok(0) => return Ok(Step::Done),
                Ok(_) if self.inflated.len() > self.max_bytes => {
                    return Err(Problem::body_too_large(self.max_bytes));
                }
                Ok(_) if self.inflated.len() >= pause_bytes => return Ok(Step::Paused),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Step::Hungry),
                Err(error) => return Err(self.broken(&error)),
            }
        }
    }

    fn broken(&self, error: &std::io::Error) -> Problem {
        let words = self.coding.words();
        let detail = match error.kind() {
            ErrorKind::UnexpectedEof => format!("is not whole: it ends in the middle of its {words}"),
            _ => format!("is not valid {words}: {error}"),
        };
        Invalid::malformed(detail).into()
    }

    /// Works off what has come: a little at once, more elsewhere, once it is worth it.
    async fn go_on(mut self, heavy: &Heavy) -> Result<Self, Problem> {
        let is_light = self.sent_bytes <= LIGHT_SENT_BYTES && self.inflated.len() < LIGHT_BYTES;
        if is_light && self.inflate(LIGHT_BYTES)? != Step::Paused {
            return Ok(self);
        }
        let pieces = self.decoder.pieces();
        if !pieces.is_whole && pieces.len() < GATHERED_BYTES {
            return Ok(self);
        }
        heavy.run(move || self.inflate(usize::MAX).map(|_| self)).await?
    }

    /// All of it, with its share of the sum.
    fn finish(self) -> Result<Bytes, Problem> {
        let Self { inflated, mut held, .. } = self;
        held.resize(inflated.capacity())?;
        Ok(held.until_dropped(inflated.into()))
    }
}

/// Where compressed bodies are read.
pub(crate) struct Inflater<'i> {
    pub(crate) bodies: &'i Arc<Bodies>,
    pub(crate) holder: &'i Arc<Holder>,
    pub(crate) heavy: &'i Heavy,
    pub(crate) max_bytes: usize,
}

impl Inflater<'_> {
    /// Reads a compressed `body` to its end. A body of no bytes is empty.
    ///
    /// # Errors
    /// 413 when more comes than a body may have, or it becomes more; 503 when all bodies together are too large, or too many are
    /// inflated; 400 when it is not in this coding or breaks off. `None` when it has not come until `until`.
    pub(crate) async fn collect(
        &self,
        mut body: Body,
        coding: Coding,
        until: Instant,
    ) -> Result<Option<Bytes>, Problem> {
        if body.size_hint().lower() > self.max_bytes as u64 {
            return Err(Problem::body_too_large(self.max_bytes));
        }
        let mut inflating = None;
        loop {
            let Ok(frame) = timeout_at(until, body.frame()).await else { return Ok(None) };
            let is_whole = frame.is_none();
            let Some(data) = frame.map_or(Ok(Some(Bytes::new())), data_of)? else { continue };
            if data.is_empty() && !is_whole {
                continue;
            }
            let mut now = match inflating {
                Some(inflating) => inflating,
                None if is_whole => return Ok(Some(Bytes::new())),
                None => Inflating::new(coding, self)?,
            };
            now.take(data)?;
            now.decoder.pieces().is_whole = is_whole || body.is_end_stream();
            now = now.go_on(self.heavy).await?;
            if now.decoder.pieces().is_whole {
                return now.finish().map(Some);
            }
            inflating = Some(now);
        }
    }
}
