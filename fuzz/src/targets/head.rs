//! What clients send on one connection, through the listener's own parsing: hyper behind our streams and checks.
//!
//! A reader that shares nothing with them ([`reader`]) says how many requests there are and where its doubts begin. No more may be
//! answered than it sees; what it doubts is refused, and nothing behind that is looked at. Every refusal has a problem as its body,
//! no connection hangs, and it makes no difference in which pieces the bytes come.

mod answers;
mod reader;

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex, split};

use self::answers::Answer;
use self::reader::{Doubt, Seen};
use super::world::{in_time, server};

/// What the preface of HTTP/2 begins with.
const HTTP_2: &[u8] = b"PRI * HTTP/2";

pub fn run(bytes: &[u8]) {
    let said = exchange(&[bytes]);
    // frames of HTTP/2, which only must not hang; where its preface comes later the library says nothing or refuses it
    if bytes.windows(HTTP_2.len()).any(|window| window == HTTP_2) || bytes.starts_with(b"PRI") {
        return;
    }
    let seen = reader::read(bytes);
    let answers = answers::read(&said, &seen);
    judge(&seen, &answers);
    if bytes.len() > 1 && seen.is_plain {
        let at = bytes.iter().fold(7_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add((*byte).into()));
        let (first, second) = bytes.split_at(1 + at % (bytes.len() - 1));
        let in_two = answers::read(&exchange(&[first, second]), &seen);
        assert_eq!(statuses(&in_two), statuses(&answers), "in two pieces");
    }
}

/// What a connection says to these bytes, which come one after the other.
fn exchange(pieces: &[&[u8]]) -> Vec<u8> {
    let server = server();
    in_time(async move {
        let (near, far) = duplex(16 << 10);
        let serving = tokio::spawn(async move { Arc::clone(&server).serve_in_memory(far).await });
        let (mut from, mut to) = split(near);
        let send = async {
            for piece in pieces {
                // who is not read any more has said enough
                if to.write_all(piece).await.is_err() {
                    break;
                }
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
            }
        };
        let mut said = Vec::new();
        let (_, read) = tokio::join!(send, from.read_to_end(&mut said));
        read.expect("memory is always there");
        serving.await.expect("no panic");
        said
    })
}

fn statuses(answers: &[Answer]) -> Vec<u16> {
    answers.iter().map(|answer| answer.status).collect()
}

fn judge(seen: &Seen, answers: &[Answer]) {
    let whole = seen.heads.iter().filter(|head| head.is_whole).count();
    let more = usize::from(seen.doubt != Doubt::None);
    assert!(answers.len() <= whole + more, "{} answers to {seen:?}: {answers:?}", answers.len());
    if let (Doubt::InHead, Some(last)) = (seen.doubt, answers.get(whole)) {
        assert!(
            last.status >= 400 && (last.closes || last.version_0),
            "doubtful, and accepted: {seen:?} {answers:?}"
        );
    }
    for answer in answers {
        assert!(answer.status < 400 || answer.is_problem, "no problem: {answer:?}");
        assert!(answer.status < 500 || answer.status == 503, "{answer:?}");
    }
    // who is not answered was told that nothing more is
    if answers.len() < whole {
        let last = answers.last().expect("one is answered at least");
        assert!(last.closes || last.version_0, "unanswered: {seen:?} {answers:?}");
    }
}
