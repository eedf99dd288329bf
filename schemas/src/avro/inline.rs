//! One schema of several that refer to each other.
//!
//! Registries keep named types as schemas of their own, to which others refer by name; serialisers of Java split schemas so by
//! themselves. A schema alone would have names that nobody knows, so that each is put where its name stands first.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::parse::{DEPTH_MAX, InvalidSchema, TEXT_MAX_BYTES, full, primitive};

/// The schema with those that it refers to, by their full names, in it.
pub(crate) fn inline(schema: &str, references: &[(String, String)]) -> Result<String, InvalidSchema> {
    let read = |text: &str| -> Result<Value, InvalidSchema> {
        if text.len() > TEXT_MAX_BYTES {
            return Err(InvalidSchema(format!(
                "a schema of {} bytes, more than {TEXT_MAX_BYTES}",
                text.len()
            )));
        }
        serde_json::from_str(text).map_err(|error| InvalidSchema(format!("no JSON: {error}")))
    };
    let mut whole = read(schema)?;
    let mut left = HashMap::new();
    for (name, text) in references {
        left.insert(name.clone(), read(text)?);
    }
    let mut inliner = Inliner { left, known: HashSet::new(), room: TEXT_MAX_BYTES };
    inliner.walk(&mut whole, "", DEPTH_MAX)?;
    Ok(whole.to_string())
}

struct Inliner {
    /// What stands nowhere yet, by full name.
    left: HashMap<String, Value>,
    /// What does.
    known: HashSet<String>,
    /// How many bytes may still be put somewhere.
    room: usize,
}

impl Inliner {
    fn walk(&mut self, json: &mut Value, namespace: &str, depth: usize) -> Result<(), InvalidSchema> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(InvalidSchema(format!("types within each other more than {DEPTH_MAX} deep")));
        };
        match json {
            Value::String(word) => {
                let full = full(word, namespace);
                if primitive(word).is_some() || self.known.contains(&full) {
                    return Ok(());
                }
                let Some((name, mut found)) =
                    self.left.remove_entry(&full).or_else(|| self.left.remove_entry(word.as_str()))
                else {
                    return Ok(());
                };
                let size = found.to_string().len();
                self.room = self.room.checked_sub(size).ok_or_else(|| {
                    InvalidSchema(format!("more than {TEXT_MAX_BYTES} bytes with what it refers to"))
                })?;
                if let Value::Object(object) = &mut found {
                    // within another it would be of that one's namespace
                    let (namespace, _) = name.rsplit_once('.').unwrap_or_default();
                    object.entry("namespace").or_insert_with(|| Value::from(namespace));
                }
                *json = found;
                self.walk(json, "", depth)
            }
            Value::Array(branches) => {
                branches.iter_mut().try_for_each(|branch| self.walk(branch, namespace, depth))
            }
            Value::Object(object) => self.walk_object(object, namespace, depth),
            _ => Ok(()),
        }
    }

    fn walk_object(
        &mut self,
        object: &mut Map<String, Value>,
        namespace: &str,
        depth: usize,
    ) -> Result<(), InvalidSchema> {
        let word = object.get("type").and_then(Value::as_str).unwrap_or_default();
        let inner = match word {
            "record" | "error" | "enum" | "fixed" => {
                let text = |key: &str| object.get(key).and_then(Value::as_str);
                let name = full(text("name").unwrap_or_default(), text("namespace").unwrap_or(namespace));
                let within = name.rsplit_once('.').map_or("", |(namespace, _)| namespace).to_owned();
                self.known.insert(name);
                let fields = object.get_mut("fields").and_then(Value::as_array_mut);
                let types = fields.into_iter().flatten().filter_map(|field| field.get_mut("type"));
                return types.into_iter().try_for_each(|of| self.walk(of, &within, depth));
            }
            "array" => object.get_mut("items"),
            "map" => object.get_mut("values"),
            _ => object.get_mut("type"),
        };
        inner.map_or(Ok(()), |inner| self.walk(inner, namespace, depth))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::avro::Plan;
    use crate::{Event, Like};

    fn pair(name: &str, text: &str) -> (String, String) {
        (name.to_owned(), text.to_owned())
    }

    #[test]
    fn what_java_splits_is_put_together() {
        let ours = Like::codec().text();
        let symbols = r#"{"type": "enum", "name": "LikeAction", "symbols": ["LIKE", "UNLIKE"]}"#;
        assert!(ours.contains(symbols));
        let split = ours.replace(symbols, "\"LikeAction\"");
        assert!(Plan::compile(&split, ours).is_err());
        for symbols in
            [symbols, &symbols.replace("\"LikeAction\"", "\"LikeAction\", \"namespace\": \"floodgate\"")]
        {
            let whole = inline(&split, &[pair("floodgate.LikeAction", symbols)]).unwrap();
            assert!(Plan::are_of_the_same(&whole, ours), "{whole}");
        }
        // what refers to nothing stays as it is
        assert!(Plan::are_of_the_same(&inline(ours, &[]).unwrap(), ours));
        assert!(inline(&split, &[]).is_ok_and(|whole| Plan::compile(&whole, ours).is_err()));
    }

    #[test]
    fn references_have_references_and_stand_once() {
        let outer = r#"{"type": "record", "name": "a.Outer", "fields": [
            {"name": "one", "type": ["null", "b.Inner"]}, {"name": "two", "type": {"type": "array", "items": "b.Inner"}},
            {"name": "three", "type": {"type": "map", "values": "Plain"}}, {"name": "four", "type": {"type": "Plain"}}]}"#;
        let inner = r#"{"type": "record", "name": "Inner", "namespace": "b", "fields": [
            {"name": "deep", "type": "Deep"}, {"name": "self", "type": ["null", "Inner"]}]}"#;
        let deep = r#"{"type": "fixed", "name": "b.Deep", "size": 3}"#;
        let plain = r#"{"type": "enum", "name": "Plain", "symbols": ["A"]}"#;
        let references = [pair("b.Inner", inner), pair("b.Deep", deep), pair("Plain", plain)];
        let whole = inline(outer, &references).unwrap();
        let wanted = r#"{"type": "record", "name": "a.Outer", "fields": [
            {"name": "one", "type": ["null", {"type": "record", "name": "b.Inner", "fields": [
                {"name": "deep", "type": {"type": "fixed", "name": "b.Deep", "size": 3}},
                {"name": "self", "type": ["null", "b.Inner"]}]}]},
            {"name": "two", "type": {"type": "array", "items": "b.Inner"}},
            {"name": "three", "type": {"type": "map", "values": {"type": "enum", "name": "Plain", "namespace": "", "symbols": ["A"]}}},
            {"name": "four", "type": "Plain"}]}"#;
        assert!(Plan::are_of_the_same(&whole, wanted), "{whole}");
    }

    #[test]
    fn what_is_too_much_is_refused() {
        let long = format!(
            r#"{{"type": "enum", "name": "Long", "symbols": ["{}"]}}"#,
            "A".repeat(TEXT_MAX_BYTES - 100)
        );
        let references = [pair("Long", &long), pair("Other", &long.replace("Long", "Other"))];
        assert!(inline("\"Long\"", &references).is_ok());
        assert!(inline(r#"["Long", "Other"]"#, &references).is_err());
        let chain: Vec<_> = (0..40)
            .map(|n| pair(&format!("T{n}"), &format!(r#"{{"type": "array", "items": "T{}"}}"#, n + 1)))
            .collect();
        assert!(inline("\"T0\"", &chain).unwrap_err().to_string().contains("deep"));
    }
}
