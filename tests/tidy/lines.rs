//! What lines of the log are made of. Source is read as text: each call of a macro of `tracing`, its fields and its words.

use super::{code, product_without};

/// Every name that a line may have, by its type: stores of logs take it from the first line they see, and refuse others.
const NUMBERS: &str = "allowed bad before deadline_ms done due end events facility from id keys left_out missing \
    missing_from missing_until needed now offset owned partition partition_count position records refused skipped start \
    uncommitted until was";
const TEXTS: &str = "backtrace brokers cause code detail endpoint error event_id expires group groups instance last member members of \
    outcome part place problem reason schema second signal strategy subject then thread topic why";
const FLAGS: &str = "drained lost pause";
const LISTS: &str = "partitions";

/// What is done again and is about no record, by how its line begins and what it names instead.
const ABOUT_NO_RECORD: [(&str, &[&str]); 7] = [
    ("all leaders can be reached again", &[]),
    ("no new Kafka producers", &[]),
    ("the database is the one it was again", &[]),
    // a whole group: no partition is this member's
    ("working again", &["group"]),
    ("subscribing anew", &["group"]),
    ("moving events begins anew", &["group"]),
    ("not consuming yet", &["groups"]),
];

/// A call that logs.
struct Said {
    /// Each with what is its value, if that is written there.
    fields: Vec<(String, String)>,
    /// All texts of the call, and names of what is said in their place.
    words: String,
}

/// Calls that log.
fn said(text: &str) -> Vec<Said> {
    let calls = text.split("tracing::").skip(1);
    let calls = calls.filter_map(|rest| rest.split_once("!(").filter(|(name, _)| is_level(name)));
    calls.map(|(_, rest)| read(rest)).collect()
}

fn is_level(macro_name: &str) -> bool {
    ["error", "warn", "info", "debug", "trace"].contains(&macro_name)
}

/// Reads a call up to its end.
fn read(call: &str) -> Said {
    let (mut parts, mut part, mut words) = (Vec::new(), String::new(), String::new());
    let (mut depth, mut is_text) = (0, false);
    let mut chars = call.chars();
    while let Some(char) = chars.next() {
        match char {
            '\\' if is_text => {
                chars.next();
            }
            '"' => {
                is_text = !is_text;
                part.push(char);
            }
            _ if is_text => words.push(char),
            ')' if depth == 0 => break,
            ',' if depth == 0 => parts.push(std::mem::take(&mut part)),
            _ => {
                depth += i32::from("([{".contains(char)) - i32::from(")]}".contains(char));
                part.push(char);
            }
        }
    }
    parts.push(part);
    let parts = parts.iter().map(|part| part.trim()).filter(|part| !part.starts_with("target:"));
    let fields = parts.take_while(|part| !part.starts_with('"') && !part.is_empty());
    let field = |part: &str| match part.split_once('=') {
        Some((name, value)) => (name.trim().to_owned(), value.trim().to_owned()),
        None => (part.trim_start_matches(['%', '?']).to_owned(), part.to_owned()),
    };
    Said { fields: fields.map(field).collect(), words }
}

/// Whoever parses the log finds numbers where there are any, one message, and under a name always the same.
#[test]
fn lines_of_the_log_have_one_message_and_names_of_one_type() {
    // whose tests do what nobody else may
    let is_writer = |file: &str| file == "observe/src/json.rs";
    let is_one_of = |names: &str, name: &str| names.split_whitespace().any(|known| known == name);
    let mut read = 0;
    for (file, text) in product_without("").into_iter().filter(|(file, _)| !is_writer(file)) {
        for Said { fields, .. } in said(&text) {
            for (name, value) in fields {
                assert_ne!(name, "message", "{file} logs a second message: {value}");
                let known = [NUMBERS, TEXTS, FLAGS, LISTS].map(|names| is_one_of(names, &name));
                let types = known.iter().filter(|is_known| **is_known).count();
                assert_eq!(types, 1, "{file} logs {name}, which has {types} types: give it one, above");
                let [is_number, is_text, ..] = known;
                // what can be told of a value by how it is written
                let is_shown = value.starts_with(['%', '?']);
                let is_counted = [".0", ".len()"].iter().any(|end| value.ends_with(end)) && !is_shown;
                let is_worded =
                    [".name()", ".reason()", ".to_string()"].iter().any(|end| value.ends_with(end));
                assert!(!is_shown || !is_number, "{file} logs a number as a text: {name} = {value}");
                assert!(!is_counted || is_number, "{file} logs {name}, which is no number, as one: {value}");
                assert!(!is_worded || is_text, "{file} logs {name}, which is no text, as one: {value}");
                read += 1;
            }
        }
    }
    assert!(read > 150, "{read} fields");
}

/// What is tried again can be looked at: a line about it says whose it is and where it lies.
#[test]
fn lines_about_what_is_tried_again_name_group_partition_and_offset() {
    let (mut about_records, mut others) = (0, Vec::new());
    let is_of_groups =
        |file: &str| ["buffer/src", "consumers/src", "src/consume.rs"].iter().any(|of| file.starts_with(of));
    for (file, text) in product_without("").into_iter().filter(|(file, _)| is_of_groups(file)) {
        // comments may say what they like
        let text: Vec<&str> = code(&text).map(|(_, line)| line).collect();
        for Said { fields, words } in said(&text.join("\n")) {
            // but what others do
            let words = words.replace("made anew", "");
            if !["again", "anew", "cannot be moved", "it is held"].iter().any(|word| words.contains(word)) {
                continue;
            }
            let other = ABOUT_NO_RECORD.iter().find(|(start, _)| words.starts_with(start));
            let wanted = other.map_or(&["group", "partition", "offset"][..], |(_, wanted)| wanted);
            for wanted in wanted {
                let has = fields.iter().any(|(name, _)| name == wanted);
                assert!(has, "{file} does not name {wanted}: {words}");
            }
            match other {
                Some((start, _)) => others.push(start),
                None => about_records += 1,
            }
        }
    }
    assert!(about_records >= 12, "{about_records} lines");
    let unused = ABOUT_NO_RECORD.iter().find(|(start, _)| !others.contains(&start));
    assert!(unused.is_none(), "nobody says {unused:?}");
}
