//! From a writer's value to the bytes that our reader expects.

use super::model::{Shape, TypeId, Types};
use super::unread::Unread;
use crate::InvalidDatum;
use crate::datum::{Datum, read_bytes};

/// How deep values of recursive types are followed.
const DEPTH_MAX: usize = 64;

/// What is done to a value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Convert {
    /// Its bytes are the reader's.
    Same(TypeId),
    /// A number becomes one of more room.
    Widen(Number, Number),
    /// A symbol becomes the reader's, by its name; `None` where the reader has none of it.
    Symbol(Box<[Option<i64>]>),
    /// The branch that was written says what is done; `None` where the reader cannot have its value.
    Branch(Box<[Option<Convert>]>),
    /// It becomes this branch of the reader's.
    Into(i64, Box<Convert>),
}

/// A number's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    /// Int or long, which are written alike.
    Whole,
    Float,
    Double,
}

impl Convert {
    /// Takes a value from the front of `from`, and appends the reader's.
    pub(super) fn apply(&self, types: &Types, from: &mut &[u8], out: &mut Vec<u8>) -> Result<(), Unread> {
        match self {
            Convert::Same(id) => {
                let before = *from;
                skip(types, *id, from)?;
                out.extend_from_slice(&before[..before.len() - from.len()]);
                Ok(())
            }
            Convert::Widen(number, to) => widen(*number, *to, from, out),
            Convert::Symbol(symbols) => {
                let place = i64::read(from)?;
                let symbol = usize::try_from(place).ok().and_then(|place| symbols.get(place));
                match symbol {
                    Some(Some(place)) => place.write(out),
                    Some(None) => return Err(Unread::NotYet("a symbol that this build does not know")),
                    None => {
                        return Err(InvalidDatum::new(format!("there is no symbol number {place}")).into());
                    }
                }
                Ok(())
            }
            Convert::Branch(branches) => {
                let place = i64::read(from)?;
                let branch = usize::try_from(place).ok().and_then(|place| branches.get(place));
                match branch {
                    Some(Some(convert)) => convert.apply(types, from, out),
                    Some(None) => Err(Unread::NotYet("a value of a type that this build does not know")),
                    None => Err(InvalidDatum::new(format!("there is no branch number {place}")).into()),
                }
            }
            Convert::Into(branch, convert) => {
                branch.write(out);
                convert.apply(types, from, out)
            }
        }
    }
}

fn widen(number: Number, to: Number, from: &mut &[u8], out: &mut Vec<u8>) -> Result<(), Unread> {
    let value = match number {
        Number::Whole => {
            let whole = i64::read(from)?;
            match to {
                Number::Whole => {
                    whole.write(out);
                    return Ok(());
                }
                // as Java casts, without a detour
                Number::Float => {
                    out.extend_from_slice(&(whole as f32).to_le_bytes());
                    return Ok(());
                }
                Number::Double => whole as f64,
            }
        }
        Number::Float => f64::from(f32::from_le_bytes(*take(from)?)),
        Number::Double => f64::from_le_bytes(*take(from)?),
    };
    match to {
        Number::Float => out.extend_from_slice(&(value as f32).to_le_bytes()),
        Number::Double | Number::Whole => out.extend_from_slice(&value.to_le_bytes()),
    }
    Ok(())
}

fn take<'a, const N: usize>(from: &mut &'a [u8]) -> Result<&'a [u8; N], InvalidDatum> {
    let (taken, rest) = from.split_first_chunk().ok_or_else(ends_early)?;
    *from = rest;
    Ok(taken)
}

fn ends_early() -> InvalidDatum {
    InvalidDatum::new("the bytes end in the middle of a value")
}

/// Passes a value.
///
/// Types may hold each other so that a value of few bytes takes very many steps: more than its bytes can account for are not
/// taken, and it waits.
pub(super) fn skip(types: &Types, id: TypeId, from: &mut &[u8]) -> Result<(), Unread> {
    let steps_left = STEPS_MIN + from.len().saturating_mul(STEPS_A_BYTE);
    Skip { types, steps_left }.pass(id, from, DEPTH_MAX)
}

const STEPS_MIN: usize = 10_000;
const STEPS_A_BYTE: usize = 16;

struct Skip<'t> {
    types: &'t Types,
    steps_left: usize,
}

impl Skip<'_> {
    fn pass(&mut self, id: TypeId, from: &mut &[u8], depth: usize) -> Result<(), Unread> {
        let deep = Unread::NotYet("values deeper within each other than this build follows");
        let depth = depth.checked_sub(1).ok_or(deep)?;
        let many = Unread::NotYet("a value of more parts than this build follows");
        self.steps_left = self.steps_left.checked_sub(1).ok_or(many)?;
        match &self.types.get(id).shape {
            Shape::Null => {}
            Shape::Boolean => pass_bytes(from, 1)?,
            Shape::Int | Shape::Long | Shape::Enum { .. } => drop(i64::read(from)?),
            Shape::Float => pass_bytes(from, 4)?,
            Shape::Double => pass_bytes(from, 8)?,
            Shape::Bytes | Shape::String => drop(read_bytes(from)?),
            Shape::Fixed { size, .. } => pass_bytes(from, *size)?,
            Shape::Union(branches) => {
                let place = i64::read(from)?;
                let branch = usize::try_from(place).ok().and_then(|place| branches.get(place));
                let none = || InvalidDatum::new(format!("there is no branch number {place}"));
                self.pass(*branch.ok_or_else(none)?, from, depth)?;
            }
            Shape::Record { fields, .. } => {
                for field in fields {
                    self.pass(field.of, from, depth)?;
                }
            }
            Shape::Array(items) => self.pass_blocks(*items, false, from, depth)?,
            Shape::Map(values) => self.pass_blocks(*values, true, from, depth)?,
        }
        Ok(())
    }

    /// The blocks of an array or a map: each its number of items, and where that is negative its size in bytes as well.
    fn pass_blocks(
        &mut self,
        items: TypeId,
        has_keys: bool,
        from: &mut &[u8],
        depth: usize,
    ) -> Result<(), Unread> {
        loop {
            match i64::read(from)? {
                0 => return Ok(()),
                count if count < 0 => {
                    let size = i64::read(from)?;
                    pass_bytes(from, usize::try_from(size).map_err(|_| ends_early())?)?;
                }
                count => {
                    for _ in 0..count {
                        let before = from.len();
                        if has_keys {
                            read_bytes(from)?;
                        }
                        self.pass(items, from, depth)?;
                        // items of no bytes at all could be counted for ever
                        if from.len() == before {
                            break;
                        }
                    }
                }
            }
        }
    }
}

fn pass_bytes(from: &mut &[u8], bytes: usize) -> Result<(), InvalidDatum> {
    *from = from.get(bytes..).ok_or_else(ends_early)?;
    Ok(())
}
