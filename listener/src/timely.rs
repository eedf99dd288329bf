//! Answers that nobody takes.
//!
//! hyper waits for ever for a client that sends requests and does not read: its answers, and the connection, would be kept as long
//! as it likes. A write that makes no progress for a while ends the connection.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// A stream that breaks when nothing of what is written is taken in time.
pub struct Timely<S> {
    stream: S,
    within: Duration,
    /// Runs while a write makes no progress.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Timely<S> {
    /// Of this stream, whose reader takes something within this time.
    pub fn new(stream: S, within: Duration) -> Self {
        Self { stream, within, stalled: None }
    }

    /// Whether something is written that nobody takes.
    pub fn is_stalled(&self) -> bool {
        self.stalled.is_some()
    }

    fn in_time<T>(&mut self, written: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let within = self.within;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(within)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Timely<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timely<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.in_time(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.in_time(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_flush(context) {
            // without TLS there is never anything to wait for, and that is no progress
            Poll::Pending => self.in_time(Poll::Pending, context),
            flushed => flushed,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = Pin::new(&mut self.stream).poll_shutdown(context);
        self.in_time(closed, context)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn whoever_takes_something_is_waited_for_anew() {
        let (ours, mut theirs) = tokio::io::duplex(4);
        let mut stream = Timely::new(ours, Duration::from_secs(10));
        let writing = tokio::spawn(async move { (stream.write_all(&[7; 16]).await, stream.is_stalled()) });
        let start = Instant::now();
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_secs(8)).await;
            theirs.read_exact(&mut [0; 4]).await.unwrap();
        }
        let (written, is_stalled) = writing.await.unwrap();
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(is_stalled && start.elapsed() == Duration::from_secs(26), "{:?}", start.elapsed());
    }
}
