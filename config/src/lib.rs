//! Sections of the configuration: each is read by whoever it configures.
//!
//! The compiled-in default names every key there is, so it also says which keys are known. The binary lays a file and the
//! environment over it and hands each part its [`Section`]: what is configured there now, beside the default. A part reads
//! its section into a struct of its own and checks what contradicts itself; nobody else knows its keys.
//!
//! *Everything that is wrong is told at once*, so that nobody has to come back once per mistake: a value of the wrong kind is
//! told and replaced by the default's, and reading goes on. A value of the wrong kind is never shown: it may be a password that
//! somebody forgot to quote; nor is one that has something of an address, which may have a password in it, and stand under the wrong key.

pub mod address;
pub mod mask;

use serde::de::DeserializeOwned;
use toml::{Table, Value};

/// One section, and the sections within it.
#[derive(Debug, Clone)]
pub struct Section {
    path: String,
    table: Table,
    default: Table,
}

impl Section {
    /// The section at `path`, names with dots between them; empty for the whole configuration. Every key that is known has
    /// its default.
    pub fn new(path: &str, table: Table, default: Table) -> Self {
        Self { path: path.to_owned(), table, default }
    }

    /// The section of this name within it; an empty one where there is none.
    pub fn section(&self, name: &str) -> Section {
        let within = |table: &Table| table.get(name).and_then(Value::as_table).cloned().unwrap_or_default();
        Section { path: join(&self.path, name), table: within(&self.table), default: within(&self.default) }
    }

    /// The text under a key, if it is one.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.table.get(key).and_then(Value::as_str)
    }

    /// Whether there is anything under a key.
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// The default's text under a key, if it is one.
    pub fn default_text(&self, key: &str) -> Option<&str> {
        self.default.get(key).and_then(Value::as_str)
    }

    /// A key's full name.
    pub fn key(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// Reads all of it. What is of the wrong kind is added to `problems`, and reads as its default does; `None` where that
    /// cannot be either.
    pub fn read<T: DeserializeOwned>(&self, problems: &mut Vec<String>) -> Option<T> {
        let (mut table, mut default) = (self.table.clone(), self.default.clone());
        loop {
            let error = match serde_path_to_error::deserialize::<_, T>(Value::Table(table.clone())) {
                Ok(read) => return Some(read),
                Err(error) => error,
            };
            let path = error.path().to_string();
            // of a list all is replaced: the default has no item at that place
            let key = path.split_once('[').map_or(path.as_str(), |(list, _)| list);
            let text = without_value(error.inner().message());
            let text = find(&mut table, key).map_or(text.clone(), |wrong| without_addresses(text, wrong));
            problems.push(format!("{text} in `{}`{}", join(&self.path, &path), hint(&text)));
            match (find(&mut table, key), find(&mut default, key)) {
                (Some(wrong), Some(right)) if wrong != right => *wrong = right.clone(),
                _ => return None,
            }
        }
    }
}

/// The library's words on a value of another kind, or on a text, without that value.
fn without_value(text: &str) -> String {
    let (is_kind, is_text) = (text.starts_with("invalid type: "), text.starts_with("invalid value: string "));
    match (text.find(['"', '`']), text.rfind(", expected ")) {
        (Some(value), Some(expected)) if value < expected && (is_kind || is_text) => {
            format!("{}{}", text[..value].trim_end(), &text[expected..])
        }
        _ => text.to_owned(),
    }
}

/// Words on a value, without any text of it that may not be shown.
fn without_addresses(words: String, value: &Value) -> String {
    match value {
        Value::String(text) if mask::shown(text) != text => {
            words.replace(&format!("{text:?}"), mask::MASK).replace(text.as_str(), mask::MASK)
        }
        Value::Array(items) => items.iter().fold(words, without_addresses),
        Value::Table(table) => table.values().fold(words, without_addresses),
        _ => words,
    }
}

/// What may have been meant, where the library's words do not say it.
fn hint(text: &str) -> &'static str {
    if text.contains("socket address") {
        ": an IP address and a port, such as 127.0.0.1:8080"
    } else if text.contains("expected a sequence") {
        ": a list, such as [\"a\", \"b\"]"
    } else if text.contains("expected struct") {
        ": a table, such as { name = \"a\" }"
    } else {
        ""
    }
}

/// The value at a path of keys with dots between them.
pub fn find<'t>(table: &'t mut Table, path: &str) -> Option<&'t mut Value> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let value = table.get_mut(first)?;
    match rest {
        None => Some(value),
        Some(rest) => find(value.as_table_mut()?, rest),
    }
}

/// Every value with its full name.
pub fn leaves<'t>(table: &'t Table, path: &str, tell: &mut impl FnMut(&str, &'t Value)) {
    for (key, value) in table {
        let here = join(path, key);
        match value {
            Value::Table(inner) => leaves(inner, &here, tell),
            value => tell(&here, value),
        }
    }
}

/// The full name of a key within a section.
pub fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// The known word that is most like another, which may have been meant.
pub fn nearest<'k>(known: impl IntoIterator<Item = &'k str>, word: &str) -> Option<&'k str> {
    let likeness = |known: &str| strsim::jaro_winkler(known, word);
    known.into_iter().max_by(|one, other| likeness(one).total_cmp(&likeness(other)))
}

/// The same, if it is so much like it that it probably was meant.
pub fn near<'k>(known: impl IntoIterator<Item = &'k str>, word: &str) -> Option<&'k str> {
    const NEAR: f64 = 0.75;
    let likeness = |known: &str| strsim::normalized_damerau_levenshtein(known, word);
    let nearest = known.into_iter().max_by(|one, other| likeness(one).total_cmp(&likeness(other)))?;
    (likeness(nearest) >= NEAR).then_some(nearest)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Part {
        size: u32,
        within: Within,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Within {
        flag: bool,
    }

    fn section(table: &str) -> Section {
        let default = "size = 3\nwithin.flag = true".parse().unwrap();
        Section::new("part", table.parse().unwrap(), default)
    }

    #[test]
    fn everything_that_is_wrong_is_told_and_reads_as_the_default() {
        let mut problems = Vec::new();
        let read: Option<Part> = section("size = 'big'\nwithin.flag = 7").read(&mut problems);
        assert_eq!(read, Some(Part { size: 3, within: Within { flag: true } }));
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(
            problems[0].contains("`part.size`") && problems[1].contains("`part.within.flag`"),
            "{problems:?}"
        );
        problems.clear();
        let read: Option<Part> = section("size = 7\nwithin.flag = false").read(&mut problems);
        assert_eq!((read.unwrap().size, problems.len()), (7, 0));
    }

    /// It may be a password that was not quoted, or stands under the wrong key.
    #[test]
    fn values_of_the_wrong_kind_are_not_shown() {
        for wrong in ["'hidden, expected \\`hidden'", "12345", "true", "['hidden']", "1.5", "2026-01-01"] {
            let mut problems = Vec::new();
            let _: Option<Part> = section(&format!("size = 3\nwithin.flag = {wrong}")).read(&mut problems);
            let told = problems.concat();
            let is_told = ["hidden", "12345", "1.5", "2026"].iter().any(|value| told.contains(value));
            assert!(!is_told, "{wrong}: {told}");
        }
        let mut problems = Vec::new();
        let _: Option<Part> = section("size = -1\nwithin.flag = true").read(&mut problems);
        assert!(problems[0].contains("`-1`, expected u32"), "{problems:?}");
    }

    #[test]
    fn values_that_may_be_of_another_key_are_not_shown() {
        #[derive(Debug, Deserialize)]
        #[serde(rename_all = "lowercase")]
        enum Mode {
            On,
        }
        #[derive(Debug, Deserialize)]
        struct Part {
            mode: Mode,
            modes: Vec<Mode>,
        }
        for (wrong, told) in [
            ("off", "unknown variant `off`, expected `on`"),
            ("postgres://a:hidden@h", "unknown variant `***`, expected `on`"),
            ("a:hidden@h", "unknown variant `***`, expected `on`"),
        ] {
            let table = format!("mode = '{wrong}'\nmodes = ['on', '{wrong}']").parse().unwrap();
            let section = Section::new("part", table, "mode = 'on'\nmodes = []".parse().unwrap());
            let mut problems = Vec::new();
            let read: Part = section.read(&mut problems).unwrap();
            assert!(matches!(read.mode, Mode::On) && read.modes.is_empty());
            assert_eq!(problems, ["mode", "modes[1]"].map(|key| format!("{told} in `part.{key}`")));
        }
    }

    #[test]
    fn words_that_are_near_were_probably_meant() {
        assert_eq!(near(["sslmode", "host"], "sslmod"), Some("sslmode"));
        assert_eq!(near(["sslmode", "host"], "secret"), None);
    }

    #[test]
    fn a_list_is_replaced_whole() {
        #[derive(Debug, Deserialize)]
        struct Listed {
            names: Vec<String>,
            size: u32,
        }
        for (wrong, told) in [
            ("names = 'a'", "expected a sequence in `part.names`: a list, such as [\"a\", \"b\"]"),
            ("names = ['a', 7]", "expected a string in `part.names[1]`"),
        ] {
            let table = format!("{wrong}\nsize = 'big'").parse().unwrap();
            let section = Section::new("part", table, "names = ['x']\nsize = 3".parse().unwrap());
            let mut problems = Vec::new();
            let read: Listed = section.read(&mut problems).unwrap();
            assert_eq!((read.names, read.size), (vec!["x".to_owned()], 3));
            assert_eq!(problems.len(), 2, "{problems:?}");
            assert!(problems.iter().any(|problem| problem.ends_with(told)), "{problems:?}");
        }
    }

    #[test]
    fn what_no_default_mends_is_told_once() {
        let mut problems = Vec::new();
        assert_eq!(section("within.flag = true").read::<Part>(&mut problems), None);
        assert_eq!(problems.len(), 1, "{problems:?}");
    }

    #[test]
    fn sections_lie_within_sections() {
        let within = section("within.flag = true\nname = 'x'").section("within");
        assert_eq!(within.key("flag"), "part.within.flag");
        assert_eq!(section("name = 'x'").text("name"), Some("x"));
        assert_eq!(
            (section("name = 7").text("name"), section("name = 'x'").default_text("name")),
            (None, None)
        );
        let named = Section::new("", Table::new(), "name = 'x'".parse().unwrap());
        assert_eq!((named.text("name"), named.default_text("name")), (None, Some("x")));
        assert_eq!(section("").section("none").read::<Table>(&mut Vec::new()), Some(Table::new()));
        assert_eq!(nearest(["brokers", "linger_ms"], "broker"), Some("brokers"));
    }
}
