//! Connections of which every byte is ours.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result, ensure};
use floodgate_testkit::wait;

use super::client::runtime;
use super::node::{Node, READY};

pub fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(READY))?;
    stream.set_write_timeout(Some(READY))?;
    Ok(stream)
}

/// From another address of this machine.
pub fn connect_from(from: [u8; 4], to: SocketAddr) -> Result<TcpStream> {
    let stream = runtime().block_on(async {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((from, 0)))?;
        socket.connect(to).await?.into_std()
    })?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(READY))?;
    Ok(stream)
}

/// Reads until the server closes, which it must do in time. That it resets the connection is an end as well.
pub fn rest(stream: &mut impl Read) -> Result<Vec<u8>> {
    let (mut all, mut piece) = (Vec::new(), vec![0; 65_536]);
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return Ok(all),
            Ok(read) => all.extend_from_slice(&piece[..read]),
            Err(error) if is_end(&error) => return Ok(all),
            Err(error) => return Err(error).context("the server did not close"),
        }
    }
}

/// Whether the other side is gone.
pub fn is_end(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

/// The statuses of all answers in what a connection of HTTP/1.1 said.
pub fn statuses(mut said: &[u8]) -> Result<Vec<u16>> {
    let mut statuses = Vec::new();
    while !said.is_empty() {
        let whole = String::from_utf8_lossy(said).into_owned();
        let end = said.windows(4).position(|four| four == b"\r\n\r\n").with_context(|| whole.clone())?;
        let head = String::from_utf8_lossy(&said[..end]).into_owned();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        statuses.push(status.with_context(|| whole.clone())?);
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(Ok(0), str::parse)?;
        said = said.get(end + 4 + length..).with_context(|| whole)?;
    }
    Ok(statuses)
}

/// One answer of HTTP/1.1: its head and as much as that says. Leaves the connection for the next.
pub fn answer(stream: &mut impl Read) -> Result<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).with_context(|| String::from_utf8_lossy(&head).into_owned())?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head)?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(Ok(0), str::parse)?];
    stream.read_exact(&mut body)?;
    Ok(head + std::str::from_utf8(&body)?)
}

/// Asks for what is always there.
pub fn ask(stream: &mut (impl Read + Write)) -> Result<()> {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")?;
    let told = answer(stream)?;
    ensure!(told.starts_with("HTTP/1.1 200 "), "{told}");
    Ok(())
}

/// Asks for long answers on a node's only connection and reads none, until the server has given it up, which it must do in time.
pub fn read_nothing(node: &Node, stream: &mut impl Write) -> Result<()> {
    // ten thousand refusals are an answer of a megabyte and more; several are more than sockets hold
    let body = format!("[{}1]", "1,".repeat(9999));
    let head = "POST /api/v6/events HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    let mut sent = 0;
    // until the server has closed, or holds so many that it should have
    while sent < 1000 && stream.write_all(request.as_bytes()).is_ok() {
        sent += 1;
    }
    ensure!(sent < 1000, "the server took {sent} requests of a client that read no answer");
    wait::until("the connection to be gone", READY, || {
        (node.metrics().ok()?.sum("floodgate_http_connections", &[]) == 0.0).then_some(())
    })?;
    Ok(())
}
