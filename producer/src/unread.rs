//! The body of a request, which keeps its connection busy until it is read or left.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};

use crate::exchange::{Exchange, Open};

/// A body of which there may be more to come.
pub(crate) struct Unread {
    body: Incoming,
    _open: Option<Open>,
}

impl Unread {
    pub(crate) fn over(body: Incoming, exchange: &Arc<Exchange>) -> Self {
        let open = (!body.is_end_stream()).then(|| exchange.hold());
        Self { body, _open: open }
    }
}

impl hyper::body::Body for Unread {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
