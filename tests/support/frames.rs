//! Frames of HTTP/2 as they stand in RFC 9113, right or wrong.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;

use anyhow::{Context, Result};

use super::raw::{connect, is_end, rest};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;

/// Of `SETTINGS`.
pub const MAX_CONCURRENT_STREAMS: u16 = 3;
pub const INITIAL_WINDOW_SIZE: u16 = 4;

pub const REFUSED_STREAM: u32 = 7;
pub const CANCEL: u32 = 8;

/// What a client begins with.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Fields as literals without indexing and without Huffman's code (RFC 7541, section 6.2.2).
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| {
        let length = u8::try_from(text.len()).unwrap();
        assert!(length < 127, "{text}");
        [&[length], text.as_bytes()].concat()
    };
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

/// A request's head.
pub fn request(method: &str, path: &str) -> Vec<u8> {
    block(&[
        (":method", method),
        (":scheme", "http"),
        (":path", path),
        (":authority", "x"),
        ("content-type", "application/json"),
    ])
}

pub fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> = values
        .iter()
        .flat_map(|(name, value)| [name.to_be_bytes().to_vec(), value.to_be_bytes().to_vec()].concat())
        .collect();
    frame(SETTINGS, 0, 0, &payload)
}

pub fn ping(number: u64) -> Vec<u8> {
    frame(PING, 0, 0, &number.to_be_bytes())
}

pub fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())
}

#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The number at a place of its payload.
    pub fn number(&self, at: usize) -> Option<u32> {
        Some(u32::from_be_bytes(self.payload.get(at..at + 4)?.try_into().ok()?))
    }

    /// A value of `SETTINGS`.
    pub fn setting(&self, name: u16) -> Option<u32> {
        let values = self.payload.chunks_exact(6);
        let mut found = values.filter(|value| value[..2] == name.to_be_bytes());
        found.next().map(|value| u32::from_be_bytes(value[2..].try_into().unwrap()))
    }
}

/// A client's side of a connection.
pub struct Wire(pub TcpStream);

impl Wire {
    /// One that has said what it speaks, with these settings.
    pub fn open(address: SocketAddr, values: &[(u16, u32)]) -> Result<Wire> {
        let mut wire = Wire(connect(address)?);
        wire.send(&[PREFACE, &settings(values)].concat())?;
        Ok(wire)
    }

    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.0.write_all(bytes)?)
    }

    /// The next frame; `None` at the end. Settings and pings of the server are acknowledged.
    pub fn next(&mut self) -> Result<Option<Frame>> {
        let mut head = [0; 9];
        if !self.fill(&mut head)? {
            return Ok(None);
        }
        let [_, high, middle, low] = [0, head[0], head[1], head[2]];
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        let stream = u32::from_be_bytes(head[5..].try_into()?);
        let mut payload = vec![0; length];
        if !self.fill(&mut payload)? {
            return Ok(None);
        }
        let frame = Frame { kind: head[3], flags: head[4], stream, payload };
        if (frame.kind == SETTINGS || frame.kind == PING) && frame.flags & ACK == 0 {
            let payload = if frame.kind == PING { &frame.payload[..] } else { &[] };
            // a server that is gone needs none
            let _ = self.send(&self::frame(frame.kind, ACK, 0, payload));
        }
        Ok(Some(frame))
    }

    /// Reads until a frame like this; fails where the connection ends before.
    pub fn until(&mut self, is_it: impl Fn(&Frame) -> bool) -> Result<Frame> {
        loop {
            let frame = self.next()?.context("the connection ended")?;
            if is_it(&frame) {
                return Ok(frame);
            }
        }
    }

    /// Waits until everything sent so far was read, as pings are answered in their turn.
    pub fn settle(&mut self, number: u64) -> Result<()> {
        self.send(&ping(number))?;
        self.until(|frame| {
            frame.kind == PING && frame.flags & ACK == ACK && frame.payload == number.to_be_bytes()
        })?;
        Ok(())
    }

    /// All frames until the end.
    pub fn rest(&mut self) -> Result<Vec<Frame>> {
        std::iter::from_fn(|| self.next().transpose()).collect()
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<bool> {
        match self.0.read_exact(bytes) {
            Ok(()) => Ok(true),
            Err(error) if is_end(&error) => Ok(false),
            Err(error) => Err(error).context("the server says nothing and does not close"),
        }
    }

    /// Reads and throws away from here on, until the end.
    pub fn discard(&self) -> Result<JoinHandle<Result<Vec<u8>>>> {
        let mut reader = self.0.try_clone()?;
        Ok(std::thread::spawn(move || rest(&mut reader)))
    }

    /// Sends what comes of numbers from 0 on, until the server has ended the connection or `most` bytes are sent. Returns how many
    /// were.
    pub fn flood(&mut self, most: usize, frames: impl Fn(u32) -> Vec<u8>) -> Result<usize> {
        let mut sent = 0;
        for number in 0.. {
            // many at once, as whoever floods does
            let bytes: Vec<u8> = (number * 64..(number + 1) * 64).flat_map(&frames).collect();
            match self.0.write_all(&bytes) {
                Ok(()) => sent += bytes.len(),
                Err(error) if is_end(&error) => return Ok(sent),
                Err(error) => return Err(error).context("the server neither reads nor closes"),
            }
            if sent >= most {
                break;
            }
        }
        Ok(sent)
    }
}
