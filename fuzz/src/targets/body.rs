//! Compressed bodies: `g`zip or `z`std, how many bytes come at a time, and the body. It becomes the same however it comes, never more
//! than a body may be, and nothing of it is held afterwards.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use floodgate_producer::fuzzing::Inflation;
use hyper::body::Frame;

use super::world::in_time;

const MAX_BYTES: usize = 100_000;
const ALL_MAX_BYTES: usize = 32 << 20;

pub fn run(bytes: &[u8]) {
    let [coding, size, body @ ..] = bytes else { return };
    let coding = match coding {
        b'g' => "gzip",
        b'z' => "zstd",
        _ => return,
    };
    in_time(async {
        let inflation = Inflation::new(MAX_BYTES, ALL_MAX_BYTES);
        let whole = inflation.inflate(coding, in_pieces(body, body.len())).await;
        let pieces = inflation.inflate(coding, in_pieces(body, usize::from(*size))).await;
        assert_eq!(whole, pieces);
        assert!(whole.as_ref().is_ok_and(|whole| whole.len() <= MAX_BYTES) || whole.is_err());
        drop((whole, pieces));
        assert_eq!(inflation.held_bytes(), 0);
    });
}

struct Pieces(VecDeque<Bytes>);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }
}

fn in_pieces(body: &[u8], size: usize) -> Body {
    Body::new(Pieces(body.chunks(size.max(1)).map(Bytes::copy_from_slice).collect()))
}
