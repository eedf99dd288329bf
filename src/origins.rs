//! `floodgate config --origins`: what is in force, and who said so. TOML, so that it can be read back.

use floodgate_config::leaves;
use toml::{Table, Value};

use crate::layers::Origins;

/// Wider lines push their origin further to the right, and no other's.
const WIDTH_MAX: usize = 60;

/// A line for every value, with its origin behind it.
pub(crate) fn listed(table: &Table, origins: &Origins) -> String {
    let mut lines = Vec::new();
    leaves(table, "", &mut |key, value| {
        let origin = origins.get(key).map_or("default", String::as_str);
        lines.push((format!("{} = {value}", written(table, key)), origin.to_owned()));
    });
    let widths = lines.iter().map(|(line, _)| line.chars().count()).filter(|width| *width <= WIDTH_MAX);
    let width = widths.max().unwrap_or_default();
    // an origin is a file's name, which may hold anything
    let told = |(line, origin): &(String, String)| format!("{line:<width$}  # {}\n", origin.escape_debug());
    lines.iter().map(told).collect()
}

/// A key's full name as TOML has it: a part with dots in it is quoted.
fn written(table: &Table, key: &str) -> String {
    let Some((first, rest)) = table.keys().find_map(|first| match key.strip_prefix(first.as_str())? {
        "" => Some((first, None)),
        rest => Some((first, Some(rest.strip_prefix('.')?))),
    }) else {
        return key.to_owned();
    };
    let is_bare = first.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    let first_written = if is_bare { first.clone() } else { Value::from(first.as_str()).to_string() };
    match (rest, table.get(first)) {
        (Some(rest), Some(Value::Table(inner))) => format!("{first_written}.{}", written(inner, rest)),
        _ => first_written,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_value_stands_there_with_its_origin_and_reads_back() {
        let table: Table =
            "a.b = 1\na.names = ['x', 'y']\nlist = [{ id = 'i' }]\nc.'d.e' = 'f\"'\nc.g.h = true"
                .parse()
                .unwrap();
        let origins = [("a.b", "FLOODGATE__A__B"), ("c.d.e", "my\nfile.toml")];
        let origins = origins.map(|(key, origin)| (key.to_owned(), origin.to_owned())).into();
        let listed = listed(&table, &origins);
        assert_eq!(listed.parse::<Table>().unwrap(), table);
        for (key, origin) in [
            ("a.b", "FLOODGATE__A__B"),
            ("c.\"d.e\"", "my\\nfile.toml"),
            ("c.g.h", "default"),
            ("list", "default"),
        ] {
            let line = listed.lines().find(|line| line.starts_with(&format!("{key} = "))).unwrap();
            assert!(line.ends_with(&format!("  # {origin}")), "{line}");
        }
    }
}
