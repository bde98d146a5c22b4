//! Sample bodies of commands, made from their schemas.

use commands::kernel::CommandDescriptor;
use serde_json::{Map, Value, json};

/// A body with the required fields only.
pub(crate) fn smallest(kind: &CommandDescriptor) -> Map<String, Value> {
    sample(kind, |schema, field| schema["required"].as_array().is_some_and(|all| all.contains(&json!(field))))
}

/// A body with all fields.
pub(crate) fn whole(kind: &CommandDescriptor) -> Map<String, Value> {
    sample(kind, |_, _| true)
}

fn sample(kind: &CommandDescriptor, wanted: fn(&Value, &str) -> bool) -> Map<String, Value> {
    match value_for(kind.schema.as_value(), kind.schema.as_value(), wanted) {
        Value::Object(fields) => fields,
        other => panic!("the schema of {} yields {other} instead of an object", kind.name),
    }
}

fn value_for(root: &Value, schema: &Value, wanted: fn(&Value, &str) -> bool) -> Value {
    let text = |name: &str| schema[name].as_str();
    if let Some(path) = text("$ref") {
        let target = root.pointer(path.trim_start_matches('#')).expect("a definition");
        return value_for(root, target, wanted);
    }
    if let Some(first) = schema["anyOf"].as_array().or(schema["oneOf"].as_array()).and_then(|all| all.first()) {
        return value_for(root, first, wanted);
    }
    if let Some(choice) = schema["enum"].as_array().and_then(|all| all.first()).or(schema.get("const")) {
        return choice.clone();
    }
    let kind = text("type").or(schema["type"].as_array().and_then(|kinds| kinds.first()).and_then(Value::as_str));
    match (kind, text("format").or(text("x-personal")).or(text("pattern"))) {
        (Some("object"), _) => {
            let fields = schema["properties"].as_object().cloned().unwrap_or_default();
            let kept = fields.into_iter().filter(|(name, _)| wanted(schema, name));
            kept.map(|(name, of)| (name, value_for(root, &of, wanted))).collect::<Map<_, _>>().into()
        }
        (Some("array"), _) => json!([value_for(root, &schema["items"], wanted)]),
        (Some("integer"), _) => schema["minimum"].as_i64().unwrap_or(1).max(1).into(),
        (Some("boolean"), _) => true.into(),
        (_, Some("uuid")) => "0190a5b2-7c3d-7e4f-8a9b-0c1d2e3f4a5b".into(),
        (_, Some("date-time")) => "2026-11-20T12:00:00Z".into(),
        (_, Some("date")) => "2026-11-20".into(),
        (_, Some("uri")) => "https://hooks.example.org/".into(),
        (_, Some(pattern)) if pattern.contains("\\.") => "order.placed".into(),
        (_, Some("email")) => "ada@example.org".into(),
        (_, Some("phone")) => "+4930123456".into(),
        (_, Some("^[A-Z]{3}$")) => "USD".into(),
        (_, Some("^[0-9]{4}$")) => "1111".into(),
        (_, Some(pattern)) if pattern.ends_with("{10}$") => "7K2MPQ9XRT".into(),
        (_, Some("^[a-z][a-z0-9_]{0,49}$")) => "product_viewed".into(),
        (_, Some(pattern)) if pattern.contains("|USD|") => "USD".into(),
        (_, Some(pattern)) if pattern.starts_with('^') => "adas-mugs".into(),
        _ => "UTC".into(),
    }
}
