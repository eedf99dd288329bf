//! Attacks on the clients' listener, each as what is said on connections over and over, and a client that makes them.
//!
//! That client is one thread that has its connections in turn and pauses in between: what is asked is what an attack does to the
//! server and so to others, and not what becomes of a machine whose processors the attacker takes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;

use super::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, MAX_CONCURRENT_STREAMS, PADDED, PREFACE, PRIORITY,
    WINDOW_UPDATE, block, frame, ping, request, reset, settings,
};
use super::raw::connect_from;

/// From where attacks come. Others are elsewhere.
pub const ATTACKER: [u8; 4] = [127, 0, 0, 2];

/// What one client may have of connections, for those attacks that take them all.
pub const CONNECTIONS_MAX: usize = 64;

pub const LIKE: &str = "/api/v6/characters/t/likes/l";

/// What waits until somebody stops waiting.
pub const WAITS: &str = "/api/v6/coupon-requests/0195f1a0-0000-7000-8000-000000000000?waitMs=30000";

/// Between two turns of an attacker.
const PAUSE: Duration = Duration::from_millis(10);

pub struct Attack {
    pub name: String,
    /// At once.
    connections: usize,
    /// What is said on a new one.
    pub begin: Vec<u8>,
    /// What is said then, for the first time, the second time, and so on for ever.
    pub say: fn(u32) -> Vec<u8>,
    /// How often in a turn.
    at_once: u32,
    /// Whether what the server says is read.
    pub reads: bool,
}

/// A request's head up to its fields.
const LIKES: &str = "PUT /api/v6/characters/t/likes/l HTTP/1.1\r\nhost: x\r\n";

/// Of either protocol; floods of frames are those beside an open request.
pub fn attacks() -> Vec<Attack> {
    let of_http_2 = slow_ones().into_iter().chain(held_floods()).map(|attack| {
        let begin = [PREFACE, &settings(&[]), &attack.begin].concat();
        Attack { begin, ..attack }
    });
    heads_and_bodies().into_iter().chain(of_http_2).collect()
}

/// Of HTTP/2.
fn slow_ones() -> Vec<Attack> {
    let of = |name: &str, begin, say| Attack {
        name: name.to_owned(),
        connections: CONNECTIONS_MAX,
        begin,
        say,
        at_once: 1,
        reads: true,
    };
    vec![
        of("slow heads of HTTP/2", slow_head(1), |_| b"y".to_vec()),
        of("connections of HTTP/2 that ask for nothing", Vec::new(), |_| Vec::new()),
    ]
}

/// The beginning of a frame that is the head of a request, and takes long if its bytes come one by one.
pub fn slow_head(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &[0; 16_000])[..9].to_vec()
}

/// Of HTTP/1.1.
fn heads_and_bodies() -> Vec<Attack> {
    let of = |name: &str, connections, begin: &str, say, reads| Attack {
        name: name.to_owned(),
        connections,
        begin: begin.into(),
        say,
        at_once: 1,
        reads,
    };
    let body = format!("{LIKES}content-type: application/json\r\ncontent-length: 1000000\r\n\r\n");
    vec![
        of("slow heads", CONNECTIONS_MAX, &format!("{LIKES}x: "), |_| b"y".to_vec(), true),
        of("slow bodies", CONNECTIONS_MAX, &body, |_| b" ".to_vec(), true),
        of("heads as large as they may be", 8, "", |_| head(90, 600), true),
        of("heads of too many fields", 8, "", |_| head(5000, 1), true),
        of("heads without end", 8, LIKES, |_| b"x: y\r\n".repeat(2000), true),
        of("answers that nobody reads", 8, "", |_| head(0, 0).repeat(100), false),
        of("more connections than one may have", CONNECTIONS_MAX + 4, "", |_| Vec::new(), true),
    ]
}

fn head(fields: usize, length: usize) -> Vec<u8> {
    let field = format!("x: {}\r\n", "y".repeat(length));
    format!("GET /nothing HTTP/1.1\r\nhost: x\r\n{}\r\n", field.repeat(fields)).into_bytes()
}

/// The stream of a flood of this number; the first one is left for [`held_floods`].
fn stream(number: u32) -> u32 {
    2 * number + 3
}

/// Frames of HTTP/2, without what comes before the first.
pub fn floods() -> Vec<Attack> {
    let of = |name: &str, begin, say, reads| Attack {
        name: name.to_owned(),
        connections: 2,
        begin,
        say,
        at_once: 256,
        reads,
    };
    let get = || frame(HEADERS, END_STREAM, 3, &request("GET", "/nothing"));
    let put = || frame(HEADERS, END_HEADERS, 3, &request("PUT", LIKE));
    let nothing = Vec::new;
    vec![
        of("rapid resets", nothing(), |number| [ask(stream(number)), reset(stream(number))].concat(), true),
        of("a head without end", get(), |_| frame(CONTINUATION, 0, 3, &block(&[("x", "y")])), true),
        of("a head without end, in empty pieces", get(), |_| frame(CONTINUATION, 0, 3, &[]), true),
        of("settings", nothing(), |_| settings(&[(MAX_CONCURRENT_STREAMS, 1)]), true),
        of("settings whose acknowledgements nobody reads", nothing(), |_| settings(&[]), false),
        of("pings", nothing(), |number| ping(number.into()), true),
        of("pings whose answers nobody reads", nothing(), |number| ping(number.into()), false),
        of("priorities", nothing(), |number| frame(PRIORITY, 0, stream(number), &[0, 0, 0, 0, 7]), true),
        of("windows", nothing(), |_| frame(WINDOW_UPDATE, 0, 0, &1u32.to_be_bytes()), true),
        of("frames of no kind", nothing(), |_| frame(200, 0, 0, b"anything"), true),
        of("empty pieces of a body", put(), |_| frame(DATA, 0, 3, &[]), true),
        of("pieces of a body that are padding", put(), |_| frame(DATA, PADDED, 3, &[0]), true),
        of("resets of streams that never were", nothing(), |number| reset(stream(number)), true),
        // for each of which the server resets a stream itself, or ends it all
        of("windows beyond all", nothing(), |number| with_window(stream(number), WINDOW_MAX), true),
        of("windows of nothing", nothing(), |number| with_window(stream(number), 0), true),
        of("bodies behind their end", nothing(), |number| behind_its_end(stream(number)), true),
    ]
}

/// The same while a request is open; and more requests than may be open.
pub fn held_floods() -> Vec<Attack> {
    let held = |number| frame(HEADERS, END_HEADERS | END_STREAM, number, &request("GET", WAITS));
    let mut floods = floods();
    for flood in &mut floods {
        flood.name += " beside an open request";
        flood.begin = [held(1), std::mem::take(&mut flood.begin)].concat();
    }
    let begin = (0..100).flat_map(|number| held(2 * number + 1)).collect();
    let say = |number| ask(2 * number + 201);
    let name = "requests beyond those that may be open".to_owned();
    floods.push(Attack { name, connections: 2, begin, say, at_once: 256, reads: true });
    floods
}

/// The largest window: for one that is larger the server has to reset a stream.
pub const WINDOW_MAX: u32 = (1 << 31) - 1;

/// A request whose window grows by so much.
pub fn with_window(stream: u32, bytes: u32) -> Vec<u8> {
    let head = frame(HEADERS, END_HEADERS, stream, &request("PUT", LIKE));
    [head, frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())].concat()
}

fn behind_its_end(stream: u32) -> Vec<u8> {
    [ask(stream), frame(DATA, END_STREAM, stream, b"{}")].concat()
}

fn ask(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &request("GET", "/nothing"))
}

/// A connection of an attacker.
struct Line {
    stream: TcpStream,
    /// What is not sent yet.
    rest: Vec<u8>,
    said: u32,
}

impl Line {
    fn open(attack: &Attack, to: SocketAddr) -> Result<Line> {
        let stream = connect_from(ATTACKER, to)?;
        stream.set_nonblocking(true)?;
        Ok(Line { stream, rest: attack.begin.clone(), said: 0 })
    }

    /// Says what is to be said, as far as it is taken. Whether the server still listens.
    fn turn(&mut self, attack: &Attack) -> bool {
        if self.rest.is_empty() {
            let from = self.said;
            self.said += attack.at_once;
            self.rest = (from..self.said).flat_map(attack.say).collect();
        }
        while !self.rest.is_empty() {
            match self.stream.write(&self.rest) {
                Ok(sent) => drop(self.rest.drain(..sent)),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(_) => return false,
            }
        }
        !attack.reads || self.listen()
    }

    /// Reads and throws away what the server said. Whether it goes on.
    fn listen(&mut self) -> bool {
        let mut bytes = [0; 65_536];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
            }
        }
    }
}

/// Attacks until it is over, with a new connection for each that the server ends. Counts turns.
pub fn besiege(attack: &Attack, to: SocketAddr, is_over: &AtomicBool, turns: &AtomicUsize) -> Result<()> {
    let mut lines: Vec<Option<Line>> = (0..attack.connections).map(|_| None).collect();
    while !is_over.load(Ordering::Relaxed) {
        for line in &mut lines {
            let mut open = line.take().map_or_else(|| Line::open(attack, to), Ok)?;
            *line = open.turn(attack).then_some(open);
        }
        turns.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(PAUSE);
    }
    Ok(())
}
