//! Bodies that keep their connection busy: of a request until it is read or left, and of an answer until it is handed over.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use crate::exchange::{Exchange, Open};

/// A body of which there may be more to come.
pub struct Unread<B> {
    body: B,
    _open: Option<Open>,
}

impl<B: Body> Unread<B> {
    /// Of this one.
    pub fn over(body: B, exchange: &Arc<Exchange>) -> Self {
        let open = (!body.is_end_stream()).then(|| exchange.hold());
        Self { body, _open: open }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Unread<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
