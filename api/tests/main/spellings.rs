//! Spellings of one command: whatever a client changes in the JSON without changing its meaning, a repeat is recognised.

use commands::kernel::{CommandDescriptor, Commands};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::bad_fields::sample;

/// The canonical form of a body; `None` if it does not parse.
fn canonical(kind: &CommandDescriptor, body: &str) -> Option<String> {
    let command = kind.parse(body).ok()?;
    Some(kind.canonical(&*command, body).unwrap_or_else(|misuse| panic!("{} {body}: {misuse}", kind.name)))
}

/// JSON with blanks and line breaks, with the fields of every object in reverse order, and a final line break.
fn loose(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().rev().map(|(name, value)| format!("\n\t\"{name}\" : {}", loose(value)));
            format!("{{{} }}\r\n", fields.collect::<Vec<_>>().join(" ,"))
        }
        Value::Array(values) => format!("[ {} ]", values.iter().map(loose).collect::<Vec<_>>().join(" , ")),
        leaf => leaf.to_string(),
    }
}

/// JSON with every character of every name and text as an escape.
fn escaped(value: &Value) -> String {
    let text = |text: &str| {
        let units = text.encode_utf16().map(|unit| format!("\\u{unit:04X}"));
        format!("\"{}\"", units.collect::<String>())
    };
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| format!("{}:{}", text(name), escaped(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
        Value::Array(values) => format!("[{}]", values.iter().map(escaped).collect::<Vec<_>>().join(",")),
        Value::String(word) => text(word),
        leaf => leaf.to_string(),
    }
}

/// The same value with every UUID in capital letters.
fn shouted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (name.clone(), shouted(value))).collect::<Map<_, _>>().into()
        }
        Value::Array(values) => values.iter().map(shouted).collect(),
        Value::String(text) if Uuid::try_parse(text).is_ok() => text.to_uppercase().into(),
        leaf => leaf.clone(),
    }
}

#[test]
fn every_spelling_of_a_command_has_one_canonical_form() {
    let commands = Commands::all();
    let mut optional = 0;
    for kind in commands.iter() {
        let body = sample(kind);
        let form = canonical(kind, &body.to_string()).unwrap_or_else(|| panic!("{} {body} does not parse", kind.name));
        for spelling in [loose(&body), escaped(&body), shouted(&body).to_string()] {
            assert_eq!(canonical(kind, &spelling).as_ref(), Some(&form), "{} {spelling}", kind.name);
        }
        for (name, _) in body.as_object().into_iter().flatten() {
            let (mut null, mut absent) = (body.clone(), body.clone());
            null[name] = Value::Null;
            absent.as_object_mut().expect("an object").remove(name);
            let (null, absent) = (canonical(kind, &null.to_string()), canonical(kind, &absent.to_string()));
            if let (Some(null), Some(absent)) = (null, absent) {
                assert_eq!(null, absent, "{}.{name}", kind.name);
                assert_ne!(null, form, "{}.{name} is lost", kind.name);
                optional += 1;
            }
        }
    }
    assert!(optional >= 10, "only {optional} optional fields");
}

#[test]
fn every_other_number_is_another_command() {
    let commands = Commands::all();
    let mut compared = 0;
    for kind in commands.iter() {
        let body = sample(kind);
        let form = canonical(kind, &body.to_string());
        for (name, value) in body.as_object().into_iter().flatten() {
            let Some(number) = value.as_i64() else { continue };
            let mut other = body.clone();
            other[name] = (number + 1).into();
            if let Some(other) = canonical(kind, &other.to_string()) {
                assert_ne!(Some(other), form, "{}.{name}", kind.name);
                compared += 1;
            }
        }
    }
    assert!(compared >= 10, "only {compared} numbers");
}
