//! A way to the binary on which requests and answers get lost, as told.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use anyhow::{Context, Result};

use crate::support::client::{Ask, Client};

/// What becomes of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    Pass,
    /// It never arrives: the answer is this status, with `Retry-After: 1`.
    Refused(u16),
    /// It arrives, and the answer is 504.
    Late,
    /// It arrives, and the connection breaks.
    Broken,
    /// It arrives, and its first two results say `retry` and `unknown`.
    Unsure,
}

/// What a refusal says; nobody may take it for the answer of a later try.
const NO: &str = r#"{"type":"/problems/queue-full","retryable":true}"#;

/// The way, on a port of its own for as long as the test process runs.
pub struct Detour {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    there: Client,
    turns: Mutex<VecDeque<Turn>>,
    /// The requests that came.
    came: Mutex<Vec<Ask>>,
}

impl Detour {
    /// What becomes of the first requests; all others pass.
    pub fn to(there: SocketAddr, turns: &[Turn]) -> Result<Detour> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let turns = Mutex::new(turns.iter().copied().collect());
        let state = Arc::new(State { there: Client::new(there), turns, came: Mutex::default() });
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                // that a client goes away is no matter
                thread::spawn(move || state.serve(&stream));
            }
        });
        Ok(Detour { address, state })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn came(&self) -> Vec<Ask> {
        self.state.came.lock().unwrap().clone()
    }

    /// Turns that nobody took.
    pub fn left(&self) -> usize {
        self.state.turns.lock().unwrap().len()
    }
}

impl State {
    fn serve(&self, mut stream: &TcpStream) -> Result<()> {
        let mut requests = BufReader::new(stream);
        while let Some(ask) = read(&mut requests)? {
            self.came.lock().unwrap().push(ask.clone());
            let turn = self.turns.lock().unwrap().pop_front().unwrap_or(Turn::Pass);
            let Some((status, heads, body)) = self.answer(&ask, turn)? else { return Ok(()) };
            let length = body.len();
            let head = format!("HTTP/1.1 {status} Told\r\n{heads}content-length: {length}\r\n\r\n");
            stream.write_all((head + &body).as_bytes())?;
        }
        Ok(())
    }

    /// Status, header fields and body; none where the connection breaks.
    fn answer(&self, ask: &Ask, turn: Turn) -> Result<Option<(u16, String, String)>> {
        if let Turn::Refused(status) = turn {
            let heads = "retry-after: 1\r\ncontent-type: application/problem+json\r\n".to_owned();
            return Ok(Some((status, heads, NO.to_owned())));
        }
        let answer = self.there.ask(ask).map_err(|failure| anyhow::anyhow!("{failure:?}"))?;
        let kept = ["content-type", "location", "retry-after"];
        let heads = kept.iter().filter_map(|name| Some(format!("{name}: {}\r\n", answer.header(name)?)));
        let (status, heads, body) = (answer.status, heads.collect(), answer.text());
        Ok(match turn {
            Turn::Broken => None,
            Turn::Late => Some((504, String::new(), String::new())),
            Turn::Unsure => {
                let body = body.replacen("accepted", "retry", 1).replacen("accepted", "unknown", 1);
                Some((status, heads, body))
            }
            Turn::Pass | Turn::Refused(_) => Some((status, heads, body)),
        })
    }
}

/// The next request of a connection.
fn read(requests: &mut impl BufRead) -> Result<Option<Ask>> {
    const KEPT: [&str; 10] = [
        "authorization",
        "idempotency-key",
        "content-type",
        "content-encoding",
        "ce-specversion",
        "ce-type",
        "ce-source",
        "ce-id",
        "ce-time",
        "content-length",
    ];
    let mut line = String::new();
    if requests.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split(' ');
    let mut ask = Ask::new(words.next().context("no method")?, words.next().context("no path")?);
    let mut length = 0;
    loop {
        let mut line = String::new();
        requests.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        match KEPT.into_iter().find(|kept| name.eq_ignore_ascii_case(kept)) {
            Some("content-length") => length = value.parse()?,
            Some(kept) => ask = ask.header(kept, value),
            None => {}
        }
    }
    let mut body = vec![0; length];
    requests.read_exact(&mut body)?;
    Ok(Some(ask.body(body)))
}
