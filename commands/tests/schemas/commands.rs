//! Schemas of commands: descriptions, required and unknown fields, and a round trip of sample bodies.

use commands::kernel::{CommandDescriptor, Commands};
use serde_json::{Map, Value, json};

use crate::shop::Seal;

#[test]
fn every_command_and_every_enum_in_its_fields_has_a_description() {
    for kind in Commands::all().iter() {
        let schema = kind.schema.as_value();
        assert!(schema["description"].is_string(), "{} has no doc comment", kind.name);
        for (name, of) in definitions(schema) {
            let described = of["description"].is_string() || of["enum"].is_null() && of["oneOf"].is_null();
            assert!(described, "{name} in {} is an enum without a doc comment", kind.name);
        }
    }
}

#[test]
fn every_command_refuses_unknown_fields() {
    for kind in Commands::all().iter() {
        let schema = kind.schema.as_value();
        let objects = [(kind.name.as_str(), schema)].into_iter().chain(definitions(schema));
        for (name, object) in objects.filter(|(_, of)| of["type"] == "object") {
            assert_eq!(object["additionalProperties"], json!(false), "{name} in {}", kind.name);
        }
        let mut body = smallest(kind);
        body.insert("unknown".into(), json!(1));
        let Err(misuse) = kind.parse(&Value::from(body).to_string()) else {
            panic!("{} accepts an unknown field", kind.name)
        };
        assert_eq!((&*misuse.code, misuse.field.as_str()), ("INVALID_FIELD", "unknown"), "{}", kind.name);
    }
}

#[test]
fn every_command_parses_its_smallest_body_and_its_own_output() {
    for kind in Commands::all().iter() {
        let body = Value::from(smallest(kind)).to_string();
        let mut command = kind.parse(&body).unwrap_or_else(|misuse| panic!("{}: {misuse:?} in {body}", kind.name));
        assert_eq!(command.name(), kind.name);
        command.seal(&mut Seal).expect("a parsed command is not sealed yet");
        let written = command.to_json().expect("a sealed command is JSON");
        let again = kind.parse(&written).unwrap_or_else(|misuse| panic!("{}: {misuse:?}", kind.name));
        assert_eq!(again.to_json().expect("JSON"), written);
    }
}

#[test]
fn every_required_field_is_required_by_the_parser() {
    for kind in Commands::all().iter() {
        let whole = smallest(kind);
        for field in whole.keys() {
            let mut body = whole.clone();
            body.remove(field);
            assert!(kind.parse(&Value::from(body).to_string()).is_err(), "{} without {field}", kind.name);
        }
    }
}

#[test]
fn every_personal_field_is_sealed_before_serialization() {
    for kind in Commands::all().iter() {
        let command = kind.parse(&Value::from(whole(kind)).to_string());
        let mut command = command.unwrap_or_else(|misuse| panic!("{}: {misuse:?}", kind.name));
        command.seal(&mut Seal).expect("a parsed command is not sealed yet");
        let written = command.to_json();
        assert!(written.is_ok(), "{} leaves a personal field open", kind.name);
    }
}

/// A body with the required fields only.
fn smallest(kind: &CommandDescriptor) -> Map<String, Value> {
    sample(kind, |schema, field| schema["required"].as_array().is_some_and(|all| all.contains(&json!(field))))
}

/// A body with all fields.
fn whole(kind: &CommandDescriptor) -> Map<String, Value> {
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
        (_, Some(pattern)) if pattern.contains("|USD|") => "USD".into(),
        (_, Some(pattern)) if pattern.starts_with('^') => "adas-mugs".into(),
        _ => "UTC".into(),
    }
}

fn definitions(schema: &Value) -> impl Iterator<Item = (&str, &Value)> {
    schema["$defs"].as_object().into_iter().flatten().map(|(name, of)| (name.as_str(), of))
}
