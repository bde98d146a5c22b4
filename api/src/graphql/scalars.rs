//! Custom scalars.

use async_graphql::Value;
use async_graphql::dynamic::{Scalar, SchemaBuilder, TypeRef};
use domain::shared::{Date, Timestamp};
use uuid::Uuid;

pub(super) const UUID: &str = "UUID";
pub(super) const TIMESTAMP: &str = "Timestamp";
pub(super) const DATE: &str = "Date";
pub(super) const LONG: &str = "Long";
pub(super) const JSON: &str = "JSON";

pub(super) fn register(schema: SchemaBuilder) -> SchemaBuilder {
    schema
        .register(
            Scalar::new(UUID)
                .description("A UUID in the hyphenated form of RFC 9562.")
                .specified_by_url("https://www.rfc-editor.org/rfc/rfc9562")
                .validator(is_uuid),
        )
        .register(
            Scalar::new(TIMESTAMP)
                .description("An instant in UTC with microseconds, such as 2026-11-20T12:00:00.123456Z (RFC 3339).")
                .validator(is_timestamp),
        )
        .register(Scalar::new(DATE).description("A calendar day, such as 2026-11-20.").validator(is_date))
        .register(
            Scalar::new(LONG).description("A signed 64-bit integer, written as a JSON number.").validator(is_long),
        )
        .register(Scalar::new(JSON).description("Any JSON value."))
}

/// The values that a scalar accepts from clients; `None` for a scalar that no argument of a query has.
pub(super) fn validator(name: &str) -> Option<fn(&Value) -> bool> {
    match name {
        UUID => Some(is_uuid),
        TIMESTAMP => Some(is_timestamp),
        DATE => Some(is_date),
        LONG => Some(is_long),
        TypeRef::INT => Some(is_int),
        TypeRef::STRING => Some(|value| matches!(value, Value::String(_))),
        TypeRef::BOOLEAN => Some(|value| matches!(value, Value::Boolean(_))),
        _ => None,
    }
}

fn is_uuid(value: &Value) -> bool {
    is_text(value, |text| text.len() == 36 && Uuid::try_parse(text).is_ok())
}

fn is_timestamp(value: &Value) -> bool {
    is_text(value, |text| text.parse::<Timestamp>().is_ok())
}

fn is_date(value: &Value) -> bool {
    is_text(value, |text| text.parse::<Date>().is_ok())
}

fn is_long(value: &Value) -> bool {
    matches!(value, Value::Number(number) if number.as_i64().is_some())
}

fn is_int(value: &Value) -> bool {
    matches!(value, Value::Number(number) if number.as_i64().is_some_and(|number| i32::try_from(number).is_ok()))
}

fn is_text(value: &Value, valid: fn(&str) -> bool) -> bool {
    matches!(value, Value::String(text) if valid(text))
}
