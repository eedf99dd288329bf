//! Problems of many events, of which one is told whole and those that are the same only refer to it.
//!
//! Ten thousand events may be wrong in one way: an answer that said so in full for each would be a hundred times as large as what
//! was sent. So the first of them is told whole, and the others say which that was. Ways to be wrong of which there are very many are
//! no longer told apart at some point.

use std::collections::HashMap;

use floodgate_schemas::{Described, meaning};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Value, json};

use super::{Kind, Place, Problem};

/// So many problems of one answer are told whole.
const WHOLE_MAX: usize = 256;

/// What makes two problems the same.
type Same<'p> = (*const Kind, &'p str, Option<&'p str>);

/// The problems of one answer that were told whole, with the numbers of their results.
#[derive(Default)]
pub(crate) struct Told<'p>(HashMap<Same<'p>, usize>);

/// A problem of one event of many.
pub(crate) struct OfMany<'p> {
    problem: &'p Problem,
    /// Whether it is told whole; else where it is, unless it is nowhere.
    told: Result<(), Option<usize>>,
}

impl<'p> Told<'p> {
    /// How the problem of a result with this number is told.
    pub(crate) fn tell(&mut self, problem: &'p Problem, number: usize) -> OfMany<'p> {
        let same = (std::ptr::from_ref(problem.kind), problem.detail.as_str(), problem.field.as_deref());
        let told = match self.0.get(&same) {
            Some(first) => Err(Some(*first)),
            None if self.0.len() >= WHOLE_MAX => Err(None),
            None => {
                self.0.insert(same, number);
                Ok(())
            }
        };
        OfMany { problem, told }
    }
}

impl Serialize for OfMany<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Problem { kind, field, place, .. } = self.problem;
        let first = match self.told {
            Ok(()) => return self.problem.serialize(serializer),
            Err(first) => first,
        };
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", kind.uri)?;
        map.serialize_entry("status", &kind.status.as_u16())?;
        map.serialize_entry("retryable", &kind.retryable)?;
        if let Some(field) = field {
            map.serialize_entry("field", field)?;
        }
        match place {
            Some(Place::Line(line)) => map.serialize_entry("line", line)?,
            Some(Place::Index(index)) => map.serialize_entry("index", index)?,
            None => {}
        }
        if let Some(first) = first {
            map.serialize_entry("sameAs", &first)?;
        }
        map.end()
    }
}

impl Described for OfMany<'_> {
    fn schema() -> Value {
        let mut schema = Problem::schema();
        schema["title"] = "EventProblem".into();
        schema["required"] = json!(["type", "status", "retryable"]);
        let same_as = json!({ "type": "integer", "minimum": 0 });
        let means = "The number of the result, from 0, that tells the same problem whole, in place of its title and detail.";
        schema["properties"]["sameAs"] = meaning(same_as, means);
        schema
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_same_is_told_once() {
        let problem = |field: &str, index: usize| {
            let mut problem = Problem::invalid_request(field, "no");
            problem.stands_at(Place::Index(index));
            problem
        };
        let problems = [problem("a", 0), problem("b", 1), problem("a", 2)];
        let mut told = Told::default();
        let told: Vec<_> = problems.iter().enumerate().map(|(n, problem)| told.tell(problem, n)).collect();
        let told = serde_json::to_value(told).unwrap();
        assert_eq!((&told[0]["field"], &told[0]["detail"]), (&json!("a"), &json!("no")));
        assert_eq!((&told[1]["field"], &told[1]["index"]), (&json!("b"), &json!(1)));
        let again = json!({
            "type": "/problems/invalid-request", "status": 400, "retryable": false, "field": "a", "index": 2, "sameAs": 0,
        });
        assert_eq!(told[2], again);
    }

    #[test]
    fn not_all_of_very_many_are_told_whole() {
        let problems: Vec<_> =
            (0..1000).map(|number| Problem::not_found(format!("{number}{}", "x".repeat(500)))).collect();
        let mut told = Told::default();
        let told: Vec<_> = problems.iter().enumerate().map(|(n, problem)| told.tell(problem, n)).collect();
        let whole = told.iter().filter(|problem| problem.told.is_ok()).count();
        assert_eq!((whole, told[999].told), (WHOLE_MAX, Err(None)));
    }
}
