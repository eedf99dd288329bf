//! Text that anybody may have written, for a terminal or a viewer of logs.

use std::borrow::Cow;
use std::fmt::Write;

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

/// Text without what a terminal obeys, what turns the order of its neighbours around, and what is not to be seen: in their
/// places stand escapes as JSON has them, so that JSON stays what it is. Line breaks stay.
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, |char| char != '\n' && is_hidden(char))
}

/// The same for a text that is coloured: what is ASCII stays.
pub fn printable_in_colour(text: &str) -> Cow<'_, str> {
    escaped(text, |char| !char.is_ascii() && is_hidden(char))
}

fn escaped(text: &str, is_wanted: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_wanted) {
        return Cow::Borrowed(text);
    }
    let mut told = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        if is_wanted(char) {
            // writing to a String cannot fail
            char.encode_utf16(&mut [0; 2]).iter().for_each(|unit| _ = write!(told, "\\u{unit:04x}"));
        } else {
            told.push(char);
        }
    }
    Cow::Owned(told)
}

fn is_hidden(char: char) -> bool {
    use GeneralCategory::{Control, Format, LineSeparator, ParagraphSeparator};
    !(' '..='~').contains(&char)
        && matches!(char.general_category(), Control | Format | LineSeparator | ParagraphSeparator)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Marks of direction, their overrides and isolates; widths of nothing; tags; separators; controls.
    const HIDDEN: &str = "\u{202a}\u{202e}\u{2066}\u{2069}\u{200e}\u{61c}\u{200b}\u{200d}\u{2060}\u{feff}\u{ad}\u{2028}\u{e0041}\u{85}\u{7f}";

    #[test]
    fn what_is_not_to_be_seen_is_escaped() {
        let told = printable(HIDDEN);
        assert!(told.is_ascii() && told.matches("\\u").count() == HIDDEN.chars().count() + 1, "{told}");
        let back: String = serde_json::from_str(&format!("\"{told}\"")).unwrap();
        assert_eq!(back, HIDDEN, "the same as JSON");
        assert_eq!(printable("a\u{1b}[2J\tb\n"), "a\\u001b[2J\\u0009b\n");
        assert_eq!(printable_in_colour("\u{1b}[31mred\u{1b}[0m \u{202e}"), "\u{1b}[31mred\u{1b}[0m \\u202e");
    }

    #[test]
    fn what_people_write_stays() {
        for text in ["plain {\"json\": 1}\n", "가나다 ✓ é e\u{301} \u{a0}\u{3000}", "…„“"] {
            assert!(matches!(printable(text), Cow::Borrowed(_)), "{text}");
        }
    }
}
