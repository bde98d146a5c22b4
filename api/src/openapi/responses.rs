//! Building blocks of OpenAPI operations: responses and references.

use serde_json::{Map, Value, json};

/// Responses of an operation, together with those that all operations have.
pub(super) fn answers(own: Value) -> Value {
    let mut all = json!({
        "400": problem("The request cannot be parsed."),
        "401": problem("A valid bearer token is needed."),
        "403": problem("The caller is not permitted."),
        "413": problem("The body is too large."),
        "415": problem("The body has an unsupported media type."),
        "500": problem("Internal error; it may be sent again with the same key."),
        "503": problem("Not decided; it may be sent again with the same key after `Retry-After`."),
    });
    if let (Some(all), Value::Object(own)) = (all.as_object_mut(), own) {
        all.extend(own);
    }
    all
}

pub(super) fn content(description: &str, media_type: &str, schema: &str) -> Value {
    let mut content = Map::new();
    content.insert(media_type.into(), json!({ "schema": reference(schema) }));
    json!({ "description": description, "content": content })
}

pub(super) fn problem(description: &str) -> Value {
    content(description, "application/problem+json", "Problem")
}

pub(super) fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}
