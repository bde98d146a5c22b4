//! What rows may be asked for by, and in which order they may come.

use async_graphql::Value;
use async_graphql::dynamic::{Enum, Field, InputObject, InputValue, SchemaBuilder, TypeRef};
use domain::shared::{Email, PersonalField};
use projections::kernel::{Column, ColumnType, Model};
use projections::query::{Filter, Order, Test, value_text};

use super::names::{camel, capitals};
use super::scalars::{DATE, LONG, TIMESTAMP, UUID};
use super::session::Session;
use super::types::{indexes, personal, words_of};
use super::value::to_json;
use crate::error::Problem;

/// Longer lists of values are several questions.
const VALUES_MOST: usize = 100;
const PERSONAL: &str = "PersonalFilter";

/// The columns of a model that may be asked for.
pub(super) struct Askable {
    model: String,
    /// Each with the words that it may hold, where these are given.
    columns: Vec<(Column, Option<String>)>,
    /// Personal columns with a blind index: found by their exact value, in no order.
    personal: Vec<String>,
}

impl Askable {
    /// Key fields and indexed fields; personal ones are ciphertext in the store and cannot be compared.
    pub(super) fn of(model: &Model) -> Self {
        let root = model.schema.as_value();
        let mut names: Vec<_> = model.key.iter().chain(model.indexed).copied().collect();
        names.sort_unstable();
        names.dedup();
        let indexed =
            names.iter().filter_map(|name| indexes(root, name)).map(|(column, _)| column.to_owned()).collect();
        let open = |name: &&str| personal(root, &root["properties"][*name]).is_none() && indexes(root, name).is_none();
        let told = |column: &Column| words_of(root, &column.name).map(|words| format!("One of {}.", words.join(", ")));
        let columns = names.into_iter().filter(open).filter_map(|name| model.column(name).cloned());
        let columns = columns.map(|column| (column.clone(), told(&column)));
        Self { model: model.name.clone(), columns: columns.collect(), personal: indexed }
    }

    /// `filter` and `order`.
    pub(super) fn arguments(&self, field: Field) -> Field {
        if self.columns.is_empty() {
            return field;
        }
        field.argument(self.filter()).argument(InputValue::new("order", TypeRef::named(format!("{}Order", self.model))))
    }

    /// `filter` alone, where rows come as they change.
    pub(super) fn filter_argument(&self) -> Option<InputValue> {
        (!self.columns.is_empty()).then(|| self.filter())
    }

    fn filter(&self) -> InputValue {
        InputValue::new("filter", TypeRef::named(format!("{}Filter", self.model)))
    }

    pub(super) fn register(&self, schema: SchemaBuilder) -> SchemaBuilder {
        if self.columns.is_empty() {
            return schema;
        }
        let Self { model, columns, personal } = self;
        let mut filter = InputObject::new(format!("{model}Filter")).description("All of what is named must hold.");
        let by = format!("{model}OrderField");
        let mut fields = Enum::new(&by);
        for (column, words) in columns {
            let field = InputValue::new(camel(&column.name), TypeRef::named(filter_name(column.kind)));
            filter = filter.field(match words {
                Some(words) => field.description(words),
                None => field,
            });
            fields = fields.item(capitals(&column.name));
        }
        for column in personal {
            filter = filter.field(InputValue::new(camel(column), TypeRef::named(PERSONAL)));
        }
        let order =
            InputObject::new(format!("{model}Order")).field(InputValue::new("by", TypeRef::named_nn(by))).field(
                InputValue::new("direction", TypeRef::named_nn("Direction"))
                    .default_value(Value::Enum(async_graphql::Name::new("ASC"))),
            );
        schema.register(filter).register(fields).register(order)
    }
}

/// The filters of all kinds of columns, and the directions.
pub(super) fn register(mut schema: SchemaBuilder) -> SchemaBuilder {
    for kind in [
        ColumnType::Uuid,
        ColumnType::Integer,
        ColumnType::Boolean,
        ColumnType::Text,
        ColumnType::Instant,
        ColumnType::Day,
    ] {
        let one = || TypeRef::named(scalar(kind));
        let mut filter =
            InputObject::new(filter_name(kind)).field(InputValue::new("eq", one()).description("Exactly this."));
        if kind != ColumnType::Boolean {
            let told = format!("One of these, at most {VALUES_MOST}.");
            filter = filter.field(InputValue::new("in", TypeRef::named_nn_list(scalar(kind))).description(told));
        }
        if matches!(kind, ColumnType::Integer | ColumnType::Instant | ColumnType::Day) {
            filter = filter
                .field(InputValue::new("gte", one()).description("This or more."))
                .field(InputValue::new("lte", one()).description("This or less."));
        }
        schema = schema.register(filter);
    }
    let personal = InputObject::new(PERSONAL)
        .description("A personal field, found by its exact value and by nothing else.")
        .field(InputValue::new("eq", TypeRef::named_nn(TypeRef::STRING)));
    schema = schema.register(personal);
    schema.register(Enum::new("Direction").description("Which end comes first.").items(["ASC", "DESC"]))
}

/// The conditions that a filter argument makes.
pub(super) fn read(session: &Session, model: &Model, filter: &Value) -> Result<Vec<Filter>, Problem> {
    let mut filters = Vec::new();
    let Value::Object(fields) = filter else { return Ok(filters) };
    for (name, tests) in fields {
        if let Some(index) = index_of(model, name) {
            filters.push(found_by(session, model, index, tests)?);
            continue;
        }
        let known = model.columns.iter().find(|column| camel(&column.name) == name.as_str());
        let (Some(column), Value::Object(tests)) = (known, tests) else { continue };
        for (test, value) in tests {
            if *value == Value::Null {
                continue;
            }
            let path = || format!("filter.{name}.{test}");
            let value = to_json(value);
            let words = words_of(model.schema.as_value(), &column.name);
            let check = |value: &serde_json::Value| {
                if let Some(words) = words.as_ref().filter(|words| !words.iter().any(|word| value == word)) {
                    return Err(session.invalid(&path(), format!("expected one of {}", words.join(", "))));
                }
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

/// The column that is the blind index of the personal field of this name, and its kind.
fn index_of<'m>(model: &'m Model, name: &str) -> Option<(&'m str, &'m str)> {
    let root = model.schema.as_value();
    let indexed = model.indexed.iter().filter_map(|index| Some((*index, indexes(root, index)?)));
    indexed.filter(|(_, (column, _))| camel(column) == name).map(|(index, (_, kind))| (index, kind)).next()
}

/// Equal values have equal blind indexes; whoever may not see the value may not guess it either.
fn found_by(session: &Session, model: &Model, (index, kind): (&str, &str), tests: &Value) -> Result<Filter, Problem> {
    if !session.caller.sees_personal(model) {
        return Err(Problem::forbidden("this caller cannot look for personal data"));
    }
    let tests = to_json(tests);
    let text = tests["eq"].as_str().unwrap_or_default();
    let folded = match kind {
        "email" => text.parse::<Email>().ok().and_then(|email| email.folded()),
        _ => None,
    };
    let odd = || session.invalid(&format!("filter.{kind}.eq"), format!("this is no {kind}"));
    let word = session.front.backend.blind_index(session.caller.tenant, kind, &folded.ok_or_else(odd)?);
    Ok(Filter { field: index.into(), test: Test::Equals(word.into()) })
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

pub(super) fn scalar(kind: ColumnType) -> &'static str {
    match kind {
        ColumnType::Uuid => UUID,
        ColumnType::Integer => LONG,
        ColumnType::Boolean => TypeRef::BOOLEAN,
        ColumnType::Text | ColumnType::Json => TypeRef::STRING,
        ColumnType::Instant => TIMESTAMP,
        ColumnType::Day => DATE,
    }
}

fn filter_name(kind: ColumnType) -> String {
    format!("{}Filter", scalar(kind))
}
