//! How long a silent client is waited for.
//!
//! One timer serves a connection as long as it lives: requests begin and end far more often than anybody waits for too long, so
//! it is not set for each but looks, when it fires, whether the wait it was set for still lasts.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::exchange::Exchange;

/// How long a client may be silent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Silence {
    /// Within a request's head, and while it takes nothing of an answer.
    pub(crate) send: Duration,
    /// Between requests.
    pub(crate) idle: Duration,
}

/// The protocol of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    /// The next request.
    Request,
    /// The rest of a head.
    Head,
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
    /// Requests that had begun when bytes came last.
    begun: usize,
    /// Bytes that came since then, while nothing was open: of HTTP/1.1 they are of a head.
    came: usize,
    awaited: Option<(Awaited, Instant)>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    /// Of a connection of which so many bytes have come.
    pub(crate) fn new(silence: Silence, protocol: Protocol, exchange: Arc<Exchange>, came: usize) -> Self {
        Self { silence, protocol, exchange, begun: 0, came, awaited: None, timer: None }
    }

    /// The client sent something. Returns how much it sent since a request began or while none was open.
    pub(crate) fn came(&mut self, bytes: usize) -> usize {
        let begun = self.exchange.begun();
        if begun != self.begun || self.exchange.is_open() {
            self.begun = begun;
            self.came = 0;
        }
        if !self.exchange.is_open() {
            self.came += bytes;
        }
        self.came
    }

    /// The client took something: what is waited for is waited for anew.
    pub(crate) fn took(&mut self) {
        self.awaited = None;
    }

    fn awaits(&mut self) -> Option<(Awaited, Duration)> {
        let Silence { send, idle } = self.silence;
        if self.protocol == Protocol::Http2
            && let Some(taken) = self.exchange.taking()
        {
            return Some((Awaited::Taking(taken), send));
        }
        if self.exchange.is_open() {
            return None;
        }
        let begun = self.exchange.begun();
        if begun != self.begun {
            (self.begun, self.came, self.awaited) = (begun, 0, None);
        }
        match self.protocol {
            Protocol::Http1 if self.came > 0 => Some((Awaited::Head, send)),
            _ => Some((Awaited::Request, idle)),
        }
    }

    /// Nothing has come: ready when that has lasted for too long.
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const SILENCE: Silence = Silence { send: Duration::from_secs(10), idle: Duration::from_secs(75) };

    fn patience(protocol: Protocol, came: usize) -> (Patience, Arc<Exchange>) {
        let exchange = Exchange::new();
        (Patience::new(SILENCE, protocol, Arc::clone(&exchange), came), exchange)
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
        let (mut patience, exchange) = patience(Protocol::Http1, 1);
        assert_eq!(lasts(&mut patience).await, (10, Over::Slow));
        // a request that came whole, and was answered before anybody looked
        patience.came(100);
        exchange.begin().answered();
        assert_eq!(lasts(&mut patience).await, (75, Over::Idle));
        // the next head begins long after, and no byte of it gives it more time
        exchange.begin().answered();
        assert!(!look(&mut patience).await);
        tokio::time::advance(Duration::from_secs(74)).await;
        patience.came(1);
        assert!(!look(&mut patience).await);
        tokio::time::advance(Duration::from_secs(6)).await;
        patience.came(1);
        assert_eq!(lasts(&mut patience).await, (4, Over::Slow));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_idle_whose_request_is_in_work_or_whose_body_is_read() {
        let (mut patience, exchange) = patience(Protocol::Http1, 1);
        let working = exchange.begin();
        let body = exchange.hold();
        assert!(!look(&mut patience).await);
        tokio::time::advance(Duration::from_secs(1000)).await;
        patience.came(1000);
        assert!(!look(&mut patience).await);
        working.answered();
        tokio::time::advance(Duration::from_secs(1000)).await;
        assert!(!look(&mut patience).await);
        drop(body);
        assert_eq!(lasts(&mut patience).await, (75, Over::Idle), "a body is no head");
        // what ends without anybody telling is found out in as long again
        let working = exchange.begin();
        assert!(!look(&mut patience).await);
        working.answered();
        let (waited, over) = lasts(&mut patience).await;
        assert!((75..=150).contains(&waited) && over == Over::Idle, "{waited}");
        // and what is taken of an answer makes it busy
        exchange.begin().answered();
        assert!(!look(&mut patience).await);
        tokio::time::advance(Duration::from_secs(50)).await;
        patience.took();
        assert_eq!(lasts(&mut patience).await, (75, Over::Idle));
    }

    #[tokio::test(start_paused = true)]
    async fn answers_of_http_2_are_taken_in_time() {
        let (mut patience, exchange) = patience(Protocol::Http2, 24);
        assert_eq!(lasts(&mut patience).await, (75, Over::Idle), "what comes may be no request at all");
        let working = exchange.begin();
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
    async fn what_comes_while_nothing_is_open_is_counted() {
        let (mut patience, exchange) = patience(Protocol::Http2, 0);
        assert_eq!((patience.came(5), patience.came(5)), (5, 10));
        let working = exchange.begin();
        assert_eq!(patience.came(5), 0);
        working.answered();
        assert_eq!(patience.came(5), 5);
    }
}
