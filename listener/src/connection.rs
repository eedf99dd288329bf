//! What lies between the HTTP library and a client's socket.
//!
//! **Refusals get a body.** A head that never becomes a request (not HTTP, too many fields, too long) is answered by
//! hyper itself, with a status and nothing else, and there is no hook for it. Every error of ours has a problem as its
//! body, so the stream below looks at what hyper writes: a head that begins with one of these statuses and has no
//! content type can only be hyper's own, and is replaced. All else passes untouched.
//!
//! **Answers are whole.** Once hyper has read a body to its end it takes an answer for done that it only holds ready, and would write
//! a refusal of what comes next in front of the part that is still to be taken. So while a write waits nothing is read.
//!
//! **Requests come in time.** hyper has one time for an idle connection and for a head that comes in pieces, and none for
//! HTTP/2. What is silence and what is idleness is decided here, where bytes come ([`Patience`]); who takes nothing of what is
//! written has as long as for a head ([`Timely`]).
//!
//! **Memory is counted.** What the library sets aside for what comes is counted, and what is beyond its share is refused ([`Owner`]).
//!
//! **Frames ask for something.** What else a client of HTTP/2 sends is counted as it comes ([`Frames`]).
//!
//! **The first bytes say what is spoken.** Who wants HTTP/2 without TLS begins with its preface, of which no request of
//! HTTP/1.1 has the first three bytes. They are read before the library begins and handed to it again.
//!
//! **Refusals arrive.** Where what comes is no request any more nobody but this stream can read on (see
//! `rest`). So after such a refusal closing means: our half first, which tells the client that the answer
//! is complete; then reading and throwing away until the client closes its half, too, or a bound is reached.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::exchange::Exchange;
use crate::frames::Frames;
use crate::head::Fault;
use crate::line_ends::LineEnds;
use crate::patience::{Over, Patience, Protocol, Silence};
use crate::replacement::{Refusal, Replacement, bare_refusal};
use crate::rest::Linger;
use crate::timely::Timely;

/// The preface of HTTP/2 begins like this, and nothing else that is sent to a server (RFC 9113, section 3.4).
const HTTP_2_PREFIX: &[u8] = b"PRI";

/// What ends no head that has begun, and is none.
const NO_HEAD: &[u8] = b"\0\r\n\r\n";

/// The room that every connection has, and the most that may be read at a time without the library's buffer growing.
pub const LITTLE_BYTES: usize = 8192;

/// Who serves a connection. Unless it says otherwise every buffer may be as large as a head.
pub trait Owner {
    /// Whether the library's buffer is counted as larger than every connection's.
    fn has_grown(&self) -> bool {
        false
    }

    /// Whether that buffer may be so large. While a request is worked on it may hold the one before.
    fn has_room(&mut self, _bytes: usize, _is_in_work: bool) -> bool {
        true
    }

    /// What is told of a head that never becomes a request.
    fn refuse(&mut self, fault: Fault) -> Refusal;
}

/// A client's connection, by a stream of some kind.
pub struct Connection<S, O> {
    stream: Timely<S>,
    protocol: Protocol,
    first: FirstBytes,
    owner: O,
    replacement: Option<Replacement>,
    limits: Limits,
    patience: Patience,
    /// Of HTTP/2.
    frames: Option<Frames>,
    /// Something was to be read while a write waited.
    is_read_put_off: bool,
    /// Of HTTP/1.1, like the next.
    line_ends: LineEnds,
    /// What the library's own refusal stands for.
    fault: Option<Fault>,
    exchange: Arc<Exchange>,
    lingering: Option<Lingering>,
}

/// What a client may take of our time.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long it may be silent, and take nothing.
    pub silence: Silence,
    /// What is read after the last answer.
    pub linger: Linger,
}

/// What was read to learn what is spoken, and is not yet handed on.
#[derive(Debug, Default)]
pub struct FirstBytes {
    bytes: [u8; HTTP_2_PREFIX.len()],
    read: usize,
    taken: usize,
}

impl FirstBytes {
    /// Reads until it is clear what is spoken. `None` where nothing comes.
    pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<(Self, Protocol)> {
        let mut first = Self::default();
        while first.read < HTTP_2_PREFIX.len() {
            match stream.read(&mut first.bytes[first.read..]).await {
                Ok(read) if read > 0 => first.read += read,
                _ => return None,
            }
            if !HTTP_2_PREFIX.starts_with(&first.bytes[..first.read]) {
                return Some((first, Protocol::Http1));
            }
        }
        Some((first, Protocol::Http2))
    }

    fn take(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let rest = &self.bytes[self.taken..self.read];
        let count = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..count]);
        self.taken += count;
        count > 0
    }
}

/// Our half is closed, and the client's is read.
struct Lingering {
    left_bytes: usize,
    until: Pin<Box<Sleep>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin, O: Owner + Unpin> Connection<S, O> {
    /// Of a client that began with these bytes, which say what it speaks. What its requests do is told to `exchange`.
    pub fn new(
        stream: S,
        (first, protocol): (FirstBytes, Protocol),
        limits: Limits,
        owner: O,
        exchange: Arc<Exchange>,
    ) -> Self {
        Self {
            stream: Timely::new(stream, limits.silence.send),
            protocol,
            first,
            owner,
            replacement: None,
            limits,
            patience: Patience::new(limits.silence, protocol, Arc::clone(&exchange)),
            frames: (protocol == Protocol::Http2).then(Frames::new),
            is_read_put_off: false,
            line_ends: LineEnds::default(),
            fault: None,
            exchange,
            lingering: None,
        }
    }

    /// Nothing has come, which may have lasted for too long.
    fn poll_patience(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // who takes nothing of what is written has a time of its own
        if self.stream.is_stalled() {
            return Poll::Pending;
        }
        match ready!(self.patience.poll(context)) {
            // an end in order is up to whoever serves the connection
            Over::Idle if self.protocol == Protocol::Http2 => {
                self.exchange.end_idleness();
                Poll::Pending
            }
            Over::Idle | Over::Slow => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
        }
    }

    /// Whether a buffer that offers so much room may be filled.
    fn may_fill(&mut self, room: usize) -> bool {
        if self.protocol == Protocol::Http2 || room <= LITTLE_BYTES && !self.owner.has_grown() {
            return true;
        }
        let is_in_work = self.exchange.is_open();
        let of_head = if is_in_work { 0 } else { self.patience.of_head() };
        self.owner.has_room(room + of_head, is_in_work)
    }

    /// Reads no more than lets the buffer be as large as it is.
    fn poll_read_little(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut bytes = [MaybeUninit::uninit(); LITTLE_BYTES - 1];
        let mut little = ReadBuf::uninit(&mut bytes);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut little))?;
        buffer.put_slice(little.filled());
        Poll::Ready(Ok(()))
    }

    /// Ends a head for which there is no memory so that the library refuses it.
    fn refuse_head(&mut self, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.fault.replace(Fault::NoRoom).is_some() {
            return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
        }
        buffer.put_slice(NO_HEAD);
        Poll::Ready(Ok(()))
    }

    /// Whether bytes that came are of a client that asks, and not of one that only keeps us busy.
    fn asks(&mut self, came: &[u8]) -> bool {
        match &mut self.frames {
            Some(frames) => {
                let is_allowed = frames.came(came, &self.exchange);
                self.patience.came_within_head(frames.is_within_head());
                is_allowed && !self.exchange.is_abused()
            }
            None => {
                self.patience.came(came);
                self.line_ends.came(came, &self.exchange);
                true
            }
        }
    }

    /// Reads and throws away until the client has closed, or a bound is reached.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(lingering) = &mut self.lingering else { return Poll::Ready(()) };
        let mut bytes = [MaybeUninit::uninit(); 8192];
        loop {
            let mut buffer = ReadBuf::uninit(&mut bytes);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Pending => return lingering.until.as_mut().poll(context),
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(())) => {
                    let read = buffer.filled().len();
                    lingering.left_bytes = lingering.left_bytes.saturating_sub(read);
                    if read == 0 || lingering.left_bytes == 0 {
                        return Poll::Ready(());
                    }
                }
            }
        }
    }

    /// Frames of HTTP/2 may begin with anything.
    fn bare_refusal(&self, written: &[u8]) -> Option<u16> {
        if self.protocol == Protocol::Http1 { bare_refusal(written) } else { None }
    }

    /// What is wrong where the library refuses with this status.
    fn fault_of(&mut self, status: u16) -> Fault {
        if let Some(fault) = self.fault.take() {
            return fault;
        }
        self.exchange.linger();
        match status {
            414 => Fault::Target(None),
            431 => Fault::Size,
            _ => self.line_ends.fault().unwrap_or(Fault::NoRequest),
        }
    }

    fn poll_replacement(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(replacement) = &mut self.replacement else { return Poll::Ready(Ok(0)) };
        let instead_of = ready!(replacement.poll(Pin::new(&mut self.stream), context))?;
        self.replacement = None;
        Poll::Ready(Ok(instead_of))
    }

    /// Nothing waits to be written any more.
    fn go_on(&mut self, context: &Context<'_>) {
        if std::mem::take(&mut self.is_read_put_off) {
            context.waker().wake_by_ref();
        }
    }

    /// Something was written, or not.
    fn told<T>(&mut self, written: Poll<T>, context: &Context<'_>) -> Poll<T> {
        self.exchange.stall(self.stream.is_stalled());
        if written.is_ready() {
            self.go_on(context);
            self.patience.took();
        }
        written
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, O: Owner + Unpin> AsyncWrite for Connection<S, O> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.replacement.is_none()
            && let Some(status) = self.bare_refusal(bytes)
        {
            let fault = self.fault_of(status);
            let refusal = self.owner.refuse(fault);
            self.replacement = Some(Replacement::new(bytes, &refusal));
        }
        let written = match self.replacement {
            Some(_) => self.poll_replacement(context),
            None => Pin::new(&mut self.stream).poll_write(context, bytes),
        };
        self.told(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match slices.iter().find(|slice| !slice.is_empty()) {
            Some(first) if self.replacement.is_some() || self.bare_refusal(first).is_some() => {
                self.poll_write(context, first)
            }
            _ => {
                let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
                self.told(written, context)
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.exchange.stall(self.stream.is_stalled());
        let flushed = ready!(flushed);
        self.go_on(context);
        // the library does not read again before something comes, and an answer may be the last thing that happens
        let _ = self.poll_patience(context);
        Poll::Ready(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
            if !self.exchange.lingers() {
                return Poll::Ready(Ok(()));
            }
            let Linger { max_bytes, within } = self.limits.linger;
            let until = Box::pin(tokio::time::sleep(within));
            self.lingering = Some(Lingering { left_bytes: max_bytes, until });
        }
        self.poll_linger(context).map(Ok)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, O: Owner + Unpin> AsyncRead for Connection<S, O> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.protocol == Protocol::Http1 && self.stream.is_stalled() {
            self.is_read_put_off = true;
            return Poll::Pending;
        }
        let may_fill = self.may_fill(buffer.remaining());
        if !may_fill && !self.exchange.is_open() {
            return self.refuse_head(buffer);
        }
        let before = buffer.filled().len();
        let are_first = self.first.take(buffer);
        // the first ones with what came in one packet with them, so that a head is looked at once
        let read = match may_fill {
            true => Pin::new(&mut self.stream).poll_read(context, buffer),
            false => self.poll_read_little(context, buffer),
        };
        match read {
            Poll::Pending if !are_first => self.poll_patience(context),
            Poll::Pending | Poll::Ready(Ok(())) if !self.asks(&buffer.filled()[before..]) => {
                Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
            }
            Poll::Pending => Poll::Ready(Ok(())),
            read => read,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// Has room for everything, and nothing to say.
    struct Nobody;

    impl Owner for Nobody {
        fn refuse(&mut self, _: Fault) -> Refusal {
            Refusal { status: axum::http::StatusCode::BAD_REQUEST, body: Vec::new() }
        }
    }

    #[tokio::test]
    async fn nothing_is_read_while_an_answer_waits() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (ours, _) = listener.accept().await.unwrap();
        let ours = ours.into_std().unwrap();
        let the_same = TcpStream::from_std(ours.try_clone().unwrap()).unwrap();
        let ours = TcpStream::from_std(ours).unwrap();
        let hour = Duration::from_secs(3600);
        let silence = Silence { send: hour, idle: hour };
        let limits = Limits { silence, linger: Linger { max_bytes: 0, within: hour } };
        let first = (FirstBytes::default(), Protocol::Http1);
        let mut connection = Connection::new(ours, first, limits, Nobody, Exchange::new());
        let answer = [b'x'; 100_000];
        let mut filled = 0;
        while let Poll::Ready(written) =
            poll_fn(|context| Poll::Ready(Pin::new(&mut connection).poll_write(context, &answer))).await
        {
            filled += written.unwrap();
        }
        client.write_all(b"GET").await.unwrap();
        the_same.readable().await.unwrap();
        let (mut from, mut to) = tokio::io::split(connection);
        let mut three = [0; 3];
        let put_off = poll_fn(|context| {
            let mut buffer = ReadBuf::new(&mut three);
            Poll::Ready(Pin::new(&mut from).poll_read(context, &mut buffer).is_pending())
        });
        assert!(put_off.await);
        // what waits is taken, and then it is read
        let taken = tokio::spawn(async move {
            let mut bytes = vec![0; filled];
            client.read_exact(&mut bytes).await.unwrap();
            client
        });
        to.write_all(b"x").await.unwrap();
        from.read_exact(&mut three).await.unwrap();
        assert_eq!(three, *b"GET");
        drop(taken.await.unwrap());
    }
}
