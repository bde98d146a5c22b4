//! Filter and order arguments of a read model.

use async_graphql::dynamic::{Enum, Field, InputObject, InputValue, SchemaBuilder, TypeRef};
use async_graphql::indexmap::IndexMap;
use async_graphql::{Name, Value};
use domain::shared::{Email, PersonalField, SEARCH_WORDS_MOST, search_words};
use projections::kernel::{Column, ColumnType, Model};
use projections::query::{Filter, SortOrder, Test, value_text};

use super::executor::viewer::Viewer;
use super::names::{camel, capitals};
use super::scalars::{DATE, LONG, TIMESTAMP, UUID};
use super::types::{enum_values_of, indexes, personal, resolved};
use super::value::to_json;
use crate::error::Problem;

/// Highest number of values of one `in` condition; longer lists must be split into several queries.
const VALUES_MOST: usize = 100;
pub(super) const PERSONAL_FILTER: &str = "PersonalFilter";
/// The condition on the words of personal columns.
pub(super) const TEXT: &str = "text";
const TEXT_FILTER: &str = "Words of a person's name or e-mail address, at most 12. A row must have all of them. Case and accents do not \
                           matter, and three letters or more find every word that begins with them. A change can be found a moment \
                           after the row shows it. Not available in subscriptions.";
pub(super) const DIRECTION: &str = "Direction";
pub(super) const DIRECTIONS: [&str; 2] = ["ASC", "DESC"];
const WITHOUT_VALUE: &str =
    "a condition that is null or empty would let every row through; give it a value, or leave it out";

/// The columns of a model that clients may filter and order by.
pub(super) struct Filterable {
    pub(super) model: String,
    /// Each with a description of its values if they are an enumeration.
    pub(super) columns: Vec<(Column, Option<String>)>,
    /// Personal columns with a blind index: filtered by exact value only, and not sortable.
    pub(super) personal: Vec<String>,
    /// True if rows are found by the words of personal columns.
    pub(super) is_searched: bool,
}

impl Filterable {
    /// Key fields and indexed fields, except personal ones: these are ciphertext in the store and cannot be compared.
    pub(super) fn of(model: &Model) -> Self {
        let root = model.schema.as_value();
        let mut names: Vec<_> = model.key.iter().chain(model.indexed).copied().collect();
        names.sort_unstable();
        names.dedup();
        let indexed =
            names.iter().filter_map(|name| indexes(root, name)).map(|(column, _)| column.to_owned()).collect();
        let plaintext =
            |name: &&str| personal(root, &root["properties"][*name]).is_none() && indexes(root, name).is_none();
        let values =
            |column: &Column| enum_values_of(root, &column.name).map(|values| format!("One of {}.", values.join(", ")));
        let columns = names.into_iter().filter(plaintext).filter_map(|name| model.column(name).cloned());
        let columns = columns.map(|column| (column.clone(), values(&column)));
        let is_searched = !model.searched.is_empty();
        Self { model: model.name.clone(), columns: columns.collect(), personal: indexed, is_searched }
    }

    /// Adds the arguments `filter` and `order`.
    pub(super) fn arguments(&self, field: Field) -> Field {
        if self.columns.is_empty() {
            return field;
        }
        field.argument(self.filter()).argument(InputValue::new("order", TypeRef::named(format!("{}Order", self.model))))
    }

    /// The `filter` argument alone, for subscriptions: their rows have no order.
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
        let Self { model, columns, personal, is_searched } = self;
        let mut filter = InputObject::new(format!("{model}Filter")).description(
            "Conditions on columns, at least one. All of them must hold. A condition that is null or empty is refused.",
        );
        let by = format!("{model}OrderField");
        let mut fields = Enum::new(&by);
        for (column, values) in columns {
            let field = InputValue::new(camel(&column.name), TypeRef::named(filter_name(column.kind)));
            filter = filter.field(match values {
                Some(values) => field.description(values),
                None => field,
            });
            fields = fields.item(capitals(&column.name));
        }
        for column in personal {
            filter = filter.field(InputValue::new(camel(column), TypeRef::named(PERSONAL_FILTER)));
        }
        if *is_searched {
            let text = InputValue::new(TEXT, TypeRef::named(TypeRef::STRING)).description(TEXT_FILTER);
            filter = filter.field(text);
        }
        let order =
            InputObject::new(format!("{model}Order")).field(InputValue::new("by", TypeRef::named_nn(by))).field(
                InputValue::new("direction", TypeRef::named_nn(DIRECTION)).default_value(Value::Enum(Name::new("ASC"))),
            );
        schema.register(filter).register(fields).register(order)
    }
}

/// Kinds of columns that can be filtered.
pub(super) const KINDS: [ColumnType; 6] = [
    ColumnType::Uuid,
    ColumnType::Integer,
    ColumnType::Boolean,
    ColumnType::Text,
    ColumnType::Instant,
    ColumnType::Day,
];

/// Tests of a kind of column, each with its type and description.
pub(super) fn tests(kind: ColumnType) -> Vec<(&'static str, TypeRef, String)> {
    let one = || TypeRef::named(scalar(kind));
    let mut tests = vec![("eq", one(), "Equal to this value.".into())];
    if kind != ColumnType::Boolean {
        let text = format!("Equal to one of these values, at most {VALUES_MOST}.");
        tests.push(("in", TypeRef::named_nn_list(scalar(kind)), text));
    }
    if matches!(kind, ColumnType::Integer | ColumnType::Instant | ColumnType::Day) {
        tests.push(("gte", one(), "Greater than or equal to this value.".into()));
        tests.push(("lte", one(), "Less than or equal to this value.".into()));
    }
    tests
}

/// Registers the filter types of all kinds of columns, and the sort direction.
pub(super) fn register(mut schema: SchemaBuilder) -> SchemaBuilder {
    for kind in KINDS {
        let field = |(name, type_ref, text): (&str, TypeRef, String)| InputValue::new(name, type_ref).description(text);
        let filter = tests(kind).into_iter().map(field).fold(InputObject::new(filter_name(kind)), InputObject::field);
        schema = schema.register(filter);
    }
    let personal = InputObject::new(PERSONAL_FILTER)
        .description(
            "A condition on a personal field. Personal fields are encrypted, so only an exact value can be looked up.",
        )
        .field(InputValue::new("eq", TypeRef::named_nn(TypeRef::STRING)));
    schema = schema.register(personal);
    schema.register(Enum::new(DIRECTION).description("Sort direction.").items(DIRECTIONS))
}

/// Parses a filter argument. Refuses a null or empty condition at any depth: a variable without a value would otherwise
/// turn a narrow filter into none.
pub(super) fn read(viewer: &Viewer, model: &Model, filter: &Value) -> Result<Vec<Filter>, Problem> {
    let mut filters = Vec::new();
    for (name, tests) in conditions(viewer, "filter", filter)? {
        let path = format!("filter.{name}");
        if name == TEXT && !model.searched.is_empty() {
            filters.push(text_filter(viewer, model, &path, tests)?);
            continue;
        }
        let tests = conditions(viewer, &path, tests)?;
        if let Some(index) = index_of(model, name) {
            filters.push(blind_index_filter(viewer, model, index, tests)?);
            continue;
        }
        let known = model.columns.iter().find(|column| camel(&column.name) == name.as_str());
        let Some(column) = known else { return Err(viewer.invalid(&path, "there is no such column")) };
        viewer.require_shown(model, &column.name)?;
        for (test, value) in tests {
            let path = format!("{path}.{test}");
            if *value == Value::Null {
                return Err(viewer.invalid(&path, WITHOUT_VALUE));
            }
            let test = column_test(viewer, model, column, &path, test, to_json(value))?;
            filters.push(Filter { field: column.name.clone(), test });
        }
    }
    Ok(filters)
}

/// The members of a condition. Refuses null and an object without members.
fn conditions<'v>(viewer: &Viewer, path: &str, condition: &'v Value) -> Result<&'v IndexMap<Name, Value>, Problem> {
    match condition {
        Value::Object(members) if !members.is_empty() => Ok(members),
        _ => Err(viewer.invalid(path, WITHOUT_VALUE)),
    }
}

fn column_test(
    viewer: &Viewer,
    model: &Model,
    column: &Column,
    path: &str,
    test: &str,
    value: serde_json::Value,
) -> Result<Test, Problem> {
    let allowed = enum_values_of(model.schema.as_value(), &column.name);
    let check = |value: &serde_json::Value| {
        if let Some(allowed) = allowed.as_ref().filter(|allowed| !allowed.iter().any(|one| value == one)) {
            return Err(viewer.invalid(path, format!("expected one of {}", allowed.join(", "))));
        }
        let misuse = |_| viewer.invalid(path, format!("expected {}", column.kind.expected()));
        value_text(column, value).map(|_| ()).map_err(misuse)
    };
    if test == "in" {
        let values = match value {
            serde_json::Value::Array(values) => values,
            one => vec![one],
        };
        if values.len() > VALUES_MOST {
            return Err(viewer.invalid(path, format!("expected at most {VALUES_MOST} values")));
        }
        values.iter().try_for_each(check)?;
        return Ok(Test::In(values.into_iter().map(|value| normal_form(model, column, value)).collect()));
    }
    check(&value)?;
    let value = normal_form(model, column, value);
    Ok(match test {
        "gte" => Test::From(value),
        "lte" => Test::To(value),
        _ => Test::Equals(value),
    })
}

/// The value as rows spell it: texts of some columns, such as SKUs, are stored in a normal form.
fn normal_form(model: &Model, column: &Column, value: serde_json::Value) -> serde_json::Value {
    let root = model.schema.as_value();
    match value.as_str() {
        Some(text) if resolved(root, &root["properties"][&column.name])["x-normal-form"] == "NFC" => {
            domain::shared::composed(text).into()
        }
        _ => value,
    }
}

/// The blind index column of the personal field with this GraphQL name, and the kind of the field.
fn index_of<'m>(model: &'m Model, name: &str) -> Option<(&'m str, &'m str)> {
    let root = model.schema.as_value();
    let indexed = model.indexed.iter().filter_map(|index| Some((*index, indexes(root, index)?)));
    indexed.filter(|(_, (column, _))| camel(column) == name).map(|(index, (_, kind))| (index, kind)).next()
}

/// Filter on a blind index: equal values have equal blind indexes. A caller without access to the value is refused,
/// as a match would confirm a guess.
fn blind_index_filter(
    viewer: &Viewer,
    model: &Model,
    (index, kind): (&str, &str),
    tests: &IndexMap<Name, Value>,
) -> Result<Filter, Problem> {
    if !viewer.caller.sees_personal(model) {
        return Err(Problem::forbidden("this caller may not filter by personal data"));
    }
    let text = match tests.get("eq") {
        Some(Value::String(text)) => text,
        _ => return Err(viewer.invalid(&format!("filter.{kind}"), WITHOUT_VALUE)),
    };
    let folded = match kind {
        "email" => text.parse::<Email>().ok().and_then(|email| email.folded()),
        _ => None,
    };
    let invalid = || viewer.invalid(&format!("filter.{kind}.eq"), format!("expected a valid {kind}"));
    let blind_index = viewer.service.backend.blind_index(viewer.caller.tenant, kind, &folded.ok_or_else(invalid)?);
    Ok(Filter { field: index.into(), test: Test::Equals(blind_index.into()) })
}

/// Filter on the words of personal columns. A caller without access to them is refused, as a match would confirm a guess.
fn text_filter(viewer: &Viewer, model: &Model, path: &str, text: &Value) -> Result<Filter, Problem> {
    if !viewer.caller.sees_personal(model) {
        return Err(Problem::forbidden("this caller may not search personal data"));
    }
    let Value::String(text) = text else { return Err(viewer.invalid(path, WITHOUT_VALUE)) };
    let words = search_words(text);
    if !(1..=SEARCH_WORDS_MOST).contains(&words.len()) {
        return Err(viewer.invalid(path, format!("expected 1 to {SEARCH_WORDS_MOST} words of letters or digits")));
    }
    let tenant = viewer.caller.tenant;
    let tokens = words.iter().map(|word| viewer.service.backend.search_token(tenant, word)).collect();
    Ok(Filter { field: model.key[0].into(), test: Test::Tokens(tokens) })
}

/// Parses an order argument. The schema has already validated it. Refuses a column that the caller may not see.
pub(super) fn order(viewer: &Viewer, model: &Model, order: &Value) -> Result<SortOrder, Problem> {
    let order = to_json(order);
    let by = order["by"].as_str().unwrap_or_default();
    let known = model.columns.iter().find(|column| capitals(&column.name) == by);
    let field = known.map(|column| column.name.clone()).unwrap_or_default();
    viewer.require_shown(model, &field)?;
    Ok(SortOrder { field, descending: order["direction"] == "DESC" })
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

pub(super) fn filter_name(kind: ColumnType) -> String {
    format!("{}Filter", scalar(kind))
}
