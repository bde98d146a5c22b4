//! Custom scalars.

use async_graphql::Value;
use async_graphql::dynamic::{Scalar, SchemaBuilder};
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
                .validator(text(|text| text.len() == 36 && Uuid::try_parse(text).is_ok())),
        )
        .register(
            Scalar::new(TIMESTAMP)
                .description("An instant in UTC with microseconds, such as 2026-11-20T12:00:00.123456Z (RFC 3339).")
                .validator(text(|text| text.parse::<Timestamp>().is_ok())),
        )
        .register(
            Scalar::new(DATE)
                .description("A calendar day, such as 2026-11-20.")
                .validator(text(|text| text.parse::<Date>().is_ok())),
        )
        .register(
            Scalar::new(LONG)
                .description("A signed 64-bit integer, written as a JSON number.")
                .validator(|value| matches!(value, Value::Number(number) if number.as_i64().is_some())),
        )
        .register(Scalar::new(JSON).description("Any JSON value."))
}

fn text(valid: fn(&str) -> bool) -> impl Fn(&Value) -> bool + Send + Sync + 'static {
    move |value| matches!(value, Value::String(text) if valid(text))
}
