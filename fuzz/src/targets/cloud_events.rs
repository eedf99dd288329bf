//! CloudEvents. The first byte says what follows: an envelope in JSON (`s`tructured), an `a`rray of them, or attributes in lines, an
//! empty line and data (`b`inary). What one of the two forms says the other can say, and it is the same event.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use floodgate_producer::fuzzing::{array, cloud_event};
use floodgate_schemas::Mixed;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::same::{accept, is_the_same_again};

const ATTRIBUTES: [&str; 5] = ["specversion", "type", "source", "id", "time"];

pub fn run(bytes: &[u8]) {
    let Some((form, body)) = bytes.split_first() else { return };
    match form {
        b's' => structured(body),
        b'a' => array(body, 20).into_iter().flatten().for_each(structured),
        b'b' => binary(body),
        _ => {}
    }
}

fn structured(envelope: &[u8]) {
    let Ok(event) = Mixed::from_cloud_event(envelope, accept) else { return };
    is_the_same_again(&event);
    // no name stands there twice, or it would have been refused: but those of extensions may
    let members = Members::read(envelope);
    let text = |name| members.get(name).map(|raw| serde_json::from_str::<String>(raw).expect("is text"));
    let mut headers = HeaderMap::new();
    for name in ATTRIBUTES {
        if let Some(value) = text(name) {
            let value = HeaderValue::try_from(percent_encoded(&value)).expect("is ASCII");
            headers.insert(HeaderName::try_from(format!("ce-{name}")).expect("is a name"), value);
        }
    }
    let encoded = text("data_base64").map(|text| STANDARD.decode(text).expect("is Base64"));
    let data = encoded.or_else(|| members.get("data").map(|raw| raw.as_bytes().to_vec()));
    assert_eq!(cloud_event(&headers, &data.expect("is there"), accept), Some(event));
}

/// The members of an object that are not null.
struct Members(Vec<(String, Box<RawValue>)>);

impl Members {
    fn read(envelope: &[u8]) -> Self {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Members;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        let mut from = serde_json::Deserializer::from_slice(envelope);
        serde::Deserializer::deserialize_map(&mut from, Visitor).expect("is an object")
    }

    fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(found, _)| found == name);
        found.map(|(_, raw)| raw.get()).filter(|raw| *raw != "null")
    }
}

/// As the binding has it: what is not visible ASCII, quotes and percent signs.
fn percent_encoded(text: &str) -> String {
    let encoded = |byte: u8| match byte {
        b'"' | b'%' => format!("%{byte:02X}"),
        b'!'..=b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encoded).collect()
}

fn binary(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    let mut rest = bytes;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let (line, after) = (&rest[..end], &rest[end + 1..]);
        rest = after;
        if line.is_empty() {
            break;
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return };
        let name = [b"ce-", &line[..colon]].concat();
        let (Ok(name), Ok(value)) =
            (HeaderName::try_from(name), HeaderValue::from_bytes(line[colon + 1..].trim_ascii()))
        else {
            return;
        };
        headers.append(name, value);
    }
    let Some(event) = cloud_event(&headers, rest, accept) else { return };
    is_the_same_again(&event);
    let mut envelope = json!({ "data_base64": STANDARD.encode(rest) });
    for name in ATTRIBUTES {
        if let Some(value) = headers.get(format!("ce-{name}")) {
            envelope[name] = Value::from(decoded(value.as_bytes()));
        }
    }
    assert_eq!(Mixed::from_cloud_event(envelope.to_string().as_bytes(), accept), Ok(event));
}

/// What an attribute in a head means.
fn decoded(sent: &[u8]) -> String {
    let unquoted = match sent {
        [b'"', inner @ .., b'"'] => {
            let (mut bytes, mut inner) = (Vec::new(), inner.iter());
            while let Some(byte) = inner.next() {
                bytes.extend(if *byte == b'\\' { inner.next() } else { Some(byte) });
            }
            bytes
        }
        _ => sent.to_vec(),
    };
    let (mut bytes, mut rest) = (Vec::new(), &*unquoted);
    let digit = |byte: u8| char::from(byte).to_digit(16);
    while let [first, after @ ..] = rest {
        match rest {
            [b'%', high, low, after @ ..] if digit(*high).is_some() && digit(*low).is_some() => {
                bytes.push((digit(*high).unwrap_or(0) * 16 + digit(*low).unwrap_or(0)) as u8);
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).expect("was text")
}
