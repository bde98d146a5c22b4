//! Every field of every command, found in the commands' schemas.

use commands::kernel::CommandDescriptor;
use serde_json::{Map, Value, json};

use crate::bad_values::{BadValue, Family, Fate};

/// Placeholder of the bad value.
const HERE: &str = "@@here@@";

/// A field of a command.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) command: String,
    /// Path as errors name it: `lines[0].quantity`.
    pub(crate) path: String,
    pub(crate) family: Family,
    /// True if the field may be left out.
    optional: bool,
    /// A valid body with the placeholder in this field.
    body: String,
}

impl Field {
    /// All fields of a command, at any depth.
    pub(crate) fn all(kind: &CommandDescriptor) -> Vec<Self> {
        let root = kind.schema.as_value();
        let mut found = vec![];
        walk(root, root, "", "", false, &mut found);
        let whole = sample(kind);
        let field = |(path, pointer, family, optional): (String, String, Family, bool)| {
            let mut body = whole.clone();
            *body.pointer_mut(&pointer).expect("a field of the sample") = HERE.into();
            Self { command: kind.name.clone(), path, family, optional, body: body.to_string() }
        };
        found.into_iter().map(field).collect()
    }

    pub(crate) fn values(&self) -> Vec<BadValue> {
        let fate = if self.optional { Fate::Taken } else { Fate::Refused };
        let mut values = self.family.values();
        if self.family != Family::Flag {
            values.push(BadValue { json: "null".into(), fate });
        }
        values
    }

    /// The body with this value in the field.
    pub(crate) fn with(&self, value: &BadValue) -> String {
        self.body.replacen(&format!("\"{HERE}\""), &value.json, 1)
    }

    /// True if an error about `found` is an error about this field.
    pub(crate) fn is_named(&self, fate: Fate, code: &str, found: &str) -> bool {
        let around = self.path.rsplit_once('.').map_or("", |(around, _)| around);
        match (fate, code) {
            // Invalid JSON may be reported for the object or list around the field.
            (_, "INVALID_JSON") => self.path.starts_with(found),
            (Fate::RefusedAround, _) => found == around,
            _ => found == self.path,
        }
    }
}

/// A valid body with every optional field.
pub(crate) fn sample(kind: &CommandDescriptor) -> Value {
    value_for(kind.schema.as_value(), kind.schema.as_value())
}

fn walk(
    root: &Value,
    schema: &Value,
    path: &str,
    pointer: &str,
    optional: bool,
    found: &mut Vec<(String, String, Family, bool)>,
) {
    let (name, schema, or_null) = resolved(root, schema);
    let optional = optional || or_null;
    if let Some(fields) = schema["properties"].as_object() {
        for (field, of) in fields {
            let required = schema["required"].as_array().is_some_and(|all| all.contains(&json!(field)));
            let dot = if path.is_empty() { "" } else { "." };
            walk(root, of, &format!("{path}{dot}{field}"), &format!("{pointer}/{field}"), !required, found);
        }
    } else if schema["type"] == "array" {
        walk(root, &schema["items"], &format!("{path}[0]"), &format!("{pointer}/0"), false, found);
    } else if schema["type"] != "object" {
        let minor = path.rsplit('.').next() == Some("minor");
        let family = if minor { Family::Minor } else { Family::of(name, schema) };
        found.push((path.to_owned(), pointer.to_owned(), family, optional));
    }
}

/// The schema behind references and alternatives, its name, and whether null is an alternative.
fn resolved<'a>(root: &'a Value, schema: &'a Value) -> (Option<&'a str>, &'a Value, bool) {
    if let Some(path) = schema["$ref"].as_str() {
        let (_, target, null) = resolved(root, root.pointer(path.trim_start_matches('#')).expect("a definition"));
        return (path.rsplit('/').next(), target, null);
    }
    if let Some(all) = schema["anyOf"].as_array() {
        let null = all.iter().any(|one| one["type"] == "null");
        let (name, target, _) = resolved(root, all.first().expect("an alternative"));
        return (name, target, null);
    }
    let null = schema["type"].as_array().is_some_and(|kinds| kinds.contains(&json!("null")));
    (None, schema, null)
}

fn value_for(root: &Value, schema: &Value) -> Value {
    let (name, schema, _) = resolved(root, schema);
    if let Some(fields) = schema["properties"].as_object() {
        return fields.iter().map(|(name, of)| (name.clone(), value_for(root, of))).collect::<Map<_, _>>().into();
    }
    match schema["type"].as_str() {
        Some("object") => return json!({}),
        Some("array") => return json!([value_for(root, &schema["items"])]),
        _ => {}
    }
    match Family::of(name, schema) {
        Family::Text { .. } => "Ada's mug".into(),
        Family::Sku => "MUG-1".into(),
        Family::Slug => "adas-mugs".into(),
        Family::ActivityKind => "product_viewed".into(),
        Family::Zone => "UTC".into(),
        Family::Code => "7K2MPQ9XRT".into(),
        Family::Token => "tok_9f2".into(),
        Family::LastDigits => "1111".into(),
        Family::Currency | Family::LegalTender => "USD".into(),
        Family::Email => "ada@example.org".into(),
        Family::Phone => "+4930123456".into(),
        Family::MediaUrl => "https://media.example.org/a.jpg".into(),
        // No server listens on this port.
        Family::Target => "https://127.0.0.1:9/hook".into(),
        Family::Event => "order.placed".into(),
        Family::Id => "0190a5b2-7c3d-7e4f-8a9b-0c1d2e3f4a5b".into(),
        Family::Number { least, .. } => least.max(1).into(),
        Family::Minor => 900.into(),
        Family::Instant => "2026-11-19T12:00:00Z".into(),
        Family::Day => "2026-11-19".into(),
        Family::Enum if schema["enum"].is_array() => schema["enum"][0].clone(),
        Family::Enum => schema["oneOf"][0]["const"].clone(),
        Family::Flag => true.into(),
    }
}
