//! Layout of a row, derived from its JSON Schema: the columns, and a hash that is part of the table name.

use domain::shared::{Date, Timestamp};
use serde_json::{Map, Value};
use uuid::Uuid;

/// Column for one field of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub kind: ColumnType,
    /// True if the value may be null or absent.
    pub optional: bool,
}

/// Type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ColumnType {
    Uuid,
    /// Signed 64-bit integer.
    Integer,
    Boolean,
    Text,
    Instant,
    Day,
    /// A list; cannot be filtered or ordered by.
    Json,
}

impl ColumnType {
    /// Converts a value to the text form that stores take; `None` if it is not of this type.
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

    /// Description of a valid value, for error messages.
    pub fn expected(self) -> &'static str {
        match self {
            Self::Integer => "a whole number",
            Self::Boolean => "true or false",
            Self::Uuid => "a UUID",
            Self::Instant => "an instant such as 2026-11-20T12:00:00Z",
            Self::Day => "a day such as 2026-11-20",
            Self::Text => "a text",
            Self::Json => "nothing: a list cannot be filtered or ordered by",
        }
    }
}

/// Columns of a row type, in alphabetical order.
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

/// Kind of a personal field; `None` for another one.
pub(super) fn personal_kind<'a>(schema: &'a Value, column: &str) -> Option<&'a str> {
    plain(schema, &schema["properties"][column]).0["x-personal"].as_str()
}

/// Schema of a field with references and options resolved, and true if it may be null.
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

fn kind(field: &Value) -> ColumnType {
    let is = |wanted: &str| match &field["type"] {
        Value::String(one) => one == wanted,
        Value::Array(several) => several.iter().any(|one| one == wanted),
        _ => false,
    };
    let word = |choice: &Value| choice["const"].is_string() || choice["type"] == "string";
    match field["format"].as_str() {
        _ if is("integer") => ColumnType::Integer,
        _ if is("boolean") => ColumnType::Boolean,
        Some("uuid") => ColumnType::Uuid,
        Some("date-time") => ColumnType::Instant,
        Some("date") => ColumnType::Day,
        _ if is("string") => ColumnType::Text,
        // In JSON Schema, an enum whose variants have doc comments is a choice of constants.
        _ if field["oneOf"].as_array().is_some_and(|choices| choices.iter().all(word)) => ColumnType::Text,
        _ => ColumnType::Json,
    }
}

/// Hash of row schema, key, indexes and revision: 16 hexadecimal digits, the same on every machine and in every build.
///
/// 64-bit FNV-1a. The hash only distinguishes shapes of one model, so a cryptographic hash would add a dependency and
/// no safety. Descriptions are excluded: an edited doc comment must not rebuild a table.
pub(super) fn shape(schema: &Value, key: &[&str], indexed: &[&str], revision: u32) -> String {
    let mut text = format!("{key:?}{indexed:?}{revision}");
    canonical(schema, &mut text);
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}

/// Appends the schema in canonical form: fields in alphabetical order, without documentation.
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
    // A row may have a field called `title` or `description`; its value is then an object and not a text.
    let is_documentation = |name: &str, value: &Value| match name {
        "description" | "title" | "$schema" => value.is_string(),
        "examples" => value.is_array(),
        _ => false,
    };
    let mut fields: Vec<_> = fields.iter().filter(|(name, value)| !is_documentation(name, value)).collect();
    fields.sort_by_key(|(name, _)| *name);
    fields
}

#[cfg(test)]
mod tests {
    use domain::shared::{ProductId, Title};
    use schemars::{JsonSchema, schema_for};

    use super::*;

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only the schema is used")]
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
    #[expect(dead_code, reason = "only the schema is used")]
    enum Status {
        /// Not published.
        Draft,
        /// Published.
        Live,
    }

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only the schema is used")]
    struct Line {
        units: i64,
    }

    #[test]
    fn every_field_becomes_a_column_of_its_type() {
        let columns = columns(schema_for!(Everything).as_value());
        let actual: Vec<_> =
            columns.iter().map(|column| (column.name.as_str(), column.kind, column.optional)).collect();
        assert_eq!(
            actual,
            [
                ("at", ColumnType::Instant, false),
                ("day", ColumnType::Day, true),
                ("description", ColumnType::Text, true),
                ("id", ColumnType::Uuid, false),
                ("last", ColumnType::Text, true),
                ("lines", ColumnType::Json, false),
                ("open", ColumnType::Boolean, false),
                ("other", ColumnType::Uuid, true),
                ("sold", ColumnType::Integer, true),
                ("status", ColumnType::Text, false),
                ("title", ColumnType::Text, false),
                ("units", ColumnType::Integer, false),
            ]
        );
    }

    #[test]
    fn shape_depends_on_fields_key_indexes_and_revision_only() {
        let schema = schema_for!(Everything).to_value();
        let one = shape(&schema, &["id"], &["units"], 1);
        let mut redocumented = schema.clone();
        redocumented["description"] = "Another sentence.".into();
        redocumented["properties"]["units"]["description"] = "Another sentence.".into();
        assert_eq!(shape(&redocumented, &["id"], &["units"], 1), one);

        let mut changed = schema.clone();
        changed["properties"]["title"]["maxLength"] = 5.into();
        assert_ne!(shape(&changed, &["id"], &["units"], 1), one);
        assert_ne!(shape(&schema, &["id", "units"], &["units"], 1), one);
        assert_ne!(shape(&schema, &["id"], &[], 1), one);
        assert_ne!(shape(&schema, &["id"], &["units"], 2), one);
    }
}
