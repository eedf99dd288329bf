//! A proxy that knows a service by what its paths begin with, and asks it without.

use std::io::{BufRead, BufReader, Write, copy};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;

use anyhow::{Context, Result};

/// Where it listens, for as long as the test process runs.
pub fn behind(prefix: &'static str, there: SocketAddr) -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // that a client goes away is no matter
            thread::spawn(move || pass(&stream, prefix, there));
        }
    });
    Ok(address)
}

/// One request without a body.
fn pass(mut client: &TcpStream, prefix: &str, there: SocketAddr) -> Result<()> {
    let mut lines = BufReader::new(client).lines();
    let first = lines.next().context("no request")??;
    let (method, target) = first.split_once(' ').context("no target")?;
    let Some(target) = target.strip_prefix(prefix) else {
        client.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")?;
        return Ok(());
    };
    let mut head = format!("{method} {target}\r\nconnection: close\r\n");
    for line in lines.by_ref() {
        let line = line?;
        if line.is_empty() {
            break;
        }
        if !line.to_lowercase().starts_with("connection:") {
            head += &format!("{line}\r\n");
        }
    }
    let mut server = TcpStream::connect(there)?;
    server.write_all((head + "\r\n").as_bytes())?;
    copy(&mut server, &mut client)?;
    Ok(())
}
