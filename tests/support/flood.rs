//! Attacks that take memory: many connections at once, on each of which something is sent and nothing read.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Result;

use super::raw::connect_from;
use super::siege::ATTACKER;

/// A request's line and host.
pub const LIKE_HEAD: &str = "PUT /api/v6/characters/t/likes/l HTTP/1.1\r\nhost: x\r\n";

/// What is sent on how many connections.
pub struct Sent {
    pub connections: usize,
    pub bytes: Vec<u8>,
}

/// Heads nearly as large as they may be, without an end.
pub fn half_heads(connections: usize) -> Sent {
    Sent { connections, bytes: format!("{LIKE_HEAD}x: {}", "y".repeat(62_000)).into_bytes() }
}

/// Batches of which every event is wrong in words of its own, as long as they can be.
pub fn wordy_batches(connections: usize) -> Sent {
    let item =
        |number: usize| format!("{{\"type\":\"expectation\",\"{number}{}\":1}}", "\u{1F600}".repeat(60));
    let body = format!("[{}]", (0..9000).map(item).collect::<Vec<_>>().join(","));
    Sent { connections, bytes: batch(&body) }
}

/// Batches of which every event is wrong in the same words.
pub fn wrong_batches(connections: usize) -> Sent {
    Sent { connections, bytes: batch(&format!("[{}1]", "1,".repeat(9999))) }
}

/// Bodies that have come whole, behind which nothing comes.
pub fn served_once(connections: usize) -> Sent {
    let head = "POST /api/v6/expectations HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    let body = format!("{{{}}}", " ".repeat(300_000));
    let bytes = format!("{head}content-length: {}\r\n\r\n{body}", body.len()).into_bytes();
    Sent { connections, bytes }
}

fn batch(body: &str) -> Vec<u8> {
    let head = "POST /api/v6/events HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    format!("{head}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// An attack that lasts until it is dropped.
pub struct Flood {
    bytes: Vec<u8>,
    /// With how much of it is sent.
    lines: Vec<(TcpStream, usize)>,
}

impl Flood {
    pub fn start(Sent { connections, bytes }: Sent, to: SocketAddr) -> Result<Flood> {
        rlimit::increase_nofile_limit(16_000)?;
        let mut flood = Flood { bytes, lines: Vec::new() };
        for number in 0..connections {
            let stream = connect_from(ATTACKER, to)?;
            stream.set_nonblocking(true)?;
            flood.lines.push((stream, 0));
            if number % 100 == 0 {
                flood.send();
            }
        }
        Ok(flood)
    }

    /// Sends what is taken. How much that was.
    fn send(&mut self) -> usize {
        let (bytes, mut all) = (&self.bytes, 0);
        self.lines.retain_mut(|(stream, sent)| {
            while *sent < bytes.len() {
                match stream.write(&bytes[*sent..]) {
                    Ok(more) => {
                        *sent += more;
                        all += more;
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                    Err(_) => return false,
                }
            }
            true
        });
        all
    }

    /// Sends until no more is taken for a second. How many connections are left.
    pub fn until_quiet(&mut self) -> usize {
        let mut quiet = 0;
        while quiet < 20 {
            quiet = if self.send() == 0 { quiet + 1 } else { 0 };
            std::thread::sleep(Duration::from_millis(50));
        }
        self.lines.len()
    }
}
