//! What the HTTP library refuses by itself, with a problem for a body.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::http::StatusCode;
use tokio::io::AsyncWrite;

use crate::always::ALWAYS;

/// What error bodies are.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// What a client is told instead.
#[derive(Debug)]
pub struct Refusal {
    /// The answer's status.
    pub status: StatusCode,
    /// The problem.
    pub body: Vec<u8>,
}

/// What is written in the place of a refusal.
pub(crate) struct Replacement {
    bytes: Vec<u8>,
    written: usize,
    /// The refusal's own length: what the writer is told was written.
    instead_of: usize,
}

/// The status of a head that only the HTTP library writes, in the version of the request before.
pub(crate) fn bare_refusal(written: &[u8]) -> Option<u16> {
    let versioned = written.strip_prefix(b"HTTP/1.1 ").or_else(|| written.strip_prefix(b"HTTP/1.0 "));
    let status = match versioned?.get(..3)? {
        b"400" => 400,
        b"414" => 414,
        b"431" => 431,
        _ => return None,
    };
    let head = written.strip_suffix(b"\r\n\r\n")?.to_ascii_lowercase();
    let has_type = head.windows(14).any(|window| window == b"\r\ncontent-type");
    (!has_type).then_some(status)
}

impl Replacement {
    /// Of a refusal of the library.
    pub(crate) fn new(bare: &[u8], Refusal { status, body }: &Refusal) -> Self {
        let version = bare.split(|byte| *byte == b' ').next().unwrap_or_default();
        let mut bytes = version.to_vec();
        let length = body.len();
        let more = if *status == StatusCode::SERVICE_UNAVAILABLE { "retry-after: 1\r\n" } else { "" };
        let head = format!(
            " {status}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {length}\r\n{more}{ALWAYS}connection: close\r\n\r\n"
        );
        bytes.extend_from_slice(head.as_bytes());
        bytes.extend_from_slice(body);
        Self { bytes, written: 0, instead_of: bare.len() }
    }

    /// Writes it. Once it is written: how many bytes of the refusal that stands for.
    pub(crate) fn poll(
        &mut self,
        mut stream: Pin<&mut (impl AsyncWrite + Unpin)>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        while self.written < self.bytes.len() {
            match ready!(stream.as_mut().poll_write(context, &self.bytes[self.written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.written += count,
            }
        }
        Poll::Ready(Ok(self.instead_of))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bare_refusals_are_replaced() {
        let bare = "HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\ndate: today\r\n\r\n";
        assert_eq!(bare_refusal(bare.as_bytes()), Some(431));
        assert_eq!(bare_refusal(bare.replace("1.1", "1.0").as_bytes()), Some(431));
        for other in [
            "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\nContent-Type: x\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}",
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            "",
        ] {
            assert_eq!(bare_refusal(other.as_bytes()), None, "{other}");
        }
        let refusal = Refusal { status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, body: b"{}".to_vec() };
        let replaced = Replacement::new(bare.as_bytes(), &refusal);
        let text = String::from_utf8_lossy(&replaced.bytes);
        assert!(text.starts_with(
            "HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/problem"
        ));
        assert!(text.ends_with('}') && replaced.instead_of == bare.len(), "{text}");
    }
}
