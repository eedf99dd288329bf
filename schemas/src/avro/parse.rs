//! Reads the text of a schema.

use std::collections::HashMap;
use std::fmt;

use serde_json::{Map, Value};

use super::model::{Field, LOGICAL, Logical, Shape, Type, TypeId, Types};

/// The longest text of a schema that is looked at: ours have a thousand bytes.
pub(crate) const TEXT_MAX_BYTES: usize = 64 << 10;

/// How deep types may stand within each other.
pub(super) const DEPTH_MAX: usize = 32;

/// How long the full name of a type may be.
const NAME_MAX_BYTES: usize = 512;

/// How many types, fields and symbols a schema may have, together.
const NAMES_MAX: usize = 2000;

/// A text is no schema that could be read, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidSchema(pub(crate) String);

impl fmt::Display for InvalidSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidSchema {}

fn invalid<T>(reason: impl Into<String>) -> Result<T, InvalidSchema> {
    Err(InvalidSchema(reason.into()))
}

/// What was read so far.
#[derive(Default)]
struct Parser {
    types: Vec<Type>,
    named: HashMap<String, TypeId>,
    names: usize,
}

/// Reads a schema.
pub(crate) fn parse(text: &str) -> Result<Types, InvalidSchema> {
    if text.len() > TEXT_MAX_BYTES {
        return invalid(format!("a schema of {} bytes, more than {TEXT_MAX_BYTES}", text.len()));
    }
    // the JSON library has a limit of depth of its own, and does not recurse beyond it
    let json: Value =
        serde_json::from_str(text).map_err(|error| InvalidSchema(format!("no JSON: {error}")))?;
    let mut parser = Parser::default();
    let root = parser.read(&json, "", DEPTH_MAX)?;
    Ok(Types { types: parser.types, root })
}

impl Parser {
    fn count(&mut self, names: usize) -> Result<(), InvalidSchema> {
        self.names += names;
        if self.names > NAMES_MAX {
            return invalid(format!("more than {NAMES_MAX} types, fields and symbols"));
        }
        Ok(())
    }

    fn add(&mut self, shape: Shape, logical: Option<Logical>) -> Result<TypeId, InvalidSchema> {
        self.count(1)?;
        self.types.push(Type { shape, logical });
        Ok(TypeId(self.types.len() - 1))
    }

    /// A type, in a namespace.
    fn read(&mut self, json: &Value, namespace: &str, depth: usize) -> Result<TypeId, InvalidSchema> {
        let Some(depth) = depth.checked_sub(1) else {
            return invalid(format!("types within each other more than {DEPTH_MAX} deep"));
        };
        match json {
            Value::String(word) => match primitive(word) {
                Some(shape) => self.add(shape, None),
                None => self.refer(word, namespace),
            },
            Value::Array(branches) => self.read_union(branches, namespace, depth),
            Value::Object(object) => self.read_object(object, namespace, depth),
            other => invalid(format!("{other} is no type")),
        }
    }

    fn refer(&self, word: &str, namespace: &str) -> Result<TypeId, InvalidSchema> {
        let known = self.named.get(&full(word, namespace)).or_else(|| self.named.get(word));
        known.copied().ok_or_else(|| InvalidSchema(format!("there is no type {word:?}")))
    }

    fn read_union(
        &mut self,
        branches: &[Value],
        namespace: &str,
        depth: usize,
    ) -> Result<TypeId, InvalidSchema> {
        let mut ids = Vec::new();
        for branch in branches {
            let id = self.read(branch, namespace, depth)?;
            let shape = &self.types[id.0].shape;
            let is_there_already = |other: &TypeId| match (&self.types[other.0].shape, shape) {
                (Shape::Record { name, .. }, Shape::Record { name: other, .. })
                | (Shape::Enum { name, .. }, Shape::Enum { name: other, .. })
                | (Shape::Fixed { name, .. }, Shape::Fixed { name: other, .. }) => name == other,
                (one, other) => one.word() == other.word(),
            };
            if matches!(shape, Shape::Union(_)) || ids.iter().any(is_there_already) {
                return invalid(format!("a union with {} in it, or twice", shape.word()));
            }
            ids.push(id);
        }
        if ids.is_empty() {
            return invalid("a union of nothing");
        }
        self.add(Shape::Union(ids), None)
    }

    fn read_object(
        &mut self,
        object: &Map<String, Value>,
        namespace: &str,
        depth: usize,
    ) -> Result<TypeId, InvalidSchema> {
        let Some(of) = object.get("type") else { return invalid("a type without \"type\"") };
        let Value::String(word) = of else { return self.read(of, namespace, depth) };
        let shape = match word.as_str() {
            "record" | "error" => return self.read_record(object, namespace, depth),
            "enum" => self.read_enum(object, namespace)?,
            "fixed" => {
                let (name, _) = self.named(object, namespace)?;
                let size =
                    object.get("size").and_then(Value::as_u64).and_then(|size| usize::try_from(size).ok());
                let Some(size) = size else { return invalid(format!("fixed {name} without a size")) };
                Shape::Fixed { name, size }
            }
            "array" | "map" => {
                let key = if word == "array" { "items" } else { "values" };
                let Some(items) = object.get(key) else { return invalid(format!("{word} without {key}")) };
                let items = self.read(items, namespace, depth)?;
                if word == "array" { Shape::Array(items) } else { Shape::Map(items) }
            }
            word => match primitive(word) {
                Some(shape) => shape,
                None => return self.refer(word, namespace),
            },
        };
        let logical = logical(object, &shape);
        let name = match &shape {
            Shape::Fixed { name, .. } | Shape::Enum { name, .. } => Some(name.clone()),
            _ => None,
        };
        let id = self.add(shape, logical)?;
        name.into_iter().try_for_each(|name| self.name(name, id))?;
        Ok(id)
    }

    fn read_record(
        &mut self,
        object: &Map<String, Value>,
        namespace: &str,
        depth: usize,
    ) -> Result<TypeId, InvalidSchema> {
        let (name, within) = self.named(object, namespace)?;
        let Some(Value::Array(list)) = object.get("fields") else {
            return invalid(format!("record {name} without fields"));
        };
        // named before its fields are read, which may hold it
        let former = aliases(object);
        let id = self.add(Shape::Record { name: name.clone(), aliases: former, fields: Vec::new() }, None)?;
        self.name(name.clone(), id)?;
        let mut read = Vec::<Field>::new();
        for field in list {
            self.count(1)?;
            let field_name = field.get("name").and_then(Value::as_str).filter(|name| is_name(name));
            let Some(field_name) = field_name else {
                return invalid(format!("a field of {name} whose name is none"));
            };
            let Some(of) = field.get("type") else {
                return invalid(format!("field {field_name} of {name} without a type"));
            };
            if read.iter().any(|field| field.name == field_name) {
                return invalid(format!("{name} has two fields {field_name}"));
            }
            let of = self.read(of, &within, depth)?;
            let former = field.as_object().map(aliases).unwrap_or_default();
            read.push(Field {
                name: field_name.to_owned(),
                aliases: former,
                of,
                default: field.get("default").cloned(),
            });
        }
        if let Shape::Record { fields, .. } = &mut self.types[id.0].shape {
            *fields = read;
        }
        Ok(id)
    }

    fn read_enum(&mut self, object: &Map<String, Value>, namespace: &str) -> Result<Shape, InvalidSchema> {
        let (name, _) = self.named(object, namespace)?;
        let Some(Value::Array(list)) = object.get("symbols") else {
            return invalid(format!("enum {name} without symbols"));
        };
        self.count(list.len())?;
        let symbols: Option<Vec<String>> =
            list.iter().map(|symbol| symbol.as_str().map(str::to_owned)).collect();
        let Some(symbols) = symbols.filter(|symbols| symbols.iter().all(|symbol| is_name(symbol))) else {
            return invalid(format!("enum {name} has symbols that are no names"));
        };
        let default = object.get("default").and_then(Value::as_str).map(str::to_owned);
        if default.as_ref().is_some_and(|default| !symbols.contains(default)) {
            return invalid(format!("the default of enum {name} is none of its symbols"));
        }
        Ok(Shape::Enum { name, symbols, default })
    }

    /// Its full name, and the namespace within it.
    fn named(&self, object: &Map<String, Value>, namespace: &str) -> Result<(String, String), InvalidSchema> {
        let name = object.get("name").and_then(Value::as_str).unwrap_or_default();
        let own = object.get("namespace").and_then(Value::as_str).unwrap_or(namespace);
        let full = full(name, own);
        if full.len() > NAME_MAX_BYTES {
            return invalid(format!(
                "a type whose name has {} bytes, more than {NAME_MAX_BYTES}",
                full.len()
            ));
        }
        if !full.split('.').all(is_name) {
            return invalid(format!("{full:?} is no name of a type"));
        }
        let within = full.rsplit_once('.').map_or("", |(namespace, _)| namespace).to_owned();
        Ok((full, within))
    }

    fn name(&mut self, name: String, id: TypeId) -> Result<(), InvalidSchema> {
        match self.named.insert(name.clone(), id) {
            None => Ok(()),
            Some(_) => invalid(format!("two types are called {name}")),
        }
    }
}

pub(super) fn primitive(word: &str) -> Option<Shape> {
    Some(match word {
        "null" => Shape::Null,
        "boolean" => Shape::Boolean,
        "int" => Shape::Int,
        "long" => Shape::Long,
        "float" => Shape::Float,
        "double" => Shape::Double,
        "bytes" => Shape::Bytes,
        "string" => Shape::String,
        _ => return None,
    })
}

pub(super) fn full(name: &str, namespace: &str) -> String {
    match namespace {
        "" => name.to_owned(),
        _ if name.contains('.') => name.to_owned(),
        namespace => format!("{namespace}.{name}"),
    }
}

/// Letters of any script, as Java takes them.
fn is_name(name: &str) -> bool {
    let mut letters = name.chars();
    let is_first = |letter: char| letter.is_alphabetic() || letter == '_';
    letters.next().is_some_and(is_first) && letters.all(|letter| letter.is_alphanumeric() || letter == '_')
}

fn aliases(object: &Map<String, Value>) -> Vec<String> {
    let list = object.get("aliases").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// What a value means; one that does not go with the shape is none, as the specification has it.
fn logical(object: &Map<String, Value>, shape: &Shape) -> Option<Logical> {
    let word = object.get("logicalType").and_then(Value::as_str)?;
    if word == "decimal" && matches!(shape, Shape::Bytes | Shape::Fixed { .. }) {
        let scale = object.get("scale").map_or(Some(0), Value::as_u64)?;
        let precision = object.get("precision").and_then(Value::as_u64)?;
        return (precision >= 1 && scale <= precision).then_some(Logical::Decimal { precision, scale });
    }
    let known = LOGICAL.iter().find(|(name, shapes)| *name == word && shapes.contains(&shape.word()));
    known.map(|(name, _)| Logical::Named(name))
}
