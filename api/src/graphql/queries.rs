//! Query fields, two per read model: one row by its key, and a page of rows as a Relay connection.

use std::sync::Arc;

use async_graphql::Value;
use async_graphql::dynamic::{Field, FieldFuture, FieldValue, InputValue, Object, ResolverContext, TypeRef};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use projections::kernel::{Key, Model};
use projections::query::{Cursor, Page, RowQuery};
use serde_json::{Value as Json, json};

use super::executor::viewer::Viewer;
use super::filters::{self, Filterable};
use super::names::camel;
use super::page_size::{FIRST, FIRST_MOST};
use super::scalars;
use super::session::Session;
use super::value::{Arguments, from_json, to_json};
use crate::error::Problem;
use crate::relation::Relations;

/// `serverTime`: a client that counts down to an instant of a row subtracts this from it instead of its own clock.
pub(super) fn server_time() -> Field {
    let field = Field::new("serverTime", TypeRef::named_nn(scalars::TIMESTAMP), |context| {
        FieldFuture::new(async move {
            let now = Session::of(&context)?.viewer.service.backend.now();
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
    session.viewer.access(model)?;
    wait_for_min_position(session, context, model, relations).await?;
    session.row(model, key(&session.viewer, context.args.as_index_map(), model)?).await
}

/// The key given by the arguments of a field.
pub(super) fn key(viewer: &Viewer, arguments: &Arguments, model: &Model) -> Result<Key, Problem> {
    Ok(Key::of(&key_values(viewer, arguments, model)?))
}

/// The values of the key given by the arguments of a field.
pub(super) fn key_values(viewer: &Viewer, arguments: &Arguments, model: &Model) -> Result<Vec<Json>, Problem> {
    let value = |field: &&str| {
        let value = arguments.get(camel(field).as_str()).map(to_json);
        let Some((column, value)) = model.column(field).zip(value) else {
            return Err(viewer.invalid(field, "a value is required"));
        };
        projections::query::value_text(column, &value).map_err(|error| viewer.problem(error))?;
        Ok(canonical(column.kind, value))
    };
    model.key.iter().map(value).collect()
}

async fn list(
    session: &Session,
    context: &ResolverContext<'_>,
    model: &Model,
    relations: &Relations,
) -> Result<Connection, Problem> {
    session.viewer.access(model)?;
    wait_for_min_position(session, context, model, relations).await?;
    let query = paging(&session.viewer, model, &PageArguments::of(context))?;
    let page = session.page(model, query.clone()).await?;
    Connection::new(&session.viewer, model, &query, &page)
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

/// The arguments of a page, after variables and defaults were filled in.
pub(super) struct PageArguments<'a> {
    pub(super) values: &'a Arguments,
    /// True if the filter is a variable without a value, which means the same as no filter.
    pub(super) filter_is_unset: bool,
    /// True if the total number of rows is selected.
    pub(super) count: bool,
}

impl<'a> PageArguments<'a> {
    pub(super) fn of(context: &'a ResolverContext<'_>) -> Self {
        let values = context.args.as_index_map();
        let filter_is_unset = values.get("filter").is_some_and(|filter| is_unset(context, "filter", filter));
        Self { values, filter_is_unset, count: context.ctx.look_ahead().field("totalCount").exists() }
    }
}

/// The query for rows given by the arguments of a field.
pub(super) fn paging(viewer: &Viewer, model: &Model, arguments: &PageArguments<'_>) -> Result<RowQuery, Problem> {
    let argument = |name: &str| arguments.values.get(name).filter(|value| **value != Value::Null);
    let first = match argument("first") {
        None => i64::from(FIRST),
        Some(Value::Number(number)) => number.as_i64().unwrap_or(0),
        Some(_) => 0,
    };
    if !(1..=FIRST_MOST).contains(&first) {
        return Err(viewer.invalid("first", format!("expected 1 to {FIRST_MOST}")));
    }
    let mut query = RowQuery::all(viewer.caller.tenant, u32::try_from(first).unwrap_or(1));
    query.owner = viewer.access(model)?.owner;
    query.count = arguments.count;
    if let Some(filter) = arguments.values.get("filter").filter(|_| !arguments.filter_is_unset) {
        query.filters = filters::read(viewer, model, filter)?;
    }
    query.order = argument("order").map(|order| filters::order(viewer, model, order)).transpose()?;
    if let Some(Value::String(after)) = argument("after") {
        let cursor = decode_cursor(model, &query, after)
            .filter(|cursor| query.order_columns(model).is_ok_and(|columns| cursor.values(&columns).is_ok()));
        let invalid = || viewer.invalid("after", "expected a cursor of the same field with the same order");
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
    pub(super) fn new(viewer: &Viewer, model: &Model, query: &RowQuery, page: &Page) -> Result<Self, Problem> {
        let mut edges = Vec::with_capacity(page.rows.len());
        for row in &page.rows {
            let node: serde_json::Value = serde_json::from_str(&row.json)
                .map_err(|error| Problem::fault(viewer.service.backend.new_id(), &error))?;
            edges.push(json!({ "cursor": encode_cursor(&cursor_scope(model, query), &row.cursor.0), "node": node }));
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
pub(super) fn cursor_scope(model: &Model, query: &RowQuery) -> String {
    let order = query.order.as_ref().map(|order| (order.field.as_str(), order.descending));
    let (field, descending) = order.unwrap_or_default();
    format!("1{}.{field}.{}:", model.name, u8::from(descending))
}

pub(super) fn encode_cursor(scope: &str, cursor: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{scope}{cursor}"))
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
