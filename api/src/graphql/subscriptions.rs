//! Two subscriptions per read model: one row by its key, and the rows that fit a filter. Now, and whenever they change.
//!
//! A row is shown without its ways to other models: what stands behind them changes without this row changing, and a
//! subscription to it would promise what it does not keep.

use std::sync::Arc;

use async_graphql::Value;
use async_graphql::dynamic::{
    Field, FieldFuture, FieldValue, InputValue, Object, ResolverContext, SubscriptionField, SubscriptionFieldFuture,
    TypeRef,
};
use futures::{Stream, StreamExt};
use projections::kernel::{Key, Model};

use super::filters::Askable;
use super::names::camel;
use super::page_size::FIRST;
use super::queries::{key, key_arguments, key_scalar, paging, told};
use super::session::Session;
use super::value::{from_json, member};
use crate::error::{Problem, retry_code};
use crate::port::{Ended, Freshness, LiveRow, LiveUpdates, Update};
use crate::relation::Relations;

/// `thing(key…, minPosition)`.
pub(super) fn one(model: &Arc<Model>, relations: &Arc<Relations>) -> SubscriptionField {
    let (this, ways) = (Arc::clone(model), Arc::clone(relations));
    let mut field = SubscriptionField::new(model.field(), TypeRef::named_nn(live(model)), move |context| {
        let (model, ways) = (Arc::clone(&this), Arc::clone(&ways));
        SubscriptionFieldFuture::new(async move {
            let session = Session::of(&context)?;
            let watching = async {
                let since = begin(session, &context, &model, &ways).await?;
                session.watch_row(&model, &key(session, &context, &model)?, since).await
            };
            Ok(tellings(watching.await.map_err(Problem::into_graphql)?))
        })
    });
    for key in key_arguments(model) {
        field = field.argument(key);
    }
    field.description(told(model)).argument(min_position())
}

/// `things(filter, first, minPosition)`.
pub(super) fn many(model: &Arc<Model>, relations: &Arc<Relations>, askable: &Askable) -> SubscriptionField {
    let (this, ways) = (Arc::clone(model), Arc::clone(relations));
    let field = SubscriptionField::new(model.fields(), TypeRef::named_nn(lives(model)), move |context| {
        let (model, ways) = (Arc::clone(&this), Arc::clone(&ways));
        SubscriptionFieldFuture::new(async move {
            let session = Session::of(&context)?;
            let watching = async {
                let since = begin(session, &context, &model, &ways).await?;
                session.watch(&model, paging(session, &model, &context)?, since).await
            };
            Ok(tellings(watching.await.map_err(Problem::into_graphql)?))
        })
    });
    let field = match askable.filter_argument() {
        Some(filter) => field.argument(filter),
        None => field,
    };
    let first = InputValue::new("first", TypeRef::named(TypeRef::INT)).default_value(FIRST);
    let first = first.description("How many rows the first update has at most; later ones have what has changed.");
    field.description(told(model)).argument(first).argument(min_position())
}

/// `LiveThing`, `LiveThings` and `ThingKey`.
pub(super) fn objects(model: &Model) -> [Object; 3] {
    let position = || {
        field("position", TypeRef::named_nn(TypeRef::STRING), |update| Some(FieldValue::value(update.at.to_token())))
            .description(
                "Hand it over as `minPosition` when you subscribe again: nothing is missed, nothing goes back.",
            )
    };
    let shown = |row: &Arc<LiveRow>| FieldValue::value(row.graphql(from_json).clone());
    let told = format!("One of {}, as it is now.", model.fields());
    let live = Object::new(live(model)).description(told).field(position()).field(
        field("row", TypeRef::named(&model.name), move |update| update.rows.first().map(shown))
            .description("Null where there is no such row, or no more."),
    );
    let rows = TypeRef::named_nn_list_nn(&model.name);
    let keys = model.key;
    let gone = field("gone", TypeRef::named_nn_list_nn(key_name(model)), move |update| {
        Some(FieldValue::list(update.gone.iter().map(|key| FieldValue::value(key_value(keys, key)))))
    });
    let told = format!("What has become of {}.", model.fields());
    let lives = Object::new(lives(model))
        .description(told)
        .field(position())
        .field(
            field("rows", rows, move |update| Some(FieldValue::list(update.rows.iter().map(shown))))
                .description("First the rows that fit; then those that are new or have changed."),
        )
        .field(gone.description("Rows that went away, or do not fit any more."))
        .field(
            field("more", TypeRef::named_nn(TypeRef::BOOLEAN), |update| Some(FieldValue::value(update.more)))
                .description("In the first update: whether more rows fit, which are told when they change."),
        );
    let mut key = Object::new(key_name(model)).description(format!("Which of {}.", model.fields()));
    for name in model.key {
        key = key.field(Field::new(camel(name), TypeRef::named_nn(key_scalar(model, name)), member(name)));
    }
    [live, lives, key]
}

/// Checks who asks and what for, and waits until the rows are as new as she wants them.
async fn begin(
    session: &Session,
    context: &ResolverContext<'_>,
    model: &Model,
    relations: &Relations,
) -> Result<Option<Freshness>, Problem> {
    session.owner(model)?;
    for rows in context.ctx.field().selection_set() {
        if let Some(shown) = rows.selection_set().find(|shown| relations.of(model).any(|way| way.name == shown.name()))
        {
            let own =
                if model.column(shown.name()).is_some() { format!("`{}Id`", shown.name()) } else { "these".into() };
            let text =
                format!("a subscription shows a row's own fields; take {own}, and ask for the rest with a query");
            return Err(session.invalid(shown.name(), text));
        }
    }
    match context.args.get("minPosition").map(|value| value.as_value()) {
        Some(Value::String(token)) => {
            session.wait(context, model, relations, token).await?;
            session.position(token).map(Some)
        }
        _ => Ok(None),
    }
}

fn tellings<'a>(watching: LiveUpdates) -> impl Stream<Item = async_graphql::Result<FieldValue<'a>>> {
    watching.map(|update| update.map(FieldValue::owned_any).map_err(ended))
}

fn ended(why: Ended) -> async_graphql::Error {
    let mut error = async_graphql::Error::new(why.message());
    let mut extensions = async_graphql::ErrorExtensionValues::default();
    extensions.set("code", why.code());
    extensions.set("retry", retry_code(domain::kernel::Retry::SameId));
    error.extensions = Some(extensions);
    error
}

/// A field of an update.
fn field(
    name: &str,
    kind: TypeRef,
    show: impl for<'a> Fn(&'a Update) -> Option<FieldValue<'a>> + Send + Sync + Copy + 'static,
) -> Field {
    Field::new(name, kind, move |context| {
        FieldFuture::new(async move { Ok(show(context.parent_value.try_downcast_ref::<Update>()?)) })
    })
}

/// The fields of a key by their names.
fn key_value(names: &[&str], key: &Key) -> Value {
    let values: Vec<serde_json::Value> = serde_json::from_str(key.as_str()).unwrap_or_default();
    from_json(names.iter().map(|name| (*name).to_owned()).zip(values).collect())
}

fn live(model: &Model) -> String {
    format!("Live{}", model.name)
}

fn lives(model: &Model) -> String {
    let mut fields = model.fields();
    fields.replace_range(..1, &fields[..1].to_ascii_uppercase());
    format!("Live{fields}")
}

fn key_name(model: &Model) -> String {
    format!("{}Key", model.name)
}

fn min_position() -> InputValue {
    InputValue::new("minPosition", TypeRef::named(TypeRef::STRING)).description(
        "The position of the last update, or the token of a receipt: what follows is at least as fresh and tells what \
         has changed since.",
    )
}
