//! One object type per read model.

use std::sync::Arc;

use async_graphql::Value;
use async_graphql::dynamic::{Field, FieldFuture, FieldValue, Object, TypeRef};
use projections::kernel::{Model, Models};
use serde_json::Value as Json;

use super::names::{camel, pascal};
use super::relation_fields::relation_field;
use super::session::Session;
use super::types::{Types, Way, description, indexes, personal, requires};
use super::value::{field, member};
use crate::port::SealedField;
use crate::relation::Relations;

/// The row's columns, then its ways to other models.
pub(super) fn object(model: &Arc<Model>, models: &Models, relations: &Relations, types: &mut Types) -> Object {
    let root = model.schema.as_value();
    let mut object = Object::new(&model.name).description(root["description"].as_str().unwrap_or_default());
    let ways: Vec<_> = relations.of(model).collect();
    for (column, schema) in root["properties"].as_object().into_iter().flatten() {
        if indexes(root, column).is_some() {
            continue;
        }
        let mut name = camel(column);
        if ways.iter().any(|way| way.name == name) {
            name.push_str("Id");
        }
        let made = match personal(root, schema) {
            Some(kind) => opened(model, name, column, kind),
            None => {
                let found = types.of(root, schema, &format!("{}{}", model.name, pascal(column)), Way::Out);
                Field::new(name, found.type_ref(!requires(root, column)), member(column))
            }
        };
        object = object.field(told(made, root, schema));
    }
    for way in ways.into_iter().filter_map(|relation| relation_field(relation, models)) {
        object = object.field(way);
    }
    object
}

/// A personal field: opened for who may see it, null for everybody else and once its key was destroyed.
fn opened(model: &Arc<Model>, name: String, column: &str, kind: &str) -> Field {
    let (model, column, kind) = (Arc::clone(model), column.to_owned(), kind.to_owned());
    Field::new(name, TypeRef::named(TypeRef::STRING), move |context| {
        let Some(Value::String(word)) = field(context.parent_value, &column) else {
            return FieldFuture::from_value(None);
        };
        let sealed = SealedField { field: kind.clone(), ciphertext: word.clone() };
        let model = Arc::clone(&model);
        FieldFuture::new(async move {
            let session = Session::of(&context)?;
            if !session.caller.sees_personal(&model) {
                return Ok(None);
            }
            let text = session.open(sealed).await.map_err(|problem| problem.into_graphql())?;
            Ok(text.map(FieldValue::value))
        })
    })
}

fn told(field: Field, root: &Json, schema: &Json) -> Field {
    match description(root, schema) {
        Some(told) => field.description(told),
        None => field,
    }
}
