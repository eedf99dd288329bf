//! Text in the columns of a terminal: as wide as it stands there, on further lines where there is no room.

/// What a terminal has at least.
pub(crate) const COLUMNS: usize = 80;

/// Between two columns of a table.
const GAP: &str = "  ";

/// Columns that a character takes, as terminals do it: two for those of East Asia and for pictures, none for marks on others.
fn columns(c: char) -> usize {
    match u32::from(c) {
        0x0300..=0x036f | 0x200b..=0x200d | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xfe30..=0xfe6f => 2,
        0xff00..=0xff60 | 0xffe0..=0xffe6 | 0x1f300..=0x1faff | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

/// Columns that a text takes.
pub(crate) fn width(text: &str) -> usize {
    text.chars().map(columns).sum()
}

/// As much of a text as fits, with an ellipsis where something is missing.
pub(crate) fn shortened(text: &str, room: usize) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    let (head, _) = split(text, room.saturating_sub(1));
    format!("{}…", head.trim_end())
}

/// A text on lines of so many columns. A word that is longer than a line is broken.
pub(crate) fn wrapped(text: &str, room: usize) -> Vec<String> {
    let room = room.max(2);
    let mut lines = vec![String::new()];
    let mut used = 0;
    for mut word in text.split_whitespace() {
        let length = width(word);
        if used > 0 && used + 1 + length > room {
            lines.push(String::new());
            used = 0;
        }
        while used == 0 && width(word) > room {
            let (head, tail) = split(word, room);
            if let Some(line) = lines.last_mut() {
                line.push_str(head);
            }
            lines.push(String::new());
            word = tail;
        }
        if let Some(line) = lines.last_mut() {
            line.push_str(if used > 0 { " " } else { "" });
            line.push_str(word);
            used = width(line);
        }
    }
    lines
}

/// What fits into so many columns, and what does not.
fn split(text: &str, room: usize) -> (&str, &str) {
    let mut used = 0;
    let end = text.char_indices().find(|(_, c)| {
        used += columns(*c);
        used > room
    });
    text.split_at(end.map_or(text.len(), |(at, _)| at))
}

/// Rows with their cells one below the other. A column is as wide as its widest cell, or as it may be; the last one has what is left.
/// Each row is one text, of as many lines as it takes.
pub(crate) fn table(rows: &[Vec<String>], widest: &[usize]) -> Vec<String> {
    let of_column = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| width(cell)).max().unwrap_or(0)
    };
    let mut widths: Vec<usize> =
        widest.iter().enumerate().map(|(column, widest)| of_column(column).min(*widest)).collect();
    let used: usize = widths.iter().map(|width| width + GAP.len()).sum();
    widths.push(COLUMNS.saturating_sub(used));
    rows.iter().map(|row| one_row(row, &widths)).collect()
}

fn one_row(row: &[String], widths: &[usize]) -> String {
    let cells: Vec<Vec<String>> = row.iter().zip(widths).map(|(cell, width)| wrapped(cell, *width)).collect();
    let height = cells.iter().map(Vec::len).max().unwrap_or(0);
    let mut text = String::new();
    for line in 0..height {
        let mut told = String::new();
        for (cell, room) in cells.iter().zip(widths) {
            let part = cell.get(line).map_or("", String::as_str);
            let padding = room.saturating_sub(width(part));
            told += part;
            told.extend(std::iter::repeat_n(' ', padding));
            told += GAP;
        }
        text += told.trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn long_words_are_broken_and_others_are_not() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("a abcdefgh i", 4), ["a", "abcd", "efgh", "i"]);
        assert_eq!(wrapped("가나다", 4), ["가나", "다"]);
        assert_eq!([wrapped("", 4), wrapped(" \u{a0}", 4)], [[""], [""]]);
        assert_eq!([shortened("abcdef", 4), shortened("abcd", 4)], ["abc…", "abcd"]);
    }

    #[test]
    fn cells_stand_below_each_other() {
        let rows = [["a", "what is long", "x"], ["bc", "y", "z"]]
            .map(|row| row.map(str::to_owned).to_vec())
            .to_vec();
        assert_eq!(table(&rows, &[4, 8]).concat(), "a   what is   x\n    long\nbc  y         z\n");
    }

    proptest! {
        #[test]
        fn nothing_is_wider_than_it_may_be(text in "[a-z 가-힣]{0,200}", room in 2usize..40) {
            for line in wrapped(&text, room) {
                prop_assert!(width(&line) <= room, "{line}");
            }
            prop_assert!(width(&shortened(&text, room)) <= room);
            let kept = |text: &str| text.replace(' ', "");
            prop_assert_eq!(kept(&wrapped(&text, room).concat()), kept(&text));
        }
    }
}
