//! HTTP/2: many requests at a time on one connection, and what keeps such a connection within bounds.
//!
//! # The hard idea
//!
//! What an open connection may cost is known for HTTP/1.1: a head, a body, an answer. Here a client has as many of each as
//! streams may be open, and frames that are no part of a request at all. Most of it the library bounds, by what it is
//! configured with below: it counts streams and what waits in them, refuses heads that are too large or come in too many
//! frames, gives up on whoever resets more streams than it was served or sends empty frames, and answers no frame before its
//! answer to the one before is written. Four things it cannot know, and [`Exchange`] and the connection's stream do:
//!
//! * *Requests that are given up once they are in work*, over and over: a connection has only so much patience with them.
//! * *Answers that are not taken.* The client's window says how much it takes; one that stays shut keeps the answer for ever.
//!   So answers are handed over in pieces, and when nobody takes the next one for as long as a client may take to send
//!   something, the connection ends.
//! * *Idleness*: a connection without a request is told to go (GOAWAY) after its time, and pings are no requests.
//! * *Frames that are no request*: so many are nobody's way to ask (`floodgate_listener`).

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use floodgate_listener::{Exchange, Taking};
use hyper::Request;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::config::HttpConfig;

/// What a client may send of one body, and of all bodies of a connection, before somebody reads. One body comes with 25 MB/s over
/// a round trip of 10 ms so; twice as much for all lets no body that stands still keep another.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 512 << 10;

/// The least that a frame may be limited to, and what everybody sends (RFC 9113, section 4.2).
const FRAME_MAX_BYTES: u32 = 16 << 10;

/// What of an answer waits for the client's window in the library, a stream.
const SEND_BUFFER_BYTES: usize = 64 << 10;

/// An answer is handed over in pieces of a frame.
const PIECE_BYTES: usize = FRAME_MAX_BYTES as usize;

/// Streams that were reset before they were looked at, at once; the library's own default, against rapid resets.
const RESET_AT_ONCE_MAX: usize = 20;

/// Streams that broke the protocol, in the life of a connection. Nobody has reason to for one of them.
const BROKEN_STREAMS_MAX: usize = 100;

/// How long a client may take to say that it knows of the end.
const GOODBYE: Duration = Duration::from_millis(500);

/// How connections of HTTP/2 are served.
pub(crate) fn builder(config: &HttpConfig) -> Builder<TokioExecutor> {
    let mut http = Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new())
        .max_concurrent_streams(config.streams_per_connection_max)
        .max_header_list_size(u32::try_from(config.head_max_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_MAX_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_pending_accept_reset_streams(RESET_AT_ONCE_MAX)
        .max_local_error_reset_streams(BROKEN_STREAMS_MAX);
    http
}

/// Serves a connection until its end, which `stop` brings about once its requests are answered.
pub(crate) async fn serve<F>(
    http: &Builder<TokioExecutor>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    exchange: &Arc<Exchange>,
    stop: &CancellationToken,
    answered: impl Fn(Request<Incoming>) -> F,
) where
    F: Future<Output = Result<Response, Infallible>> + Send + 'static,
{
    let service = service_fn(|request| {
        let (answered, exchange) = (answered(request), Arc::clone(exchange));
        async move {
            let answer = answered.await?;
            Ok::<_, Infallible>(answer.map(|body| Answer::new(body, exchange.answer())))
        }
    });
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    let (mut stopped, mut goodbye) = (pin!(stop.cancelled()), pin!(sleep(GOODBYE)));
    let mut is_leaving = false;
    poll_fn(|context| {
        loop {
            // a client that goes away is its own affair
            if connection.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            if is_leaving {
                break;
            }
            if !exchange.is_idle_over() && stopped.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            is_leaving = true;
            connection.as_mut().graceful_shutdown();
            // who makes room is told, and waited for no longer
            let goodbye_for = if exchange.makes_room() { Duration::ZERO } else { GOODBYE };
            goodbye.as_mut().reset(Instant::now() + goodbye_for);
        }
        if exchange.is_open() {
            goodbye.as_mut().reset(Instant::now() + GOODBYE);
        }
        goodbye.as_mut().poll(context)
    })
    .await;
}

/// An answer that is handed over in pieces.
pub(crate) struct Answer {
    body: Body,
    rest: Bytes,
    taking: Taking,
}

impl Answer {
    fn new(body: Body, taking: Taking) -> Self {
        Self { body, rest: Bytes::new(), taking }
    }
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => frame,
                other => return Poll::Ready(other),
            };
            match frame.into_data() {
                Ok(data) => self.rest = data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        self.taking.took();
        let length = self.rest.len().min(PIECE_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, mut hint) = (self.rest.len() as u64, self.body.size_hint());
        match hint.exact() {
            Some(exact) => SizeHint::with_exact(rest + exact),
            None => {
                hint.set_lower(hint.lower() + rest);
                hint
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn answers_are_handed_over_in_pieces() {
        let exchange = Exchange::new();
        let whole = Bytes::from((0..40_000u32).map(|at| at as u8).collect::<Vec<_>>());
        let mut answer = Answer::new(Body::from(whole.clone()), exchange.answer());
        assert_eq!(hyper::body::Body::size_hint(&answer).exact(), Some(40_000));
        let mut pieces = Vec::new();
        while let Some(frame) = answer.frame().await {
            pieces.push(frame.unwrap().into_data().unwrap());
        }
        let lengths: Vec<_> = pieces.iter().map(Bytes::len).collect();
        assert_eq!(lengths, [16_384, 16_384, 7232]);
        assert!(hyper::body::Body::is_end_stream(&answer) && pieces.concat() == whole);
        assert_eq!(exchange.taking(), Some(3));
        drop(answer);
        assert!(!exchange.is_open());
    }
}
