//! Schemas of commands: descriptions, required and unknown fields, and a round trip of sample bodies.

use commands::kernel::Commands;
use serde_json::{Value, json};

use super::samples::{smallest, whole};
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

fn definitions(schema: &Value) -> impl Iterator<Item = (&str, &Value)> {
    schema["$defs"].as_object().into_iter().flatten().map(|(name, of)| (name.as_str(), of))
}
