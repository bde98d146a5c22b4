//! Query fields, two per read model: one row by its key, and a page of rows as a Relay connection.

use std::sync::Arc;

use async_graphql::Value;
use async_graphql::dynamic::{Field, FieldFuture, FieldValue, InputValue, Object, ResolverContext, TypeRef};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use projections::kernel::{Key, Model};
use projections::query::{Cursor, RowQuery};
use serde_json::json;

use super::filters::{self, Filterable};
use super::names::camel;
use super::page_size::{FIRST, FIRST_MOST};
use super::scalars;
use super::session::Session;
use super::value::{from_json, to_json};
use crate::error::Problem;
use crate::relation::Relations;

/// `serverTime`: a client that counts down to an instant of a row subtracts this from it instead of its own clock.
pub(super) fn server_time() -> Field {
    let field = Field::new("serverTime", TypeRef::named_nn(scalars::TIMESTAMP), |context| {
        FieldFuture::new(async move {
            let now = Session::of(&context)?.service.backend.now();
            Ok(Some(Value::from(now.to_string())))
        })
    });
    field.description(
        "Current time of the server. Count down to an instant from this time, not from the clock of the device.",
    )
}

/// `thing(key…, minPosition)`.
pub(super) fn one(model: &Arc<Model>, relations: &Arc<Relations>) -> Field {
    let (captured, relations) = (Arc::clone(model), Arc::clone(relations));
    let mut field = Field::new(model.field(), TypeRef::named(&model.name), move |context| {
        let (model, relations) = (Arc::clone(&captured), Arc::clone(&relations));
        FieldFuture::new(async move {
            let session = Session::of(&context)?;
            let row = find(session, &context, &model, &relations).await.map_err(Problem::into_graphql)?;
            Ok(row.map(FieldValue::value))
        })
    });
    for key in key_arguments(model) {
        field = field.argument(key);
    }
    field.description(description(model)).argument(min_position())
}

/// One required argument per field of the key.
pub(super) fn key_arguments(model: &Model) -> impl Iterator<Item = InputValue> {
    model.key.iter().map(|key| InputValue::new(camel(key), TypeRef::named_nn(key_scalar(model, key))))
}

pub(super) fn key_scalar(model: &Model, key: &str) -> &'static str {
    model.column(key).map_or(TypeRef::STRING, |column| filters::scalar(column.kind))
}

/// `things(filter, order, first, after, minPosition)`.
pub(super) fn many(model: &Arc<Model>, relations: &Arc<Relations>, filterable: &Filterable) -> Field {
    let (captured, relations) = (Arc::clone(model), Arc::clone(relations));
    let connection = TypeRef::named(format!("{}Connection", model.name));
    let field = Field::new(model.fields(), connection, move |context| {
        let (model, relations) = (Arc::clone(&captured), Arc::clone(&relations));
        FieldFuture::new(async move {
            let session = Session::of(&context)?;
            let page = list(session, &context, &model, &relations).await.map_err(Problem::into_graphql)?;
            Ok(Some(page.into_field()))
        })
    });
    filterable
        .arguments(field.description(description(model)))
        .argument(InputValue::new("first", TypeRef::named(TypeRef::INT)).default_value(FIRST))
        .argument(InputValue::new("after", TypeRef::named(TypeRef::STRING)))
        .argument(min_position())
}

async fn find(
    session: &Session,
    context: &ResolverContext<'_>,
    model: &Model,
    relations: &Relations,
) -> Result<Option<Value>, Problem> {
    session.access(model)?;
    wait_for_min_position(session, context, model, relations).await?;
    session.row(model, key(session, context, model)?).await
}

/// The key given by the arguments of a field.
pub(super) fn key(session: &Session, context: &ResolverContext<'_>, model: &Model) -> Result<Key, Problem> {
    let mut values = Vec::new();
    for field in model.key {
        let value = context.args.get(&camel(field)).map(|value| to_json(value.as_value()));
        let column = model.column(field).zip(value);
        let Some((column, value)) = column else { return Err(session.invalid(field, "a value is required")) };
        projections::query::value_text(column, &value).map_err(|error| session.problem(error))?;
        values.push(canonical(column.kind, value));
    }
    Ok(Key::of(&values))
}

async fn list(
    session: &Session,
    context: &ResolverContext<'_>,
    model: &Model,
    relations: &Relations,
) -> Result<Connection, Problem> {
    session.access(model)?;
    wait_for_min_position(session, context, model, relations).await?;
    Connection::load(session, model, paging(session, model, context)?).await
}

/// `ThingConnection` and `ThingEdge`, by the Relay connection specification.
pub(super) fn connection_types(model: &Model) -> [Object; 2] {
    let (name, edge) = (format!("{}Connection", model.name), format!("{}Edge", model.name));
    let member = super::value::member;
    let connection = Object::new(name)
        .description(format!("A page of {}.", model.fields()))
        .field(Field::new("edges", TypeRef::named_nn_list_nn(&edge), member("edges")))
        .field(Field::new("pageInfo", TypeRef::named_nn("PageInfo"), member("pageInfo")))
        .field(
            Field::new("totalCount", TypeRef::named(scalars::LONG), member("totalCount"))
                .description("Number of all rows that match the filter. It is counted only if this field is selected."),
        );
    let edge = Object::new(edge)
        .field(Field::new("cursor", TypeRef::named_nn(TypeRef::STRING), member("cursor")))
        .field(Field::new("node", TypeRef::named_nn(&model.name), member("node")));
    [connection, edge]
}

pub(super) fn page_info() -> Object {
    let (member, boolean) = (super::value::member, TypeRef::named_nn(TypeRef::BOOLEAN));
    Object::new("PageInfo")
        .description("First and last cursor of a page, and whether there are rows around it.")
        .field(Field::new("hasNextPage", boolean.clone(), member("hasNextPage")))
        .field(
            Field::new("hasPreviousPage", boolean, member("hasPreviousPage"))
                .description("True if the page was requested with `after`."),
        )
        .field(Field::new("startCursor", TypeRef::named(TypeRef::STRING), member("startCursor")))
        .field(Field::new("endCursor", TypeRef::named(TypeRef::STRING), member("endCursor")))
}

/// The query for rows given by the arguments of a field.
pub(super) fn paging(session: &Session, model: &Model, context: &ResolverContext<'_>) -> Result<RowQuery, Problem> {
    let argument = |name: &str| context.args.get(name).map(|value| value.as_value()).filter(|v| **v != Value::Null);
    let first = match argument("first") {
        None => i64::from(FIRST),
        Some(value) => match value {
            Value::Number(number) => number.as_i64().unwrap_or(0),
            _ => 0,
        },
    };
    if !(1..=FIRST_MOST).contains(&first) {
        return Err(session.invalid("first", format!("expected 1 to {FIRST_MOST}")));
    }
    let mut query = RowQuery::all(session.caller.tenant, u32::try_from(first).unwrap_or(1));
    query.owner = session.access(model)?.owner;
    query.count = context.ctx.look_ahead().field("totalCount").exists();
    if let Some(filter) = context.args.get("filter").filter(|filter| !is_unset(context, "filter", filter.as_value())) {
        query.filters = filters::read(session, model, filter.as_value())?;
    }
    query.order = argument("order").map(|order| filters::order(session, model, order)).transpose()?;
    if let Some(Value::String(after)) = argument("after") {
        let cursor = decode_cursor(model, &query, after)
            .filter(|cursor| query.order_columns(model).is_ok_and(|columns| cursor.values(&columns).is_ok()));
        let invalid = || session.invalid("after", "expected a cursor of the same field with the same order");
        query.after = Some(cursor.ok_or_else(invalid)?);
    }
    Ok(query)
}

/// True if the value of an argument is a variable that has none, which means the same as no argument. The executor
/// replaces such a variable by null.
fn is_unset(context: &ResolverContext<'_>, argument: &str, value: &Value) -> bool {
    let written = context.ctx.item.node.get_argument(argument).filter(|_| *value == Value::Null);
    let written = written.map(|value| value.node.to_string()).unwrap_or_default();
    let Some(variable) = written.strip_prefix('$') else { return false };
    let definitions = &context.ctx.query_env.operation.node.variable_definitions;
    let has_default = definitions
        .iter()
        .any(|definition| definition.node.name.node == *variable && definition.node.default_value.is_some());
    !has_default && context.ctx.query_env.variables.keys().all(|name| name != variable)
}

/// A page in the form of a Relay connection.
pub(super) struct Connection(serde_json::Value);

impl Connection {
    pub(super) async fn load(session: &Session, model: &Model, query: RowQuery) -> Result<Self, Problem> {
        let page = session.page(model, query.clone()).await?;
        let mut edges = Vec::with_capacity(page.rows.len());
        for row in &page.rows {
            let node: serde_json::Value = serde_json::from_str(&row.json)
                .map_err(|error| Problem::fault(session.service.backend.new_id(), &error))?;
            edges.push(json!({ "cursor": encode_cursor(model, &query, &row.cursor), "node": node }));
        }
        let cursor = |edge: Option<&serde_json::Value>| edge.map(|edge| edge["cursor"].clone());
        let page_info = json!({
            "hasNextPage": page.more,
            "hasPreviousPage": query.after.is_some(),
            "startCursor": cursor(edges.first()),
            "endCursor": cursor(edges.last()),
        });
        Ok(Self(json!({ "edges": edges, "pageInfo": page_info, "totalCount": page.count })))
    }

    pub(super) fn into_field(self) -> FieldValue<'static> {
        FieldValue::value(from_json(self.0))
    }
}

/// Prefix of a cursor. It binds the cursor to one model and one sort order, because its values mean nothing in another.
fn cursor_scope(model: &Model, query: &RowQuery) -> String {
    let order = query.order.as_ref().map(|order| (order.field.as_str(), order.descending));
    let (field, descending) = order.unwrap_or_default();
    format!("1{}.{field}.{}:", model.name, u8::from(descending))
}

fn encode_cursor(model: &Model, query: &RowQuery, cursor: &Cursor) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}{}", cursor_scope(model, query), cursor.0))
}

fn decode_cursor(model: &Model, query: &RowQuery, text: &str) -> Option<Cursor> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
    Some(Cursor(text.strip_prefix(&cursor_scope(model, query))?.into()))
}

/// Waits for the position that `minPosition` requires, if it is set.
async fn wait_for_min_position(
    session: &Session,
    context: &ResolverContext<'_>,
    model: &Model,
    relations: &Relations,
) -> Result<(), Problem> {
    match context.args.get("minPosition").map(|value| value.as_value()) {
        Some(Value::String(token)) => session.wait(context, model, relations, token).await,
        _ => Ok(()),
    }
}

fn min_position() -> InputValue {
    InputValue::new("minPosition", TypeRef::named(TypeRef::STRING)).description(
        "The token of a receipt. The answer includes the effects of that command; if the read model has not caught up \
         within two seconds, the error code is BEHIND.",
    )
}

/// A key value as rows spell it: clients may spell ids and instants in several ways.
fn canonical(kind: projections::kernel::ColumnType, value: serde_json::Value) -> serde_json::Value {
    match kind {
        projections::kernel::ColumnType::Integer | projections::kernel::ColumnType::Boolean => value,
        kind => kind.text(&value).map_or(value, Into::into),
    }
}

pub(super) fn description(model: &Model) -> String {
    model.schema.as_value()["description"].as_str().unwrap_or_default().into()
}
