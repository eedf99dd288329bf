//! Links that are cut, silenced and mended.
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use floodgate_testkit::{Link, Proxy, wait};

const DEADLINE: Duration = Duration::from_secs(20);

/// A server that says everything back, on a port of its own.
fn echo() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let (mut from, mut to) = (stream.try_clone().unwrap(), stream);
                let _ = std::io::copy(&mut from, &mut to);
            });
        }
    });
    port
}

fn connect(link: &Link) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, link.port())).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

fn say(stream: &mut TcpStream) -> std::io::Result<[u8; 2]> {
    stream.write_all(b"hi")?;
    let mut heard = [0; 2];
    stream.read_exact(&mut heard).map(|()| heard)
}

#[test]
fn a_link_is_cut_silenced_and_mended() {
    let proxy = Proxy::start().unwrap();
    let link = proxy.link(echo()).unwrap();
    let mut stream = connect(&link);
    assert_eq!(say(&mut stream).unwrap(), *b"hi");

    link.cut().unwrap();
    assert!(say(&mut stream).is_err(), "a cut connection still carries");
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, link.port())).is_err(), "a cut link takes connections");
    link.mend().unwrap();
    let mut stream = connect(&link);
    assert_eq!(say(&mut stream).unwrap(), *b"hi");

    link.swallow_answers().unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(say(&mut stream).is_err(), "an answer was not swallowed");
    link.calm().unwrap();
    let well = wait::until("the link to carry again", DEADLINE, || say(&mut connect(&link)).ok());
    assert_eq!(well.unwrap(), *b"hi");
}
