//! What has to be done to a writer's record, worked out once.

use std::fmt;

use serde_json::Value;

use super::convert::{Convert, skip};
use super::model::{Field, Shape, TypeId, Types};
use super::parse::{InvalidSchema, parse};
use super::resolve::{losses, resolve, unqualified};
use super::unread::Unread;
use crate::InvalidDatum;
use crate::datum::{Datum, write_bytes};

/// Data of a writer's schema cannot be read as a type of ours: all the reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incompatible {
    /// Each a sentence, with the field it is about.
    pub reasons: Vec<String>,
}

impl fmt::Display for Incompatible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reasons.join("; "))
    }
}

impl std::error::Error for Incompatible {}

impl From<InvalidSchema> for Incompatible {
    fn from(InvalidSchema(reason): InvalidSchema) -> Self {
        Self { reasons: vec![format!("not a schema: {reason}")] }
    }
}

/// What is done, in the order of the writer's fields; then come those it does not have.
#[derive(Debug)]
pub struct Plan {
    writer: Types,
    steps: Box<[Step]>,
    /// What could not be read though most of it can, in words.
    losses: Vec<String>,
    /// What is passed over, each with the number of the field of ours it stands before, where that is all there is to do.
    between: Option<Box<[(usize, TypeId)]>>,
}

/// What is passed over between the fields of ours, which stand in their order.
pub(crate) struct Between<'p> {
    writer: &'p Types,
    left: &'p [(usize, TypeId)],
    /// The field in front of which something is passed over next: all others cost a comparison.
    next: usize,
}

impl Between<'_> {
    /// Passes what stands before field number `number`. Fields are asked for in their order.
    #[inline]
    pub(crate) fn pass(&mut self, number: usize, from: &mut &[u8]) -> Result<(), Unread> {
        if number == self.next { self.pass_all(from) } else { Ok(()) }
    }

    #[cold]
    fn pass_all(&mut self, from: &mut &[u8]) -> Result<(), Unread> {
        while let [(number, id), left @ ..] = self.left
            && *number == self.next
        {
            skip(self.writer, *id, from)?;
            self.left = left;
        }
        self.next = self.left.first().map_or(usize::MAX, |(number, _)| *number);
        Ok(())
    }
}

#[derive(Debug)]
enum Step {
    /// A field of ours, as it is written.
    Read(usize),
    /// A field of ours, from something else.
    Convert(usize, Convert),
    /// Nothing of ours.
    Skip(TypeId),
    /// A field of ours that the writer does not have: our default, as we would write it.
    Default(usize, Box<[u8]>),
}

impl Plan {
    /// Whether two texts are the same schema.
    pub(crate) fn are_of_the_same(one: &str, other: &str) -> bool {
        matches!((parse(one), parse(other)), (Ok(one), Ok(other)) if one == other)
    }

    /// How data of the writer's schema become those of the reader's, whose fields are numbered in their order.
    pub(crate) fn compile(writer: &str, reader: &str) -> Result<Self, Incompatible> {
        let (writer, reader) = (parse(writer)?, parse(reader)?);
        let one = |reason: String| Incompatible { reasons: vec![reason] };
        let (Shape::Record { name, fields, .. }, Shape::Record { name: our_name, aliases, fields: ours }) =
            (&writer.get(writer.root).shape, &reader.get(reader.root).shape)
        else {
            return Err(one(format!("{} is no record", writer.get(writer.root).shape.word())));
        };
        let is_named = |ours: &String| unqualified(ours) == unqualified(name);
        if !is_named(our_name) && !aliases.iter().any(is_named) {
            return Err(one(format!("the record {name} is not {our_name}")));
        }
        let mut taken = vec![false; ours.len()];
        let (mut steps, mut reasons, mut lost) = (Vec::new(), Vec::new(), Vec::new());
        let mut passed_over = Vec::new();
        for field in fields {
            let is_it = |our: &Field| our.name == field.name;
            let was_it = |our: &Field| our.aliases.contains(&field.name);
            // a name goes before a former name
            let Some(place) = ours.iter().position(is_it).or_else(|| ours.iter().position(was_it)) else {
                steps.push(Step::Skip(field.of));
                passed_over.push(field);
                continue;
            };
            let our = &ours[place];
            if std::mem::replace(&mut taken[place], true) {
                reasons.push(format!(
                    "field {}: it is written twice, under its name and a former one",
                    our.name
                ));
                continue;
            }
            let (from, to) = ((&writer, field.of), (&reader, our.of));
            lost.extend(losses(from, to).into_iter().map(|loss| format!("field {}: {loss}", our.name)));
            match resolve(from, to) {
                Ok(Convert::Same(_)) => steps.push(Step::Read(place)),
                Ok(convert) => steps.push(Step::Convert(place, convert)),
                Err(reason) => reasons.push(format!("field {}: {reason}", our.name)),
            }
        }
        for (place, our) in ours.iter().enumerate().filter(|(place, _)| !taken[*place]) {
            let mut bytes = Vec::new();
            // its value is there, under a name that this build does not know
            let is_it = |name: &String| *name == our.name || our.aliases.contains(name);
            if let Some(field) = passed_over.iter().find(|field| field.aliases.iter().any(is_it)) {
                reasons.push(format!(
                    "field {}: it is written as {}, which is not known here",
                    our.name, field.name
                ));
                continue;
            }
            match &our.default {
                None => reasons.push(format!("field {}: it is not written, and has no default", our.name)),
                Some(default) => match write_default(&reader, our.of, default, &mut bytes) {
                    Ok(()) => steps.push(Step::Default(place, bytes.into())),
                    Err(reason) => reasons.push(format!("field {}: its default {reason}", our.name)),
                },
            }
        }
        match reasons.is_empty() {
            true => {
                let between = between(&steps, ours.len());
                Ok(Self { writer, steps: steps.into(), losses: lost, between })
            }
            false => Err(Incompatible { reasons }),
        }
    }

    /// Whether a text is a schema.
    pub(crate) fn parses(text: &str) -> Result<(), InvalidSchema> {
        parse(text).map(drop)
    }

    /// What could not be read of a writer's data though most of it can, or would be something else: all of it in words.
    pub(crate) fn losses(&self) -> &[String] {
        &self.losses
    }

    /// Whether a writer's schema is of the record that the reader's is, whatever its fields.
    pub(crate) fn is_of(writer: &str, reader: &str) -> bool {
        let name = |text: &str| {
            let types = parse(text).ok()?;
            match &types.get(types.root).shape {
                Shape::Record { name, .. } => Some(unqualified(name).to_owned()),
                _ => None,
            }
        };
        name(writer).is_some_and(|written| name(reader) == Some(written))
    }

    /// What is passed over between fields of ours, where nothing else is to be done.
    #[inline]
    pub(crate) fn between(&self) -> Option<Between<'_>> {
        let left = self.between.as_deref()?;
        let next = left.first().map_or(usize::MAX, |(number, _)| *number);
        Some(Between { writer: &self.writer, left, next })
    }

    /// Goes along a record: for each field of the reader's it is read from the front of some bytes by its number.
    pub(crate) fn walk(
        &self,
        from: &mut &[u8],
        mut read: impl FnMut(usize, &mut &[u8]) -> Result<(), InvalidDatum>,
    ) -> Result<(), Unread> {
        let mut converted = Vec::new();
        for step in &self.steps {
            match step {
                Step::Read(place) => read(*place, from)?,
                Step::Skip(id) => skip(&self.writer, *id, from)?,
                Step::Convert(place, convert) => {
                    converted.clear();
                    convert.apply(&self.writer, from, &mut converted)?;
                    read(*place, &mut converted.as_slice())?;
                }
                Step::Default(place, bytes) => read(*place, &mut &bytes[..])?,
            }
        }
        Ok(())
    }
}

/// What stands before which of so many fields of ours, or behind the last, if all are read as they are and in their order.
fn between(steps: &[Step], fields: usize) -> Option<Box<[(usize, TypeId)]>> {
    let (mut passed, mut next) = (Vec::new(), 0);
    for step in steps {
        match step {
            Step::Read(place) if *place == next => next += 1,
            Step::Skip(id) => passed.push((next, *id)),
            Step::Read(_) | Step::Convert(..) | Step::Default(..) => return None,
        }
    }
    (next == fields).then(|| passed.into())
}

/// How deep a default may stand within itself.
const DEFAULT_DEPTH_MAX: usize = 16;

/// Of how many parts and bytes of text a default may be, together: where records hold each other it may be more than its schema
/// by any factor.
const DEFAULT_SIZE_MAX: usize = 64 << 10;

/// A default as its schema writes it in JSON, in Avro's bytes.
fn write_default(types: &Types, of: TypeId, default: &Value, out: &mut Vec<u8>) -> Result<(), String> {
    Defaults { types, size_left: DEFAULT_SIZE_MAX }.write(of, default, out, DEFAULT_DEPTH_MAX)
}

struct Defaults<'t> {
    types: &'t Types,
    size_left: usize,
}

impl Defaults<'_> {
    fn write(&mut self, of: TypeId, default: &Value, out: &mut Vec<u8>, depth: usize) -> Result<(), String> {
        let depth = depth.checked_sub(1).ok_or("is within itself too deep")?;
        let size = 1 + default.as_str().map_or(0, str::len);
        self.size_left = self.size_left.checked_sub(size).ok_or("is too large")?;
        let types = self.types;
        let wrong = || format!("{default} is no {}", types.get(of).shape.word());
        match &types.get(of).shape {
            Shape::Null => default.as_null().ok_or_else(wrong)?,
            Shape::Boolean => out.push(u8::from(default.as_bool().ok_or_else(wrong)?)),
            Shape::Int => {
                let number = default.as_i64().filter(|number| i32::try_from(*number).is_ok());
                number.ok_or_else(wrong)?.write(out);
            }
            Shape::Long => default.as_i64().ok_or_else(wrong)?.write(out),
            Shape::Float => {
                out.extend_from_slice(&(default.as_f64().ok_or_else(wrong)? as f32).to_le_bytes());
            }
            Shape::Double => out.extend_from_slice(&default.as_f64().ok_or_else(wrong)?.to_le_bytes()),
            Shape::String => write_bytes(default.as_str().ok_or_else(wrong)?.as_bytes(), out),
            // a character for each byte
            Shape::Bytes => write_bytes(&latin_1(default).ok_or_else(wrong)?, out),
            Shape::Fixed { size, .. } => {
                let bytes = latin_1(default).filter(|bytes| bytes.len() == *size);
                out.extend_from_slice(&bytes.ok_or_else(wrong)?);
            }
            Shape::Enum { symbols, .. } => {
                let symbol = symbols.iter().position(|symbol| default.as_str() == Some(symbol));
                (symbol.ok_or_else(wrong)? as i64).write(out);
            }
            // of its first branch, as the specification had it; later ones also take another's
            Shape::Union(branches) => {
                let mut fits = |branch: &TypeId| {
                    let mut bytes = Vec::new();
                    self.write(*branch, default, &mut bytes, depth).ok().map(|()| bytes)
                };
                let found =
                    branches.iter().enumerate().find_map(|(place, branch)| Some((place, fits(branch)?)));
                let (place, bytes) = found.ok_or_else(wrong)?;
                (place as i64).write(out);
                out.extend_from_slice(&bytes);
            }
            Shape::Array(of) => {
                let items = default.as_array().ok_or_else(wrong)?;
                if !items.is_empty() {
                    (items.len() as i64).write(out);
                }
                items.iter().try_for_each(|item| self.write(*of, item, out, depth))?;
                0_i64.write(out);
            }
            Shape::Map(of) => {
                let values = default.as_object().ok_or_else(wrong)?;
                if !values.is_empty() {
                    (values.len() as i64).write(out);
                }
                for (key, value) in values {
                    write_bytes(key.as_bytes(), out);
                    self.write(*of, value, out, depth)?;
                }
                0_i64.write(out);
            }
            Shape::Record { fields, .. } => {
                let values = default.as_object().ok_or_else(wrong)?;
                for field in fields {
                    let value = values.get(&field.name).or(field.default.as_ref()).ok_or_else(wrong)?;
                    self.write(field.of, value, out, depth)?;
                }
            }
        }
        Ok(())
    }
}

fn latin_1(default: &Value) -> Option<Vec<u8>> {
    default.as_str()?.chars().map(|letter| u8::try_from(u32::from(letter)).ok()).collect()
}
