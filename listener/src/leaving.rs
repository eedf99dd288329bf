//! When an answer has left.
//!
//! The HTTP library keeps the pieces of a body until the socket has taken them, and drops them then. So their end tells, and it
//! comes in any case: the answer has left, or its connection is gone.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::sync::oneshot;

/// Nothing is ever sent: it is dropped with the last that belongs to an answer.
type End = Arc<oneshot::Sender<Infallible>>;

/// Done when all of the body of an answer has left, or will not any more.
pub(crate) fn left(answer: &mut Response) -> impl Future<Output = ()> + Send + use<> {
    let (end, ended) = oneshot::channel();
    let body = std::mem::take(answer.body_mut());
    *answer.body_mut() = Body::new(Leaving { body, end: Arc::new(end) });
    async move {
        let _ = ended.await;
    }
}

/// A body whose pieces know what they are pieces of.
struct Leaving {
    body: Body,
    end: End,
}

struct Piece {
    bytes: Bytes,
    _end: End,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl hyper::body::Body for Leaving {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        let of = |bytes| Bytes::from_owner(Piece { bytes, _end: Arc::clone(&self.end) });
        polled.map(|frame| frame.map(|frame| frame.map(|frame| frame.map_data(of))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::pin::pin;
    use std::time::Duration;

    use axum::extract::Request;
    use futures_util::future::poll_immediate;
    use http_body_util::BodyExt;
    use hyper::server::conn::http1;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex, split};

    use super::*;
    use crate::{Linger, Watch};

    const LINGER: Linger = Linger { max_bytes: 1000, within: Duration::from_secs(5) };

    #[tokio::test]
    async fn an_answer_has_left_when_its_last_piece_is_dropped() {
        let mut answer = Response::new(Body::from("all of it"));
        let mut has_left = pin!(left(&mut answer));
        assert_eq!(hyper::body::Body::size_hint(answer.body()).exact(), Some(9));
        let mut body = answer.into_body();
        let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(*piece, *b"all of it");
        drop(body);
        assert_eq!(poll_immediate(has_left.as_mut()).await, None);
        drop(piece);
        assert_eq!(poll_immediate(has_left).await, Some(()));
    }

    /// What a client is told that reads only once it has sent all: each answer larger than what lies between them.
    async fn told(sent: &'static [u8]) -> String {
        let (near, far) = duplex(1000);
        let answered = service_fn(async |request: hyper::Request<hyper::body::Incoming>| {
            let (request, watch) = Watch::over(Request::new(Body::new(request.into_body())));
            drop(request);
            let mut answer = Response::new(Body::from("x".repeat(10_000)));
            watch.settle(&mut answer, LINGER);
            Ok::<_, Infallible>(answer)
        });
        let serving = tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(far), answered));
        let (mut from, mut to) = split(near);
        to.write_all(sent).await.unwrap();
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        drop(to);
        let mut said = String::new();
        from.read_to_string(&mut said).await.unwrap();
        let _ = serving.await.unwrap();
        said
    }

    #[tokio::test]
    async fn what_is_refused_next_stands_behind_the_answer() {
        for sent in [
            b"GET / HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}no request\r\n\r\n".as_slice(),
            b"GET / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\nno request\r\n\r\n",
        ] {
            let said = told(sent).await;
            let (_, body) = said.split_once("\r\n\r\n").unwrap();
            let (answer, refusal) = body.split_at(10_000);
            assert_eq!(answer, "x".repeat(10_000));
            assert!(refusal.starts_with("HTTP/1.1 400 "), "{refusal}");
        }
    }
}
