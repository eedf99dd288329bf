//! What the stream of a connection and its requests tell each other.
//!
//! The stream sees bytes come and not come, and the HTTP library takes them apart. Whether a silent client is idle, sends its
//! request too slowly or only waits for its answer is known to neither alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};

/// How many more requests of a connection may be given up by its client than are answered: whoever asks and takes it back, over
/// and over, keeps us busy and is not bounded by how many requests may be open.
const GIVEN_UP_MAX: i32 = 200;

/// Of one connection.
#[derive(Debug)]
pub struct Exchange {
    /// Requests that began, so far.
    begun: AtomicUsize,
    /// Bytes of the last one's body, where its head says how many.
    body: AtomicU64,
    /// Whether it comes in chunks.
    is_in_chunks: AtomicBool,
    /// Whether two readers may take the lines of its head for different ones.
    is_head_doubted: AtomicBool,
    /// Up to where that is so of what came in one piece behind it.
    doubted_behind: AtomicU64,
    /// Requests in work, bodies that are read, answers that are handed over.
    open: AtomicUsize,
    /// Answers of which the client has not taken all.
    answers: AtomicUsize,
    /// How often something of an answer was taken.
    taken: AtomicUsize,
    /// How many more requests may be given up.
    patience: AtomicI32,
    /// Whether the client may be sending what cannot be read as a request.
    lingers: AtomicBool,
    /// Whether the connection was idle for as long as it may be.
    is_idle_over: AtomicBool,
    /// Whether something is written that the client does not take.
    is_stalled: AtomicBool,
    /// Whether it is to make room for others.
    makes_room: AtomicBool,
}

impl Exchange {
    /// Nothing has come yet.
    #[inline]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            begun: AtomicUsize::new(0),
            body: AtomicU64::new(0),
            is_in_chunks: AtomicBool::new(false),
            is_head_doubted: AtomicBool::new(false),
            doubted_behind: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            answers: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
            patience: AtomicI32::new(GIVEN_UP_MAX),
            lingers: AtomicBool::new(false),
            is_idle_over: AtomicBool::new(false),
            is_stalled: AtomicBool::new(false),
            makes_room: AtomicBool::new(false),
        })
    }

    /// A request begins, with a body of so many bytes; `None` where its head does not say how many.
    #[inline]
    pub fn begin(self: &Arc<Self>, body: Option<u64>) -> Working {
        self.body.store(body.unwrap_or_default(), Ordering::Relaxed);
        self.is_in_chunks.store(body.is_none(), Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Relaxed);
        Working { open: self.hold(), is_answered: false }
    }

    /// Something is open until it is dropped.
    #[inline]
    pub fn hold(self: &Arc<Self>) -> Open {
        self.open.fetch_add(1, Ordering::Relaxed);
        Open(Arc::clone(self))
    }

    /// An answer that the client has to take.
    #[inline]
    pub fn answer(self: &Arc<Self>) -> Taking {
        self.answers.fetch_add(1, Ordering::Relaxed);
        Taking(self.hold())
    }

    /// How many requests began.
    #[inline]
    pub fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }

    /// Bytes of the body of the request that began last.
    #[inline]
    pub(crate) fn body(&self) -> u64 {
        self.body.load(Ordering::Relaxed)
    }

    /// Whether the body of that request comes in chunks, of which there may be more.
    #[inline]
    pub(crate) fn is_in_chunks(&self) -> bool {
        self.is_in_chunks.load(Ordering::Relaxed) && self.is_open()
    }

    /// The next request is doubted for the lines of its head.
    #[inline]
    pub(crate) fn doubt_head(&self) {
        self.is_head_doubted.store(true, Ordering::Relaxed);
    }

    /// Whether the request that has begun is.
    #[inline]
    pub(crate) fn is_head_doubted(&self) -> bool {
        self.is_head_doubted.load(Ordering::Relaxed)
    }

    /// What came behind a head is doubted for a line that ends there.
    #[inline]
    pub(crate) fn doubt(&self, behind: Option<u64>) {
        self.doubted_behind.store(behind.map_or(0, |behind| behind + 1), Ordering::Relaxed);
    }

    /// Whether that lies behind the body of the request that has begun, or may do so.
    #[inline]
    pub(crate) fn is_doubted_behind(&self) -> bool {
        self.doubted_behind.load(Ordering::Relaxed) > self.body()
    }

    /// Whether anything of it is in work.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0
    }

    /// How often something of an answer was taken.
    #[inline]
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// The same, while one is to be taken.
    #[inline]
    pub fn taking(&self) -> Option<usize> {
        (self.answers.load(Ordering::Relaxed) > 0).then(|| self.taken())
    }

    /// Whether the client gave up more requests than anybody has reason to.
    #[inline]
    pub(crate) fn is_abused(&self) -> bool {
        self.patience.load(Ordering::Relaxed) < 0
    }

    #[inline]
    pub(crate) fn lingers(&self) -> bool {
        self.lingers.load(Ordering::Acquire)
    }

    /// What comes now is no request: it is to be read and thrown away when the connection closes.
    #[inline]
    pub(crate) fn linger(&self) {
        self.lingers.store(true, Ordering::Release);
    }

    /// Whether the connection is to end.
    #[inline]
    pub fn is_idle_over(&self) -> bool {
        self.is_idle_over.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn end_idleness(&self) {
        self.is_idle_over.store(true, Ordering::Relaxed);
    }

    /// Something that is written waits for the client, or does not any more.
    #[inline]
    pub fn stall(&self, is_stalled: bool) {
        if self.is_stalled.load(Ordering::Relaxed) != is_stalled {
            self.is_stalled.store(is_stalled, Ordering::Relaxed);
        }
    }

    /// Whether a request is in work, or its answer is being taken.
    #[inline]
    pub fn is_busy(&self) -> bool {
        self.is_open() || self.is_stalled.load(Ordering::Relaxed)
    }

    /// Whether its place was given to somebody else: it ends without a goodbye.
    #[inline]
    pub fn makes_room(&self) -> bool {
        self.makes_room.load(Ordering::Acquire)
    }

    /// Its place is somebody else's.
    #[inline]
    pub fn make_room(&self) {
        self.makes_room.store(true, Ordering::Release);
    }
}

/// Something that is open.
#[derive(Debug)]
pub struct Open(Arc<Exchange>);

impl Drop for Open {
    #[inline]
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request in work: given up by its client, unless it is answered before it is dropped.
#[derive(Debug)]
pub struct Working {
    open: Open,
    is_answered: bool,
}

impl Working {
    /// It was not given up.
    #[inline]
    pub fn answered(mut self) {
        self.is_answered = true;
    }

    /// Of its connection.
    #[inline]
    pub fn exchange(&self) -> &Arc<Exchange> {
        &self.open.0
    }
}

impl Drop for Working {
    #[inline]
    fn drop(&mut self) {
        let patience = &self.open.0.patience;
        if !self.is_answered {
            patience.fetch_sub(1, Ordering::Relaxed);
        } else if patience.load(Ordering::Relaxed) < GIVEN_UP_MAX {
            patience.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// An answer that is handed over.
#[derive(Debug)]
pub struct Taking(Open);

impl Taking {
    /// The client took something of it.
    #[inline]
    pub fn took(&self) {
        self.0.0.taken.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Taking {
    #[inline]
    fn drop(&mut self) {
        self.took();
        self.0.0.answers.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gives_up_more_than_is_answered_is_found_out() {
        let exchange = Exchange::new();
        for _ in 0..10_000 {
            drop(exchange.begin(Some(0)));
            exchange.begin(Some(0)).answered();
        }
        assert!(!exchange.is_abused() && !exchange.is_open());
        let answered = exchange.begun();
        while !exchange.is_abused() {
            drop(exchange.begin(Some(0)));
        }
        assert_eq!(exchange.begun() - answered, 201, "one answer after the last that was given up");
    }

    #[test]
    fn a_connection_is_open_until_its_answers_are_taken() {
        let exchange = Exchange::new();
        let working = exchange.begin(Some(0));
        let answer = exchange.answer();
        working.answered();
        assert!(exchange.is_open());
        assert_eq!(exchange.taking(), Some(0));
        answer.took();
        assert_eq!(exchange.taking(), Some(1));
        drop(answer);
        assert_eq!((exchange.is_open(), exchange.taking()), (false, None));
    }
}
