//! The OpenAPI document: what the table of operations says, as JSON. Nothing is described here that is not checked or answered
//! by the same words.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use floodgate_schemas::Described;
use serde_json::{Map, Value, json};

use crate::admission::AuthMode;
use crate::coding::Coding;
use crate::operation::{About, Answer, Operation, Parameter, Schema};
use crate::problem::{Kind, MEDIA_TYPE, Problem};
use crate::scope::{Access, Scope};

/// The version of OpenAPI that documents are written in.
const OPENAPI: &str = "3.1.0";

/// Describes operations, of clients that say so who they are.
pub(crate) fn document(operations: &[Operation], identities: AuthMode) -> Value {
    let tags = About::ALL.map(|about| json!({ "name": about.name(), "description": about.meaning() }));
    let scheme = scheme(identities);
    let (mut paths, mut schemas) = (paths(operations, scheme.is_some()), Map::new());
    name(&mut paths, &mut schemas);
    let schemes: Map<_, _> = scheme.map(|scheme| (BEARER.to_owned(), scheme)).into_iter().collect();
    json!({
        "openapi": OPENAPI,
        "info": {
            "title": "floodgate",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Takes bursts of writes and keeps what it accepted.",
            "description": DESCRIPTION,
            "license": { "name": "Apache 2.0", "identifier": env!("CARGO_PKG_LICENSE") },
        },
        // beside where the document was found, whatever a proxy puts before the path
        "servers": [{ "url": "./" }],
        "tags": tags,
        "paths": paths,
        "components": { "schemas": schemas, "headers": standing(), "securitySchemes": schemes },
    })
}

/// What every answer says to whom limits are set, by the headers' names.
fn standing() -> Value {
    let text = || json!({ "type": "string" });
    json!({
        "RateLimit": header("How the client stands, where this instance has limits.", text()),
        "RateLimit-Policy": header("What the limits are.", text()),
    })
}

/// How bodies may be compressed.
const CODING: Parameter = Parameter {
    name: "Content-Encoding",
    place: "header",
    meaning: "How the body is compressed, if it is; in capitals or not.",
    schema: Coding::schema,
};

const DESCRIPTION: &str = "A 202 is a promise: the event takes effect, once. 503 with Retry-After says that certainly nothing is stored, \
    504 that nobody can say; with the same Idempotency-Key sending again is safe. Every error is a problem (RFC 9457), \
    but for a 431 over HTTP/2, which may come without a body. A method that a path does not have is answered 405; HEAD is as GET.";

/// What the document calls the way in which clients say who they are.
const BEARER: &str = "bearer";

/// What they show; nothing where nobody asks for it.
fn scheme(identities: AuthMode) -> Option<Value> {
    let (what, format) = match identities {
        AuthMode::Off => return None,
        AuthMode::Keys => ("A key", "key"),
        AuthMode::Jwt => ("A JSON Web Token", "JWT"),
    };
    let scopes = Scope::ALL.map(Scope::name).join("`, `");
    let description = format!("{what}. Scopes: `{scopes}`.");
    Some(json!({ "type": "http", "scheme": "bearer", "bearerFormat": format, "description": description }))
}

fn paths(operations: &[Operation], is_asked: bool) -> Value {
    let mut paths = Map::new();
    for operation in operations {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.verb.name()] = described(operation, is_asked);
    }
    Value::Object(paths)
}

/// An operation, where it is asked who somebody is or not.
fn described(operation: &Operation, is_asked: bool) -> Value {
    let scopes = if is_asked { operation.access.scopes() } else { Vec::new() };
    let coding = operation.body.is_some().then_some(&CODING);
    let mut described = json!({
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.about.name()],
        "security": scopes.into_iter().map(|scope| json!({ BEARER: [scope.name()] })).collect::<Vec<_>>(),
        "parameters": operation.parameters.iter().chain(coding).map(parameter).collect::<Vec<_>>(),
        "responses": responses(operation),
    });
    if let Some(body) = &operation.body {
        described["requestBody"] = json!({ "required": body.is_required, "content": content(body.content) });
        if !body.meaning.is_empty() {
            described["requestBody"]["description"] = body.meaning.into();
        }
    }
    described
}

fn parameter(parameter: &Parameter) -> Value {
    json!({
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.meaning,
        "required": parameter.place == "path",
        "schema": (parameter.schema)(),
    })
}

fn content(by_type: &[(&str, Schema)]) -> Value {
    let media = |(media_type, schema): &(&str, Schema)| {
        let schema = schema();
        let mut media = json!({ "schema": schema });
        if let Some(example) = example(&schema) {
            media["example"] = example;
        }
        ((*media_type).to_owned(), media)
    };
    by_type.iter().map(media).collect::<Map<_, _>>().into()
}

/// A value of a schema, with what has to be there.
fn example(schema: &Value) -> Option<Value> {
    let all = ["allOf", "anyOf", "oneOf"].iter().find_map(|key| schema.get(key)?.get(0));
    let given = schema["examples"].get(0).or_else(|| schema.get("const")).or_else(|| schema["enum"].get(0));
    if let Some(given) = given {
        return Some(given.clone());
    }
    if let Some(inner) = all {
        return example(inner);
    }
    if let Some(items) = schema.get("items") {
        return Some(json!([example(items)?]));
    }
    let required = schema.get("required")?.as_array()?.iter().filter_map(Value::as_str);
    let field = |name: &str| Some((name.to_owned(), example(&schema["properties"][name])?));
    required.map(field).collect::<Option<Map<_, _>>>().map(Value::Object)
}

fn responses(operation: &Operation) -> Value {
    let mut responses = Map::new();
    for Answer { status, meaning, content: by_type, headers } in operation.answers {
        let mut response = json!({ "description": meaning });
        if !by_type.is_empty() {
            response["content"] = content(by_type);
        }
        for (name, meaning) in *headers {
            response["headers"][name] = header(meaning, json!({ "type": "string" }));
        }
        responses.insert(status.as_str().to_owned(), response);
    }
    let mut by_status: BTreeMap<u16, Vec<&Kind>> = BTreeMap::new();
    for kind in operation.kinds() {
        let kinds = by_status.entry(kind.status.as_u16()).or_default();
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    for (status, kinds) in by_status {
        responses.insert(status.to_string(), problems(&kinds));
    }
    if operation.access != Access::Open {
        for response in responses.values_mut() {
            for name in ["RateLimit", "RateLimit-Policy"] {
                response["headers"][name] = json!({ "$ref": format!("#/components/headers/{name}") });
            }
        }
    }
    Value::Object(responses)
}

/// An answer that is one of some problems.
fn problems(kinds: &[&Kind]) -> Value {
    let told: Vec<String> = kinds.iter().map(|kind| format!("`{}`: {}.", kind.name, kind.title)).collect();
    let names: Vec<&str> = kinds.iter().map(|kind| kind.uri).collect();
    let schema = json!({ "allOf": [Problem::schema()], "properties": { "type": { "enum": names } } });
    let mut response = json!({
        "description": told.join(" "),
        "content": { MEDIA_TYPE: { "schema": schema } },
    });
    let has = |status| kinds.iter().any(|kind| kind.status == status);
    let text = || json!({ "type": "string" });
    if has(StatusCode::SERVICE_UNAVAILABLE) || has(StatusCode::TOO_MANY_REQUESTS) {
        let seconds = json!({ "type": "integer", "minimum": 0 });
        response["headers"]["Retry-After"] = header("When to send it again, in seconds.", seconds);
    }
    if has(StatusCode::UNSUPPORTED_MEDIA_TYPE) {
        let meaning = "How a body may be compressed, if it was that.";
        response["headers"]["Accept-Encoding"] = header(meaning, text());
    }
    if has(StatusCode::UNAUTHORIZED) || has(StatusCode::FORBIDDEN) {
        response["headers"]["WWW-Authenticate"] = header("What is asked for, and what is wrong.", text());
    }
    response
}

fn header(meaning: &str, schema: Value) -> Value {
    json!({ "description": meaning, "schema": schema })
}

/// Moves every schema that has a title to its place of that name, and refers to it from where it stood.
fn name(value: &mut Value, schemas: &mut Map<String, Value>) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| name(item, schemas)),
        Value::Object(object) => {
            object.values_mut().for_each(|inner| name(inner, schemas));
            // a name and what it means in its place stand side by side
            if let Some(of) = object.get_mut("allOf").and_then(Value::as_array_mut).filter(|of| of.len() == 1)
                && let Some(Value::Object(only)) = of.pop()
            {
                object.remove("allOf");
                object.extend(only);
            }
        }
        _ => {}
    }
    let Some(title) = value.get("title").and_then(Value::as_str) else { return };
    let (title, place) = (title.to_owned(), json!({ "$ref": format!("#/components/schemas/{title}") }));
    let schema = std::mem::replace(value, place);
    debug_assert!(schemas.get(&title).is_none_or(|known| *known == schema), "two schemas are called {title}");
    schemas.insert(title, schema);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titled(number: u8) -> Value {
        json!({ "title": "Number", "const": number })
    }

    #[test]
    fn named_schemas_have_one_place() {
        let mut schemas = Map::new();
        let mut value =
            json!({ "a": titled(1), "b": { "allOf": [titled(1)], "description": "One." }, "title": {} });
        name(&mut value, &mut schemas);
        let place = "#/components/schemas/Number";
        let wanted =
            json!({ "a": { "$ref": place }, "b": { "$ref": place, "description": "One." }, "title": {} });
        assert_eq!((value, Value::Object(schemas)), (wanted, json!({ "Number": titled(1) })));
    }

    #[test]
    fn examples_have_what_has_to_be_there() {
        let schema = json!({
            "properties": { "a": { "allOf": [titled(1)] }, "b": { "examples": ["x"] }, "c": { "items": titled(2) } },
            "required": ["a", "c"],
        });
        assert_eq!(example(&schema), Some(json!({ "a": 1, "c": [2] })));
        assert_eq!(example(&json!({ "required": ["a"], "properties": { "a": {} } })), None);
    }
}
