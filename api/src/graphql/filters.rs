//! What rows may be asked for by, and in which order they may come.

use async_graphql::Value;
use async_graphql::dynamic::{Enum, Field, InputObject, InputValue, SchemaBuilder, TypeRef};
use projections::kernel::{Column, Kind, Model};
use projections::question::{Filter, Order, Test, value_text};

use super::names::{camel, capitals};
use super::scalars::{DATE, LONG, TIMESTAMP, UUID};
use super::session::Session;
use super::types::personal;
use super::value::to_json;
use crate::error::Problem;

/// Longer lists of values are several questions.
const VALUES_MOST: usize = 100;

/// The columns of a model that may be asked for.
pub(super) struct Askable {
    model: String,
    columns: Vec<Column>,
}

impl Askable {
    /// Key fields and indexed fields; personal ones are ciphertext in the store and cannot be compared.
    pub(super) fn of(model: &Model) -> Self {
        let root = model.schema.as_value();
        let mut names: Vec<_> = model.key.iter().chain(model.indexed).copied().collect();
        names.sort_unstable();
        names.dedup();
        let open = |name: &&str| personal(root, &root["properties"][*name]).is_none();
        let columns = names.into_iter().filter(open).filter_map(|name| model.column(name).cloned());
        Self { model: model.name.clone(), columns: columns.collect() }
    }

    /// `filter` and `order`.
    pub(super) fn arguments(&self, field: Field) -> Field {
        if self.columns.is_empty() {
            return field;
        }
        field
            .argument(InputValue::new("filter", TypeRef::named(format!("{}Filter", self.model))))
            .argument(InputValue::new("order", TypeRef::named(format!("{}Order", self.model))))
    }

    pub(super) fn register(&self, schema: SchemaBuilder) -> SchemaBuilder {
        if self.columns.is_empty() {
            return schema;
        }
        let Self { model, columns } = self;
        let mut filter = InputObject::new(format!("{model}Filter")).description("All of what is named must hold.");
        let by = format!("{model}OrderField");
        let mut fields = Enum::new(&by);
        for column in columns {
            filter = filter.field(InputValue::new(camel(&column.name), TypeRef::named(filter_name(column.kind))));
            fields = fields.item(capitals(&column.name));
        }
        let order = InputObject::new(format!("{model}Order"))
            .field(InputValue::new("by", TypeRef::named_nn(by)))
            .field(
                InputValue::new("direction", TypeRef::named_nn("Direction"))
                    .default_value(Value::Enum(async_graphql::Name::new("ASC"))),
            );
        schema.register(filter).register(fields).register(order)
    }
}

/// The filters of all kinds of columns, and the directions.
pub(super) fn register(mut schema: SchemaBuilder) -> SchemaBuilder {
    for kind in [Kind::Uuid, Kind::Integer, Kind::Boolean, Kind::Text, Kind::Instant, Kind::Day] {
        let one = || TypeRef::named(scalar(kind));
        let mut filter = InputObject::new(filter_name(kind))
            .field(InputValue::new("eq", one()).description("Exactly this."));
        if kind != Kind::Boolean {
            let told = format!("One of these, at most {VALUES_MOST}.");
            filter = filter.field(InputValue::new("in", TypeRef::named_nn_list(scalar(kind))).description(told));
        }
        if matches!(kind, Kind::Integer | Kind::Instant | Kind::Day) {
            filter = filter
                .field(InputValue::new("gte", one()).description("This or more."))
                .field(InputValue::new("lte", one()).description("This or less."));
        }
        schema = schema.register(filter);
    }
    schema.register(Enum::new("Direction").description("Which end comes first.").items(["ASC", "DESC"]))
}

/// The conditions that a filter argument makes.
pub(super) fn read(session: &Session, model: &Model, filter: &Value) -> Result<Vec<Filter>, Problem> {
    let mut filters = Vec::new();
    let Value::Object(fields) = filter else { return Ok(filters) };
    for (name, tests) in fields {
        let known = model.columns.iter().find(|column| camel(&column.name) == name.as_str());
        let (Some(column), Value::Object(tests)) = (known, tests) else { continue };
        for (test, value) in tests {
            if *value == Value::Null {
                continue;
            }
            let path = || format!("filter.{name}.{test}");
            let value = to_json(value);
            let check = |value: &serde_json::Value| {
                let misuse = |_| session.invalid(&path(), format!("expected {}", column.kind.expected()));
                value_text(column, value).map(|_| ()).map_err(misuse)
            };
            let test = if test == "in" {
                let values = match value {
                    serde_json::Value::Array(values) => values,
                    one => vec![one],
                };
                if values.len() > VALUES_MOST {
                    return Err(session.invalid(&path(), format!("expected at most {VALUES_MOST} values")));
                }
                values.iter().try_for_each(check)?;
                Test::In(values)
            } else {
                check(&value)?;
                match test.as_str() {
                    "gte" => Test::From(value),
                    "lte" => Test::To(value),
                    _ => Test::Equals(value),
                }
            };
            filters.push(Filter { field: column.name.clone(), test });
        }
    }
    Ok(filters)
}

/// The order that an order argument names; the schema lets only known ones through.
pub(super) fn order(model: &Model, order: &Value) -> Order {
    let order = to_json(order);
    let by = order["by"].as_str().unwrap_or_default();
    let known = model.columns.iter().find(|column| capitals(&column.name) == by);
    Order {
        field: known.map(|column| column.name.clone()).unwrap_or_default(),
        descending: order["direction"] == "DESC",
    }
}

pub(super) fn scalar(kind: Kind) -> &'static str {
    match kind {
        Kind::Uuid => UUID,
        Kind::Integer => LONG,
        Kind::Boolean => TypeRef::BOOLEAN,
        Kind::Text | Kind::Json => TypeRef::STRING,
        Kind::Instant => TIMESTAMP,
        Kind::Day => DATE,
    }
}

fn filter_name(kind: Kind) -> String {
    format!("{}Filter", scalar(kind))
}
