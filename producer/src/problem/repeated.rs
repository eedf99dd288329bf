//! Problems of many events, of which one is told whole and those that are the same only refer to it.
//!
//! Ten thousand events may be wrong in one way: an answer that said so in full for each would be a hundred times as large as what
//! was sent. So the first of them is told whole, and the others say which that was. Ways to be wrong of which there are very many are
//! no longer told apart at some point. What is not told is not kept either: until all is known of a batch its problems are in memory.

use std::collections::HashMap;
use std::hash::BuildHasher;

use floodgate_schemas::{Described, meaning};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Value, json};

use super::{KeyIn, Place, Problem};

/// So many problems of one answer are told whole.
const WHOLE_MAX: usize = 256;

/// The problems of one answer that are told whole, with the numbers of their results. They are known by the map's own hash of them, whose
/// key no client knows: none can choose two that are alike.
#[derive(Default)]
pub(crate) struct Told {
    whole: HashMap<u64, usize>,
    /// Where the events have their keys.
    keys: KeyIn,
}

/// A problem of one event of many.
pub(crate) struct OfMany {
    problem: Problem,
    /// Whether it is told whole; else where it is, unless it is nowhere.
    told: Result<(), Option<usize>>,
}

impl Told {
    /// None yet, of events that have their keys there.
    pub(crate) fn of(keys: KeyIn) -> Self {
        Self { keys, ..Self::default() }
    }

    /// The problem of a result with this number, without the words that another one tells.
    pub(crate) fn keep(&mut self, problem: Problem, number: usize) -> OfMany {
        let mut problem = problem.under(self.keys);
        let same = (std::ptr::from_ref(problem.kind), &problem.detail, &problem.field);
        let same = self.whole.hasher().hash_one(same);
        let told = match self.whole.get(&same) {
            Some(first) => Err(Some(*first)),
            None if self.whole.len() >= WHOLE_MAX => Err(None),
            None => {
                self.whole.insert(same, number);
                Ok(())
            }
        };
        if told.is_err() {
            (problem.detail, problem.more) = (String::new(), None);
        }
        OfMany { problem, told }
    }
}

impl OfMany {
    /// One that is told whole whatever else is.
    pub(crate) fn whole(problem: Problem) -> Self {
        Self { problem, told: Ok(()) }
    }

    /// What is kept of it: of which kind it is, and where.
    pub(crate) fn problem(&self) -> &Problem {
        &self.problem
    }

    /// Says which event it is about.
    pub(crate) fn stands_at(&mut self, place: Place) {
        self.problem.stands_at(place);
    }
}

impl Serialize for OfMany {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Problem { kind, field, place, .. } = &self.problem;
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

impl Described for OfMany {
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
        let told: Vec<_> = (0..).zip(problems).map(|(number, problem)| told.keep(problem, number)).collect();
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
        let problem = |number| Problem::not_found(format!("{number}{}", "x".repeat(500)));
        let mut told = Told::default();
        let told: Vec<_> = (0..1000).map(|number| told.keep(problem(number), number)).collect();
        let whole = told.iter().filter(|problem| problem.told.is_ok()).count();
        assert_eq!((whole, told[999].told), (WHOLE_MAX, Err(None)));
        assert_eq!(told[999].problem.detail.capacity(), 0, "what is not told takes memory");
    }
}
