//! The OpenAPI document: what the table of operations says, as JSON. Nothing is described here that is not checked or answered
//! by the same words.

use serde_json::{Map, Value, json};

use crate::operation::{About, Operation};
use crate::scope::Scope;

/// The version of OpenAPI that documents are written in.
const OPENAPI: &str = "3.1.0";

/// Describes operations.
pub(crate) fn document(operations: &[Operation]) -> Value {
    let tags = About::ALL.map(|about| json!({ "name": about.name(), "description": about.meaning() }));
    json!({
        "openapi": OPENAPI,
        "info": {
            "title": "floodgate",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Takes bursts of writes and keeps what it accepted.",
            "license": { "name": "Apache 2.0", "identifier": env!("CARGO_PKG_LICENSE") },
        },
        // wherever the document was found
        "servers": [{ "url": "/" }],
        "tags": tags,
        "paths": paths(operations),
        "components": { "securitySchemes": { BEARER: bearer() } },
    })
}

/// What the document calls the way in which clients say who they are.
const BEARER: &str = "bearer";

fn bearer() -> Value {
    let scopes = Scope::ALL.map(Scope::name).join("`, `");
    let description = format!("A key or a token, where this instance asks for one. Scopes: `{scopes}`.");
    json!({ "type": "http", "scheme": "bearer", "description": description })
}

fn paths(operations: &[Operation]) -> Value {
    let mut paths = Map::new();
    for operation in operations {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.verb.name()] = described(operation);
    }
    Value::Object(paths)
}

fn described(operation: &Operation) -> Value {
    // where clients need not say who they are, an empty requirement is met by all
    let needs = |scope: Scope| json!({ BEARER: [scope.name()] });
    let needs: Vec<Value> = operation.access.scopes().into_iter().map(needs).collect();
    let security: Vec<Value> =
        [json!({})].into_iter().filter(|_| !needs.is_empty()).chain(needs.clone()).collect();
    json!({
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.about.name()],
        "security": security,
        "responses": { "default": { "description": "" } },
    })
}
