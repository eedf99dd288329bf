//! What lies over the compiled-in configuration: a file's table, and variables of the environment. A layer may only change what
//! the default has, which so says which keys are known; but for sections that are passed through to a client library.

use floodgate_config::{find, join, nearest};
use toml::{Table, Value};

/// Puts `layer` over `base`, which must have every key of it, but for sections that are passed through.
pub(crate) fn overlay(
    base: &mut Table,
    layer: Table,
    path: &str,
    passed_through: &[String],
    problems: &mut Vec<String>,
) {
    if passed_through.iter().any(|section| section == path) {
        base.extend(layer);
        return;
    }
    for (key, value) in layer {
        let here = join(path, &key);
        match (base.get_mut(&key), value) {
            (None, _) => problems.push(unknown(base, path, &key)),
            (Some(Value::Table(inner)), Value::Table(layer)) => {
                overlay(inner, layer, &here, passed_through, problems);
            }
            (Some(Value::Table(_)), _) => problems.push(format!("`{here}` is a section, not a value")),
            (Some(_), Value::Table(_)) => problems.push(format!("`{here}` is a value, not a section")),
            (Some(value), new) => *value = new,
        }
    }
}

fn unknown(known: &Table, path: &str, key: &str) -> String {
    let nearest = nearest(known.keys().map(String::as_str), key);
    let hint =
        nearest.map(|nearest| format!("; did you mean `{}`?", join(path, nearest))).unwrap_or_default();
    format!("unknown key `{}`{hint}", join(path, key))
}

/// Puts one variable of the environment over the table; in its name two underscores stand for the dots of a path.
pub(crate) fn set_from_environment(
    table: &mut Table,
    path: &str,
    text: &str,
    passed_through: &[String],
) -> Result<(), String> {
    let path = path.to_ascii_lowercase().replace("__", ".");
    let property = |section: &String| {
        let property = path.strip_prefix(section.as_str())?.strip_prefix('.')?;
        Some((section.clone(), property.replace('_', ".")))
    };
    if let Some((section, property)) = passed_through.iter().find_map(property) {
        if let Some(Value::Table(client)) = find(table, &section) {
            client.insert(property, Value::String(text.to_owned()));
        }
        return Ok(());
    }
    let Some(value) = find(table, &path) else { return Err(unknown_path(table, &path)) };
    *value = match value {
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
    };
    Ok(())
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

    fn set(text: &str) -> Vec<String> {
        let mut table: Table = "part.names = ['before']".parse().unwrap();
        set_from_environment(&mut table, "PART__NAMES", text, &[]).unwrap();
        let names = find(&mut table, "part.names").unwrap().as_array().unwrap();
        names.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn lists_have_commas_in_the_environment() {
        assert_eq!(set("a,b"), ["a", "b"]);
        assert_eq!(set(" a , b,,"), ["a", "b"]);
        assert_eq!(set("10.0.0.0/8"), ["10.0.0.0/8"]);
        assert_eq!(set(" "), [""; 0]);
    }

    #[test]
    fn or_stand_there_as_in_a_file() {
        assert_eq!(set(" ['a,b', \"c\"] "), ["a,b", "c"]);
        assert_eq!(set("[]"), [""; 0]);
        let mut table: Table = "part.names = []".parse().unwrap();
        let set = |table: &mut Table, text| set_from_environment(table, "PART__NAMES", text, &[]);
        set(&mut table, "[{ id = 'a', scopes = ['x', 'y'] }]").unwrap();
        assert_eq!(table, "part.names = [{ id = 'a', scopes = ['x', 'y'] }]".parse().unwrap());
        for wrong in ["['a'", "['a'] x", "[a]", "['a']\nx = 1"] {
            let told = set(&mut table, wrong).unwrap_err();
            assert!(told.starts_with("must be a list as in a file: ") && !told.contains('\n'), "{told}");
        }
    }
}
