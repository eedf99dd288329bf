//! What plans are made of, what is refused or waits, and how much of anything is looked at.

use super::super::{convert, parse, resolve};
use super::*;

/// Our schema of likes, changed.
fn changed(change: impl FnOnce(&mut Vec<Value>)) -> String {
    let mut schema = base(2);
    change(schema["fields"].as_array_mut().unwrap());
    schema.to_string()
}

/// What the specification lets pass, and would be another value or none.
#[test]
fn what_would_be_another_value_is_refused_in_words() {
    let refused = |of: usize, writer: &str| {
        Plan::compile(writer, &base(of).to_string()).map(drop).unwrap_err().to_string()
    };
    let expectation = |from: &str, to: &str| base(0).to_string().replace(from, to);
    for (told, needles) in [
        (
            refused(0, &expectation("\"scale\":2", "\"scale\":3")),
            "a decimal of scale 3 is not one of scale 2",
        ),
        (
            refused(0, &expectation("\"precision\":20", "\"precision\":25")),
            "precision 25 may not fit in 20 digits",
        ),
        (
            refused(0, &expectation("\"logicalType\":\"decimal\",\"precision\":20,", "\"precision\":20,")),
            "without a logical type is not decimal(20, 2)",
        ),
        (
            refused(0, &expectation("timestamp-micros", "timestamp-millis")),
            "timestamp-millis is not timestamp-micros",
        ),
        (
            refused(2, &changed(|fields| fields[5]["type"] = json!("long"))),
            "without a logical type is not timestamp-micros",
        ),
        (
            refused(2, &changed(|fields| fields[5]["name"] = json!("at"))),
            "field occurredAt: it is not written, and has no default",
        ),
        (
            refused(2, &changed(|fields| fields[2]["type"] = json!("long"))),
            "field targetOcid: long cannot be read as string",
        ),
        (
            refused(2, &changed(|fields| fields[4]["type"]["symbols"] = json!(["A", "B"]))),
            "no symbol that is known here",
        ),
        (
            refused(2, &changed(|fields| fields[4]["type"]["name"] = json!("Other"))),
            "enum floodgate.Other is not enum floodgate.LikeAction",
        ),
        (
            refused(2, &changed(|fields| fields[2]["type"] = json!(["null", "long"]))),
            "no branch of its union can be read",
        ),
        (refused(2, &base(1).to_string()), "the record floodgate.CouponIssue is not floodgate.Like"),
        (refused(2, "\"string\""), "string is no record"),
    ] {
        assert!(told.contains(needles), "{told}");
    }
    // all of it at once
    let both = refused(2, &changed(|fields| drop(fields.drain(4..))));
    assert!(both.contains("action") && both.contains("occurredAt"), "{both}");
}

/// They come from outside.
#[test]
fn schemas_are_bounded_and_checked() {
    let refused = |text: &str| parse::parse(text).map(drop).unwrap_err().to_string();
    let field = |of: &str| format!(r#"{{"type":"record","name":"R","fields":[{{"name":"f","type":{of}}}]}}"#);
    let deep = format!("{}\"int\"{}", r#"{"type":"array","items":"#.repeat(40), "}".repeat(40));
    let deeper = "[".repeat(10_000);
    let symbols: Vec<String> = (0..3000).map(|number| format!("\"S{number}\"")).collect();
    let long = format!("\"{}\"", " ".repeat(70_000));
    for (text, needle) in [
        (&long[..], "more than 65536"),
        (&deep, "more than 32 deep"),
        (&deeper, "no JSON"),
        (&format!(r#"{{"type":"enum","name":"E","symbols":[{}]}}"#, symbols.join(",")), "more than 2000"),
        ("", "no JSON"),
        ("7", "is no type"),
        ("{}", "without \"type\""),
        ("\"nowhere\"", "there is no type"),
        ("[]", "a union of nothing"),
        (r#"["int","int"]"#, "twice"),
        (r#"["int",["null"]]"#, "a union with union in it"),
        (r#"{"type":"record","name":"R"}"#, "without fields"),
        (r#"{"type":"record","name":"a-b","fields":[]}"#, "is no name"),
        (r#"{"type":"record","name":"R","fields":[{"type":"int"}]}"#, "whose name is none"),
        (r#"{"type":"fixed","name":"F"}"#, "without a size"),
        (r#"{"type":"array"}"#, "without items"),
        (r#"{"type":"enum","name":"E","symbols":["a b"]}"#, "no names"),
        (r#"{"type":"enum","name":"E","symbols":["A"],"default":"B"}"#, "none of its symbols"),
        (&format!(r#"{{"type":"fixed","name":"{}","size":1}}"#, "N".repeat(600)), "more than 512"),
        (&field(r#"{"type":"record","name":"R","fields":[]}"#), "two types are called R"),
    ] {
        let told = refused(text);
        assert!(told.contains(needle), "{needle}: {told}");
    }
    // one that holds itself is none the worse for it
    let list = field(r#"["null","R"]"#);
    let types = parse::parse(&list).unwrap();
    let endless = [2; 1000];
    let told = convert::skip(&types, types.root, &mut &endless[..]).unwrap_err();
    assert!(matches!(told, Unread::NotYet(_)), "{told:?}");
    // nor do logical types that make no sense, or names of other scripts
    for none in [
        r#"{"type":"bytes","logicalType":"decimal","precision":2,"scale":3}"#,
        r#"{"type":"int","logicalType":"uuid"}"#,
    ] {
        assert!(parse::parse(none).unwrap().types[0].logical.is_none(), "{none}");
    }
    assert!(parse::parse(r#"{"type":"enum","name":"색","symbols":["빨강"]}"#).is_ok());
}

/// A type of few names whose value takes no bytes and as many steps as anybody likes: it waits, and soon.
#[test]
fn values_of_very_many_parts_wait() {
    let writer = changed(|fields| {
        let part = |of: Value| json!([{"name": "a", "type": of}, {"name": "b", "type": of}]);
        let mut of = json!("null");
        for number in 0..60 {
            fields.push(json!({"name": format!("z{number}"), "type":
                {"type": "record", "name": format!("Z{number}"), "fields": part(of)}}));
            of = json!(format!("Z{number}"));
        }
    });
    let plan = Plan::compile(&writer, &base(2).to_string()).unwrap();
    let mut data = Vec::new();
    like(1, "star", "ann", LikeAction::Like, 1).write(&mut data);
    let read = Like::read_planned(&plan, &mut data.as_slice());
    assert!(matches!(read, Err(Unread::NotYet(_))), "{read:?}");
}

/// A field that is called something else now is there, and is not what it is by default.
/// Ten records, each of eight of the next by default, are a billion parts of a text of two thousand bytes.
#[test]
fn defaults_are_bounded() {
    let hold = |inner: Value, number: usize| -> Value {
        let next = inner.get("name").cloned().unwrap_or_else(|| inner.clone());
        let field = |place: usize| {
            let of = if place == 0 { &inner } else { &next };
            json!({"name": format!("f{place}"), "type": of, "default": if inner.is_object() { json!({}) } else { json!(1) }})
        };
        json!({"type": "record", "name": format!("R{number}"), "fields": (0..8).map(field).collect::<Vec<_>>()})
    };
    let with = |levels: usize| {
        let of = (0..levels).fold(json!("int"), hold);
        changed(|fields| fields.push(json!({"name": "more", "type": of, "default": {}})))
    };
    let ours = Like::codec().text();
    assert!(Plan::compile(ours, &with(3)).is_ok());
    let refused = Plan::compile(ours, &with(10)).map(drop).unwrap_err();
    assert!(refused.to_string().contains("its default is too large"), "{refused}");
}

#[test]
fn a_renamed_field_does_not_become_its_default() {
    let mut reader = base(2);
    reader["fields"][2]["default"] = json!("nobody");
    let renamed = |aliases: Value| {
        changed(|fields| {
            fields[2]["name"] = json!("target");
            fields[2]["aliases"] = aliases;
        })
    };
    let told = Plan::compile(&renamed(json!(["targetOcid"])), &reader.to_string())
        .map(drop)
        .unwrap_err()
        .to_string();
    assert!(told.contains("field targetOcid: it is written as target"), "{told}");
    // without a word of it nobody can know
    assert!(Plan::compile(&renamed(json!([])), &reader.to_string()).is_ok());
}

/// What can be read mostly is not what can be read.
#[test]
fn parts_that_cannot_be_read_are_told() {
    let losses = |writer: &str, reader: &str| Plan::compile(writer, reader).unwrap().losses().join("; ");
    let symbols = |symbols: Value| changed(|fields| fields[4]["type"]["symbols"] = symbols);
    let (ours, fewer) = (base(2).to_string(), symbols(json!(["LIKE"])));
    assert_eq!(losses(&ours, &ours), "");
    assert_eq!(losses(&ours, &fewer), "field action: symbol UNLIKE could not be read");
    assert_eq!(losses(&fewer, &ours), "");
    let by_default = changed(|fields| {
        fields[4]["type"]["symbols"] = json!(["LIKE"]);
        fields[4]["type"]["default"] = json!("LIKE");
    });
    assert_eq!(losses(&ours, &by_default), "field action: symbol UNLIKE would be read as LIKE");
    assert_eq!(
        losses(&symbols(json!(["LIKE", "UNLIKE", "MORE"])), &ours),
        "field action: symbol MORE could not be read"
    );
    let optional = changed(|fields| fields[2]["type"] = json!(["null", "string"]));
    assert!(
        losses(&optional, &ours).contains("field targetOcid: a value of its union could not be read: null")
    );
    assert_eq!(losses(&ours, &optional), "");
    // bytes that are none of the writer's are no event of ours, though they would be one of ours
    let plan = Plan::compile(&fewer, &ours).unwrap();
    let mut data = Vec::new();
    like(1, "star", "ann", LikeAction::Unlike, 1).write(&mut data);
    assert!(matches!(Like::read_planned(&plan, &mut data.as_slice()), Err(Unread::Invalid(_))));
}

/// Numbers that become wider, and branches of ours.
#[test]
fn values_are_converted_as_the_specification_has_it() {
    let convert = |writer: &str, reader: &str, mut data: &[u8]| {
        let (writer, reader) = (parse::parse(writer).unwrap(), parse::parse(reader).unwrap());
        let convert = resolve::resolve((&writer, writer.root), (&reader, reader.root)).unwrap();
        let mut out = Vec::new();
        convert.apply(&writer, &mut data, &mut out).unwrap();
        assert_eq!(data, b"");
        out
    };
    assert_eq!(convert("\"int\"", "\"double\"", &[4]), 2_f64.to_le_bytes());
    assert_eq!(convert("\"long\"", "\"float\"", &[3]), (-2_f32).to_le_bytes());
    assert_eq!(convert("\"float\"", "\"double\"", &1.5_f32.to_le_bytes()), 1.5_f64.to_le_bytes());
    assert_eq!(convert("\"string\"", r#"["null","string"]"#, &[2, b'x']), [2, 2, b'x']);
    assert_eq!(convert("\"int\"", r#"["null","double","long"]"#, &[4])[0], 2, "the first that it can become");
    assert_eq!(convert(r#"["null","int"]"#, r#"["long","null"]"#, &[2, 4]), [0, 4]);
    assert_eq!(convert(r#"["null","int"]"#, r#"["long","null"]"#, &[0]), [2]);
    assert_eq!(convert("\"bytes\"", "\"string\"", &[2, b'x']), [2, b'x']);
    let (old, new) = (
        r#"{"type":"enum","name":"E","symbols":["A","C"]}"#,
        r#"{"type":"enum","name":"E","symbols":["B","A"],"default":"B"}"#,
    );
    assert_eq!((convert(old, new, &[0]), convert(old, new, &[2])), (vec![2], vec![0]));
}

/// Whatever bytes come, an event is read or it is told why not; nothing takes long.
#[test]
fn any_bytes_are_read_or_refused() {
    let dice = &mut StdRng::seed_from_u64(1);
    let mut outcomes = [0; 3];
    for seed in 0..300 {
        let mut case = case(seed);
        for _ in 0..20 {
            match dice.random_range(0..3) {
                0 if !case.data.is_empty() => {
                    let place = dice.random_range(0..case.data.len());
                    case.data[place] = dice.random();
                }
                1 => case.data.truncate(dice.random_range(0..=case.data.len())),
                _ => case.data.push(dice.random()),
            }
            if let Ok(plan) = Plan::compile(&case.writer.to_string(), &case.reader.to_string()) {
                let data = &mut case.data.as_slice();
                let read = match case.of {
                    0 => ExpectationWrite::read_planned(&plan, data).map(drop),
                    1 => CouponIssue::read_planned(&plan, data).map(drop),
                    _ => Like::read_planned(&plan, data).map(drop),
                };
                outcomes[match read {
                    Ok(()) => 0,
                    Err(Unread::Invalid(_)) => 1,
                    Err(Unread::NotYet(_)) => 2,
                }] += 1;
            }
        }
    }
    assert!(outcomes.iter().all(|count| *count > 20), "{outcomes:?}");
}
