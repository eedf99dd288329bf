//! What becomes of the rest of a request that is answered before its body was read.
//!
//! # The hard idea
//!
//! Most refusals are clear from a request's head: a path that is not there, a content type, a length that is too much.
//! They are answered at once. But many clients send their whole request before they read, and a socket that is closed
//! while bytes for it are still coming is *reset*: the client's system throws away what it had received, the answer
//! among it, and the client learns that the connection broke and not why. So whoever answers early goes on reading and
//! throws away what comes, until the request has ended (then the connection serves the next one) or a bound is reached,
//! in bytes and in time, so that nobody keeps us busy with what was refused.
//!
//! Behind a body in chunks no next one is served: before its end nobody knows whether fields follow it (*trailers*), and the library
//! takes for such, up to an empty line as it should be, what others take for the end and for another request. Nor is one behind an
//! answer that may not leave at once: the library, once it has read a body to its end, takes an answer for done that it only holds
//! ready, and would write a refusal of what comes next in front of the part that the client has not taken.
//!
//! The HTTP library, left alone, closes. It goes on reading a body for as long as somebody asks for its pieces: that is
//! the task that [`Watch::settle`] starts. Bytes that are no request any more (a head that cannot be read, chunks that
//! are none) do not come through the library: [`Settled::Broken`] says that the connection itself has to be read on.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::BoxError;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use parking_lot::Mutex;

/// How much of a request that was answered already is still read.
#[derive(Debug, Clone, Copy)]
pub struct Linger {
    /// Bytes.
    pub max_bytes: usize,
    /// From the answer on.
    pub within: Duration,
}

/// What any socket takes at once: refusals are a fraction of it.
const SMALL_BYTES: u64 = 4096;

/// How a body was left.
enum Left {
    /// Read to its end, or never there.
    Read,
    /// Read to its end, and the fields behind it.
    Trailed,
    /// With more to come.
    Unread(Body),
    /// What came is no body.
    Broken,
}

/// Sees how far a request's body is read.
pub struct Watch(Option<Arc<Mutex<Left>>>);

/// What [`Watch::settle`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The body was read, or is being read to its end or a bound.
    Done,
    /// The body cannot be read any more, though the client may still be sending.
    Broken,
}

impl Watch {
    /// Watches nothing: where a request is answered before it was read its protocol says what becomes of the rest.
    pub fn none(request: Request<impl Whole>) -> (Request, Self) {
        (request.map(Body::new), Self(None))
    }

    /// Watches the body of a request.
    pub fn over(request: Request<impl Whole>) -> (Request, Self) {
        if request.body().is_end_stream() {
            return (request.map(|_| Body::empty()), Self(None));
        }
        let left = Arc::new(Mutex::new(Left::Read));
        let watch = Self(Some(Arc::clone(&left)));
        (request.map(|body| Body::new(Watched { body: Some(body), left })), watch)
    }

    /// Takes care of what was not read, once there is an answer. To be called on a runtime, and the answer to be sent
    /// without waiting for anything in between: a client that waits for `100 Continue` must get the answer first.
    pub fn settle(self, answer: &mut Response, linger: Linger) -> Settled {
        let left = self.0.map_or(Left::Read, |left| std::mem::replace(&mut *left.lock(), Left::Read));
        let body = match left {
            Left::Read => return Settled::Done,
            Left::Trailed => {
                answer.headers_mut().insert(CONNECTION, CLOSE);
                return Settled::Done;
            }
            Left::Unread(body) => body,
            Left::Broken => {
                answer.headers_mut().insert(CONNECTION, CLOSE);
                return Settled::Broken;
            }
        };
        // where the rest is certainly more than is read, and where the client was too slow already, the next request
        // would be sent in vain
        let size = hyper::body::Body::size_hint(&body);
        let (is_beyond, is_chunked) = (size.lower() > linger.max_bytes as u64, size.exact().is_none());
        let answer_bytes = hyper::body::Body::size_hint(answer.body()).upper().unwrap_or(u64::MAX);
        let is_small = answer_bytes <= SMALL_BYTES;
        if is_beyond || is_chunked || !is_small || answer.status() == StatusCode::REQUEST_TIMEOUT {
            answer.headers_mut().insert(CONNECTION, CLOSE);
        }
        tokio::spawn(tokio::time::timeout(linger.within, discard(body, linger.max_bytes)));
        Settled::Done
    }
}

const CLOSE: HeaderValue = HeaderValue::from_static("close");

async fn discard(mut body: Body, max_bytes: usize) {
    let mut left = max_bytes;
    while let Some(Ok(frame)) = body.frame().await {
        match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

/// What may be the body of a request. It is boxed once, with whatever is put around it.
pub trait Whole: hyper::body::Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static {}

impl<B> Whole for B where B: hyper::body::Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static {}

/// A body that says how it was left.
struct Watched<B: Whole> {
    /// Until it has ended or broken.
    body: Option<B>,
    left: Arc<Mutex<Left>>,
}

impl<B: Whole> hyper::body::Body for Watched<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = ready!(Pin::new(body).poll_frame(context));
        match &polled {
            Some(Ok(frame)) if frame.is_trailers() => {
                self.body = None;
                *self.left.lock() = Left::Trailed;
            }
            Some(Ok(_)) => {}
            Some(Err(_)) => {
                self.body = None;
                *self.left.lock() = Left::Broken;
            }
            None => self.body = None,
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(hyper::body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), hyper::body::Body::size_hint)
    }
}

impl<B: Whole> Drop for Watched<B> {
    fn drop(&mut self) {
        if let Some(body) = self.body.take()
            && !hyper::body::Body::is_end_stream(&body)
        {
            *self.left.lock() = Left::Unread(Body::new(body));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::http::HeaderMap;
    use futures_util::{StreamExt, stream};
    use http_body_util::StreamBody;
    use hyper::server::conn::http1;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex, split};

    use super::*;

    const LINGER: Linger = Linger { max_bytes: 10, within: Duration::from_secs(5) };

    /// A body of pieces of four bytes that counts how many were taken; the last of them broken, if it should be.
    fn body(pieces: usize, breaks: bool) -> (Request, Arc<AtomicUsize>) {
        let taken = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&taken);
        let pieces = (1..=pieces).map(move |number| {
            counted.fetch_add(1, Ordering::Relaxed);
            if breaks && number == pieces { Err("broken") } else { Ok(Bytes::from_static(b"four")) }
        });
        (Request::new(Body::from_stream(stream::iter(pieces))), taken)
    }

    async fn settled(request: Request, status: StatusCode, read: usize) -> (Settled, bool) {
        let (request, watch) = Watch::over(request);
        let mut body = request.into_body();
        for _ in 0..read {
            let _ = body.frame().await;
        }
        drop(body);
        let mut answer = Response::new(Body::empty());
        *answer.status_mut() = status;
        let settled = watch.settle(&mut answer, LINGER);
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        (settled, answer.headers().get(CONNECTION).is_some())
    }

    #[tokio::test]
    async fn the_rest_is_read_to_its_end_or_the_bound() {
        let (request, taken) = body(2, false);
        assert_eq!(settled(request, StatusCode::NOT_FOUND, 0).await, (Settled::Done, true));
        assert_eq!(taken.load(Ordering::Relaxed), 2);
        let (request, taken) = body(9, false);
        assert_eq!(settled(request, StatusCode::NOT_FOUND, 1).await, (Settled::Done, true));
        assert_eq!(taken.load(Ordering::Relaxed), 4, "one was read, two fit, the next is beyond");
        let ten_bytes = || Request::new(Body::from("ten bytes!"));
        assert_eq!(settled(ten_bytes(), StatusCode::NOT_FOUND, 0).await, (Settled::Done, false));
        assert_eq!(settled(ten_bytes(), StatusCode::REQUEST_TIMEOUT, 0).await, (Settled::Done, true));
    }

    #[tokio::test]
    async fn nothing_is_looked_at_behind_trailers() {
        let frames =
            || stream::iter([Frame::data(Bytes::from_static(b"four")), Frame::trailers(HeaderMap::new())]);
        let request = || Request::new(Body::new(StreamBody::new(frames().map(Ok::<_, Infallible>))));
        for read in 0..4 {
            assert_eq!(settled(request(), StatusCode::OK, read).await, (Settled::Done, true), "{read} read");
        }
    }

    /// What a client is told that reads only once it has sent all, by an answer larger than what lies between them.
    async fn told(head: &str, rest: &str) -> String {
        let (near, far) = duplex(1000);
        let answered = service_fn(async |request: hyper::Request<hyper::body::Incoming>| {
            let (request, watch) = Watch::over(request.map(Body::new));
            drop(request);
            let mut answer = Response::new(Body::from("x".repeat(10_000)));
            watch.settle(&mut answer, Linger { max_bytes: 1000, ..LINGER });
            Ok::<_, Infallible>(answer)
        });
        let serving = tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(far), answered));
        let (mut from, mut to) = split(near);
        for part in [head, rest] {
            to.write_all(part.as_bytes()).await.unwrap();
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        }
        let mut said = String::new();
        from.read_to_string(&mut said).await.unwrap();
        serving.await.unwrap().unwrap();
        said
    }

    #[tokio::test]
    async fn nothing_stands_in_the_middle_of_an_answer() {
        for (framing, rest) in [
            ("content-length: 2", "{}no request\r\n\r\n"),
            ("transfer-encoding: chunked", "2\r\n{}\r\n0\r\n\r\nno request\r\n\r\n"),
            ("transfer-encoding: chunked", "0\r\n\r\nno request\r\n\r\n"),
        ] {
            let said = told(&format!("GET / HTTP/1.1\r\n{framing}\r\n\r\n"), rest).await;
            let (_, answer) = said.split_once("\r\n\r\n").unwrap();
            assert_eq!(answer, "x".repeat(10_000));
        }
    }

    #[tokio::test]
    async fn what_was_read_or_is_broken_leaves_nothing_to_read() {
        let (request, taken) = body(2, false);
        assert_eq!(settled(request, StatusCode::OK, 3).await, (Settled::Done, false));
        assert_eq!(taken.load(Ordering::Relaxed), 2);
        let (request, _) = body(2, true);
        assert_eq!(settled(request, StatusCode::BAD_REQUEST, 2).await, (Settled::Broken, true));
        let without = Request::new(Body::empty());
        assert_eq!(settled(without, StatusCode::OK, 0).await, (Settled::Done, false));
        // a length beyond the bound is known before
        let long = Request::new(Body::from("eleven byte"));
        assert_eq!(settled(long, StatusCode::PAYLOAD_TOO_LARGE, 0).await, (Settled::Done, true));
    }
}
