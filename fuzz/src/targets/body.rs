//! Compressed bodies: `g`zip or `z`std, how many bytes come at a time, and the body. It becomes the same however it comes, never more
//! than a body may be, and nothing of it is held afterwards. What is broken is told as that, and what becomes too much as that;
//! what is both as one or the other, whichever is seen first in the pieces that come.

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

/// A limit by which is seen what a body is that becomes too much.
const ROOMY_BYTES: usize = 40 * MAX_BYTES;

const TOO_LARGE: &str = "body-too-large";
const BROKEN: &str = "malformed-json";

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
        if whole.is_ok() || pieces.is_ok() {
            assert_eq!(whole, pieces);
            assert!(whole.as_ref().is_ok_and(|whole| whole.len() <= MAX_BYTES));
        } else {
            let roomy = Inflation::new(ROOMY_BYTES, ALL_MAX_BYTES);
            let reasons: &[&str] = match roomy.inflate(coding, in_pieces(body, body.len())).await {
                Ok(inflated) if inflated.len() <= MAX_BYTES => &[],
                Ok(_) | Err(TOO_LARGE) => &[TOO_LARGE],
                Err(BROKEN) => &[BROKEN, TOO_LARGE],
                Err(other) => panic!("{other}"),
            };
            for told in [&whole, &pieces] {
                assert!(told.as_ref().is_err_and(|told| reasons.contains(told)), "{told:?}, {reasons:?}");
            }
        }
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
