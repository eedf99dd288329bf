//! Whether a writer's type can be read as ours, and how.

use super::convert::{Convert, Number};
use super::model::{Logical, Shape, TypeId, Types};

/// How a writer's type is read as the reader's; or in words why it cannot be.
pub(super) fn resolve(
    (writers, writer): (&Types, TypeId),
    (readers, reader): (&Types, TypeId),
) -> Result<Convert, String> {
    let (from, to) = (writers.get(writer), readers.get(reader));
    if let Shape::Union(branches) = &from.shape {
        let convert = |branch: &TypeId| resolve((writers, *branch), (readers, reader));
        let converts: Vec<Result<Convert, String>> = branches.iter().map(convert).collect();
        if converts.iter().all(Result::is_err) {
            let reasons: Vec<String> = converts.into_iter().filter_map(Result::err).collect();
            return Err(format!("no branch of its union can be read: {}", reasons.join("; ")));
        }
        return Ok(Convert::Branch(converts.into_iter().map(Result::ok).collect()));
    }
    if let Shape::Union(branches) = &to.shape {
        let mut reasons = Vec::new();
        for (place, branch) in in_order(&from.shape, (readers, branches)) {
            match resolve((writers, writer), (readers, branch)) {
                Ok(convert) => return Ok(Convert::Into(place as i64, Box::new(convert))),
                Err(reason) => reasons.push(reason),
            }
        }
        return Err(format!("it can be no branch of the reader's union: {}", reasons.join("; ")));
    }
    if let Some(reason) = differ(from.logical, to.logical) {
        return Err(reason);
    }
    let same = Ok(Convert::Same(writer));
    match (&from.shape, &to.shape) {
        (Shape::Null, Shape::Null)
        | (Shape::Boolean, Shape::Boolean)
        | (Shape::Int, Shape::Int | Shape::Long)
        | (Shape::Long, Shape::Long)
        | (Shape::Float, Shape::Float)
        | (Shape::Double, Shape::Double)
        | (Shape::Bytes | Shape::String, Shape::Bytes | Shape::String) => same,
        (Shape::Int | Shape::Long, Shape::Float) => Ok(Convert::Widen(Number::Whole, Number::Float)),
        (Shape::Int | Shape::Long, Shape::Double) => Ok(Convert::Widen(Number::Whole, Number::Double)),
        (Shape::Float, Shape::Double) => Ok(Convert::Widen(Number::Float, Number::Double)),
        (Shape::Fixed { name, size }, Shape::Fixed { name: ours, size: our_size })
            if unqualified(name) == unqualified(ours) && size == our_size =>
        {
            same
        }
        (Shape::Enum { name, symbols, .. }, Shape::Enum { name: ours, symbols: our_symbols, default }) => {
            if unqualified(name) != unqualified(ours) {
                return Err(format!("enum {name} is not enum {ours}"));
            }
            if symbols == our_symbols {
                return same;
            }
            let place = |symbol: &String| {
                let known = our_symbols.iter().position(|ours| ours == symbol);
                let default =
                    || default.as_ref().and_then(|word| our_symbols.iter().position(|ours| ours == word));
                known.or_else(default).map(|place| place as i64)
            };
            let places: Vec<Option<i64>> = symbols.iter().map(place).collect();
            match places.iter().all(Option::is_none) {
                true => Err(format!("enum {name} has no symbol that is known here")),
                false => Ok(Convert::Symbol(places.into())),
            }
        }
        (from, to) => Err(format!("{} cannot be read as {}", from.word(), to.word())),
    }
}

/// The branches of the reader's that a value may become, with their places: those of its own type, then those it can become.
fn in_order<'t>(
    from: &'t Shape,
    (readers, branches): (&'t Types, &'t [TypeId]),
) -> impl Iterator<Item = (usize, TypeId)> + 't {
    let is_same = move |branch: TypeId| readers.get(branch).shape.word() == from.word();
    let of = move |same: bool| {
        let placed = branches.iter().copied().enumerate();
        placed.filter(move |(_, branch)| is_same(*branch) == same)
    };
    of(true).chain(of(false))
}

/// The specification goes by the type beneath where logical types differ, and a value becomes another one.
fn differ(writer: Option<Logical>, reader: Option<Logical>) -> Option<String> {
    match (writer, reader) {
        (
            Some(Logical::Decimal { precision, scale }),
            Some(Logical::Decimal { precision: our, scale: our_scale }),
        ) => {
            if scale != our_scale {
                return Some(format!(
                    "a decimal of scale {scale} is not one of scale {our_scale}: each amount would be another"
                ));
            }
            (precision > our)
                .then(|| format!("a decimal of precision {precision} may not fit in {our} digits"))
        }
        (Some(one), Some(other)) if one == other => None,
        // text either way, and looked at when it is read
        (Some(Logical::Named("uuid")), None) | (None, Some(Logical::Named("uuid"))) | (None, None) => None,
        (writer, reader) => Some(format!("{} is not {}", word(writer), word(reader))),
    }
}

fn word(logical: Option<Logical>) -> String {
    match logical {
        None => "a value without a logical type".to_owned(),
        Some(Logical::Named(name)) => name.to_owned(),
        Some(Logical::Decimal { precision, scale }) => format!("decimal({precision}, {scale})"),
    }
}

pub(super) fn unqualified(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// What of a writer's type could not be read as the reader's though most of it could, or would be read as something else: all of it
/// in words. For a type that can be read.
pub(super) fn losses(
    (writers, writer): (&Types, TypeId),
    (readers, reader): (&Types, TypeId),
) -> Vec<String> {
    let (from, to) = (&writers.get(writer).shape, &readers.get(reader).shape);
    match (from, to) {
        (Shape::Union(branches), _) => {
            let loss = |branch: &TypeId| match resolve((writers, *branch), (readers, reader)) {
                Ok(_) => losses((writers, *branch), (readers, reader)),
                Err(reason) => vec![format!("a value of its union could not be read: {reason}")],
            };
            branches.iter().flat_map(loss).collect()
        }
        (_, Shape::Union(branches)) => {
            let mut branches = in_order(from, (readers, branches)).map(|(_, branch)| (readers, branch));
            let chosen = branches.find(|branch| resolve((writers, writer), *branch).is_ok());
            chosen.map(|branch| losses((writers, writer), branch)).unwrap_or_default()
        }
        (Shape::Enum { symbols, .. }, Shape::Enum { symbols: ours, default, .. }) => {
            let unknown = symbols.iter().filter(|symbol| !ours.contains(symbol));
            let told = |symbol: &String| match default {
                Some(default) => format!("symbol {symbol} would be read as {default}"),
                None => format!("symbol {symbol} could not be read"),
            };
            unknown.map(told).collect()
        }
        _ => Vec::new(),
    }
}
