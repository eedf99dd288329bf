//! Reasons in words as labels: readable, and no series of its own for each number in one.
//!
//! A name keeps its digits, since there are so many names as are configured: words that begin with a letter (`redis-1`), and
//! addresses. All other numbers, whatever they count, become one sign.

use std::fmt::Write;
use std::net::Ipv4Addr;

/// Of a label, which is for people.
const CHARS: usize = 160;

/// In the place of a number.
const NUMBER: char = '#';

/// A reason without its numbers.
pub(crate) fn without_numbers(reason: &str) -> String {
    let is_of_word = |letter: char| letter.is_alphanumeric() || "._-".contains(letter);
    let (mut label, mut rest) = (String::new(), reason);
    while let Some(first) = rest.chars().next() {
        let end = match is_of_word(first) {
            true => rest.find(|letter| !is_of_word(letter)).unwrap_or(rest.len()),
            false => first.len_utf8(),
        };
        let (word, after) = rest.split_at(end);
        let is_name = first.is_alphabetic() && !is_random(word) || word.parse::<Ipv4Addr>().is_ok();
        if is_name || !word.contains(|letter: char| letter.is_ascii_digit()) {
            label.push_str(word);
        } else {
            // what stands around the digits is an end of a sentence, or a unit
            let number = word.trim_end_matches('.');
            let unit =
                number.trim_start_matches(|letter: char| letter.is_ascii_digit() || "._-".contains(letter));
            let unit = if unit.contains(|letter: char| letter.is_ascii_digit()) { "" } else { unit };
            let _ = write!(label, "{NUMBER}{unit}{}", &word[number.len()..]);
        }
        rest = after;
    }
    label.chars().take(CHARS).collect()
}

/// Whether this is an id (RFC 9562) rather than a name.
fn is_random(word: &str) -> bool {
    word.len() == 36 && word.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_can_be_read_and_numbers_are_one() {
        for (reason, label) in [
            (
                "Redis at redis-1:6379: Connection refused (os error 111)",
                "Redis at redis-1:#: Connection refused (os error #)",
            ),
            ("Redis at 127.0.0.1:16379: timed out after 2.5 s", "Redis at 127.0.0.1:#: timed out after # s"),
            ("Kafka at k1.example:9092,k2.example:9092", "Kafka at k1.example:#,k2.example:#"),
            (
                "floodgate.like.v1 partition 12: held at offset 9000.",
                "floodgate.like.v1 partition #: held at offset #.",
            ),
            ("no answer for 3500ms", "no answer for #ms"),
            ("event 0195f1a0-0000-7000-8000-00000000000a is bad", "event # is bad"),
            ("event a195f1a0-0000-7000-8000-00000000000a is bad", "event # is bad"),
            ("at [2001:db8::7]:443", "at [#:db8::#]:#"),
            ("shutting down", "shutting down"),
        ] {
            assert_eq!(without_numbers(reason), label, "{reason}");
        }
        assert_eq!(without_numbers(&"\u{e9} ".repeat(100)).chars().count(), CHARS);
    }
}
