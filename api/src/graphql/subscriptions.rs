//! Subscription fields, two per read model: one row by its key, and the rows that match a filter. Each sends the
//! present rows first and then their changes.
//!
//! Relations are refused: a related row can change without a change of this row, and the subscription would not report
//! that.

use std::sync::Arc;

use async_graphql::Value;
use async_graphql::dynamic::{
    Field, FieldFuture, FieldValue, InputValue, Object, ResolverContext, SubscriptionField, SubscriptionFieldFuture,
    TypeRef,
};
use futures::{Stream, StreamExt};
use projections::kernel::{Key, Model};

use super::filters::Filterable;
use super::names::camel;
use super::page_size::FIRST;
use super::queries::{PageArguments, description, key, key_arguments, key_scalar, paging};
use super::session::Session;
use super::value::{from_json, member};
use crate::error::{Problem, retry_code};
use crate::port::{Ended, Freshness, LiveRow, LiveUpdates, Update};
use crate::relation::Relations;

/// `thing(key…, minPosition)`.
pub(super) fn one(model: &Arc<Model>, relations: &Arc<Relations>) -> SubscriptionField {
    let (captured, relations) = (Arc::clone(model), Arc::clone(relations));
    let mut field = SubscriptionField::new(model.field(), TypeRef::named_nn(live_row_type(model)), move |context| {
        let (model, relations) = (Arc::clone(&captured), Arc::clone(&relations));
        SubscriptionFieldFuture::new(async move {
            let session = Session::of(&context)?;
            let watching = async {
                let since = prepare(session, &context, &model, &relations).await?;
                session.watch_row(&model, &key(&session.viewer, context.args.as_index_map(), &model)?, since).await
            };
            Ok(updates(watching.await.map_err(Problem::into_graphql)?))
        })
    });
    for key in key_arguments(model) {
        field = field.argument(key);
    }
    field.description(description(model)).argument(min_position())
}

/// `things(filter, first, minPosition)`.
pub(super) fn many(model: &Arc<Model>, relations: &Arc<Relations>, filterable: &Filterable) -> SubscriptionField {
    let (captured, relations) = (Arc::clone(model), Arc::clone(relations));
    let field = SubscriptionField::new(model.fields(), TypeRef::named_nn(live_rows_type(model)), move |context| {
        let (model, relations) = (Arc::clone(&captured), Arc::clone(&relations));
        SubscriptionFieldFuture::new(async move {
            let session = Session::of(&context)?;
            let watching = async {
                let since = prepare(session, &context, &model, &relations).await?;
                session.watch(&model, paging(&session.viewer, &model, &PageArguments::of(&context))?, since).await
            };
            Ok(updates(watching.await.map_err(Problem::into_graphql)?))
        })
    });
    let field = match filterable.filter_argument() {
        Some(filter) => field.argument(filter),
        None => field,
    };
    let first = InputValue::new("first", TypeRef::named(TypeRef::INT)).default_value(FIRST);
    let first = first.description("Highest number of rows in the first update. Later updates hold the changed rows.");
    field.description(description(model)).argument(first).argument(min_position())
}

/// `LiveThing`, `LiveThings` and `ThingKey`.
pub(super) fn objects(model: &Model) -> [Object; 3] {
    let position = || {
        field("position", TypeRef::named_nn(TypeRef::STRING), |update| Some(FieldValue::value(update.at.to_token())))
            .description(
                "Pass it as `minPosition` when you subscribe again: no change is missed, and no older state is sent.",
            )
    };
    let graphql = |row: &Arc<LiveRow>| FieldValue::value(row.graphql(from_json).clone());
    let text = format!("The present state of one row of `{}`.", model.fields());
    let live = Object::new(live_row_type(model)).description(text).field(position()).field(
        field("row", TypeRef::named(&model.name), move |update| update.rows.first().map(graphql))
            .description("Null if the row does not exist or was removed."),
    );
    let rows = TypeRef::named_nn_list_nn(&model.name);
    let keys = model.key;
    let gone = field("gone", TypeRef::named_nn_list_nn(key_type(model)), move |update| {
        Some(FieldValue::list(update.gone.iter().map(|key| FieldValue::value(key_value(keys, key)))))
    });
    let text = format!("An update of `{}`: changed and removed rows.", model.fields());
    let lives = Object::new(live_rows_type(model))
        .description(text)
        .field(position())
        .field(
            field("rows", rows, move |update| Some(FieldValue::list(update.rows.iter().map(graphql))))
                .description("In the first update, the rows that match; in later updates, new and changed rows."),
        )
        .field(gone.description("Keys of rows that were removed or no longer match the filter."))
        .field(
            field("more", TypeRef::named_nn(TypeRef::BOOLEAN), |update| Some(FieldValue::value(update.more)))
                .description(
                    "In the first update, true if more rows match than it holds. Those are sent when they change.",
                ),
        );
    let mut key = Object::new(key_type(model)).description(format!("Key of a row of `{}`.", model.fields()));
    for name in model.key {
        key = key.field(Field::new(camel(name), TypeRef::named_nn(key_scalar(model, name)), member(name)));
    }
    [live, lives, key]
}

/// Checks permission and selection, and waits until the rows have reached `minPosition`.
async fn prepare(
    session: &Session,
    context: &ResolverContext<'_>,
    model: &Model,
    relations: &Relations,
) -> Result<Option<Freshness>, Problem> {
    session.viewer.access(model)?;
    for rows in context.ctx.field().selection_set() {
        let is_relation = |name: &str| relations.of(model).any(|relation| relation.name == name);
        if let Some(selected) = rows.selection_set().find(|selected| is_relation(selected.name())) {
            let name = selected.name();
            let own = if model.column(name).is_some() { format!("`{name}Id`") } else { "those".into() };
            let text = format!(
                "relations are not available in a subscription, only the row's own fields: select {own}, and read the \
                 related rows with a query"
            );
            return Err(session.viewer.invalid(name, text));
        }
    }
    match context.args.get("minPosition").map(|value| value.as_value()) {
        Some(Value::String(token)) => {
            session.wait(context, model, relations, token).await?;
            session.viewer.position(token).map(Some)
        }
        _ => Ok(None),
    }
}

fn updates<'a>(watching: LiveUpdates) -> impl Stream<Item = async_graphql::Result<FieldValue<'a>>> {
    watching.map(|update| update.map(FieldValue::owned_any).map_err(end_error))
}

/// The error that ends a subscription.
fn end_error(reason: Ended) -> async_graphql::Error {
    let mut error = async_graphql::Error::new(reason.message());
    let mut extensions = async_graphql::ErrorExtensionValues::default();
    extensions.set("code", reason.code());
    extensions.set("retry", retry_code(domain::kernel::Retry::SameId));
    error.extensions = Some(extensions);
    error
}

/// A field computed from an update.
fn field(
    name: &str,
    kind: TypeRef,
    value: impl for<'a> Fn(&'a Update) -> Option<FieldValue<'a>> + Send + Sync + Copy + 'static,
) -> Field {
    Field::new(name, kind, move |context| {
        FieldFuture::new(async move { Ok(value(context.parent_value.try_downcast_ref::<Update>()?)) })
    })
}

/// A key as an object: the values of its fields by name.
fn key_value(names: &[&str], key: &Key) -> Value {
    let values: Vec<serde_json::Value> = serde_json::from_str(key.as_str()).unwrap_or_default();
    from_json(names.iter().map(|name| (*name).to_owned()).zip(values).collect())
}

fn live_row_type(model: &Model) -> String {
    format!("Live{}", model.name)
}

fn live_rows_type(model: &Model) -> String {
    let mut fields = model.fields();
    fields.replace_range(..1, &fields[..1].to_ascii_uppercase());
    format!("Live{fields}")
}

fn key_type(model: &Model) -> String {
    format!("{}Key", model.name)
}

fn min_position() -> InputValue {
    InputValue::new("minPosition", TypeRef::named(TypeRef::STRING)).description(
        "The `position` of the last update, or the token of a receipt. The subscription starts at that position or \
         later and sends the rows that have changed since.",
    )
}
