//! The layers of the configuration: the compiled-in default, over it a file, over that variables of the environment. A layer may
//! only change what the default has, which so says which keys are known; but for sections that are passed through to a client library.
//! Of every value it is remembered who said it.

use std::collections::BTreeMap;
use std::ffi::OsString;

use floodgate_config::{find, join, leaves, nearest};
use toml::{Table, Value};

use crate::variables::{self, Variable};

/// Who said a value: the file's or the variable's name, by the key's. Of what is not there the default did.
pub(crate) type Origins = BTreeMap<String, String>;

/// The configuration, layer by layer.
pub(crate) struct Layers {
    pub(crate) table: Table,
    pub(crate) default: Table,
    pub(crate) origins: Origins,
    /// Everything that does not fit.
    pub(crate) problems: Vec<String>,
    /// Sections whose keys are a client library's.
    passed_through: Vec<String>,
}

impl Layers {
    pub(crate) fn new(default: Table, passed_through: Vec<String>) -> Self {
        let (table, origins) = (default.clone(), Origins::new());
        Self { table, default, origins, problems: Vec::new(), passed_through }
    }

    /// Puts a file over it.
    ///
    /// # Errors
    /// It is no TOML. The place is told, and nothing of what stands there: it may be a password.
    pub(crate) fn file(&mut self, name: &str, text: &str) -> Result<(), String> {
        let layer: Table = text.parse().map_err(|error: toml::de::Error| {
            let before = &text[..text.floor_char_boundary(error.span().map_or(0, |span| span.start))];
            let (line, column) = (
                before.matches('\n').count() + 1,
                before.chars().rev().take_while(|c| *c != '\n').count() + 1,
            );
            format!("{name}: line {line}, column {column}: {}", error.message())
        })?;
        let mut overlay =
            Overlay { passed_through: &self.passed_through, set: Vec::new(), problems: Vec::new() };
        overlay.lay(&mut self.table, layer, "");
        self.origins.extend(overlay.set.into_iter().map(|key| (key, name.to_owned())));
        self.problems.extend(overlay.problems.into_iter().map(|problem| format!("{name}: {problem}")));
        Ok(())
    }

    /// Puts the environment over it.
    pub(crate) fn environment(&mut self, variables: impl Iterator<Item = (String, impl Into<OsString>)>) {
        let known = variables::known(&self.default, &self.passed_through);
        for (name, value) in variables {
            let set = match variables::read(&name, &known) {
                Variable::Anothers => Ok(()),
                Variable::NearMiss(problem) => Err(problem),
                Variable::Key(path) => match value.into().into_string() {
                    Ok(text) => self.set(&name, &path, &text),
                    Err(_) => Err("is no text (UTF-8)".to_owned()),
                },
            };
            if let Err(problem) = set {
                self.problems.push(format!("{name}: {problem}"));
            }
        }
    }

    /// Puts one variable over it.
    fn set(&mut self, name: &str, path: &str, text: &str) -> Result<(), String> {
        let property = |section: &String| {
            let property = path.strip_prefix(section.as_str())?.strip_prefix('.')?;
            Some((section.clone(), property.replace('_', ".")))
        };
        let key = match self.passed_through.iter().find_map(property) {
            Some((section, property)) => {
                let key = join(&section, &property);
                if let Some(Value::Table(client)) = find(&mut self.table, &section) {
                    client.insert(property, Value::String(text.to_owned()));
                }
                key
            }
            None => {
                let Some(value) = find(&mut self.table, path) else {
                    return Err(unknown_path(&self.table, path));
                };
                *value = of_kind(value, path, text)?;
                path.to_owned()
            }
        };
        self.origins.insert(key, name.to_owned());
        Ok(())
    }
}

/// A table that is put over another.
struct Overlay<'l> {
    passed_through: &'l [String],
    /// The keys that it has.
    set: Vec<String>,
    problems: Vec<String>,
}

impl Overlay<'_> {
    /// Puts `layer` over `base`, which must have every key of it, but for sections that are passed through.
    fn lay(&mut self, base: &mut Table, layer: Table, path: &str) {
        if self.passed_through.iter().any(|section| section == path) {
            leaves(&layer, path, &mut |key, _| self.set.push(key.to_owned()));
            base.extend(layer);
            return;
        }
        for (key, value) in layer {
            let here = join(path, &key);
            match (base.get_mut(&key), value) {
                (None, _) => self.problems.push(unknown(base, path, &key)),
                (Some(Value::Table(inner)), Value::Table(layer)) => self.lay(inner, layer, &here),
                (Some(Value::Table(_)), _) => {
                    self.problems.push(format!("`{here}` is a section, not a value"))
                }
                (Some(_), Value::Table(_)) => {
                    self.problems.push(format!("`{here}` is a value, not a section"))
                }
                (Some(value), new) => {
                    *value = new;
                    self.set.push(here);
                }
            }
        }
    }
}

fn unknown(known: &Table, path: &str, key: &str) -> String {
    let nearest = nearest(known.keys().map(String::as_str), key);
    let hint =
        nearest.map(|nearest| format!("; did you mean `{}`?", join(path, nearest))).unwrap_or_default();
    format!("unknown key `{}`{hint}", join(path, key))
}

/// A text as a value of the same kind as the one that it takes the place of.
fn of_kind(value: &Value, path: &str, text: &str) -> Result<Value, String> {
    Ok(match value {
        Value::Integer(_) => {
            Value::Integer(text.trim().parse().map_err(|_| "must be a whole number".to_owned())?)
        }
        Value::Float(_) => Value::Float(text.trim().parse().map_err(|_| "must be a number".to_owned())?),
        Value::Boolean(_) => {
            Value::Boolean(text.trim().parse().map_err(|_| "must be true or false".to_owned())?)
        }
        Value::Table(_) => return Err(format!("`{path}` is a section, not a value")),
        Value::Array(_) => listed(text)?,
        _ => Value::String(text.to_owned()),
    })
}

/// A list: texts with commas between them and blanks around them, nothing for none; or as it stands in a file, in brackets.
fn listed(text: &str) -> Result<Value, String> {
    if text.trim_start().starts_with('[') {
        let told = |error: toml::de::Error| format!("must be a list as in a file: {}", error.message());
        return text.trim().parse::<Value>().map_err(told);
    }
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    Ok(Value::Array(items.map(|item| Value::String(item.to_owned())).collect()))
}

/// Names the first part of `path` that is not there, and what may have been meant.
fn unknown_path(table: &Table, path: &str) -> String {
    let (mut here, mut known) = (String::new(), table);
    for key in path.split('.') {
        match known.get(key) {
            Some(Value::Table(inner)) => {
                here = join(&here, key);
                known = inner;
            }
            _ => return unknown(known, &here, key),
        }
    }
    format!("unknown key `{path}`")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn layers() -> Layers {
        Layers::new(
            "part.names = ['before']\npart.url = ''\npart.client = {}".parse().unwrap(),
            vec!["part.client".into()],
        )
    }

    fn set(value: &str) -> Result<Value, Vec<String>> {
        let mut layers = layers();
        layers.environment([("FLOODGATE__PART__NAMES".to_owned(), value)].into_iter());
        match layers.problems.is_empty() {
            true => Ok(layers.table["part"]["names"].clone()),
            false => Err(layers.problems),
        }
    }

    #[test]
    fn lists_have_commas_in_the_environment() {
        let list =
            |items: &[&str]| Ok(items.iter().map(|item| Value::from(*item)).collect::<Vec<_>>().into());
        assert_eq!(set("a,b"), list(&["a", "b"]));
        assert_eq!(set(" a , b,,"), list(&["a", "b"]));
        assert_eq!(set("10.0.0.0/8"), list(&["10.0.0.0/8"]));
        assert_eq!(set(" "), list(&[]));
        assert_eq!(set(" ['a,b', \"c\"] "), list(&["a,b", "c"]));
        assert_eq!(set("[]"), list(&[]));
    }

    #[test]
    fn or_stand_there_as_in_a_file() {
        let table: Table = "names = [{ id = 'a', scopes = ['x', 'y'] }]".parse().unwrap();
        assert_eq!(set("[{ id = 'a', scopes = ['x', 'y'] }]").as_ref(), Ok(&table["names"]));
        for wrong in ["['a'", "['a'] x", "[a]", "['a']\nx = 1"] {
            let told = set(wrong).unwrap_err().concat();
            assert!(told.starts_with("FLOODGATE__PART__NAMES: must be a list as in a file: "), "{told}");
            assert!(!told.contains('\n'), "{told}");
        }
    }

    #[test]
    fn who_said_a_value_is_remembered() {
        let mut layers = layers();
        layers
            .file("a.toml", "[part]\nurl = 'x'\nnames = []\nclient.some.thing = 1\n'client'.'some.other' = 2")
            .unwrap();
        let variables = [("FLOODGATE__PART__URL", "y"), ("FLOODGATE__PART__CLIENT__SOME_THIRD", "3")];
        layers.environment(variables.map(|(name, value)| (name.to_owned(), value)).into_iter());
        assert_eq!(layers.problems, [""; 0]);
        let origins: Vec<_> =
            layers.origins.iter().map(|(key, origin)| (key.as_str(), origin.as_str())).collect();
        assert_eq!(
            origins,
            [
                ("part.client.some.other", "a.toml"),
                ("part.client.some.thing", "a.toml"),
                ("part.client.some.third", "FLOODGATE__PART__CLIENT__SOME_THIRD"),
                ("part.names", "a.toml"),
                ("part.url", "FLOODGATE__PART__URL"),
            ]
        );
    }

    /// Of a file that cannot be read as one the place is told, and nothing that stands there.
    #[test]
    fn a_mistake_in_a_file_shows_no_line_of_it() {
        for (wrong, place) in [
            ("[part]\nurl = \"hidden", "line 2"),
            ("[part]\nurl = hidden", "line 2, column 7"),
            ("[part]\nurl = 'é' hidden", "line 2, column 11"),
            ("hidden", "line 1"),
            ("[part]\nurl = 'hidden'\nurl = 'hidden'", "line 3, column 1"),
            ("[part\nurl = 'hidden'", "line 1"),
            ("[part]\nurl = \"hid\\den\"", "line 2"),
            ("[part]\nurl = 'hidden'\n= 1", "line 3"),
        ] {
            let told = layers().file("a.toml", wrong).unwrap_err();
            assert!(told.starts_with("a.toml: line ") && told.contains(place), "{wrong}: {told}");
            assert!(!told.contains("hid") && !told.contains('\n'), "{wrong}: {told}");
        }
    }

    #[test]
    fn what_is_no_text_is_refused() {
        use std::os::unix::ffi::OsStringExt;
        let mut layers = layers();
        let value = OsString::from_vec(vec![b'a', 0xff]);
        layers.environment(
            [("FLOODGATE__PART__URL".to_owned(), value.clone()), ("PATH".to_owned(), value)].into_iter(),
        );
        assert_eq!(layers.problems, ["FLOODGATE__PART__URL: is no text (UTF-8)"]);
    }
}
