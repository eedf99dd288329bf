//! How long a silent client is waited for.
//!
//! One timer serves a connection as long as it lives: requests begin and end far more often than anybody waits for too long, so
//! it is not set for each but looks, when it fires, whether the wait it was set for still lasts.
//!
//! Whether a client of HTTP/1.1 is idle or has begun a head is told by what came behind the empty line that ended the last one: the
//! body, whose length that head said, and then the next head, which may have come in one packet with it. Where a body has empty lines
//! itself the next head is known only once it comes by itself. Of HTTP/2 the frames tell it ([`crate::frames`]), and whoever sends a
//! head there can send nothing else meanwhile: it has its time also beside requests in work.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use memchr::memrchr;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::exchange::Exchange;

/// How long a client may be silent.
#[derive(Debug, Clone, Copy)]
pub struct Silence {
    /// Within a request's head, before the first one, and while it takes nothing of an answer.
    pub send: Duration,
    /// Between requests.
    pub idle: Duration,
}

/// The protocol of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// One request at a time.
    Http1,
    /// Many.
    Http2,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    /// The next request.
    Request,
    /// The rest of a head, behind so many requests.
    Head(usize),
    /// That something more of the answers is taken, of which so often something was.
    Taking(usize),
}

/// What became of a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    /// Nothing came between requests.
    Idle,
    /// What was begun was not gone on with.
    Slow,
}

/// How long the client of one connection is waited for.
#[derive(Debug)]
pub(crate) struct Patience {
    silence: Silence,
    protocol: Protocol,
    exchange: Arc<Exchange>,
    /// Requests that had begun when it was looked last.
    begun: usize,
    /// Bytes that came behind the last empty line.
    behind: u64,
    /// The last ones that came: an empty line may come in pieces.
    last: [u8; 2],
    /// Of HTTP/2: a head has begun.
    is_head_open: bool,
    awaited: Option<(Awaited, Instant)>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    /// Of a connection of which nothing has come.
    pub(crate) fn new(silence: Silence, protocol: Protocol, exchange: Arc<Exchange>) -> Self {
        let (begun, behind, last, is_head_open) = (0, 0, [0; 2], false);
        Self { silence, protocol, exchange, begun, behind, last, is_head_open, awaited: None, timer: None }
    }

    /// The client of HTTP/1.1 sent something.
    #[inline]
    pub(crate) fn came(&mut self, bytes: &[u8]) {
        // what is left of a body is not looked at
        let left = usize::try_from(self.exchange.body().saturating_sub(self.behind)).unwrap_or(usize::MAX);
        let end = if left < bytes.len() { end_of_head(self.last, bytes, left) } else { None };
        match end {
            Some(end) => self.behind = (bytes.len() - end) as u64,
            None => self.behind += bytes.len() as u64,
        }
        match bytes {
            [] => {}
            [only] => self.last = [self.last[1], *only],
            [.., before, last] => self.last = [*before, *last],
        }
    }

    /// The client of HTTP/2 sent something, and a head has begun with it, or not.
    #[inline]
    pub(crate) fn came_within_head(&mut self, is_head_open: bool) {
        self.is_head_open = is_head_open;
    }

    /// Whether a head has begun, while nothing is open; a new connection is one to ask at once.
    fn is_within_head(&mut self) -> bool {
        let body = self.exchange.body();
        let is_within = self.protocol == Protocol::Http1 && (self.behind > body || self.begun == 0);
        if !is_within {
            // whatever comes now is of a head
            self.behind = body;
        }
        is_within
    }

    /// Bytes of a head that has not come to its end, while nothing is open.
    pub(crate) fn of_head(&self) -> usize {
        usize::try_from(self.behind.saturating_sub(self.exchange.body())).unwrap_or(usize::MAX)
    }

    /// The client took something: what is waited for is waited for anew.
    #[inline]
    pub(crate) fn took(&mut self) {
        self.awaited = None;
    }

    fn awaits(&mut self) -> Option<(Awaited, Duration)> {
        let Silence { send, idle } = self.silence;
        let begun = self.exchange.begun();
        if self.is_head_open {
            return Some((Awaited::Head(begun), send));
        }
        if self.protocol == Protocol::Http2
            && let Some(taken) = self.exchange.taking()
        {
            return Some((Awaited::Taking(taken), send));
        }
        if self.exchange.is_open() {
            return None;
        }
        if begun != self.begun {
            (self.begun, self.awaited) = (begun, None);
        }
        match self.is_within_head() {
            true => Some((Awaited::Head(begun), send)),
            // of HTTP/2, which may have said what it speaks and then nothing
            false if begun == 0 => Some((Awaited::Request, send)),
            false => Some((Awaited::Request, idle)),
        }
    }

    /// Nothing has come: ready when that has lasted for too long.
    #[inline]
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Over> {
        let Some((awaited, at_most)) = self.awaits() else {
            self.awaited = None;
            self.look_again(context);
            return Poll::Pending;
        };
        let until = match self.awaited {
            Some((before, until)) if before == awaited => until,
            _ => Instant::now() + at_most,
        };
        self.awaited = Some((awaited, until));
        ready!(self.poll_until(until, context));
        Poll::Ready(if awaited == Awaited::Request { Over::Idle } else { Over::Slow })
    }

    /// What is open may end without anybody here being told.
    fn look_again(&mut self, context: &mut Context<'_>) {
        if self.timer.as_ref().is_none_or(|timer| timer.is_elapsed()) {
            let _ = self.poll_until(Instant::now() + self.silence.idle, context);
        }
    }

    fn poll_until(&mut self, until: Instant, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.timer {
            None => self.timer = Some(Box::pin(sleep_until(until))),
            // it is set, and wakes us in time
            Some(timer) if !timer.is_elapsed() && timer.deadline() <= until => return Poll::Pending,
            Some(timer) if timer.deadline() >= until && timer.is_elapsed() => return Poll::Ready(()),
            Some(timer) => timer.as_mut().reset(until),
        }
        match &mut self.timer {
            Some(timer) => timer.as_mut().poll(context),
            None => Poll::Pending,
        }
    }
}

/// Where the last empty line ends, which does not begin before `from`; `last` came before.
fn end_of_head(last: [u8; 2], bytes: &[u8], from: usize) -> Option<usize> {
    let before = |at: usize, back: usize| if at >= back { bytes[at - back] } else { last[2 + at - back] };
    let mut until = bytes.len();
    while let Some(at) = memrchr(b'\n', &bytes[from..until]).map(|at| from + at) {
        let is_empty = before(at, 1) == b'\n' || before(at, 1) == b'\r' && before(at, 2) == b'\n';
        if is_empty {
            return Some(at + 1);
        }
        until = at;
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const SILENCE: Silence = Silence { send: Duration::from_secs(10), idle: Duration::from_secs(75) };

    const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

    fn patience(protocol: Protocol, came: &[u8]) -> (Patience, Arc<Exchange>) {
        let exchange = Exchange::new();
        let mut patience = Patience::new(SILENCE, protocol, Arc::clone(&exchange));
        patience.came(came);
        (patience, exchange)
    }

    /// How long it lasts from here on, and what then is over.
    async fn lasts(patience: &mut Patience) -> (u64, Over) {
        let start = Instant::now();
        let over = poll_fn(|context| patience.poll(context)).await;
        (start.elapsed().as_secs(), over)
    }

    /// Looks once, as the HTTP library does when it has nothing else to do.
    async fn look(patience: &mut Patience) -> bool {
        poll_fn(|context| Poll::Ready(patience.poll(context).is_ready())).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_has_its_time_from_the_first_byte_on() {
        let (mut silent, _) = patience(Protocol::Http1, &[]);
        assert_eq!(lasts(&mut silent).await, (10, Over::Slow), "also where none comes at all");
        let (mut patience, exchange) = patience(Protocol::Http1, b"G");
        assert_eq!(lasts(&mut patience).await, (10, Over::Slow));
        // a request that came whole, and was answered before anybody looked
        patience.came(&GET[1..]);
        exchange.begin(Some(0)).answered();
        assert_eq!(lasts(&mut patience).await, (75, Over::Idle));
        // the next head begins long after, and no byte of it gives it more time
        exchange.begin(Some(0)).answered();
        assert!(!look(&mut patience).await);
        tokio::time::advance(Duration::from_secs(74)).await;
        patience.came(b"G");
        assert!(!look(&mut patience).await);
        tokio::time::advance(Duration::from_secs(6)).await;
        patience.came(b"G");
        assert_eq!(lasts(&mut patience).await, (4, Over::Slow));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_idle_whose_request_is_in_work_or_whose_body_is_read() {
        let (mut patience, exchange) = patience(Protocol::Http1, b"G");
        patience.came(b"ET / HTTP/1.1\n\n");
        let working = exchange.begin(Some(1000));
        let body = exchange.hold();
        assert!(!look(&mut patience).await);
        tokio::time::advance(Duration::from_secs(1000)).await;
        patience.came(&[b'\n'; 1000]);
        assert!(!look(&mut patience).await);
        working.answered();
        tokio::time::advance(Duration::from_secs(1000)).await;
        assert!(!look(&mut patience).await);
        drop(body);
        assert_eq!(lasts(&mut patience).await, (75, Over::Idle), "a body is no head");
        // what ends without anybody telling is found out in as long again
        patience.came(GET);
        let working = exchange.begin(Some(0));
        assert!(!look(&mut patience).await);
        working.answered();
        let (waited, over) = lasts(&mut patience).await;
        assert!((75..=150).contains(&waited) && over == Over::Idle, "{waited}");
        // and what is taken of an answer makes it busy
        exchange.begin(Some(0)).answered();
        assert!(!look(&mut patience).await);
        tokio::time::advance(Duration::from_secs(50)).await;
        patience.took();
        assert_eq!(lasts(&mut patience).await, (75, Over::Idle));
    }

    #[tokio::test(start_paused = true)]
    async fn answers_of_http_2_are_taken_in_time() {
        let (mut patience, exchange) = patience(Protocol::Http2, &[]);
        let working = exchange.begin(Some(0));
        let answer = exchange.answer();
        working.answered();
        assert!(!look(&mut patience).await);
        tokio::time::advance(Duration::from_secs(8)).await;
        answer.took();
        assert_eq!(lasts(&mut patience).await, (10, Over::Slow));
        drop(answer);
        assert_eq!(lasts(&mut patience).await, (75, Over::Idle));
    }

    #[tokio::test(start_paused = true)]
    async fn heads_of_http_2_come_in_time() {
        let (mut patience, exchange) = patience(Protocol::Http2, &[]);
        assert_eq!(lasts(&mut patience).await, (10, Over::Idle), "none comes at all");
        patience.came_within_head(true);
        assert_eq!(lasts(&mut patience).await, (10, Over::Slow));
        patience.came_within_head(false);
        let working = exchange.begin(Some(0));
        // beside one in work, and no byte gives it more time
        patience.came_within_head(true);
        assert!(!look(&mut patience).await);
        tokio::time::advance(Duration::from_secs(6)).await;
        patience.came_within_head(true);
        assert_eq!(lasts(&mut patience).await, (4, Over::Slow));
        // the next one has its own time
        exchange.begin(Some(0)).answered();
        assert_eq!(lasts(&mut patience).await, (10, Over::Slow));
        patience.came_within_head(false);
        working.answered();
        assert_eq!(lasts(&mut patience).await, (75, Over::Idle), "what comes may be no request at all");
    }

    /// What is awaited of a client that sends requests in such pieces, each of which has a body so long where one ends in it.
    async fn awaited(pieces: &[(&[u8], &[u64])]) -> Over {
        let (mut patience, exchange) = patience(Protocol::Http1, &[]);
        for (piece, bodies) in pieces {
            patience.came(piece);
            bodies.iter().for_each(|body| exchange.begin(Some(*body)).answered());
        }
        lasts(&mut patience).await.1
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_may_begin_in_the_packet_of_the_request_before() {
        let put: &[u8] = b"PUT / HTTP/1.1\r\ncontent-length: 9\r\n\r\n\r\n\r\n.....";
        let chunks: &[u8] = b"\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
        let with = |before: &[u8], rest: &[u8]| [before, rest].concat();
        for whole in [GET, b"GET / HTTP/1.1\n\n", &with(GET, GET), chunks] {
            assert_eq!(awaited(&[(whole, &[0])]).await, Over::Idle, "{whole:?}");
            assert_eq!(awaited(&[(&with(whole, b"G"), &[0])]).await, Over::Slow, "{whole:?}");
            for at in 1..whole.len() {
                let (begin, end) = whole.split_at(at);
                assert_eq!(awaited(&[(begin, &[]), (end, &[0])]).await, Over::Idle, "{whole:?} at {at}");
                let more = with(end, b"G");
                assert_eq!(awaited(&[(begin, &[]), (&more, &[0])]).await, Over::Slow, "{whole:?} at {at}");
            }
        }
        // bodies of which the length is known, whatever is in them
        assert_eq!(awaited(&[(put, &[9])]).await, Over::Idle);
        let (head, body) = put.split_at(put.len() - 9);
        assert_eq!(awaited(&[(head, &[9]), (body, &[])]).await, Over::Idle);
        assert_eq!(awaited(&[(head, &[9]), (&with(body, b"G"), &[])]).await, Over::Slow);
        assert_eq!(awaited(&[(head, &[9]), (&with(body, GET), &[0])]).await, Over::Idle);
        let all = [head, body, GET, b"G"].concat();
        assert_eq!(awaited(&[(&all, &[9, 0])]).await, Over::Slow);
    }
}
