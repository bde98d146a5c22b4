//! Two questions per read model: one row by its key, and many rows as a connection.

use std::sync::Arc;

use async_graphql::Value;
use async_graphql::dynamic::{Field, FieldFuture, FieldValue, InputValue, Object, ResolverContext, TypeRef};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use projections::kernel::{Key, Model};
use projections::query::{Cursor, RowQuery};
use serde_json::json;

use super::filters::{self, Askable};
use super::names::camel;
use super::relations::Relations;
use super::session::Session;
use super::value::{from_json, to_json};
use crate::error::Problem;

/// How many rows come without being asked for a number.
pub(super) const FIRST: i32 = 20;
/// A page that is longer is not read by anybody.
pub(super) const FIRST_MOST: i64 = 100;

/// `thing(key…, minPosition)`.
pub(super) fn one(model: &Arc<Model>, relations: &Arc<Relations>) -> Field {
    let (this, ways) = (Arc::clone(model), Arc::clone(relations));
    let mut field = Field::new(model.field(), TypeRef::named(&model.name), move |context| {
        let (model, ways) = (Arc::clone(&this), Arc::clone(&ways));
        FieldFuture::new(async move {
            let session = Session::of(&context)?;
            let row = find(session, &context, &model, &ways).await.map_err(Problem::into_graphql)?;
            Ok(row.map(FieldValue::value))
        })
    });
    for key in key_arguments(model) {
        field = field.argument(key);
    }
    field.description(told(model)).argument(min_position())
}

/// A value for every field of the key.
pub(super) fn key_arguments(model: &Model) -> impl Iterator<Item = InputValue> {
    model.key.iter().map(|key| InputValue::new(camel(key), TypeRef::named_nn(key_scalar(model, key))))
}

pub(super) fn key_scalar(model: &Model, key: &str) -> &'static str {
    model.column(key).map_or(TypeRef::STRING, |column| filters::scalar(column.kind))
}

/// `things(filter, order, first, after, minPosition)`.
pub(super) fn many(model: &Arc<Model>, relations: &Arc<Relations>, askable: &Askable) -> Field {
    let (this, ways) = (Arc::clone(model), Arc::clone(relations));
    let connection = TypeRef::named(format!("{}Connection", model.name));
    let field = Field::new(model.fields(), connection, move |context| {
        let (model, ways) = (Arc::clone(&this), Arc::clone(&ways));
        FieldFuture::new(async move {
            let session = Session::of(&context)?;
            let page = list(session, &context, &model, &ways).await.map_err(Problem::into_graphql)?;
            Ok(Some(page.into_field()))
        })
    });
    askable
        .arguments(field.description(told(model)))
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
    session.owner(model)?;
    fresh(session, context, model, relations).await?;
    session.row(model, key(session, context, model)?).await
}

/// The key that a field's arguments make.
pub(super) fn key(session: &Session, context: &ResolverContext<'_>, model: &Model) -> Result<Key, Problem> {
    let mut values = Vec::new();
    for field in model.key {
        let value = context.args.get(&camel(field)).map(|value| to_json(value.as_value()));
        let column = model.column(field).zip(value);
        let Some((column, value)) = column else { return Err(session.invalid(field, "it is missing")) };
        projections::query::value_text(column, &value).map_err(|no| session.problem(no))?;
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
    session.owner(model)?;
    fresh(session, context, model, relations).await?;
    Connection::load(session, model, paging(session, model, context)?).await
}

/// `ThingConnection` and `ThingEdge`, as Relay wants them.
pub(super) fn connection_types(model: &Model) -> [Object; 2] {
    let (name, edge) = (format!("{}Connection", model.name), format!("{}Edge", model.name));
    let member = super::value::member;
    let connection = Object::new(name)
        .description(format!("A page of {}.", model.fields()))
        .field(Field::new("edges", TypeRef::named_nn_list_nn(&edge), member("edges")))
        .field(Field::new("pageInfo", TypeRef::named_nn("PageInfo"), member("pageInfo")))
        .field(
            Field::new("totalCount", TypeRef::named(super::scalars::LONG), member("totalCount"))
                .description("How many rows fit in all; counted only when asked for."),
        );
    let edge = Object::new(edge)
        .field(Field::new("cursor", TypeRef::named_nn(TypeRef::STRING), member("cursor")))
        .field(Field::new("node", TypeRef::named_nn(&model.name), member("node")));
    [connection, edge]
}

pub(super) fn page_info() -> Object {
    let (member, boolean) = (super::value::member, TypeRef::named_nn(TypeRef::BOOLEAN));
    Object::new("PageInfo")
        .description("Where a page begins and ends.")
        .field(Field::new("hasNextPage", boolean.clone(), member("hasNextPage")))
        .field(
            Field::new("hasPreviousPage", boolean, member("hasPreviousPage"))
                .description("Whether it was asked for behind a cursor."),
        )
        .field(Field::new("startCursor", TypeRef::named(TypeRef::STRING), member("startCursor")))
        .field(Field::new("endCursor", TypeRef::named(TypeRef::STRING), member("endCursor")))
}

/// The question that a field's arguments make.
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
    let mut question = RowQuery::all(session.caller.tenant, u32::try_from(first).unwrap_or(1));
    question.owner = session.owner(model)?;
    question.count = context.ctx.look_ahead().field("totalCount").exists();
    if let Some(filter) = argument("filter") {
        question.filters = filters::read(session, model, filter)?;
    }
    question.order = argument("order").map(|order| filters::order(model, order));
    if let Some(Value::String(after)) = argument("after") {
        let cursor = unseal(model, &question, after)
            .filter(|cursor| question.order_columns(model).is_ok_and(|columns| cursor.values(&columns).is_ok()));
        let odd = || session.invalid("after", "this is no cursor of this question");
        question.after = Some(cursor.ok_or_else(odd)?);
    }
    Ok(question)
}

/// A page as Relay wants it.
pub(super) struct Connection(serde_json::Value);

impl Connection {
    pub(super) async fn load(session: &Session, model: &Model, question: RowQuery) -> Result<Self, Problem> {
        let page = session.page(model, question.clone()).await?;
        let mut edges = Vec::with_capacity(page.rows.len());
        for row in &page.rows {
            let node: serde_json::Value = serde_json::from_str(&row.json)
                .map_err(|error| Problem::fault(session.front.backend.new_id(), &error))?;
            edges.push(json!({ "cursor": seal(model, &question, &row.cursor), "node": node }));
        }
        let cursor = |edge: Option<&serde_json::Value>| edge.map(|edge| edge["cursor"].clone());
        let page_info = json!({
            "hasNextPage": page.more,
            "hasPreviousPage": question.after.is_some(),
            "startCursor": cursor(edges.first()),
            "endCursor": cursor(edges.last()),
        });
        Ok(Self(json!({ "edges": edges, "pageInfo": page_info, "totalCount": page.count })))
    }

    pub(super) fn into_field(self) -> FieldValue<'static> {
        FieldValue::value(from_json(self.0))
    }
}

/// A cursor belongs to one model and one order; elsewhere it would point into nowhere.
fn scope(model: &Model, question: &RowQuery) -> String {
    let order = question.order.as_ref().map(|order| (order.field.as_str(), order.descending));
    let (field, descending) = order.unwrap_or_default();
    format!("1{}.{field}.{}:", model.name, u8::from(descending))
}

fn seal(model: &Model, question: &RowQuery, cursor: &Cursor) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}{}", scope(model, question), cursor.0))
}

fn unseal(model: &Model, question: &RowQuery, text: &str) -> Option<Cursor> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
    Some(Cursor(text.strip_prefix(&scope(model, question))?.into()))
}

async fn fresh(
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
        "The token of a receipt: the answer is at least as fresh, or the error has the code BEHIND after two seconds.",
    )
}

/// Ids and instants have several spellings and rows have one.
fn canonical(kind: projections::kernel::ColumnType, value: serde_json::Value) -> serde_json::Value {
    match kind {
        projections::kernel::ColumnType::Integer | projections::kernel::ColumnType::Boolean => value,
        kind => kind.text(&value).map_or(value, Into::into),
    }
}

pub(super) fn told(model: &Model) -> String {
    model.schema.as_value()["description"].as_str().unwrap_or_default().into()
}
