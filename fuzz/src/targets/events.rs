//! Bodies of many events. The first byte says what follows: `o`ne event of them, an `a`rray, or `l`ines.

use floodgate_producer::fuzzing::{array, lines};
use floodgate_schemas::Mixed;
use serde_json::Value;

use super::same::{accept, is_the_same_again};

const MAX: usize = 20;

pub fn run(bytes: &[u8]) {
    let Some((form, body)) = bytes.split_first() else { return };
    match form {
        b'o' => one(body),
        b'a' => in_array(body),
        b'l' => in_lines(body),
        _ => {}
    }
}

fn one(item: &[u8]) {
    if let Ok(event) = Mixed::from_json(item, accept) {
        is_the_same_again(&event);
    }
}

fn in_array(body: &[u8]) {
    let split = array(body, MAX);
    // the library's own arrays, which it reads less deep
    if let Ok(values) = serde_json::from_slice::<Vec<Value>>(body) {
        let value =
            |item: &&[u8]| serde_json::from_slice::<Value>(item).expect("is a value in the array, too");
        let ours = split.as_ref().map(|items| items.iter().map(value).collect());
        assert_eq!(ours, (values.len() <= MAX).then_some(values));
    }
    let Some(items) = split else { return };
    let joined = [b"[", &*items.join(&b','), b"]"].concat();
    assert_eq!(array(&joined, MAX).as_ref(), Some(&items));
    items.into_iter().for_each(one);
}

fn in_lines(body: &[u8]) {
    let Some((numbers, items)) = lines(body, MAX) else {
        assert!(body.iter().filter(|byte| **byte == b'\n').count() >= MAX);
        return;
    };
    let all: Vec<&[u8]> = body.split(|byte| *byte == b'\n').collect();
    let blank = |line: &[u8]| line.iter().all(u8::is_ascii_whitespace) && !line.contains(&0x0c);
    for (number, line) in (1..).zip(&all) {
        let found = numbers.iter().position(|found| *found == number);
        assert_eq!(found.map(|found| items[found]), (!blank(line)).then_some(*line));
    }
    items.into_iter().for_each(one);
}
