//! GraphQL fields of relations between read models.

use std::sync::Arc;

use async_graphql::dynamic::{Field, FieldFuture, FieldValue, InputValue, TypeRef};
use projections::kernel::{Key, Model, Models};

use super::page_size::FIRST;
use super::queries::{Connection, PageArguments, paging};
use super::session::Session;
use super::value::{field, to_json};
use crate::relation::{Join, Relation};

/// The field of a relation in its row's type; `None` if the other read model does not exist.
pub(super) fn relation_field(relation: &Relation, models: &Models) -> Option<Field> {
    let other = Arc::new(models.get(relation.to)?.clone());
    let description = other.schema.as_value()["description"].as_str().unwrap_or_default().to_owned();
    let field = match relation.join {
        Join::One(by) => one(relation.name, other, by),
        Join::Many(by) => many(relation.name, models.get(relation.from)?.key.first()?, other, by),
    };
    Some(field.description(description))
}

fn one(name: &'static str, other: Arc<Model>, by: &'static [&'static str]) -> Field {
    Field::new(name, TypeRef::named(&other.name), move |context| {
        let other = Arc::clone(&other);
        FieldFuture::new(async move {
            let values: Option<Vec<_>> = by
                .iter()
                .map(|column| field(context.parent_value, column).map(to_json).filter(|value| !value.is_null()))
                .collect();
            let Some(values) = values else { return Ok(None) };
            let session = Session::of(&context)?;
            let row = session.row(&other, Key::of(&values)).await;
            Ok(row.map_err(|problem| problem.into_graphql())?.map(FieldValue::value))
        })
    })
}

fn many(name: &'static str, own_key: &'static str, other: Arc<Model>, by: &'static str) -> Field {
    let connection = TypeRef::named(format!("{}Connection", other.name));
    let field = Field::new(name, connection, move |context| {
        let other = Arc::clone(&other);
        FieldFuture::new(async move {
            let Some(value) = field(context.parent_value, own_key).map(to_json) else { return Ok(None) };
            let session = Session::of(&context)?;
            let page = async {
                let query = paging(&session.viewer, &other, &PageArguments::of(&context))?;
                let page = session.related_page(&other, query.clone(), by, value).await?;
                Connection::new(&session.viewer, &other, &query, &page)
            };
            Ok(Some(page.await.map_err(|problem| problem.into_graphql())?.into_field()))
        })
    });
    field
        .argument(InputValue::new("first", TypeRef::named(TypeRef::INT)).default_value(FIRST))
        .argument(InputValue::new("after", TypeRef::named(TypeRef::STRING)))
}
