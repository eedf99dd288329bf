//! Lines of heads that end with a line feed alone.
//!
//! The library takes them for lines (RFC 9112, section 2.2, lets it), and others take them for part of a line: what is one field to one
//! reader is two to the other. It does not say how lines ended, so heads are looked at on their way to it. Where a head ends is seen
//! here; where the body behind it ends is not. So what came in one piece behind a head is only looked at for whether such a line end is
//! in it, and if it turns out to lie behind the body, nothing is looked at behind that request's answer.
//!
//! Nor does the library say what it refuses a head for. So lines are looked at on the way that name a transfer coding or a length.

use memchr::memchr_iter;

use crate::exchange::Exchange;
use crate::head::{Fault, ONE_LENGTH, ONLY_CHUNKED, is_chunked};

/// How a line begins that names a transfer coding, and one that names a length.
const CODING: &[u8; 18] = b"transfer-encoding:";
const LENGTH: &[u8; 15] = b"content-length:";

/// What is kept of such a line that comes in pieces. Longer ones name another coding, whatever follows, and no length that there is.
const LINE_MAX_BYTES: usize = 64;

/// Of one connection of HTTP/1.1.
#[derive(Debug, Default)]
pub(crate) struct LineEnds {
    /// Requests that had begun when something came last, and how much came behind the head of the last of them.
    begun: usize,
    behind: u64,
    /// Whether a head has begun, with how much of its last line, and the last byte.
    is_within: bool,
    of_line: usize,
    last: u8,
    /// Whether a request began behind another in one piece: where the next begins nobody knows here any more.
    is_lost: bool,
    /// What has come of a line that may name a transfer coding or a length.
    line: Vec<u8>,
    length: Option<u64>,
    fault: Option<Fault>,
}

impl LineEnds {
    /// Bytes came.
    #[inline]
    pub(crate) fn came(&mut self, bytes: &[u8], exchange: &Exchange) {
        if self.begun != exchange.begun() {
            self.is_lost |= self.begun + 1 < exchange.begun()
                || self.behind > exchange.body() && !exchange.is_in_chunks();
            self.begun = exchange.begun();
            (self.is_within, self.of_line) = (false, 0);
            self.line.clear();
            (self.length, self.fault) = (None, None);
        }
        if self.is_lost {
            self.behind = u64::MAX >> 1;
            return self.look_behind(bytes, exchange);
        }
        let left = usize::try_from(exchange.body().saturating_sub(self.behind)).unwrap_or(usize::MAX);
        let from = if self.is_within { 0 } else { left.min(bytes.len()) };
        // chunks have lines of their own, and end nobody knows where
        if exchange.is_in_chunks() {
            return self.look_behind(bytes, exchange);
        }
        match self.end_of_head(&bytes[from..], exchange) {
            Some(end) => {
                self.behind = 0;
                exchange.doubt(None);
                self.look_behind(&bytes[from + end..], exchange);
            }
            None => self.behind += from as u64,
        }
    }

    /// What is wrong with a head that the library refuses: another transfer coding than that which everybody knows, or a length that
    /// is none.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// What lies behind a head, and may be its body or something else.
    fn look_behind(&mut self, bytes: &[u8], exchange: &Exchange) {
        let before = |at: usize| if at > 0 { bytes[at - 1] } else { b'\r' };
        let bare = memchr_iter(b'\n', bytes).rfind(|at| before(*at) != b'\r');
        if let Some(at) = bare {
            exchange.doubt(Some(self.behind + at as u64));
        }
        self.behind += bytes.len() as u64;
        self.last = bytes.last().copied().unwrap_or(self.last);
    }

    /// A piece of a line, and whether it is the last one.
    fn look_at(&mut self, piece: &[u8], is_last: bool) {
        let begins =
            self.of_line == 0 && piece.first().is_some_and(|byte| matches!(byte | 0x20, b't' | b'c'));
        if begins && is_last {
            self.judge(piece);
        } else if begins || !self.line.is_empty() {
            let room = LINE_MAX_BYTES - self.line.len();
            self.line.extend_from_slice(&piece[..piece.len().min(room)]);
            if is_last {
                let line = std::mem::take(&mut self.line);
                self.judge(&line);
            }
        }
    }

    /// A whole line.
    fn judge(&mut self, line: &[u8]) {
        if let Some(length) = value(line, LENGTH) {
            let (before, length) = (self.length, number(length));
            self.length = length;
            if length.is_none() || before.is_some_and(|before| Some(before) != length) {
                self.fault.get_or_insert(ONE_LENGTH);
            }
        } else if value(line, CODING).is_some_and(|coding| !is_chunked(coding)) {
            self.fault.get_or_insert(ONLY_CHUNKED);
        }
    }

    /// Where the head ends that has begun, or begins here.
    fn end_of_head(&mut self, bytes: &[u8], exchange: &Exchange) -> Option<usize> {
        let mut from = 0;
        for at in memchr_iter(b'\n', bytes) {
            let before = if at > 0 { bytes[at - 1] } else { self.last };
            let length = self.of_line + at - from;
            let is_bare = before != b'\r';
            self.look_at(&bytes[from..at], true);
            let is_empty = length == usize::from(!is_bare);
            if is_bare {
                exchange.doubt_head();
            }
            (self.of_line, from) = (0, at + 1);
            // there may be empty lines before a request
            if is_empty && self.is_within {
                self.is_within = false;
                return Some(from);
            }
            self.is_within |= !is_empty;
        }
        self.look_at(&bytes[from..], false);
        self.of_line += bytes.len() - from;
        self.is_within |= self.of_line > 0;
        self.last = bytes.last().copied().unwrap_or(self.last);
        None
    }
}

/// What is named by a line that begins with this name. Every head has such lines, most in small letters: the rest is looked at only
/// where the colon is in its place.
fn value<'l, const N: usize>(line: &'l [u8], name: &[u8; N]) -> Option<&'l [u8]> {
    let (begin, value) = line.split_first_chunk::<N>()?;
    let is_named = || begin == name || begin.map(|byte| byte.to_ascii_lowercase()) == *name;
    (begin.last() == name.last() && is_named()).then(|| value.trim_ascii())
}

/// A number as a length has it.
fn number(digits: &[u8]) -> Option<u64> {
    let add = |number: u64, digit: &u8| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    };
    if digits.is_empty() { None } else { digits.iter().try_fold(0, add) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POST: &str = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n";
    const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    const BARE: &str = "GET / HTTP/1.1\r\nhost: x\n\r\n";

    /// Whether the heads are doubted of requests that begin when these pieces have come, each with a body so long; and whether
    /// nothing is to be looked at behind one.
    fn told(pieces: &[(&str, &[Option<u64>])]) -> Vec<(bool, bool)> {
        let exchange = Exchange::new();
        let mut ends = LineEnds::default();
        let mut told = Vec::new();
        for (piece, bodies) in pieces {
            ends.came(piece.as_bytes(), &exchange);
            for body in *bodies {
                let working = exchange.begin(*body);
                told.push((exchange.is_head_doubted(), exchange.is_doubted_behind()));
                working.answered();
            }
        }
        told
    }

    #[test]
    fn heads_whose_lines_end_with_a_line_feed_alone_are_told() {
        const NONE: &[Option<u64>] = &[Some(0)];
        assert_eq!(told(&[(GET, NONE), (GET, NONE)]), [(false, false); 2]);
        for bare in [
            BARE,
            "GET / HTTP/1.1\nhost: x\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: x\r\n\n",
            "\nGET / HTTP/1.1\r\n\r\n",
        ] {
            assert!(told(&[(bare, NONE)])[0].0, "{bare:?}");
            assert!(told(&[(GET, NONE), (bare, NONE)])[1].0, "{bare:?}");
        }
        for at in 1..GET.len() {
            let (begin, end) = GET.split_at(at);
            assert_eq!(told(&[(begin, &[]), (end, NONE), (GET, NONE)]), [(false, false); 2], "at {at}");
        }
        for at in 1..BARE.len() {
            let (begin, end) = BARE.split_at(at);
            assert!(told(&[(begin, &[]), (end, NONE)])[0].0, "at {at}");
        }
    }

    #[test]
    fn bodies_may_have_any_lines() {
        let body = "\n{}\n";
        assert_eq!(told(&[(&format!("{POST}{body}"), &[Some(4)]), (GET, &[Some(0)])]), [(false, false); 2]);
        assert_eq!(told(&[(POST, &[Some(4)]), (body, &[]), (GET, &[Some(0)])]), [(false, false); 2]);
        assert_eq!(told(&[(POST, &[Some(4)]), (&format!("{body}{BARE}"), &[Some(0)])])[1], (true, false));
        let (first, rest) = body.split_at(2);
        assert!(
            told(&[(&format!("{POST}{first}"), &[Some(4)]), (&format!("{rest}{BARE}"), &[Some(0)])])[1].0
        );
        // what came with it is not looked at where there is such a line behind the body
        assert_eq!(told(&[(&format!("{POST}{body}{BARE}"), &[Some(4)])]), [(false, true)]);
        assert_eq!(told(&[(&format!("{GET}{BARE}"), &[Some(0)])]), [(false, true)]);
        let behind_two = told(&[(&format!("{GET}{GET}"), &[Some(0), Some(0)]), (BARE, &[Some(0)])]);
        assert_eq!(behind_two, [(false, false), (false, false), (false, true)]);
        // chunks end nobody knows where
        assert_eq!(told(&[(&format!("{GET}4\r\n\n{{}}\n\r\n0\r\n\r\n"), &[None])]), [(false, true)]);
        assert_eq!(told(&[(&format!("{GET}2\r\n{{}}\r\n0\r\n\r\n"), &[None])]), [(false, false)]);
    }

    #[test]
    fn what_a_head_is_refused_for_is_told_however_it_comes() {
        let told = |line: &str| {
            let head = format!("POST / HTTP/1.1\r\nhost: x\r\n{line}\r\nte: trailers\r\n\r\n");
            let told: Vec<Option<Fault>> = (0..head.len())
                .map(|at| {
                    let (exchange, mut ends) = (Exchange::new(), LineEnds::default());
                    for piece in [&head[..at], &head[at..]] {
                        ends.came(piece.as_bytes(), &exchange);
                    }
                    ends.fault()
                })
                .collect();
            assert!(told.iter().all(|fault| *fault == told[0]), "{line}: {told:?}");
            told[0]
        };
        for unknown in
            ["Transfer-Encoding: gzip", "transfer-encoding:foo", "TRANSFER-ENCODING: chunked, gzip"]
        {
            assert_eq!(told(unknown), Some(ONLY_CHUNKED), "{unknown}");
        }
        assert_eq!(told(&format!("transfer-encoding: {}", "x".repeat(100))), Some(ONLY_CHUNKED));
        for wrong in [
            "Content-Length: x",
            "content-length:",
            "content-length: +2",
            "CONTENT-LENGTH: 2, 2",
            "content-length: 18446744073709551616",
            "content-length: 2\r\ncontent-length: 3",
        ] {
            assert_eq!(told(wrong), Some(ONE_LENGTH), "{wrong}");
        }
        for right in [
            "Transfer-Encoding: chunked",
            "transfer-encoding:Chunked ",
            "te: gzip",
            "x-transfer-encoding: gzip",
            "Content-Length: 2",
            "content-length:\t02 \r\ncontent-length: 2",
            "content-length: 18446744073709551615",
            "x-content-length: x",
            "content-language: x",
        ] {
            assert_eq!(told(right), None, "{right}");
        }
    }

    #[test]
    fn a_head_is_not_refused_for_the_one_before() {
        let (exchange, mut ends) = (Exchange::new(), LineEnds::default());
        ends.came(b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}", &exchange);
        exchange.begin(Some(2)).answered();
        ends.came(b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\n", &exchange);
        assert_eq!(ends.fault(), None);
    }
}
