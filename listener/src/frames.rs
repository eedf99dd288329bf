//! How much of HTTP/2 a client may send that is no part of a request.
//!
//! # The hard idea
//!
//! Nothing bounds how often a client sends a ping, a setting, a priority, or a frame of a kind that nobody knows: each is small, is
//! looked at, perhaps answered, and asks for nothing. The library answers them and does not count them. So their heads, which are
//! nine bytes each, are read here on their way to it, and what they cost is taken from an allowance. Whatever a client has reason
//! to send such frames for adds to it: requests that begin, answers that are taken, and time that passes. Whether something is
//! open does not matter: who waits for an answer has no reason to send more than others.
//!
//! Of a body only pieces smaller than their heads cost something. What a head takes costs until a request begins by it, so that
//! heads of which none becomes a request are bounded, too. Whether one has begun and not ended is told, as it has to come in time.

use std::time::Duration;

use tokio::time::Instant;

use crate::exchange::Exchange;

/// What a client begins with (RFC 9113, section 3.4): it is no frame.
const PREFACE_BYTES: usize = 24;

const HEAD_BYTES: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;

/// The flag of the last frame of a head.
const END_HEADERS: u8 = 4;

/// So many bytes at once: sixty thousand pings.
const ALLOWANCE_BYTES: usize = 1 << 20;

/// What is added to it for a request, for a piece of an answer, and for a second: windows that are opened, pings that measure.
const BYTES_A_REQUEST: usize = 512;
const BYTES_A_PIECE: usize = 128;
const BYTES_A_SECOND: usize = 1024;

/// The frames that one client sends.
#[derive(Debug)]
pub(crate) struct Frames {
    /// Of the head that is being read.
    head: [u8; HEAD_BYTES],
    read: usize,
    /// What follows the last head, and has not come yet.
    payload: usize,
    /// Whether that is of a request's head, and more frames of it follow.
    is_of_head: bool,
    is_head_open: bool,
    /// What frames took of the allowance.
    spent: usize,
    /// What heads took since a request began.
    of_heads: usize,
    /// When something was added, and what had happened by then.
    added: Instant,
    begun: usize,
    taken: usize,
}

impl Frames {
    /// Of a client that has sent nothing yet.
    pub(crate) fn new() -> Self {
        let (head, read, payload) = ([0; HEAD_BYTES], 0, PREFACE_BYTES);
        let (spent, of_heads, begun, taken) = (0, 0, 0, 0);
        let (is_of_head, is_head_open) = (false, false);
        Self {
            head,
            read,
            payload,
            is_of_head,
            is_head_open,
            spent,
            of_heads,
            added: Instant::now(),
            begun,
            taken,
        }
    }

    /// Bytes came. Whether the client keeps within its allowance.
    pub(crate) fn came(&mut self, mut bytes: &[u8], exchange: &Exchange) -> bool {
        while !bytes.is_empty() {
            let passing = self.payload.min(bytes.len());
            self.payload -= passing;
            bytes = &bytes[passing..];
            let missing = (HEAD_BYTES - self.read).min(bytes.len());
            self.head[self.read..self.read + missing].copy_from_slice(&bytes[..missing]);
            self.read += missing;
            bytes = &bytes[missing..];
            if self.read == HEAD_BYTES {
                self.read = 0;
                self.frame();
            }
        }
        if !self.is_allowed() {
            self.add(exchange);
        }
        self.is_allowed()
    }

    /// Whether a request's head has begun and not ended.
    pub(crate) fn is_within_head(&self) -> bool {
        self.is_head_open || self.is_of_head && self.payload > 0
    }

    fn is_allowed(&self) -> bool {
        self.spent + self.of_heads <= ALLOWANCE_BYTES
    }

    /// A head was read.
    fn frame(&mut self) {
        let [high, middle, low, kind, flags, ..] = self.head;
        self.payload = u32::from_be_bytes([0, high, middle, low]) as usize;
        self.is_of_head = matches!(kind, HEADERS | CONTINUATION);
        self.is_head_open = self.is_of_head && flags & END_HEADERS == 0;
        match kind {
            DATA => self.spent += HEAD_BYTES.saturating_sub(self.payload),
            HEADERS | CONTINUATION => self.of_heads += HEAD_BYTES + self.payload,
            _ => self.spent += HEAD_BYTES + self.payload,
        }
    }

    /// What is due since the last time.
    fn add(&mut self, exchange: &Exchange) {
        let (begun, taken) = (exchange.begun(), exchange.taken());
        let (requests, pieces) = (begun - self.begun, taken - self.taken);
        let seconds = self.added.elapsed().as_secs();
        if requests > 0 {
            self.of_heads = 0;
        }
        let added = requests * BYTES_A_REQUEST + pieces * BYTES_A_PIECE + seconds as usize * BYTES_A_SECOND;
        self.spent = self.spent.saturating_sub(added);
        self.added += Duration::from_secs(seconds);
        (self.begun, self.taken) = (begun, taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING: u8 = 6;
    const PINGS_AT_ONCE: usize = ALLOWANCE_BYTES / (HEAD_BYTES + 8);

    fn frame(kind: u8, payload: usize) -> Vec<u8> {
        let [_, length @ ..] = (payload as u32).to_be_bytes();
        [&length[..], &[kind, 0, 0, 0, 0, 1], &vec![7; payload]].concat()
    }

    /// One that has said what it speaks.
    fn frames(exchange: &Exchange) -> Frames {
        let mut frames = Frames::new();
        assert!(frames.came(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", exchange));
        frames.add(exchange);
        frames
    }

    /// How many of such frames it may send.
    fn sent(frames: &mut Frames, frame: &[u8], exchange: &Exchange) -> usize {
        (0..4 * ALLOWANCE_BYTES).take_while(|_| frames.came(frame, exchange)).count()
    }

    #[tokio::test(start_paused = true)]
    async fn what_asks_for_nothing_is_counted_whatever_is_open() {
        let exchange = Exchange::new();
        let _waits = exchange.begin(Some(0));
        let mut frames = frames(&exchange);
        assert_eq!(sent(&mut frames, &frame(PING, 8), &exchange), PINGS_AT_ONCE);
        // in any pieces
        let mut frames = self::frames(&exchange);
        let pings = frame(PING, 8).repeat(PINGS_AT_ONCE + 1);
        let byte = pings.iter().position(|byte| !frames.came(&[*byte], &exchange));
        assert_eq!(byte.map(|byte| byte / (HEAD_BYTES + 8)), Some(PINGS_AT_ONCE));
    }

    /// Whether a head is open behind each byte of a frame of this kind with these flags.
    fn within_head(frames: &mut Frames, kind: u8, flags: u8, payload: usize) -> Vec<bool> {
        let (mut bytes, exchange) = (frame(kind, payload), Exchange::new());
        bytes[4] = flags;
        let came = |byte: &u8| frames.came(&[*byte], &exchange).then(|| frames.is_within_head());
        bytes.iter().map_while(came).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_is_open_until_its_last_byte() {
        let mut frames = frames(&Exchange::new());
        let mut told = |kind, flags, payload| within_head(&mut frames, kind, flags, payload);
        let (unknown, open, closed) = (vec![false; 8], [true; 1], [false; 1]);
        assert_eq!(told(PING, 0, 8), vec![false; 17]);
        assert_eq!(told(HEADERS, END_HEADERS, 2), [&unknown[..], &open, &open, &closed].concat());
        assert_eq!(told(HEADERS, 0, 1), [&unknown[..], &open, &open].concat());
        assert_eq!(told(CONTINUATION, 0, 0), vec![true; 9]);
        assert_eq!(told(CONTINUATION, END_HEADERS, 0), [&[true; 8][..], &closed].concat());
        assert_eq!(told(DATA, END_HEADERS, 1), vec![false; 10]);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_answers_and_time_allow_more() {
        let exchange = Exchange::new();
        let mut frames = frames(&exchange);
        sent(&mut frames, &frame(PING, 8), &exchange);
        let more = |frames: &mut Frames| sent(frames, &frame(PING, 8), &exchange) * (HEAD_BYTES + 8);
        assert_eq!(more(&mut frames), 0);
        (0..100).for_each(|_| exchange.begin(Some(0)).answered());
        assert!((50_000..=51_200).contains(&more(&mut frames)));
        let answer = exchange.answer();
        (0..100).for_each(|_| answer.took());
        assert!((12_000..=12_800).contains(&more(&mut frames)));
        tokio::time::advance(Duration::from_millis(100_700)).await;
        assert!((101_000..=102_400).contains(&more(&mut frames)));
        // what is not used up is not saved for later
        tokio::time::advance(Duration::from_secs(1_000_000)).await;
        assert!(more(&mut frames) <= 2 * ALLOWANCE_BYTES);
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_cost_nothing_and_heads_only_until_a_request_begins() {
        let exchange = Exchange::new();
        let mut frames = frames(&exchange);
        let body = frame(DATA, 16_384);
        assert!((0..1000).all(|_| frames.came(&body, &exchange)));
        let head = frame(HEADERS, 30_000);
        for _ in 0..1000 {
            assert!(frames.came(&head, &exchange));
            exchange.begin(Some(0)).answered();
        }
        frames.add(&exchange);
        assert_eq!(sent(&mut frames, &head, &exchange), ALLOWANCE_BYTES / (HEAD_BYTES + 30_000));
        exchange.begin(Some(0)).answered();
        frames.add(&exchange);
        assert_eq!(sent(&mut frames, &frame(DATA, 0), &exchange), ALLOWANCE_BYTES / HEAD_BYTES);
    }
}
