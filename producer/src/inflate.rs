//! Compressed bodies, inflated while they come, and no byte beyond what a body may have.
//!
//! A kilobyte can say a megabyte. So three things are bounded: what comes, what it becomes, and the memory of the decoder,
//! of which a frame of zstd says itself how much it wants; all three count among all bodies. A body is refused when
//! the first byte too many is inflated, whatever of it is still to come.
//!
//! Inflating is work, by what a body becomes and by its parts, of which it has so many at most. The first of it is done where
//! requests are served, and what is more elsewhere.

#[cfg(test)]
mod tests;

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use bytes::Bytes;
use floodgate_schemas::Invalid;
use http_body_util::BodyExt;
use hyper::body::Body as _;
use tokio::time::{Instant, timeout_at};

use crate::bodies::{Bodies, Held, data_of};
use crate::coding::{Coding, Decoder, PARTS_MAX};
use crate::heavy::Heavy;
use crate::holders::Holder;
use crate::problem::Problem;

/// What of a body is inflated where requests are served: tens of microseconds.
const LIGHT_BYTES: usize = 64 << 10;
const LIGHT_SENT_BYTES: usize = 4 << 10;
const LIGHT_PARTS: usize = 16;

/// What is more waits until so much has come, so that going elsewhere is worth it.
const GATHERED_BYTES: usize = 64 << 10;

/// Inflated at a time.
const CHUNK_BYTES: usize = 16 << 10;

/// A body that comes, and what it has become so far.
struct Inflating {
    coding: Coding,
    decoder: Decoder,
    sent_bytes: usize,
    /// What it has become, and room for more, which is made once and not for each read.
    inflated: Vec<u8>,
    filled: usize,
    max_bytes: usize,
    held: Held,
}

/// How far what has come is inflated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HowFar {
    Light,
    All,
}

/// How far it got with what has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// More has to come.
    Hungry,
    /// What is left is not light.
    Paused,
    /// To the end.
    Done,
}

impl Inflating {
    fn new(coding: Coding, inflater: &Inflater<'_>) -> Result<Self, Problem> {
        let decoder = Decoder::new(coding).map_err(|error| Problem::internal(error.to_string()))?;
        let held = inflater.bodies.hold(inflater.holder, decoder.memory_bytes())?;
        let max_bytes = inflater.max_bytes;
        Ok(Self { coding, decoder, sent_bytes: 0, inflated: Vec::new(), filled: 0, max_bytes, held })
    }

    fn take(&mut self, piece: &[u8]) -> Result<(), Problem> {
        self.sent_bytes += piece.len();
        if self.sent_bytes > self.max_bytes {
            return Err(Problem::body_too_large(self.max_bytes));
        }
        self.decoder.waiting().bytes.extend_from_slice(piece);
        self.count(self.inflated.capacity())
    }

    /// Has the memory for so much inflated counted, with all else.
    fn count(&mut self, inflated_bytes: usize) -> Result<(), Problem> {
        self.held.resize(self.sent_bytes + self.decoder.memory_bytes() + inflated_bytes)
    }

    /// Makes room for more, at most for one byte that is too many.
    fn make_room(&mut self) -> Result<(), Problem> {
        let (len, capacity) = (self.inflated.len(), self.inflated.capacity());
        if self.filled < len {
            return Ok(());
        }
        if len == capacity {
            let wanted = (2 * capacity).max(CHUNK_BYTES).min(self.max_bytes + 1);
            self.count(wanted)?;
            self.inflated.reserve_exact(wanted - len);
        }
        self.inflated.resize(self.inflated.capacity().min(len + CHUNK_BYTES), 0);
        Ok(())
    }

    /// Inflates what has come: all, or only what is light of it.
    fn inflate(&mut self, how_far: HowFar) -> Result<Step, Problem> {
        loop {
            self.make_room()?;
            let read = self.decoder.read(&mut self.inflated[self.filled..]);
            // a frame that began may have made the decoder larger
            self.count(self.inflated.capacity())?;
            match read {
                Ok(Some(bytes)) => self.filled += bytes,
                Ok(None) => return Ok(Step::Done),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Step::Hungry),
                Err(error) => return Err(self.broken(&error)),
            }
            if self.filled > self.max_bytes {
                return Err(Problem::body_too_large(self.max_bytes));
            }
            if how_far == HowFar::Light && !self.is_light() {
                return Ok(Step::Paused);
            }
        }
    }

    /// Whether what was done so far keeps nobody waiting.
    fn is_light(&self) -> bool {
        self.filled < LIGHT_BYTES && self.decoder.parts() <= LIGHT_PARTS
    }

    fn broken(&self, error: &std::io::Error) -> Problem {
        let words = self.coding.words();
        let detail = match error.kind() {
            ErrorKind::UnexpectedEof => format!("is not whole: it ends in the middle of its {words}"),
            ErrorKind::QuotaExceeded => format!("has more than {PARTS_MAX} {}", self.coding.parts()),
            _ => format!("is not valid {words}: {error}"),
        };
        Invalid::malformed(detail).into()
    }

    /// Works off what has come: a little at once, more elsewhere, once it is worth it.
    async fn go_on(mut self, inflater: &Inflater<'_>) -> Result<Self, Problem> {
        let is_light = self.sent_bytes <= LIGHT_SENT_BYTES && self.is_light();
        if is_light {
            let step = self.inflate(HowFar::Light);
            inflater.inflated_bytes.store(self.filled, Ordering::Relaxed);
            if step? != Step::Paused {
                return Ok(self);
            }
        }
        let waiting = self.decoder.waiting();
        if !waiting.is_whole && waiting.bytes.len() < GATHERED_BYTES {
            return Ok(self);
        }
        let work = move || {
            let step = self.inflate(HowFar::All);
            (self.filled, step.map(|_| self))
        };
        let (filled, inflated) = inflater.heavy.run(inflater.holder, work).await?;
        inflater.inflated_bytes.store(filled, Ordering::Relaxed);
        inflated
    }

    /// All of it, with its share of the sum.
    fn finish(self) -> Result<Bytes, Problem> {
        let Self { mut inflated, filled, mut held, .. } = self;
        inflated.truncate(filled);
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
    /// What was inflated, also of a body that is refused.
    pub(crate) inflated_bytes: &'i AtomicUsize,
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
            now.take(&data)?;
            now.decoder.waiting().is_whole = is_whole || body.is_end_stream();
            now = now.go_on(self).await?;
            if now.decoder.waiting().is_whole {
                return now.finish().map(Some);
            }
            inflating = Some(now);
        }
    }
}
