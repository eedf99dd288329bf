//! Bytes that anybody may have written, keys above all, shown to people: the one spelling that every command has for
//! them. Keys of likes hold a control character ([`crate::Event::write_partition_key`]).

use std::fmt::{Display, Write};

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

/// Bytes as text that no terminal takes for a command, and that shows all there is: what is not UTF-8, what is a control
/// character, and what only orders or hides its neighbours, is written as `\x1f` or `\u{202e}`, a backslash as two.
pub fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    // writing to a String cannot fail
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            let _ = match char {
                '\\' => text.write_str("\\\\"),
                char if char.is_ascii_control() => write!(text, "\\x{:02x}", u32::from(char)),
                char if is_hidden(char) => write!(text, "\\u{{{:x}}}", u32::from(char)),
                char => text.write_char(char),
            };
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// What a library says, without the line breaks that some of them put into it: a line of a log, or of what a command says, is one.
pub fn in_one_line(said: impl Display) -> String {
    let said = said.to_string();
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join("; ")
}

fn is_hidden(char: char) -> bool {
    use GeneralCategory::{Control, Format, LineSeparator, ParagraphSeparator};
    !char.is_ascii()
        && matches!(char.general_category(), Control | Format | LineSeparator | ParagraphSeparator)
}

/// The bytes that [`escaped`] shows as this text. What it would not have written stands for itself.
pub fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        bytes.extend(before.as_bytes());
        let (meant, length) = escape(after).unwrap_or((vec![b'\\'], 0));
        bytes.extend(meant);
        rest = &after[length..];
    }
    bytes.extend(rest.as_bytes());
    bytes
}

/// What stands behind a backslash, and how long it is.
fn escape(after: &str) -> Option<(Vec<u8>, usize)> {
    if after.starts_with('\\') {
        return Some((vec![b'\\'], 1));
    }
    if let Some(hex) = after.strip_prefix('x') {
        let byte = u8::from_str_radix(hex.get(..2)?, 16).ok()?;
        return Some((vec![byte], 3));
    }
    let (hex, _) = after.strip_prefix("u{")?.split_once('}')?;
    let char = char::from_u32(u32::from_str_radix(hex, 16).ok()?)?;
    Some((char.to_string().into_bytes(), hex.len() + 3))
}

/// For JSON: text as it is, anything else escaped.
pub fn plain(bytes: &[u8]) -> String {
    std::str::from_utf8(bytes).map_or_else(|_| escaped(bytes), str::to_owned)
}

/// At most `chars` characters of a text, with an ellipsis where something is missing.
pub fn shortened(text: String, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        None => text,
        Some(_) => text.chars().take(chars.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// The same of what [`escaped`] has made: cut between what stands for characters, and not within.
pub fn shortened_escaped(text: &str, chars: usize) -> String {
    if text.char_indices().nth(chars).is_none() {
        return text.to_owned();
    }
    let (mut kept, mut width) = (0, 1);
    while let Some(first) = text[kept..].chars().next() {
        let escape = text[kept..].strip_prefix('\\').and_then(escape);
        let (bytes, wide) = escape.map_or((first.len_utf8(), 1), |(_, length)| (length + 1, length + 1));
        if width + wide > chars {
            break;
        }
        (kept, width) = (kept + bytes, width + wide);
    }
    format!("{}…", &text[..kept])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_said_in_lines_is_told_in_one() {
        let told = in_one_line("Parse error at 1\nUnexpected `84`\r\n  Expected digits\n\n");
        assert_eq!(told, "Parse error at 1; Unexpected `84`; Expected digits");
        assert_eq!(in_one_line("in one"), "in one");
    }

    #[test]
    fn nothing_reaches_a_terminal_that_it_would_obey() {
        assert_eq!(escaped("star\u{1f}가 \\ \u{85}".as_bytes()), "star\\x1f가 \\\\ \\u{85}");
        assert_eq!(escaped("a\u{202e}b\u{200d}\u{2028}".as_bytes()), "a\\u{202e}b\\u{200d}\\u{2028}");
        assert_eq!(escaped(b"\x1b[2J\xff\xc3"), "\\x1b[2J\\xff\\xc3");
        assert_eq!(plain("a\u{1f}b".as_bytes()), "a\u{1f}b");
        assert_eq!(plain(b"a\xff\x1f"), "a\\xff\\x1f");
    }

    proptest! {
        #[test]
        fn what_is_shown_can_be_given_back(bytes in prop::collection::vec(any::<u8>(), 0..40), text in ".*") {
            prop_assert_eq!(unescaped(&escaped(&bytes)), bytes);
            prop_assert_eq!(unescaped(&escaped(text.as_bytes())), text.into_bytes());
        }
    }

    #[test]
    fn what_was_never_escaped_stands_for_itself() {
        for text in ["a\\", "\\x", "\\xg1", "\\u{", "\\u{d800}", "\\n", "star"] {
            assert_eq!(unescaped(text), text.as_bytes(), "{text}");
        }
        assert_eq!(unescaped("star\\x1fann"), b"star\x1fann");
    }

    #[test]
    fn nothing_is_cut_within_what_stands_for_a_character() {
        let short = |text: &str| shortened_escaped(text, 6);
        for (text, cut) in [
            ("ab\\x1f", "ab\\x1f"),
            ("ab\\x1fc", "ab…"),
            ("a\\x1fcd", "a\\x1f…"),
            ("abcd\\\\e", "abcd…"),
            ("abc\\\\de", "abc\\\\…"),
            ("\\u{202e}", "…"),
            ("가나다라마바사", "가나다라마…"),
            ("", ""),
        ] {
            assert_eq!(short(text), cut, "{text}");
        }
    }

    #[test]
    fn long_text_ends_with_an_ellipsis() {
        let short = |text: &str| shortened(text.to_owned(), 4);
        assert_eq!([short("가나다라"), short("abcde"), short("")], ["가나다라", "abc…", ""]);
    }
}
