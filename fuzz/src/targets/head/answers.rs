//! Takes apart what a connection said. What is no answer of HTTP/1.1 with a length is a failure.

use super::reader::Seen;

/// An answer to a request.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Whether nothing more comes behind it.
    pub closes: bool,
    /// Whether it is one of HTTP/1.0, which closes unless it says otherwise.
    pub version_0: bool,
    /// Whether its body is a problem, or a problem's that `HEAD` asked for.
    pub is_problem: bool,
}

pub fn read(mut said: &[u8], seen: &Seen) -> Vec<Answer> {
    let mut answers = Vec::new();
    while !said.is_empty() {
        let end = said.windows(4).position(|window| window == b"\r\n\r\n").expect("a whole head");
        let head = std::str::from_utf8(&said[..end]).expect("a head is text").to_ascii_lowercase();
        said = &said[end + 4..];
        let mut lines = head.split("\r\n");
        let (version, rest) = lines.next().and_then(|line| line.split_once(' ')).expect("a status line");
        assert!(["http/1.1", "http/1.0"].contains(&version), "{version}");
        let status: u16 = rest[..3].parse().expect("a status");
        // a body is asked for, and the answer is still to come
        if status == 100 {
            continue;
        }
        let fields: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(": ")).collect();
        let field = |name: &str| fields.iter().find(|(found, _)| *found == name).map(|(_, value)| *value);
        let asks_for_head = seen.heads.get(answers.len()).is_some_and(|head| head.method == b"HEAD");
        let length: usize = field("content-length").map_or(0, |length| length.parse().expect("a length"));
        // what cannot be read is answered with a body, whatever its first word was, and nothing behind it
        let is_left_out = asks_for_head && said.len() != length;
        let length = if is_left_out { 0 } else { length };
        let body = said.split_at_checked(length).expect("a whole body");
        said = body.1;
        let is_problem = || {
            let body: serde_json::Value = serde_json::from_slice(body.0).unwrap_or_default();
            body["type"].as_str().is_some_and(|name| name.starts_with("/problems/"))
                && body["status"] == status
        };
        let is_of_type = field("content-type") == Some("application/problem+json");
        answers.push(Answer {
            status,
            closes: field("connection") == Some("close"),
            version_0: version == "http/1.0",
            is_problem: is_of_type && (is_left_out || is_problem()),
        });
    }
    answers
}
