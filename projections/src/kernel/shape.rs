//! What a row looks like, read from its JSON Schema: columns for stores, and a hash that names the table.

use domain::shared::{Date, Timestamp};
use serde_json::{Map, Value};
use uuid::Uuid;

/// One field of a row, as a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub kind: Kind,
    /// Whether a row may come without it.
    pub optional: bool,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Uuid,
    /// A whole number of 64 bits.
    Integer,
    Boolean,
    Text,
    Instant,
    Day,
    /// A list; filtered and ordered by nobody.
    Json,
}

impl Kind {
    /// A value as the text that stores read; nothing where it is not of this kind.
    pub fn text(self, value: &Value) -> Option<String> {
        let word = value.as_str();
        match self {
            Self::Integer => value.as_i64().map(|number| number.to_string()),
            Self::Boolean => value.as_bool().map(|truth| truth.to_string()),
            Self::Uuid => word?.parse::<Uuid>().ok().map(|id| id.to_string()),
            Self::Instant => word?.parse::<Timestamp>().ok().map(|instant| instant.to_string()),
            Self::Day => word?.parse::<Date>().ok().map(|day| day.to_string()),
            Self::Text => word.filter(|word| !word.contains('\0')).map(Into::into),
            Self::Json => None,
        }
    }

    /// What a caller should have sent.
    pub fn expected(self) -> &'static str {
        match self {
            Self::Integer => "a whole number",
            Self::Boolean => "true or false",
            Self::Uuid => "a UUID",
            Self::Instant => "an instant such as 2026-11-20T12:00:00Z",
            Self::Day => "a day such as 2026-11-20",
            Self::Text => "a text",
            Self::Json => "nothing: lists cannot be asked for",
        }
    }
}

/// The columns of a row type, in alphabetical order.
pub(super) fn columns(schema: &Value) -> Vec<Column> {
    let required: Vec<_> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut columns: Vec<_> = schema["properties"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, field)| {
            let (field, nullable) = plain(schema, field);
            let optional = nullable || !required.contains(&name.as_str());
            Column { name: name.clone(), kind: kind(field), optional }
        })
        .collect();
    columns.sort_by(|one, other| one.name.cmp(&other.name));
    columns
}

/// A field's own schema behind references and options, and whether it may be null.
fn plain<'a>(schema: &'a Value, field: &'a Value) -> (&'a Value, bool) {
    if let Some(name) = field["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/")) {
        return plain(schema, &schema["$defs"][name]);
    }
    if let Some(choices) = field["anyOf"].as_array() {
        let (nulls, others): (Vec<_>, Vec<_>) = choices.iter().partition(|choice| choice["type"] == "null");
        if let ([_, ..], [only]) = (nulls.as_slice(), others.as_slice()) {
            return (plain(schema, only).0, true);
        }
    }
    let nullable = field["type"].as_array().is_some_and(|types| types.iter().any(|one| one == "null"));
    (field, nullable)
}

fn kind(field: &Value) -> Kind {
    let is = |wanted: &str| match &field["type"] {
        Value::String(one) => one == wanted,
        Value::Array(several) => several.iter().any(|one| one == wanted),
        _ => false,
    };
    let word = |choice: &Value| choice["const"].is_string() || choice["type"] == "string";
    match field["format"].as_str() {
        _ if is("integer") => Kind::Integer,
        _ if is("boolean") => Kind::Boolean,
        Some("uuid") => Kind::Uuid,
        Some("date-time") => Kind::Instant,
        Some("date") => Kind::Day,
        _ if is("string") => Kind::Text,
        // An enum whose variants have doc comments is a choice of constants.
        _ if field["oneOf"].as_array().is_some_and(|choices| choices.iter().all(word)) => Kind::Text,
        _ => Kind::Json,
    }
}

/// A name for everything a table depends on: 16 hexadecimal digits, the same on every machine and in every build.
///
/// FNV-1a of 64 bits over the schema in canonical form. It tells shapes of one model apart and guards nothing, so a
/// cryptographic hash would add a dependency and no safety. Descriptions do not count: a better sentence must not
/// rebuild a table.
pub(super) fn shape(schema: &Value, key: &[&str], indexed: &[&str], revision: u32) -> String {
    let mut text = format!("{key:?}{indexed:?}{revision}");
    canonical(schema, &mut text);
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}

/// Fields in alphabetical order, without what only people read.
fn canonical(schema: &Value, text: &mut String) {
    match schema {
        Value::Object(fields) => {
            text.push('{');
            for (name, value) in sorted(fields) {
                text.push_str(name);
                text.push(':');
                canonical(value, text);
                text.push(',');
            }
            text.push('}');
        }
        Value::Array(values) => {
            text.push('[');
            for value in values {
                canonical(value, text);
                text.push(',');
            }
            text.push(']');
        }
        word => text.push_str(&word.to_string()),
    }
}

fn sorted(fields: &Map<String, Value>) -> Vec<(&String, &Value)> {
    // A field of a row may be called `title` or `description`; its schema is no text then.
    let for_people = |name: &str, value: &Value| match name {
        "description" | "title" | "$schema" => value.is_string(),
        "examples" => value.is_array(),
        _ => false,
    };
    let mut fields: Vec<_> = fields.iter().filter(|(name, value)| !for_people(name, value)).collect();
    fields.sort_by_key(|(name, _)| *name);
    fields
}

#[cfg(test)]
mod tests {
    use domain::shared::{ProductId, Title};
    use schemars::{JsonSchema, schema_for};

    use super::*;

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is looked at")]
    struct Everything {
        id: ProductId,
        other: Option<ProductId>,
        title: Title,
        description: Option<String>,
        units: i64,
        sold: Option<i64>,
        open: bool,
        at: Timestamp,
        day: Option<Date>,
        status: Status,
        last: Option<Status>,
        lines: Vec<Line>,
    }

    #[derive(JsonSchema)]
    #[serde(rename_all = "snake_case")]
    #[expect(dead_code, reason = "only its schema is looked at")]
    enum Status {
        /// Not yet.
        Draft,
        /// Now.
        Live,
    }

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is looked at")]
    struct Line {
        units: i64,
    }

    #[test]
    fn every_field_becomes_a_column_of_its_kind() {
        let columns = columns(schema_for!(Everything).as_value());
        let seen: Vec<_> = columns.iter().map(|column| (column.name.as_str(), column.kind, column.optional)).collect();
        assert_eq!(
            seen,
            [
                ("at", Kind::Instant, false),
                ("day", Kind::Day, true),
                ("description", Kind::Text, true),
                ("id", Kind::Uuid, false),
                ("last", Kind::Text, true),
                ("lines", Kind::Json, false),
                ("open", Kind::Boolean, false),
                ("other", Kind::Uuid, true),
                ("sold", Kind::Integer, true),
                ("status", Kind::Text, false),
                ("title", Kind::Text, false),
                ("units", Kind::Integer, false),
            ]
        );
    }

    #[test]
    fn a_shape_changes_with_fields_key_indexes_and_revision_and_with_nothing_else() {
        let schema = schema_for!(Everything).to_value();
        let one = shape(&schema, &["id"], &["units"], 1);
        let mut told = schema.clone();
        told["description"] = "Another sentence.".into();
        told["properties"]["units"]["description"] = "Another sentence.".into();
        assert_eq!(shape(&told, &["id"], &["units"], 1), one);

        let mut changed = schema.clone();
        changed["properties"]["title"]["maxLength"] = 5.into();
        assert_ne!(shape(&changed, &["id"], &["units"], 1), one);
        assert_ne!(shape(&schema, &["id", "units"], &["units"], 1), one);
        assert_ne!(shape(&schema, &["id"], &[], 1), one);
        assert_ne!(shape(&schema, &["id"], &["units"], 2), one);
    }
}
